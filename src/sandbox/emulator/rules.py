"""All rules: where moto is more lenient than AWS, or lacks a feature of AWS.

Each rule is in the module of its resource. Most rules are installed by the import of their module.
"""

from account import plans, quotas
from core import clock, delays, faults, hooks
from ec2 import (
    block_public_access,  # noqa: F401
    elastic_ips,  # noqa: F401
    instance_profiles,
    instances,
    key_pairs,  # noqa: F401
    launches,
    metadata_tags,  # noqa: F401
    security_groups,  # noqa: F401
    volumes,
    vpcs,
)
from iam import auth, role_policies, roles, sessions  # noqa: F401
from route53 import zones  # noqa: F401
from s3 import buckets
from secretsmanager import secrets  # noqa: F401
from ssm import parameters, values


def install():
    """Installs all rules in moto."""
    delays.from_environment()
    hooks.install()
    # The last module is the outermost: the caller is authenticated before any other rule sees the call.
    for module in (
        buckets,
        instances,
        launches,
        parameters,
        values,
        volumes,
        instance_profiles,
        roles,
        sessions,
        vpcs,
        auth,
    ):
        module.install()


def forget():
    """Clears the state of the rules."""
    for module in (
        buckets,
        clock,
        delays,
        faults,
        hooks,
        instance_profiles,
        launches,
        plans,
        quotas,
        roles,
        sessions,
        values,
        volumes,
    ):
        module.forget()


def saved_state():
    """The state of the rules when no change is pending: the client tokens."""
    return launches.client_tokens(), volumes.client_tokens()


def restore_state(saved):
    """Restores that state."""
    of_launches, of_volumes = saved
    launches.client_tokens().update(of_launches)
    volumes.client_tokens().update(of_volumes)
