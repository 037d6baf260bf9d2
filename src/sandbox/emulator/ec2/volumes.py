"""EBS volumes: no transition is immediate, a volume is in one zone and attached to one instance, and it only grows."""

import json
import time

from core import clock, delays, hooks
from core.errors import AwsError
from core.hooks import around
from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidVolumeIdError
from moto.ec2.models.elastic_block_store import Volume, VolumeModification
from moto.ec2.models.instances import Instance
from moto.ec2.responses import EC2Response

LARGEST_GIB = 16384
# https://docs.aws.amazon.com/ebs/latest/userguide/modify-volume-requirements.html
MODIFICATIONS, PERIOD = 4, 24 * 3600

# By account, region and client token: the parameters and the id of the volume.
_created = {}


def install():
    """Installs the rules."""
    plain = Volume.status.fget
    Volume.status = property(lambda volume: "creating" if is_new(volume) else plain(volume))
    VolumeModification.modification_state = property(lambda modification: vars(modification).get("state", "completed"))
    VolumeModification.progress = property(
        lambda modification: 100 if modification.modification_state == "completed" else 0
    )
    Instance.teardown_defaults = delete_own


def client_tokens():
    """The client tokens with their parameters and volumes."""
    return _created


def forget():
    """Forgets all client tokens."""
    _created.clear()


def is_new(volume):
    """Whether the volume is being created."""
    return vars(volume).get("creating", False)


@around(EC2Response, "create_volume")
def create_volume(call, proceed):
    if call._get_param("DryRun"):
        return proceed()
    size = call._get_param("Size")
    if size is not None and not 1 <= int(size) <= LARGEST_GIB:
        raise AwsError("InvalidParameterValue", f"Volume of {size}GiB is outside of the allowed range.")
    token = call._get_param("ClientToken")
    key = (call.current_account, call.region, token)
    wanted = json.dumps({name: value for name, value in call.params.items() if name != "ClientToken"}, default=str)
    if token and key in _created:
        return repeat(call, wanted, *_created[key])
    answer = proceed()
    volume = answer.result
    volume.creating = True
    clock.after(delays.seconds("volume"), lambda: setattr(volume, "creating", False))
    hooks.hide_new(volume.id, InvalidVolumeIdError(volume.id))
    if token:
        _created[key] = wanted, volume.id
    return answer


def repeat(call, wanted, before, volume_id):
    """A repeated creation returns the same volume. AWS does not document what it answers when that is deleted."""
    if wanted != before:
        message = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
        raise AwsError("IdempotentParameterMismatch", message)
    return ActionResult(call.ec2_backend.get_volume(volume_id))


@around(EC2Response, "describe_volumes")
def describe_volumes(_call, proceed):
    """Lists do not contain a new volume yet."""
    answer = proceed()
    answer.result["Volumes"] = [volume for volume in answer.result["Volumes"] if not hooks.is_unknown(volume.id)]
    return answer


@around(EC2Response, "attach_volume")
def attach_volume(call, proceed):
    if call._get_param("DryRun"):
        return proceed()
    volume = call.ec2_backend.get_volume(call._get_param("VolumeId"))
    instance = call.ec2_backend.get_instance(call._get_param("InstanceId"))
    device = call._get_param("Device")
    if volume.attachment:
        raise AwsError("VolumeInUse", f"{volume.id} is already attached to an instance")
    if volume.status != "available":
        raise AwsError("IncorrectState", f"{volume.id} is not 'available'.")
    if instance.state not in ("running", "stopped"):
        raise AwsError("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    if volume.zone.name != instance.placement.zone:
        message = f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'"
        raise AwsError("InvalidVolume.ZoneMismatch", message)
    if device in instance.block_device_mapping:
        message = f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        raise AwsError("InvalidParameterValue", message)
    answer = proceed()
    attachment = volume.attachment
    attachment.status = "attaching"

    def attached():
        if attachment.status == "attaching":
            attachment.status = "attached"

    clock.after(delays.seconds("volume"), attached)
    return answer


@around(EC2Response, "detach_volume")
def detach_volume(call, proceed):
    if call._get_param("DryRun"):
        return proceed()
    volume = call.ec2_backend.get_volume(call._get_param("VolumeId"))
    attachment, named = volume.attachment, call._get_param("InstanceId")
    if attachment is None:
        raise AwsError("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
    if named and named != attachment.instance.id:
        message = f"The volume '{volume.id}' is not attached to instance '{named}'"
        raise AwsError("InvalidAttachment.NotFound", message)
    instance = attachment.instance
    if attachment.device == instance.root_device_name and instance.state != "stopped":
        message = f"Unable to detach root volume '{volume.id}' from instance '{instance.id}'"
        raise AwsError("OperationNotPermitted", message)
    volume.is_forced = str(call._get_param("Force")).lower() == "true"
    attachment.status = "detaching"
    clock.after(delays.seconds("volume"), lambda: end_detachment(volume, attachment))
    return ActionResult(
        {
            "VolumeId": volume.id,
            "InstanceId": instance.id,
            "Device": attachment.device,
            "State": "detaching",
            "AttachTime": attachment.attach_time,
        }
    )


def end_detachment(volume, attachment):
    """Ends a requested detachment. The volume stays busy while a running instance has it mounted."""
    if volume.attachment is not attachment or attachment.status not in ("detaching", "busy"):
        return
    instance = attachment.instance
    if is_mounted(volume) and instance.state in ("running", "stopping") and not volume.is_forced:
        attachment.status = "busy"
    else:
        detach(volume)


def is_mounted(volume):
    """Whether an instance has mounted the volume."""
    return vars(volume).get("mounted", False)


def set_mounted(volume, mounted):
    """Notes what the sandbox sees of a machine: a mounted volume cannot be detached."""
    volume.mounted = mounted
    if volume.attachment is not None and volume.attachment.status == "busy":
        end_detachment(volume, volume.attachment)


def detach(volume):
    """Ends the attachment."""
    attachment, volume.mounted = volume.attachment, False
    volume.ec2_backend.detach_volume(volume.id, attachment.instance.id, attachment.device)


def delete_own(instance):
    """A termination deletes the disks of the launch. Other volumes stay attached until the instance is terminated."""
    for device, block in list(instance.block_device_mapping.items()):
        if block.delete_on_termination:
            instance.ec2_backend.detach_volume(block.volume_id, instance.id, device)
            instance.ec2_backend.delete_volume(block.volume_id)


def release(instance):
    """Detaches the volumes of a stopped or terminated instance for which that was requested, or all if it is terminated."""
    for volume in attached_to(instance):
        if instance.state == "terminated" or volume.attachment.status in ("detaching", "busy"):
            detach(volume)
        volume.mounted = False


def attached_to(instance):
    """The volumes that are attached to an instance besides the disks of its launch, as its kernel sees them."""
    blocks = [block for block in instance.block_device_mapping.values() if not block.delete_on_termination]
    volumes = [instance.ec2_backend.volumes[block.volume_id] for block in blocks]
    return [volume for volume in volumes if volume.attachment.status != "attaching"]


@around(EC2Response, "delete_volume")
def delete_volume(call, proceed):
    volume = call.ec2_backend.get_volume(call._get_param("VolumeId"))
    if is_new(volume) and not call._get_param("DryRun"):
        raise AwsError("IncorrectState", f"Volume '{volume.id}' is in the 'creating' state.")
    return proceed()


@around(EC2Response, "modify_volume")
def modify_volume(call, proceed):
    """The new size counts after a while. Each modification must be completed before the next."""
    if call._get_param("DryRun"):
        return proceed()
    volume = call.ec2_backend.get_volume(call._get_param("VolumeId"))
    size, before = call._get_param("Size"), volume.size
    if is_new(volume):
        raise AwsError("IncorrectState", f"Volume '{volume.id}' is in the 'creating' state.")
    if size is not None and int(size) < before:
        raise AwsError("InvalidParameterValue", "New size cannot be smaller than existing size")
    if size is not None and int(size) > LARGEST_GIB:
        raise AwsError("InvalidParameterValue", f"Volume of {size}GiB is outside of the allowed range.")
    last = volume.modifications[-1] if volume.modifications else None
    if last is not None and last.modification_state != "completed":
        message = f"Cannot modify volume: '{volume.id}' is in the modification state {last.modification_state.upper()}"
        raise AwsError("IncorrectModificationState", message)
    recent = [at for at in vars(volume).get("modified", []) if at > time.time() - PERIOD]
    if len(recent) >= MODIFICATIONS:
        message = "You've reached the maximum modification rate per volume limit."
        raise AwsError("VolumeModificationRateExceeded", message)
    answer = proceed()
    volume.modified = [*recent, time.time()]
    begin(volume, volume.modifications[-1], before)
    return answer


def begin(volume, modification, before):
    target, volume.size, modification.state = volume.size, before, "modifying"

    def optimize():
        volume.size, modification.state = target, "optimizing"
        clock.after(delays.seconds("volume"), lambda: setattr(modification, "state", "completed"))

    clock.after(delays.seconds("volume"), optimize)
