"""Elastic IPs: at most five per region; an association moves completely; an address in use cannot be released."""

from core.errors import AwsError
from core.hooks import around
from ec2 import vpcs
from moto.ec2.responses import EC2Response

LIMIT = 5


@around(EC2Response, "allocate_address")
def allocate_address(call, proceed):
    # A dry run checks permissions only.
    if not call._get_param("DryRun") and len(call.ec2_backend.addresses) >= LIMIT:
        raise AwsError("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    return proceed()


@around(EC2Response, "associate_address")
def associate_address(call, proceed):
    backend = call.ec2_backend
    interface = call._get_param("NetworkInterfaceId")
    if call._get_param("InstanceId"):
        instance = backend.get_instance(call._get_param("InstanceId"))
        if instance.state == "pending":
            message = f"The pending instance '{instance.id}' is not in a valid state for this operation."
            raise AwsError("InvalidInstanceID", message)
        if instance.state not in ("running", "stopping", "stopped"):
            raise AwsError("InvalidInstanceID", f"The instance '{instance.id}' is not in a valid state.")
        nic = instance.nics[0]
    else:
        nic = backend.get_network_interface(interface)
        if nic.instance is not None and nic.instance.state == "pending":
            message = f"The pending-instance-creation instance to which '{nic.id}' is attached is not in a valid state."
            raise AwsError("IncorrectInstanceState", message)
    if not vpcs.is_connected(backend, nic.subnet.vpc_id):
        message = f"Network {nic.subnet.vpc_id} is not attached to any internet gateway"
        raise AwsError("Gateway.NotAttached", message)
    # By default an address is reassociated.
    call.params.setdefault("AllowReassociation", True)
    held = [address for address in backend.addresses if address.eni is nic]
    result = proceed()
    mine = next(address for address in backend.addresses if address.association_id == result.result["AssociationId"])
    for address in held:
        if address is not mine:
            backend.disassociate_address(address=address.public_ip)
            nic.public_ip = mine.public_ip
    for other in backend.enis.values():
        if other is not nic and other.public_ip == mine.public_ip:
            other.public_ip = None
            if other.instance is not None and other.instance.state == "running":
                other.check_auto_public_ip()
    return result


@around(EC2Response, "release_address")
def release_address(call, proceed):
    allocation, public_ip = call._get_param("AllocationId"), call._get_param("PublicIp")
    for address in call.ec2_backend.addresses:
        if address.association_id and (address.allocation_id == allocation or address.public_ip == public_ip):
            raise AwsError("InvalidIPAddress.InUse", f"Address {address.public_ip} is in use.")
    return proceed()
