"""The account's plan, which moto lacks: free or paid, with the remaining credits.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_freetier_GetAccountPlanState.html
"""

from core.errors import AwsError
from flask import Flask
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import convert_to_flask_response
from moto.moto_server.werkzeug_app import BackendRequest

SERVICE = "freetier"
# The service has one endpoint, and signatures must be for this region.
REGION = "us-east-1"
PAID = {"accountPlanType": "PAID", "accountPlanStatus": "ACTIVE"}

_plan = dict(PAID)


def set_plan(free, credits=None, until=None, status="ACTIVE"):
    """Sets the account's plan."""
    _plan.clear()
    _plan.update(accountPlanType="FREE" if int(free) else "PAID", accountPlanStatus=status)
    if credits is not None:
        _plan["accountPlanRemainingCredits"] = {"amount": float(credits), "unit": "USD"}
    if until is not None:
        _plan["accountPlanExpirationDate"] = until
    return _plan


def forget():
    """Restores the paid plan."""
    _plan.clear()
    _plan.update(PAID)


def is_free():
    """Whether the account is on the free plan."""
    return _plan["accountPlanType"] == "FREE"


class FreeTierResponse(BaseResponse):
    """The call of the service that the sandbox supports."""

    def __init__(self):
        super().__init__(service_name=SERVICE)

    def get_account_plan_state(self):
        if self.region != REGION:
            raise AwsError(
                "InvalidSignatureException", f"Credential should be scoped to a valid region, not '{self.region}'."
            )
        return ActionResult({"accountId": DEFAULT_ACCOUNT_ID, **_plan})


def application():
    """The service as a WSGI application, like those of moto."""
    served = Flask(SERVICE)
    served.debug = True
    served.request_class = BackendRequest
    served.add_url_rule(
        "/", endpoint=SERVICE, methods=["POST"], view_func=convert_to_flask_response(FreeTierResponse.dispatch)
    )
    return served
