"""Instance profiles: EC2 finds a new one after a delay, and an association keeps the role of its time."""

import copy

from core import clock, delays, faults
from core.errors import AwsError
from core.hooks import around
from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociation
from moto.ec2.responses import EC2Response
from moto.iam.exceptions import NoSuchEntity
from moto.iam.models import IAMBackend, InstanceProfile, iam_backends

# The ids of profiles that EC2 does not find yet.
_unknown = set()


def install():
    """Installs the rules."""
    make, add, remove, associate = (
        InstanceProfile.__init__,
        IAMBackend.add_role_to_instance_profile,
        IAMBackend.remove_role_from_instance_profile,
        IamInstanceProfileAssociation.__init__,
    )

    def made(profile, *args, **kwargs):
        make(profile, *args, **kwargs)
        hide_from_ec2(profile)

    def added(backend, profile_name, role_name):
        add(backend, profile_name, role_name)
        hide_from_ec2(backend.get_instance_profile(profile_name))

    def removed(backend, profile_name, role_name):
        if backend.get_role(role_name) not in backend.get_instance_profile(profile_name).roles:
            raise NoSuchEntity(f"The role with name {role_name} cannot be found.")
        remove(backend, profile_name, role_name)

    def associated(association, *args, **kwargs):
        associate(association, *args, **kwargs)
        record_role(association)

    InstanceProfile.__init__ = made
    IAMBackend.add_role_to_instance_profile = added
    IAMBackend.remove_role_from_instance_profile = removed
    IamInstanceProfileAssociation.__init__ = associated


def forget():
    """Makes all profiles known to EC2."""
    _unknown.clear()


def record_role(association):
    """Records the profile's current role in the association, and the profile's id in the instance."""
    profile = association.iam_instance_profile
    association.roles_then = list(profile.roles)
    association.instance.iam_instance_profile = {"Arn": profile.arn, "Id": profile.id}


def hide_from_ec2(profile):
    _unknown.add(profile.id)
    clock.after(delays.seconds("profile"), lambda: _unknown.discard(profile.id))


def require_known(call):
    """Refuses a profile that EC2 does not find (yet), or that has no role."""
    named = call._get_param("IamInstanceProfile") or {}
    if not named:
        return
    profiles = iam_backends[call.current_account][call.partition].get_instance_profiles()
    for kind, value in named.items():
        found = [one for one in profiles if value == (one.arn if kind == "Arn" else one.name)]
        if not found or (found[0].id in _unknown):
            message = f"Value ({value}) for parameter iamInstanceProfile.{kind.lower()} is invalid. "
            raise AwsError("InvalidParameterValue", f"{message}Invalid IAM Instance Profile {kind.lower()}")
        if not found[0].roles:
            raise AwsError(
                "InvalidParameterValue", f'IAM Instance Profile "{found[0].arn}" has no associated IAM Roles'
            )


@around(EC2Response, "associate_iam_instance_profile")
def associate_iam_instance_profile(call, proceed):
    instance = call.ec2_backend.get_instance(call._get_param("InstanceId"))
    if instance.state not in ("running", "stopped"):
        message = f"The instance '{instance.id}' is not in the 'running' or 'stopped' states."
        raise AwsError("IncorrectInstanceState", message)
    require_known(call)
    result = proceed()
    if faults.is_profile_stale():
        make_stale(result.result["IamInstanceProfileAssociation"])
    return result


def make_stale(association):
    """Replaces the profile by a deleted one of the same name, which gives no credentials."""
    deleted = copy.copy(association.iam_instance_profile)
    # Any other id is right.
    deleted.id, deleted.roles = f"AIPA{deleted.id[:3:-1]}", []
    association.iam_instance_profile = deleted
    record_role(association)


@around(EC2Response, "replace_iam_instance_profile_association")
def replace_iam_instance_profile_association(call, proceed):
    require_known(call)
    result = proceed()
    record_role(result.result["IamInstanceProfileAssociation"])
    return result


def attach_foreign(instance):
    """Attaches a foreign profile as soon as the instance is running, as an account's automation may do."""
    profile = faults.foreign_profile()
    backend = instance.ec2_backend

    def attach():
        if instance.id not in backend.iam_instance_profile_associations:
            backend.associate_iam_instance_profile(instance.id, iam_instance_profile_name=profile)

    if profile:
        clock.after(delays.seconds("pending"), attach)
