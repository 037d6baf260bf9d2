"""The account's plan, of which moto knows nothing: the free one or the paid one, with what is left of its credits.

https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_freetier_GetAccountPlanState.html
"""

from flask import Flask
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import convert_to_flask_response
from moto.moto_server.werkzeug_app import BackendRequest
from refusal import Refusal

SERVICE = "freetier"
# The service has one endpoint, and signatures are for that region alone.
REGION = "us-east-1"
PAID = {"accountPlanType": "PAID", "accountPlanStatus": "ACTIVE"}

_plan = dict(PAID)


def set_plan(free, credits=None, until=None, status="ACTIVE"):
    """Puts the account on the free plan, or on the paid one."""
    _plan.clear()
    _plan.update(accountPlanType="FREE" if int(free) else "PAID", accountPlanStatus=status)
    if credits is not None:
        _plan["accountPlanRemainingCredits"] = {"amount": float(credits), "unit": "USD"}
    if until is not None:
        _plan["accountPlanExpirationDate"] = until
    return _plan


def forget():
    """The account is on the paid plan."""
    _plan.clear()
    _plan.update(PAID)


def is_free():
    """Whether the account is on the free plan."""
    return _plan["accountPlanType"] == "FREE"


class FreeTierResponse(BaseResponse):
    """The one call of the service that the sandbox has."""

    def __init__(self):
        super().__init__(service_name=SERVICE)

    def get_account_plan_state(self):
        if self.region != REGION:
            raise Refusal(
                "InvalidSignatureException", f"Credential should be scoped to a valid region, not '{self.region}'."
            )
        return ActionResult({"accountId": DEFAULT_ACCOUNT_ID, **_plan})


def application():
    """The service as moto's own are served."""
    served = Flask(SERVICE)
    served.debug = True
    served.request_class = BackendRequest
    served.add_url_rule(
        "/", endpoint=SERVICE, methods=["POST"], view_func=convert_to_flask_response(FreeTierResponse.dispatch)
    )
    return served
