"""The setting of VPC Block Public Access for the region, which moto lacks. It has no effect on traffic here."""

from core.errors import AwsError
from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

MODES = ("off", "block-bidirectional", "block-ingress")


def describe(call):
    """The setting, or the default of a new account."""
    mode = getattr(call.ec2_backend, "public_access", None)
    return ActionResult(
        {
            "VpcBlockPublicAccessOptions": {
                "AwsAccountId": call.current_account,
                "AwsRegion": call.region,
                "State": "update-complete" if mode else "default-state",
                "InternetGatewayBlockMode": mode or "off",
                "ManagedBy": "account",
                "ExclusionsAllowed": "allowed",
            }
        }
    )


def modify(call):
    """Stored in the backend, so a reset clears it."""
    mode = call._get_param("InternetGatewayBlockMode")
    if mode not in MODES:
        raise AwsError("InvalidParameterValue", f"Value ({mode}) for parameter InternetGatewayBlockMode is invalid.")
    call.ec2_backend.public_access = mode
    return describe(call)


EC2Response.describe_vpc_block_public_access_options = describe
EC2Response.modify_vpc_block_public_access_options = modify
