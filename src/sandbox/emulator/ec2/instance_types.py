"""Instance types: they differ between regions and zones, and an account on the free plan can launch only some of them.

moto has no data of regions that are newer than itself. There every type is offered in every zone.
"""

from account import plans
from core.errors import AwsError
from core.hooks import around
from moto.core.responses import ActionResult
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.responses import EC2Response


def about(name):
    """EC2's description of a type; empty if it has no such type."""
    return INSTANCE_TYPES.get(name, {})


def require_eligible(call):
    """Refuses types that the free plan excludes. A dry run checks permissions only."""
    eligible = about(call._get_param("InstanceType")).get("FreeTierEligible")
    if plans.is_free() and not eligible and not call._get_param("DryRun"):
        raise AwsError(
            "InvalidParameterCombination",
            "The specified instance type is not eligible for Free Tier. For a list of Free Tier instance types, run "
            "'describe-instance-types' with the filter 'free-tier-eligible=true'.",
        )


@around(EC2Response, "describe_instance_types")
def describe_instance_types(call, proceed):
    answer = proceed()
    here = {one["InstanceType"] for one in INSTANCE_TYPE_OFFERINGS["region"].get(call.region, [])}
    if here:
        answer.result["InstanceTypes"] = [one for one in answer.result["InstanceTypes"] if one.name in here]
    return answer


@around(EC2Response, "describe_instance_type_offerings")
def describe_instance_type_offerings(call, proceed):
    kind = call._get_param("LocationType") or "region"
    zones = call.ec2_backend.describe_availability_zones()
    places = {
        "region": [call.region],
        "availability-zone": [zone.name for zone in zones],
        "availability-zone-id": [zone.zone_id for zone in zones],
    }
    if kind not in places or INSTANCE_TYPE_OFFERINGS[kind].get(call.region):
        return proceed()
    filters = call._filters_from_querystring()
    offered = [
        {"InstanceType": name, "LocationType": kind, "Location": place}
        for name in filters.get("instance-type", [])
        for place in places[kind]
        if place in filters.get("location", [place])
    ]
    return ActionResult({"InstanceTypeOfferings": offered})
