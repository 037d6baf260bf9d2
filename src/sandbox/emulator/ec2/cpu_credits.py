"""CPU credits, which moto lacks: only burstable types have them; T2 starts as standard, the others as unlimited.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode-concepts.html
"""

from core.errors import AwsError
from ec2.instance_types import about
from moto.core.responses import ActionResult
from moto.ec2.responses import EC2Response

MODES = ("standard", "unlimited")


def requested_mode(call):
    """The mode that a launch requests, or None. EC2 refuses it for a type without credits."""
    specification = call._get_param("CreditSpecification")
    if specification is None:
        return None
    kind = call._get_param("InstanceType")
    if not burstable(kind):
        message = f"The T2/T3 Unlimited option is not supported for the instance type {kind}."
        raise AwsError("InvalidParameterCombination", message)
    return checked(specification.get("CpuCredits"))


def checked(mode):
    if mode not in MODES:
        raise AwsError("InvalidParameterValue", f"Value ({mode}) for parameter cpuCredits is invalid.")
    return mode


def burstable(kind):
    return bool(about(kind).get("BurstablePerformanceSupported"))


def set_mode(instance, mode):
    """Sets the requested mode, or the default of the type."""
    if burstable(instance.instance_type):
        instance.cpu_credits = mode or ("standard" if instance.instance_type.startswith("t2.") else "unlimited")


def mode_of(instance):
    return getattr(instance, "cpu_credits", None)


def describe_instance_credit_specifications(call):
    """Without ids, only unlimited instances are listed."""
    backend, ids = call.ec2_backend, call._get_param("InstanceIds", [])
    named = [backend.get_instance(one) for one in ids] or backend.all_instances()
    found = [
        one for one in named if mode_of(one) and one.state != "terminated" and (ids or mode_of(one) == "unlimited")
    ]
    return ActionResult(
        {
            "InstanceCreditSpecifications": [{"InstanceId": one.id, "CpuCredits": mode_of(one)} for one in found],
        }
    )


def modify_instance_credit_specification(call):
    """Each instance has its own result."""
    done, failed = [], []
    for wanted in call._get_param("InstanceCreditSpecifications", []):
        instance = call.ec2_backend.get_instance_by_id(wanted["InstanceId"])
        mode = checked(wanted.get("CpuCredits"))
        if instance is None:
            failed.append(
                failure(wanted["InstanceId"], "InvalidInstanceID.NotFound", "The instance ID does not exist.")
            )
        elif instance.state not in ("running", "stopped"):
            message = "The instance is not in a valid state."
            failed.append(failure(instance.id, "IncorrectInstanceState", message))
        elif mode_of(instance) is None:
            message = "The instance type has no CPU credits."
            failed.append(failure(instance.id, "InstanceCreditSpecification.NotSupported", message))
        else:
            instance.cpu_credits = mode
            done.append({"InstanceId": instance.id})
    return ActionResult(
        {
            "SuccessfulInstanceCreditSpecifications": done,
            "UnsuccessfulInstanceCreditSpecifications": failed,
        }
    )


def failure(instance, code, message):
    return {"InstanceId": instance, "Error": {"Code": code, "Message": message}}


EC2Response.describe_instance_credit_specifications = describe_instance_credit_specifications
EC2Response.modify_instance_credit_specification = modify_instance_credit_specification
