"""VPCs and subnets: the default VPC has an internet gateway and a route to it, and a new subnet is no default subnet.

moto has no such gateway, and makes the first subnet of a zone the default subnet, in whatever VPC it is.
"""

from core.hooks import around
from moto.ec2.models import EC2Backend
from moto.ec2.responses import EC2Response

EVERYWHERE = "0.0.0.0/0"


def install():
    """Connects the default VPC to the internet."""
    create = EC2Backend.create_default_vpc

    def create_default_vpc(backend):
        vpc = create(backend)
        gateway = backend.create_internet_gateway()
        backend.attach_internet_gateway(gateway.id, vpc.id)
        main = next(table for table in backend.route_tables.values() if table.vpc_id == vpc.id)
        backend.create_route(main.id, EVERYWHERE, gateway_id=gateway.id)
        return vpc

    EC2Backend.create_default_vpc = create_default_vpc


def is_connected(backend, vpc_id):
    """Whether an internet gateway is attached to the VPC."""
    return any(gateway.vpc and gateway.vpc.id == vpc_id for gateway in backend.internet_gateways.values())


@around(EC2Response, "create_subnet")
def create_subnet(_call, proceed):
    answer = proceed()
    answer.result["Subnet"].default_for_az = False
    return answer
