"""Roles and instance profiles: a permissions boundary must exist, and new tags and boundaries take effect after a delay.

IAM is eventually consistent. AWS documents no limit of the delay:
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""

from core import clock, delays
from moto.iam.exceptions import NoSuchEntity, NotFoundException
from moto.iam.models import IAMBackend

# The tags and the boundary that are still in effect, by the id of the role or profile.
_before = {}


def install():
    """Installs the rules."""
    create, put, make = (
        IAMBackend.create_role,
        IAMBackend.put_role_permissions_boundary,
        IAMBackend.create_instance_profile,
    )

    def created(backend, role_name, document, path, permissions_boundary, *args, **kwargs):
        require_policy(backend, permissions_boundary)
        role = create(backend, role_name, document, path, permissions_boundary, *args, **kwargs)
        delay_effect(role, ([], None))
        return role

    def bounded(backend, role_name, permissions_boundary):
        require_policy(backend, permissions_boundary)
        role = backend.get_role(role_name)
        delay_effect(role, effective(role))
        put(backend, role_name, permissions_boundary)

    def made(backend, *args, **kwargs):
        profile = make(backend, *args, **kwargs)
        delay_effect(profile, ([], None))
        return profile

    IAMBackend.create_role, IAMBackend.put_role_permissions_boundary = created, bounded
    IAMBackend.create_instance_profile = made


def forget():
    """Makes all tags and boundaries effective."""
    _before.clear()


def delay_effect(one, before):
    if delays.seconds("role") > 0:
        _before[one.id] = before
        clock.after(delays.seconds("role"), lambda: _before.pop(one.id, None))


def require_policy(backend, arn):
    if arn:
        try:
            backend.get_policy(arn)
        except NotFoundException:
            raise NoSuchEntity(f"Scope ARN: {arn} does not exist or is not attachable.") from None


def effective(one):
    """The tags and the boundary of a role or profile that are in effect."""
    return _before.get(one.id) or (one.tags, getattr(one, "permissions_boundary_arn", None))
