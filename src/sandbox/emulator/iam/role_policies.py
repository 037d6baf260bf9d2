"""The policies of roles: their limits, and AWS's managed policies.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

import functools
import json

from core.hooks import around
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.exceptions import LimitExceededException, NotFoundException
from moto.iam.models import AWSManagedPolicy
from moto.iam.responses import IamResponse

MOST_ATTACHED = 10
# Characters of all inline policies of a role, without white space.
LARGEST_INLINE = 10240


@around(IamResponse, "attach_role_policy")
def attach_role_policy(call, proceed):
    arn, role = call._get_param("PolicyArn"), call.backend.get_role(call._get_param("RoleName"))
    if arn in role.managed_policies:
        return proceed()
    publish(call.backend, arn)
    try:
        call.backend.get_policy(arn)
    except NotFoundException:
        raise NotFoundException(f"Policy {arn} does not exist or is not attachable.") from None
    if len(role.managed_policies) >= MOST_ATTACHED:
        raise LimitExceededException(f"Cannot exceed quota for PoliciesPerRole: {MOST_ATTACHED}")
    return proceed()


@around(IamResponse, "put_role_policy")
def put_role_policy(call, proceed):
    role, name = call.backend.get_role(call._get_param("RoleName")), call._get_param("PolicyName")
    policies = {**role.policies, name: call._get_param("PolicyDocument")}
    if sum(len("".join(text.split())) for text in policies.values()) > LARGEST_INLINE:
        message = f"Maximum policy size of {LARGEST_INLINE} bytes exceeded for role {role.name}"
        raise LimitExceededException(message)
    return proceed()


def publish(backend, arn):
    """Adds one of AWS's policies once it is needed: moto would read a thousand at each start."""
    prefix = f"arn:{backend.partition}:iam::aws:policy/"
    name = arn.rpartition("/")[2]
    found = published().get(name) if arn.startswith(prefix) and arn not in backend.managed_policies else None
    if found:
        policy = AWSManagedPolicy.from_data(name, backend.account_id, backend.region_name, found)
        backend.managed_policies.setdefault(policy.arn, policy)


@functools.cache
def published():
    return json.loads(aws_managed_policies_data)
