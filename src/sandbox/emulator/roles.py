"""Roles and instance profiles, as policies see them: a permissions boundary must exist, and tags and boundary take a while
to count where they are new.

AWS says that IAM is eventually consistent, and not for how long:
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""

import clock
import settings
from moto.iam.exceptions import NoSuchEntity, NotFoundException
from moto.iam.models import IAMBackend

# What policies see still of the role or profile with that id: tags and boundary.
_before = {}


def install():
    """Has IAM check a boundary, and see it late."""
    create, put, make = (
        IAMBackend.create_role,
        IAMBackend.put_role_permissions_boundary,
        IAMBackend.create_instance_profile,
    )

    def created(backend, role_name, document, path, permissions_boundary, *args, **kwargs):
        require_policy(backend, permissions_boundary)
        role = create(backend, role_name, document, path, permissions_boundary, *args, **kwargs)
        count_later(role, ([], None))
        return role

    def bounded(backend, role_name, permissions_boundary):
        require_policy(backend, permissions_boundary)
        role = backend.get_role(role_name)
        count_later(role, judged_by(role))
        put(backend, role_name, permissions_boundary)

    def made(backend, *args, **kwargs):
        profile = make(backend, *args, **kwargs)
        count_later(profile, ([], None))
        return profile

    IAMBackend.create_role, IAMBackend.put_role_permissions_boundary = created, bounded
    IAMBackend.create_instance_profile = made


def forget():
    """All count with their tags and their boundary."""
    _before.clear()


def count_later(one, seen):
    if settings.delay("role") > 0:
        _before[one.id] = seen
        clock.after(settings.delay("role"), lambda: _before.pop(one.id, None))


def require_policy(backend, arn):
    if arn:
        try:
            backend.get_policy(arn)
        except NotFoundException:
            raise NoSuchEntity(f"Scope ARN: {arn} does not exist or is not attachable.") from None


def judged_by(one):
    """The tags and the boundary that policies see of a role or a profile."""
    return _before.get(one.id) or (one.tags, getattr(one, "permissions_boundary_arn", None))
