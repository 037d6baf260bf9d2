"""Security groups: valid names, and that a group in use by an interface or another group cannot be deleted."""

import re

from core import hooks
from core.errors import AwsError
from core.hooks import around
from moto.ec2.exceptions import InvalidSecurityGroupNotFoundError
from moto.ec2.responses import EC2Response

VALID = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")


@around(EC2Response, "create_security_group")
def create_security_group(call, proceed):
    name, description = call._get_param("GroupName") or "", call._get_param("Description") or ""
    if name.startswith("sg-"):
        message = f"Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*"
        raise AwsError("InvalidParameterValue", message)
    for parameter, value in (("GroupName", name), ("GroupDescription", description)):
        if not VALID.fullmatch(value):
            raise AwsError(
                "InvalidParameterValue",
                f"Value ({value}) for parameter {parameter} is invalid. Valid values are strings less than 256 "
                "characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
            )
    if not call._get_param("VpcId") and not call.ec2_backend.get_default_vpc():
        raise AwsError("VPCIdNotSpecified", "No default VPC for this user")
    result = proceed()
    group = result.result["GroupId"]
    hooks.hide_new(group, InvalidSecurityGroupNotFoundError(group))
    return result


@around(EC2Response, "describe_security_groups")
def describe_security_groups(_call, proceed):
    """Lists do not contain a new group yet."""
    result = proceed()
    groups = result.result["SecurityGroups"]
    result.result["SecurityGroups"] = [group for group in groups if not hooks.is_unknown(group.id)]
    return result


@around(EC2Response, "delete_security_group")
def delete_security_group(call, proceed):
    backend = call.ec2_backend
    wanted = call._get_param("GroupId")
    group = (
        backend.get_security_group_from_id(wanted)
        if wanted
        else backend.get_security_group_from_name(call._get_param("GroupName"))
    )
    if group is not None and (in_use(backend, group) or referred_to(backend, group)):
        raise AwsError("DependencyViolation", f"resource {group.id} has a dependent object")
    return proceed()


def in_use(backend, group):
    return any(group.id in {one.id for one in nic.group_set} for nic in backend.enis.values())


def referred_to(backend, group):
    others = (other for groups in backend.groups.values() for other in groups.values() if other is not group)
    rules = (rule for other in others for rule in other.ingress_rules + other.egress_rules)
    return any(rule.source_group.get("GroupId") == group.id for rule in rules)
