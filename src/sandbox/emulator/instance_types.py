"""Instance types: each region has its own, and of others it says nothing."""

from hooks import around
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.responses import EC2Response


@around(EC2Response, "describe_instance_types")
def describe_instance_types(call, proceed):
    answer = proceed()
    here = {one["InstanceType"] for one in INSTANCE_TYPE_OFFERINGS["region"].get(call.region, [])}
    # Of a region that is younger than this moto, nothing is known.
    if here:
        answer.result["InstanceTypes"] = [one for one in answer.result["InstanceTypes"] if one.name in here]
    return answer
