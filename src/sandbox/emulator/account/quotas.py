"""EC2's service quotas, which moto lacks: the vCPUs of running On-Demand instances of a family in a region.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html
"""

import re

from core.errors import AwsError
from core.hooks import around
from moto.core.responses import ActionResult
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance
from moto.ec2.responses import EC2Response
from moto.servicequotas.responses import ServiceQuotasResponse

# By code: AWS's name, the prefixes of its instance types, and the default quota.
QUOTAS = {
    "L-1216C47A": (
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"),
        5,
    ),
    "L-DB2E81BA": ("Running On-Demand G and VT instances", ("g", "gr", "vt"), 0),
}
# The applied quota of this account: enough that tests meet it only on request.
APPLIED = {"L-1216C47A": 256}
COUNTED = ("pending", "running")

_applied = dict(APPLIED)


def apply(code, value=None):
    """Sets the applied quota. Without a value, the default quota counts."""
    if code not in QUOTAS:
        raise LookupError(f"there is no quota {code}")
    _applied.pop(code, None)
    if value is not None:
        _applied[code] = int(value)
    return _applied


def forget():
    """Restores the quotas of the start."""
    _applied.clear()
    _applied.update(APPLIED)


def get_service_quota(call):
    """The applied quota. There may be none if it was never changed."""
    code = call._get_param("QuotaCode")
    if call._get_param("ServiceCode") != "ec2" or code not in _applied:
        raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.", 400)
    return described(code, _applied[code])


def get_aws_default_service_quota(call):
    """The default quota."""
    code = call._get_param("QuotaCode")
    if call._get_param("ServiceCode") != "ec2" or code not in QUOTAS:
        raise AwsError("NoSuchResourceException", "The request failed because the specified quota does not exist.", 400)
    return described(code, QUOTAS[code][2])


def described(code, value):
    return ActionResult(
        {
            "Quota": {
                "ServiceCode": "ec2",
                "QuotaCode": code,
                "QuotaName": QUOTAS[code][0],
                "Value": float(value),
                "Adjustable": True,
                "GlobalQuota": False,
            }
        }
    )


ServiceQuotasResponse.get_service_quota = get_service_quota
ServiceQuotasResponse.get_aws_default_service_quota = get_aws_default_service_quota


def cpu_options(instance):
    """The cores of the type, and the threads per core."""
    has = INSTANCE_TYPES.get(instance.instance_type, {}).get("VCpuInfo", {})
    return {"CoreCount": has.get("DefaultCores", 0), "ThreadsPerCore": has.get("DefaultThreadsPerCore", 0)}


# DescribeInstances returns it; moto does not.
Instance.cpu_options = property(cpu_options)


def quota(kind):
    """The code of the type's quota, or None."""
    family = re.match("[a-z]*", kind).group()
    return next((code for code, (_, families, _) in QUOTAS.items() if family in families), None)


def require_room(backend, kind, count):
    """Refuses instances that would exceed the quota."""
    code = quota(kind)
    if code is None or kind not in INSTANCE_TYPES:
        return
    limit = _applied.get(code, QUOTAS[code][2])
    every = (instance for reservation in backend.reservations.values() for instance in reservation.instances)
    kinds = [one.instance_type for one in every if one.state in COUNTED and one.lifecycle is None]
    used = sum(vcpus(one) for one in kinds if quota(one) == code)
    if used + count * vcpus(kind) > limit:
        raise AwsError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance "
            "bucket that the specified instance type belongs to. Please visit "
            "http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )


def vcpus(kind):
    return INSTANCE_TYPES.get(kind, {}).get("VCpuInfo", {}).get("DefaultVCpus", 0)


def require_room_for_launch(call):
    """A dry run checks permissions only."""
    spot = (call._get_param("InstanceMarketOptions") or {}).get("MarketType") == "spot"
    if not spot and not call._get_param("DryRun"):
        require_room(call.ec2_backend, call._get_param("InstanceType") or "", int(call._get_param("MaxCount") or 1))


@around(EC2Response, "start_instances")
def start_instances(call, proceed):
    for instance in map(call.ec2_backend.get_instance_by_id, call._get_param("InstanceIds", [])):
        if instance is not None and instance.state == "stopped" and not call._get_param("DryRun"):
            require_room(call.ec2_backend, instance.instance_type, 1)
    return proceed()
