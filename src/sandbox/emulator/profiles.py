"""Instance profiles: IAM knows them at once, EC2 after a while, and an instance only as they were when associated."""

import copy

import clock
import faults
import settings
from hooks import around
from moto.ec2.models.iam_instance_profile import IamInstanceProfileAssociation
from moto.ec2.responses import EC2Response
from moto.iam.exceptions import NoSuchEntity
from moto.iam.models import IAMBackend, InstanceProfile, iam_backends
from refusal import Refusal

# The ids of profiles that EC2 has not heard of.
_unheard = set()


def install():
    """Has EC2 hear late of new profiles, and associations remember their role."""
    make, add, remove, associate = (
        InstanceProfile.__init__,
        IAMBackend.add_role_to_instance_profile,
        IAMBackend.remove_role_from_instance_profile,
        IamInstanceProfileAssociation.__init__,
    )

    def made(profile, *args, **kwargs):
        make(profile, *args, **kwargs)
        unheard(profile)

    def added(backend, profile_name, role_name):
        add(backend, profile_name, role_name)
        unheard(backend.get_instance_profile(profile_name))

    def removed(backend, profile_name, role_name):
        if backend.get_role(role_name) not in backend.get_instance_profile(profile_name).roles:
            raise NoSuchEntity(f"The role with name {role_name} cannot be found.")
        remove(backend, profile_name, role_name)

    def associated(association, *args, **kwargs):
        associate(association, *args, **kwargs)
        remember(association)

    InstanceProfile.__init__ = made
    IAMBackend.add_role_to_instance_profile = added
    IAMBackend.remove_role_from_instance_profile = removed
    IamInstanceProfileAssociation.__init__ = associated


def forget():
    """EC2 knows every profile that there is."""
    _unheard.clear()


def remember(association):
    """The association has the profile's role of this moment, and the instance shows the profile's own id."""
    profile = association.iam_instance_profile
    association.roles_then = list(profile.roles)
    association.instance.iam_instance_profile = {"Arn": profile.arn, "Id": profile.id}


def unheard(profile):
    _unheard.add(profile.id)
    clock.after(settings.delay("profile"), lambda: _unheard.discard(profile.id))


def require_known(call):
    """Refuses a profile that EC2 does not know (yet), or that holds no role."""
    named = call._get_param("IamInstanceProfile") or {}
    if not named:
        return
    profiles = iam_backends[call.current_account][call.partition].get_instance_profiles()
    for kind, value in named.items():
        found = [one for one in profiles if value == (one.arn if kind == "Arn" else one.name)]
        if not found or (found[0].id in _unheard):
            message = f"Value ({value}) for parameter iamInstanceProfile.{kind.lower()} is invalid. "
            raise Refusal("InvalidParameterValue", f"{message}Invalid IAM Instance Profile {kind.lower()}")
        if not found[0].roles:
            raise Refusal("InvalidParameterValue", f'IAM Instance Profile "{found[0].arn}" has no associated IAM Roles')


@around(EC2Response, "associate_iam_instance_profile")
def associate_iam_instance_profile(call, proceed):
    instance = call.ec2_backend.get_instance(call._get_param("InstanceId"))
    if instance.state not in ("running", "stopped"):
        message = f"The instance '{instance.id}' is not in the 'running' or 'stopped' states."
        raise Refusal("IncorrectInstanceState", message)
    require_known(call)
    result = proceed()
    if faults.recollects():
        recollect(result.result["IamInstanceProfileAssociation"])
    return result


def recollect(association):
    """The association is with a profile of the same name that was deleted, and gives no credentials."""
    deleted = copy.copy(association.iam_instance_profile)
    # Any other id will do.
    deleted.id, deleted.roles = f"AIPA{deleted.id[:3:-1]}", []
    association.iam_instance_profile = deleted
    remember(association)


@around(EC2Response, "replace_iam_instance_profile_association")
def replace_iam_instance_profile_association(call, proceed):
    require_known(call)
    result = proceed()
    remember(result.result["IamInstanceProfileAssociation"])
    return result


def attach_foreign(instance):
    """What an account's rules do: the instance gets a profile of theirs as soon as it runs."""
    profile = faults.foreign_profile()
    backend = instance.ec2_backend

    def attach():
        if instance.id not in backend.iam_instance_profile_associations:
            backend.associate_iam_instance_profile(instance.id, iam_instance_profile_name=profile)

    if profile:
        clock.after(settings.delay("pending"), attach)
