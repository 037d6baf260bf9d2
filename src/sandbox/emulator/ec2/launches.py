"""RunInstances: its validation, and its idempotency by client token."""

import base64
import binascii
import copy
import json
import re

from account import quotas
from core import delays, faults, hooks
from core.errors import AwsError
from core.hooks import around
from ec2 import cpu_credits, instance_profiles, instance_types, instances
from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidInstanceIdError, InvalidSecurityGroupNotFoundError
from moto.ec2.models.instances import Instance
from moto.ec2.responses import EC2Response
from ssm import parameters

LARGEST_USER_DATA = 16384
LONGEST_TOKEN = 64
SAFE_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")
RESERVED_KEYS = (".", "..", "_index")

# By account, region, zone and token: the parameters and the ids of the instances.
_launched = {}


def install():
    """Names the root volume as the image does, and returns the current state in a repeated launch."""
    EC2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop("RunInstances.Reservation.Instances.Instance.State", None)

    def setup_defaults(instance):
        volume = instance.ec2_backend.create_volume(size=8, zone_name=instance.placement.zone)
        instance.ec2_backend.attach_volume(volume.id, instance.id, instance.root_device_name, True)

    Instance.setup_defaults = setup_defaults


def client_tokens():
    """The client tokens with their parameters and instances."""
    return _launched


def forget():
    """Forgets all client tokens."""
    _launched.clear()


@around(EC2Response, "run_instances")
def run_instances(call, proceed):
    resolve_image(call)
    check_user_data(call)
    require_subnet(call)
    require_groups(call)
    if (call._get_param("MetadataOptions") or {}).get("InstanceMetadataTags") == "enabled":
        for specification in call._get_param("TagSpecifications", []):
            if specification.get("ResourceType") == "instance":
                check_keys(tag["Key"] for tag in specification.get("Tags", []))
    instance_profiles.require_known(call)
    cpu_credits.requested_mode(call)
    token = call._get_param("ClientToken")
    if not token:
        return launch(call, proceed)
    if len(token) > LONGEST_TOKEN or not token.isascii():
        raise AwsError("InvalidParameterValue", f"Value ({token}) for parameter clientToken is invalid.")
    key = (call.current_account, call.region, scope(call), token)
    wanted = json.dumps({name: value for name, value in call.params.items() if name != "ClientToken"}, default=str)
    if key in _launched:
        return repeat(call, wanted, *_launched[key])
    result = launch(call, proceed)
    _launched[key] = wanted, [instance.id for instance in result.result.instances]
    return result


def launch(call, proceed):
    """A new reservation. A launch that fails half-way leaves none."""
    backend = call.ec2_backend
    instance_types.require_eligible(call)
    quotas.require_room_for_launch(call)
    try:
        result = proceed()
    finally:
        for reservation in list(backend.reservations.values()):
            if not reservation.instances:
                del backend.reservations[reservation.id]
    for instance in result.result.instances:
        add_root(instance)
        cpu_credits.set_mode(instance, cpu_credits.requested_mode(call))
        tag_interfaces(call, instance)
        instances.enter(instance, "pending", "running", delays.seconds("pending"))
        hooks.hide_new(instance.id, InvalidInstanceIdError(instance.id))
        instance_profiles.attach_foreign(instance)
        failure = faults.launch_failure()
        if failure:
            instances.fail(instance, *failure)
    return result


def repeat(call, wanted, before, ids):
    """A repeated launch returns the same instances with their current state."""
    if wanted != before:
        message = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
        raise AwsError("IdempotentParameterMismatch", message)
    for reservation in call.ec2_backend.reservations.values():
        found = [instance for instance in reservation.instances if instance.id in ids]
        if any(instance.state == "terminated" for instance in found):
            message = f"The client token belongs to the instance '{found[0].id}', which is terminated."
            raise AwsError("IdempotentInstanceTerminated", message)
        if found:
            return ActionResult(copy.copy(reservation))
    raise AwsError("InternalError", "The instance of this client token is lost.")


def scope(call):
    """A token belongs to the region, or to the zone that the launch names by itself or by its subnet."""
    subnet = named_subnet(call)
    zone = (call._get_param("Placement") or {}).get("AvailabilityZone")
    return call.ec2_backend.get_subnet(subnet).availability_zone if subnet else zone


def named_subnet(call):
    """The subnet of the launch, if it names one."""
    interfaces = call._get_param("NetworkInterfaces", [])
    named = [call._get_param("SubnetId"), *(interface.get("SubnetId") for interface in interfaces)]
    return next(filter(None, named), None)


def require_subnet(call):
    """Without a subnet, a launch needs a default VPC that has one."""
    if named_subnet(call) or any("NetworkInterfaceId" in one for one in call._get_param("NetworkInterfaces", [])):
        return
    vpc = call.ec2_backend.get_default_vpc()
    if not vpc:
        raise AwsError("VPCIdNotSpecified", "No default VPC for this user")
    if not any(subnet.vpc_id == vpc.id for zone in call.ec2_backend.subnets.values() for subnet in zone.values()):
        raise AwsError("MissingInput", f"No subnets found for the default VPC '{vpc.id}'. Please specify a subnet.")


def require_groups(call):
    """moto would create a missing group of an interface."""
    named = [*call._get_param("SecurityGroupIds", [])]
    for interface in call._get_param("NetworkInterfaces", []):
        named += interface.get("Groups", [])
    for group in named:
        if call.ec2_backend.get_security_group_from_id(group) is None:
            raise InvalidSecurityGroupNotFoundError(group)


def resolve_image(call):
    """Resolves `resolve:ssm:NAME`. EC2 returns the image's id afterwards."""
    image = call._get_param("ImageId") or ""
    if image.startswith("resolve:ssm:"):
        call.params["ImageId"] = parameters.newest(call.region, image.removeprefix("resolve:ssm:")) or image


def check_user_data(call):
    encoded = call._get_param("UserData")
    try:
        size = len(base64.b64decode(encoded or "", validate=True))
    except binascii.Error:
        return  # moto refuses it.
    if size > LARGEST_USER_DATA:
        raise AwsError("InvalidParameterValue", f"User data is limited to {LARGEST_USER_DATA} bytes")


def add_root(instance):
    """A mapping for another device adds a disk and keeps the image's root disk."""
    if instance.root_device_name not in instance.block_device_mapping:
        instance.setup_defaults()


def tag_interfaces(call, instance):
    """moto tags the instance and its volumes only; a policy can require a tag on the interface."""
    for specification in call._get_param("TagSpecifications", []):
        if specification.get("ResourceType") == "network-interface":
            for nic in instance.nics.values():
                nic.add_tags({tag["Key"]: tag.get("Value", "") for tag in specification.get("Tags", [])})


def check_keys(keys):
    """Tag keys that the metadata service shows must be valid in a path."""
    for key in keys:
        if not SAFE_KEY.fullmatch(key) or key in RESERVED_KEYS:
            raise AwsError(
                "InvalidParameterValue",
                f"'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), "
                "and must not be a reserved name ('.', '..', '_index')",
            )


@around(EC2Response, "create_tags")
def create_tags(call, proceed):
    for resource in call._get_param("Resources", []):
        instance = call.ec2_backend.get_instance_by_id(resource)
        if instance is not None and instance.metadata_options.instance_metadata_tags == "enabled":
            check_keys(tag["Key"] for tag in call._get_param("Tags", []))
    return proceed()


@around(EC2Response, "modify_instance_metadata_options")
def modify_instance_metadata_options(call, proceed):
    instance = call.ec2_backend.get_instance(call._get_param("InstanceId"))
    if call._get_param("InstanceMetadataTags") == "enabled":
        check_keys(tag["key"] for tag in instance.get_tags())
    before = copy.copy(instance.metadata_options)
    result = proceed()
    # Options without a parameter stay unchanged.
    named = {
        "HttpTokens": "http_tokens",
        "HttpPutResponseHopLimit": "http_put_response_hop_limit",
        "HttpEndpoint": "http_endpoint",
        "HttpProtocolIpv6": "http_protocol_ipv6",
        "InstanceMetadataTags": "instance_metadata_tags",
    }
    for parameter, attribute in named.items():
        if call._get_param(parameter) is None:
            setattr(instance.metadata_options, attribute, getattr(before, attribute))
    return result
