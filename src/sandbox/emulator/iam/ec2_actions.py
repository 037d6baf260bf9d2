"""The permissions that AWS checks for a call of EC2. See actions.py."""

from iam.policies import Check
from moto.iam.models import iam_backends

DESCRIBED = (
    "AccountAttributes",
    "Addresses",
    "IamInstanceProfileAssociations",
    "Images",
    "InstanceCreditSpecifications",
    "InstanceTypeOfferings",
    "InstanceTypes",
    "Instances",
    "KeyPairs",
    "RouteTables",
    "SecurityGroups",
    "Subnets",
    "Volumes",
    "VpcBlockPublicAccessOptions",
)
# The resource type in an ARN, by the prefix of the id.
KINDS = {
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "i": "instance",
    "key": "key-pair",
    "sg": "security-group",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
}
# The resources that a launch creates.
ALL_OF_A_LAUNCH = ("instance", "network-interface", "volume")


def tags(kind, given):
    """Tags as condition keys."""
    return {f"aws:{kind}/{tag['Key']}".lower(): tag.get("Value", "") for tag in given or []}


def arn(call, kind, name, account=None):
    """The ARN of a resource in the call's region."""
    account = call.current_account if account is None else account
    return f"arn:{call.partition}:ec2:{call.region}:{account}:{kind}/{name}"


def existing(call, action, resource_id, more=None):
    """A check on a resource with its tags. A missing resource has no ARN and no tags."""
    backend = call.ec2_backend
    kind = KINDS.get(resource_id.split("-")[0], "unknown") if resource_id else "unknown"
    if not resource_id or not exists(backend, kind, resource_id):
        return Check(action, None, {})
    # An index would create an entry.
    tagged = backend.tags.get(resource_id) or {}
    keys = tags("ResourceTag", ({"Key": key, "Value": value} for key, value in tagged.items()))
    return Check(action, arn(call, kind, resource_id), keys | (more or {}))


def exists(backend, kind, resource_id):
    """Whether the resource exists."""
    lookups = {
        "elastic-ip": lambda: any(address.allocation_id == resource_id for address in backend.addresses),
        "instance": lambda: has_tags(backend, backend.get_instance_by_id(resource_id)),
        "key-pair": lambda: any(pair.id == resource_id for pair in backend.key_pairs.values()),
        "network-interface": lambda: resource_id in backend.enis,
        "security-group": lambda: backend.get_security_group_from_id(resource_id) is not None,
        "volume": lambda: resource_id in backend.volumes,
    }
    return lookups[kind]() if kind in lookups else True


def has_tags(backend, instance):
    """A terminated instance loses its tags before it disappears. AWS does not document how it is checked then. Here it counts as
    missing, so a second termination is not forbidden."""
    return instance is not None and (instance.state != "terminated" or bool(backend.tags.get(instance.id)))


def creation(call, action, kinds):
    """The resources that a call creates, with their tags. Tags need a permission of their own."""
    asked = {}
    for specification in call._get_param("TagSpecifications", []):
        asked.setdefault(specification["ResourceType"], []).extend(specification.get("Tags", []))
    for kind in kinds:
        yield Check(action, arn(call, kind, "*"), tags("RequestTag", asked.get(kind)))
    for kind, given in asked.items():
        keys = tags("RequestTag", given) | {"ec2:createaction": action.removeprefix("ec2:")}
        yield Check("ec2:CreateTags", arn(call, kind, "*"), keys)


def passed(call):
    """The roles that a call passes to EC2 in an instance profile. An unknown profile is refused elsewhere."""
    named = call._get_param("IamInstanceProfile") or {}
    for profile in iam_backends[call.current_account][call.partition].get_instance_profiles():
        if named and (named.get("Name", profile.name), named.get("Arn", profile.arn)) == (profile.name, profile.arn):
            for role in profile.roles:
                yield Check("iam:PassRole", role.arn, {"iam:passedtoservice": "ec2.amazonaws.com"})


def run_instances(call):
    action = "ec2:RunInstances"
    yield Check(action, arn(call, "image", call._get_param("ImageId"), account=""), {})
    interfaces = call._get_param("NetworkInterfaces", [])
    subnets = [one.get("SubnetId") for one in [{"SubnetId": call._get_param("SubnetId")}, *interfaces]]
    for subnet in [one for one in subnets if one] or ["*"]:
        yield Check(action, arn(call, "subnet", subnet), {})
    for interface in interfaces:
        if interface.get("NetworkInterfaceId"):
            yield existing(call, action, interface["NetworkInterfaceId"])
    for group in launch_groups(call, interfaces):
        yield existing(call, action, group)
    pair = call._get_param("KeyName")
    if pair:
        yield key_pair(call, action, pair)
    for mapping in call._get_param("BlockDeviceMappings", []):
        if mapping.get("Ebs", {}).get("SnapshotId"):
            yield Check(action, arn(call, "snapshot", mapping["Ebs"]["SnapshotId"], account=""), {})
    if call._get_param("LaunchTemplate"):
        yield Check(action, arn(call, "launch-template", "*"), {})
    for check in creation(call, action, ALL_OF_A_LAUNCH):
        yield check._replace(keys=check.keys | launch_keys(call, check))
    yield from passed(call)


def launch_keys(call, check):
    """The parameters of a launch that organization policies commonly check."""
    if check.action != "ec2:RunInstances":
        return {}
    kind = check.resource.rpartition(":")[2].partition("/")[0]
    options = call._get_param("MetadataOptions") or {}
    disks = [mapping.get("Ebs", {}) for mapping in call._get_param("BlockDeviceMappings", [])]
    encrypted = bool(disks) and all(str(disk.get("Encrypted")).lower() == "true" for disk in disks)
    return {
        "instance": {"ec2:metadatahttptokens": options.get("HttpTokens", "optional")},
        "volume": {"ec2:encrypted": str(encrypted).lower()},
    }.get(kind, {})


def launch_groups(call, interfaces):
    """The security groups of the launch: the named ones, else the default group of the VPC."""
    backend = call.ec2_backend
    named = [*call._get_param("SecurityGroupIds", [])]
    for interface in interfaces:
        named.extend(interface.get("Groups", []))
    for name in call._get_param("SecurityGroups", []):
        group = backend.get_security_group_from_name(name)
        named.append(group.id if group else None)
    vpc = backend.get_default_vpc()
    if not named and vpc:
        named.append(backend.get_default_security_group(vpc.id).id)
    return named


def key_pair(call, action, name):
    pair = call.ec2_backend.key_pairs.get(name)
    return existing(call, action, pair.id if pair else None)


def create_security_group(call):
    vpc = call._get_param("VpcId") or getattr(call.ec2_backend.get_default_vpc(), "id", "*")
    yield Check("ec2:CreateSecurityGroup", arn(call, "vpc", vpc), {})
    yield from creation(call, "ec2:CreateSecurityGroup", ["security-group"])


def create_tags(call):
    for resource in call._get_param("Resources", []):
        yield existing(call, "ec2:CreateTags", resource, tags("RequestTag", call._get_param("Tags")))


def delete_tags(call):
    keys = [tag["Key"] for tag in call._get_param("Tags", [])]
    for resource in call._get_param("Resources", []):
        yield existing(call, "ec2:DeleteTags", resource, {"aws:tagkeys": keys})


def delete_key_pair(call):
    name, pair_id = call._get_param("KeyName"), call._get_param("KeyPairId")
    yield existing(call, "ec2:DeleteKeyPair", pair_id) if pair_id else key_pair(call, "ec2:DeleteKeyPair", name)


def creates(action, kind):
    def rule(call):
        yield from creation(call, action, [kind])

    return rule


def about_instances(action):
    def rule(call):
        for instance in call._get_param("InstanceIds", []) or [call._get_param("InstanceId")]:
            yield existing(call, action, instance)

    return rule


def modify_instance_credit_specification(call):
    for wanted in call._get_param("InstanceCreditSpecifications", []):
        yield existing(call, "ec2:ModifyInstanceCreditSpecification", wanted["InstanceId"])


def about_group(action):
    def rule(call):
        group = call._get_param("GroupId")
        if not group:
            found = call.ec2_backend.get_security_group_from_name(call._get_param("GroupName"))
            group = found.id if found else None
        yield existing(call, action, group)
        # Rules can have tags of their own.
        yield from creation(call, action, [])

    return rule


def address(call):
    """The address of a call, by any of its ids."""
    for found in call.ec2_backend.addresses:
        ids = {"AllocationId": found.allocation_id, "AssociationId": found.association_id, "PublicIp": found.public_ip}
        if any(value and call._get_param(name) == value for name, value in ids.items()):
            return found
    return None


def about_address(action):
    """The address, and the instance and interfaces of its current and new association."""

    def rule(call):
        found = address(call)
        yield existing(call, action, found.allocation_id if found else None)
        interfaces = {call._get_param("NetworkInterfaceId")}
        if found is not None and found.eni is not None and action != "ec2:ReleaseAddress":
            interfaces.add(found.eni.id)
        instance = call._get_param("InstanceId")
        if instance:
            yield existing(call, action, instance)
            nics = getattr(call.ec2_backend.get_instance_by_id(instance), "nics", {})
            interfaces |= {nics[0].id} if nics else set()
        for interface in sorted(interfaces - {None}):
            yield existing(call, action, interface)

    return rule


def associate_iam_instance_profile(call):
    yield existing(call, "ec2:AssociateIamInstanceProfile", call._get_param("InstanceId"))
    yield from passed(call)


def disassociate_iam_instance_profile(call):
    wanted = call._get_param("AssociationId")
    associations = call.ec2_backend.iam_instance_profile_associations.values()
    found = [one.instance.id for one in associations if one.association_id == wanted]
    yield existing(call, "ec2:DisassociateIamInstanceProfile", found[0] if found else None)


def create_volume(call):
    """The volume, with the parameters that policies commonly check."""
    keys = {
        "ec2:availabilityzone": call._get_param("AvailabilityZone") or "",
        "ec2:encrypted": str(call._get_param("Encrypted") or False).lower(),
        "ec2:volumesize": str(call._get_param("Size") or ""),
        "ec2:volumetype": call._get_param("VolumeType") or "gp2",
    }
    for check in creation(call, "ec2:CreateVolume", ["volume"]):
        yield check._replace(keys=check.keys | keys) if check.action == "ec2:CreateVolume" else check


def about_volume(action):
    """The volume, and the instance if the call names one."""

    def rule(call):
        for named in (call._get_param("VolumeId"), call._get_param("InstanceId")):
            if named:
                yield existing(call, action, named)

    return rule


def without_resource(action):
    """An action without resources."""

    def rule(_call):
        yield Check(action, "*", {})

    return rule


OF_INSTANCES = ("ModifyInstanceMetadataOptions", "StartInstances", "StopInstances", "TerminateInstances")
OF_GROUPS = ("AuthorizeSecurityGroupIngress", "DeleteSecurityGroup", "RevokeSecurityGroupIngress")
OF_VOLUMES = ("AttachVolume", "DeleteVolume", "DetachVolume", "ModifyVolume")
OF_ADDRESSES = ("AssociateAddress", "DisassociateAddress", "ReleaseAddress")

RULES = {
    **{f"ec2:Describe{name}": without_resource(f"ec2:Describe{name}") for name in DESCRIBED},
    **{f"ec2:{name}": about_instances(f"ec2:{name}") for name in OF_INSTANCES},
    **{f"ec2:{name}": about_group(f"ec2:{name}") for name in OF_GROUPS},
    **{f"ec2:{name}": about_address(f"ec2:{name}") for name in OF_ADDRESSES},
    **{f"ec2:{name}": about_volume(f"ec2:{name}") for name in OF_VOLUMES},
    "ec2:AllocateAddress": creates("ec2:AllocateAddress", "elastic-ip"),
    "ec2:AssociateIamInstanceProfile": associate_iam_instance_profile,
    "ec2:CreateSecurityGroup": create_security_group,
    "ec2:CreateTags": create_tags,
    "ec2:CreateVolume": create_volume,
    "ec2:DeleteKeyPair": delete_key_pair,
    "ec2:DeleteTags": delete_tags,
    "ec2:DisassociateIamInstanceProfile": disassociate_iam_instance_profile,
    "ec2:ModifyInstanceCreditSpecification": modify_instance_credit_specification,
    "ec2:ImportKeyPair": creates("ec2:ImportKeyPair", "key-pair"),
    "ec2:RunInstances": run_instances,
}
