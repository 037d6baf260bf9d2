"""Subnets: one that is made is nobody's default; moto makes the first of a zone the default, whatever VPC it is in."""

from hooks import around
from moto.ec2.responses import EC2Response


@around(EC2Response, "create_subnet")
def create_subnet(_call, proceed):
    answer = proceed()
    answer.result["Subnet"].default_for_az = False
    return answer
