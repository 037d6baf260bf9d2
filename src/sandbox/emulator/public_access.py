"""VPC Block Public Access, which moto does not know: what it is set to, for the region. Nothing is held up by it here."""

from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response
from refusal import Refusal

MODES = ("off", "block-bidirectional", "block-ingress")


def describe(call):
    """As it was set, or as it is on an account's first day."""
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
    """It goes with the backend's memory."""
    mode = call._get_param("InternetGatewayBlockMode")
    if mode not in MODES:
        raise Refusal("InvalidParameterValue", f"Value ({mode}) for parameter InternetGatewayBlockMode is invalid.")
    call.ec2_backend.public_access = mode
    return describe(call)


EC2Response.describe_vpc_block_public_access_options = describe
EC2Response.modify_vpc_block_public_access_options = modify
