"""Roles: a permissions boundary must exist, and the tags and the boundary of a new role take a while to count.

AWS says that IAM is eventually consistent, and not for how long:
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""

import clock
import settings
from moto.iam.exceptions import NoSuchEntity, NotFoundException
from moto.iam.models import IAMBackend

# The ids of roles whose tags and boundary policies do not see yet.
_new = set()


def install():
    """Has IAM check a boundary, and see it late."""
    create, put = IAMBackend.create_role, IAMBackend.put_role_permissions_boundary

    def created(backend, role_name, document, path, permissions_boundary, *args, **kwargs):
        require_policy(backend, permissions_boundary)
        role = create(backend, role_name, document, path, permissions_boundary, *args, **kwargs)
        if settings.delay("role") > 0:
            _new.add(role.id)
            clock.after(settings.delay("role"), lambda: _new.discard(role.id))
        return role

    def bounded(backend, role_name, permissions_boundary):
        require_policy(backend, permissions_boundary)
        put(backend, role_name, permissions_boundary)

    IAMBackend.create_role, IAMBackend.put_role_permissions_boundary = created, bounded


def forget():
    """Every role counts with its tags and its boundary."""
    _new.clear()


def require_policy(backend, arn):
    if arn:
        try:
            backend.get_policy(arn)
        except NotFoundException:
            raise NoSuchEntity(f"Scope ARN: {arn} does not exist or is not attachable.") from None


def judged_by(role):
    """The tags and the boundary that policies see."""
    return ([], None) if role.id in _new else (role.tags, role.permissions_boundary_arn)
