"""The rules for EBS volumes, where moto is more lenient than AWS, tested with boto3."""

import uuid

import pytest
from conftest import OURS, USER, granted, refused, runs, state, until

ZONE = "eu-west-1a"


@pytest.fixture
def make(ec2):
    """Creates volumes, and deletes them at the end."""
    made = []

    def make(**more):
        volume = ec2.create_volume(**{"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3", **more})["VolumeId"]
        made.append(volume)
        return volume

    yield make
    for volume in set(made):
        granted(ec2.detach_volume, VolumeId=volume, Force=True)
        until(lambda volume=volume: gone(ec2, volume))


def gone(ec2, volume):
    granted(ec2.delete_volume, VolumeId=volume)
    return look(ec2, volume) is None


def look(ec2, volume):
    found = ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"]
    return found[0] if found else None


def phase(ec2, volume):
    found = look(ec2, volume)
    return found and found["State"]


def attachment(ec2, volume):
    """The instance and the state of the attachment, if there is one."""
    found = look(ec2, volume)["Attachments"]
    return (found[0]["InstanceId"], found[0]["State"]) if found else None


def available(ec2, volume):
    return until(lambda: phase(ec2, volume) == "available")


@pytest.fixture
def machine(ec2, launch):
    """A running instance in the zone of the volumes."""
    instance = launch(Placement={"AvailabilityZone": ZONE})
    assert instance["Placement"]["AvailabilityZone"] == ZONE
    runs(ec2, instance["InstanceId"])
    return instance["InstanceId"]


def attach(ec2, volume, instance, device="/dev/sdf"):
    ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
    until(lambda: attachment(ec2, volume) == (instance, "attached"))


def test_a_volume_is_created_once_and_appears_after_a_while(sandbox, ec2, make):
    with sandbox.delays(unknown=600, volume=600):
        token = str(uuid.uuid4())
        volume = make(ClientToken=token)
        assert make(ClientToken=token) == volume
        assert look(ec2, volume) is None
        assert refused(ec2.describe_volumes, VolumeIds=[volume])[0] == "InvalidVolume.NotFound"
        assert refused(make, ClientToken=token, Size=2)[0] == "IdempotentParameterMismatch"
        young = make()
    sandbox.control("emulator/settle")
    assert phase(ec2, volume) == phase(ec2, young) == "available"
    assert look(ec2, make(ClientToken=token))["VolumeType"] == "gp3"
    assert refused(make, Size=16385)[0] == "InvalidParameterValue"


def test_a_new_volume_can_be_neither_attached_nor_deleted(sandbox, ec2, make, machine):
    with sandbox.delays(volume=600):
        volume = make()
        wanted = {"VolumeId": volume, "InstanceId": machine, "Device": "/dev/sdf"}
        until(lambda: phase(ec2, volume) == "creating")
        assert refused(ec2.attach_volume, **wanted) == ("IncorrectState", f"{volume} is not 'available'.")
        assert refused(ec2.delete_volume, VolumeId=volume)[0] == "IncorrectState"
    sandbox.control("emulator/settle")


def test_an_attachment_needs_a_running_instance_in_the_zone(sandbox, ec2, launch, make, machine):
    volume, far = make(), make(AvailabilityZone="eu-west-1b")
    available(ec2, volume)
    available(ec2, far)
    wanted = {"InstanceId": machine, "Device": "/dev/sdf"}
    assert refused(ec2.attach_volume, VolumeId=far, **wanted)[0] == "InvalidVolume.ZoneMismatch"
    with sandbox.delays(pending=600, unknown=0):
        young = launch(Placement={"AvailabilityZone": ZONE})["InstanceId"]
        code, message = refused(ec2.attach_volume, VolumeId=volume, InstanceId=young, Device="/dev/sdf")
        assert (code, message) == ("IncorrectState", f"Instance '{young}' is not 'running'.")
    sandbox.control("emulator/settle")
    attach(ec2, volume, machine)
    assert refused(ec2.attach_volume, VolumeId=volume, InstanceId=young, Device="/dev/sdf")[0] == "VolumeInUse"
    assert refused(ec2.delete_volume, VolumeId=volume)[0] == "VolumeInUse"
    second = make()
    available(ec2, second)
    assert refused(ec2.attach_volume, VolumeId=second, **wanted)[0] == "InvalidParameterValue"


def test_attachments_begin_and_end_after_a_while(sandbox, ec2, make, machine):
    volume = make()
    available(ec2, volume)
    assert refused(ec2.detach_volume, VolumeId=volume)[0] == "IncorrectState"
    with sandbox.delays(volume=600):
        ec2.attach_volume(VolumeId=volume, InstanceId=machine, Device="/dev/sdf")
        assert attachment(ec2, volume) == (machine, "attaching")
        sandbox.control("emulator/settle")
        assert attachment(ec2, volume) == (machine, "attached")
        assert refused(ec2.detach_volume, VolumeId=volume, InstanceId="i-0123456789abcdef0")[0] == (
            "InvalidAttachment.NotFound"
        )
        ec2.detach_volume(VolumeId=volume, InstanceId=machine)
        assert attachment(ec2, volume) == (machine, "detaching")
    sandbox.control("emulator/settle")
    assert attachment(ec2, volume) is None and phase(ec2, volume) == "available"
    root = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [machine]}])["Volumes"]
    assert refused(ec2.detach_volume, VolumeId=root[0]["VolumeId"])[0] == "OperationNotPermitted"


def test_a_mounted_volume_stays_busy_until_it_is_unmounted_or_the_instance_stops(sandbox, ec2, make, machine):
    volume = make()
    available(ec2, volume)
    attach(ec2, volume, machine)
    sandbox.control(f"emulator/mounted?volume={volume}&mounted=true")
    ec2.detach_volume(VolumeId=volume)
    until(lambda: attachment(ec2, volume) == (machine, "busy"))
    sandbox.control(f"emulator/mounted?volume={volume}&mounted=false")
    available(ec2, volume)
    attach(ec2, volume, machine)
    sandbox.control(f"emulator/mounted?volume={volume}&mounted=true")
    ec2.detach_volume(VolumeId=volume)
    until(lambda: attachment(ec2, volume) == (machine, "busy"))
    ec2.stop_instances(InstanceIds=[machine])
    available(ec2, volume)


def test_a_termination_detaches_the_volume_and_deletes_the_disk(sandbox, ec2, make, machine):
    volume = make()
    available(ec2, volume)
    attach(ec2, volume, machine)
    with sandbox.delays(**{"shutting-down": 600}):
        ec2.terminate_instances(InstanceIds=[machine])
        assert attachment(ec2, volume) == (machine, "attached")
    sandbox.control("emulator/settle")
    assert state(ec2, machine) == "terminated" and phase(ec2, volume) == "available"
    of_instance = [{"Name": "attachment.instance-id", "Values": [machine]}]
    assert ec2.describe_volumes(Filters=of_instance)["Volumes"] == []


def test_a_volume_grows_after_a_while_and_not_too_often(sandbox, ec2, make):
    volume = make(Size=4)
    available(ec2, volume)

    def size():
        return look(ec2, volume)["Size"]

    def modification():
        return ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][-1]["ModificationState"]

    assert refused(ec2.modify_volume, VolumeId=volume, Size=3)[0] == "InvalidParameterValue"
    with sandbox.delays(volume=600):
        ec2.modify_volume(VolumeId=volume, Size=5)
        assert (size(), modification()) == (4, "modifying")
        assert refused(ec2.modify_volume, VolumeId=volume, Size=6)[0] == "IncorrectModificationState"
        sandbox.control("emulator/settle")
        assert (size(), modification()) == (5, "optimizing")
        assert refused(ec2.modify_volume, VolumeId=volume, Size=6)[0] == "IncorrectModificationState"
        sandbox.control("emulator/settle")
        assert (size(), modification()) == (5, "completed")
    for bigger in (6, 7, 8):
        ec2.modify_volume(VolumeId=volume, Size=bigger)
        until(lambda: modification() == "completed")
    assert refused(ec2.modify_volume, VolumeId=volume, Size=9)[0] == "VolumeModificationRateExceeded"


def tagged(tags):
    return [{"ResourceType": "volume", "Tags": tags}]


def test_the_command_line_changes_only_volumes_and_instances_of_its_own(cli, ec2, make, machine):
    mine, other = cli("ec2"), make()
    foreign = {"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3", "Encrypted": True}
    code, message = refused(mine.create_volume, **foreign)
    assert code == "UnauthorizedOperation" and f"User: {USER} is not authorized to perform: ec2:CreateVolume" in message
    ours = make(TagSpecifications=tagged(OURS))
    available(ec2, ours)
    available(ec2, other)
    place = {"InstanceId": machine, "Device": "/dev/sdf"}
    for volume in (ours, other):
        assert refused(mine.attach_volume, VolumeId=volume, **place)[0] == "UnauthorizedOperation"
    ec2.create_tags(Resources=[machine], Tags=OURS)
    assert refused(mine.attach_volume, VolumeId=other, **place)[0] == "UnauthorizedOperation"
    assert refused(mine.delete_volume, VolumeId=other)[0] == "UnauthorizedOperation"
    assert refused(mine.modify_volume, VolumeId=other, Size=2)[0] == "UnauthorizedOperation"
    attach(mine, ours, machine)
    assert refused(mine.create_tags, Resources=[other], Tags=OURS)[0] == "UnauthorizedOperation"
    mine.modify_volume(VolumeId=ours, Size=2)
    mine.detach_volume(VolumeId=ours, InstanceId=machine)
    available(ec2, ours)
    mine.stop_instances(InstanceIds=[machine])
    mine.delete_volume(VolumeId=ours)
    made = mine.create_volume(**foreign, TagSpecifications=tagged(OURS))["VolumeId"]
    available(ec2, made)
    mine.delete_volume(VolumeId=made)
