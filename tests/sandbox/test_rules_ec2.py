"""The rules for EC2, where moto is more lenient than AWS, tested with boto3."""

import json
import uuid

import pytest
from conftest import NUMBERS, TRUST, associated, granted, image, refused, runs, state, until

# Launches


def credits_of(ec2, *instances):
    found = ec2.describe_instance_credit_specifications(InstanceIds=list(instances))["InstanceCreditSpecifications"]
    return {one["InstanceId"]: one["CpuCredits"] for one in found}


def test_only_burstable_types_have_cpu_credits(sandbox, ec2, launch):
    kinds = {"t3.micro": "unlimited", "t2.micro": "standard", "m5.large": None}
    for kind, mode in kinds.items():
        instance = launch(InstanceType=kind)["InstanceId"]
        runs(ec2, instance)
        assert credits_of(ec2, instance).get(instance) == mode
    standard = {"CreditSpecification": {"CpuCredits": "standard"}}
    asked = launch(**standard)["InstanceId"]
    runs(ec2, asked)
    assert credits_of(ec2, asked) == {asked: "standard"}
    wanted = {"ImageId": image(sandbox, ec2), "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, **standard}
    assert refused(ec2.run_instances, **wanted)[0] == "InvalidParameterCombination"


def test_credit_specifications_are_listed_and_changed(ec2, launch):
    burstable, other = launch()["InstanceId"], launch(InstanceType="m5.large")["InstanceId"]
    runs(ec2, burstable)
    runs(ec2, other)

    def change(instance, mode):
        wanted = [{"InstanceId": instance, "CpuCredits": mode}]
        answer = ec2.modify_instance_credit_specification(InstanceCreditSpecifications=wanted)
        failed = answer["UnsuccessfulInstanceCreditSpecifications"]
        return failed[0]["Error"]["Code"] if failed else None

    def unlimited():
        found = ec2.describe_instance_credit_specifications()["InstanceCreditSpecifications"]
        return burstable in [one["InstanceId"] for one in found]

    assert unlimited()
    assert change(burstable, "standard") is None
    assert not unlimited() and credits_of(ec2, burstable) == {burstable: "standard"}
    assert change(burstable, "unlimited") is None
    assert unlimited()
    assert change(other, "standard") == "InstanceCreditSpecification.NotSupported"


def test_a_client_token_launches_once(ec2, launch):
    token = str(uuid.uuid4())
    first = launch(ClientToken=token)
    assert launch(ClientToken=token)["InstanceId"] == first["InstanceId"]
    until(lambda: state(ec2, first["InstanceId"]))
    found = ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])
    assert len(found["Reservations"]) == 1


def test_other_parameters_under_the_same_token_are_refused(launch):
    token = str(uuid.uuid4())
    launch(ClientToken=token)
    assert refused(launch, ClientToken=token, InstanceType="t3.small")[0] == "IdempotentParameterMismatch"


def test_the_token_of_a_terminated_instance_is_refused(ec2, launch):
    token = str(uuid.uuid4())
    instance = launch(ClientToken=token)["InstanceId"]
    runs(ec2, instance)
    ec2.terminate_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "terminated")
    assert refused(launch, ClientToken=token)[0] == "IdempotentInstanceTerminated"


def test_the_token_of_a_dying_instance_shows_it_as_it_is(sandbox, ec2, launch):
    token = str(uuid.uuid4())
    instance = launch(ClientToken=token)["InstanceId"]
    runs(ec2, instance)
    with sandbox.delays(**{"shutting-down": 60}):
        ec2.terminate_instances(InstanceIds=[instance])
    again = launch(ClientToken=token)
    assert (again["InstanceId"], again["State"]["Name"]) == (instance, "shutting-down")


def test_a_long_token_is_refused(launch):
    assert refused(launch, ClientToken="x" * 65)[0] == "InvalidParameterValue"


def test_an_instance_is_unknown_then_pending_then_running(sandbox, ec2, launch):
    with sandbox.delays(unknown=2, pending=3):
        instance = launch()
    assert instance["State"]["Name"] == "pending"
    assert refused(ec2.describe_instances, InstanceIds=[instance["InstanceId"]])[0] == "InvalidInstanceID.NotFound"
    seen = []
    until(lambda: seen.append(state(ec2, instance["InstanceId"])) or seen[-1] == "running")
    assert set(seen) == {None, "pending", "running"}


def test_a_tag_set_after_the_launch_is_visible_to_the_instance_later(sandbox, ec2, launch):
    def seen():
        found = json.loads(sandbox.control("emulator/aws-state"))["instances"]
        return next(one["tags"] for one in found if one["id"] == instance)

    tag = [{"ResourceType": "instance", "Tags": [{"Key": "at-launch", "Value": "1"}]}]
    instance = launch(TagSpecifications=tag)["InstanceId"]
    runs(ec2, instance)
    assert seen() == {"at-launch": "1"}
    with sandbox.delays(**{"metadata-tags": 2}):
        ec2.create_tags(Resources=[instance], Tags=[{"Key": "later", "Value": "2"}])
        ec2.delete_tags(Resources=[instance], Tags=[{"Key": "at-launch"}])
    told = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [instance]}])["Tags"]
    assert [(one["Key"], one["Value"]) for one in told] == [("later", "2")]
    assert seen() == {"at-launch": "1"}
    until(lambda: seen() == {"later": "2"})


def test_an_accepted_launch_can_fail(sandbox, ec2, launch):
    sandbox.control("emulator/fail-launch?code=Client.VolumeLimitExceeded&message=Volume+limit+exceeded")
    instance = launch()["InstanceId"]
    until(lambda: state(ec2, instance) in ("shutting-down", "terminated"))
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Client.VolumeLimitExceeded"


def test_user_data_is_limited_to_16384_bytes(launch):
    assert refused(launch, UserData="x" * 16385)[0] == "InvalidParameterValue"


@pytest.mark.parametrize("key", ["with space", "a/b", ".", "..", "_index", "ä"])
def test_tag_keys_must_be_valid_in_metadata(ec2, launch, key):
    tags = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": "x"}]}]
    metadata = {"InstanceMetadataTags": "enabled"}
    assert refused(launch, TagSpecifications=tags, MetadataOptions=metadata)[0] == "InvalidParameterValue"
    instance = launch(MetadataOptions=metadata)["InstanceId"]
    runs(ec2, instance)
    assert refused(ec2.create_tags, Resources=[instance], Tags=tags[0]["Tags"])[0] == "InvalidParameterValue"


def test_an_unknown_image_is_refused(launch):
    assert refused(launch, ImageId="ami-00000000000000000")[0] == "InvalidAMIID.NotFound"


def test_a_resolved_image_is_shown_by_its_id(sandbox, ec2, launch):
    instance = launch(ImageId="resolve:ssm:/aws/service/debian/release/13/latest/amd64")
    assert instance["ImageId"] == image(sandbox, ec2)


def test_a_newer_image_can_be_published(sandbox, ec2, ssm, launch):
    """A test can publish a newer image, as publishers do every week or two."""
    name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    other = "/aws/service/debian/release/13/latest/amd64"

    def newest():
        found = {each["Name"]: each for each in ssm.get_parameters(Names=[name, other])["Parameters"]}
        return found[name], found[other]

    def look(image):
        return ec2.describe_images(ImageIds=[image])["Images"][0]

    before, untouched = newest()
    sandbox.control(f"emulator/publish-image?region=eu-west-1&parameter={name}")
    after, same = newest()
    assert after["Value"] != before["Value"] and after["Version"] == before["Version"] + 1
    assert same == untouched
    old, new = look(before["Value"]), look(after["Value"])
    assert new["CreationDate"] > old["CreationDate"] and new["Name"] != old["Name"]
    alike = ("Architecture", "OwnerId", "Public", "RootDeviceName", "RootDeviceType", "State", "VirtualizationType")
    assert {key: new[key] for key in alike} == {key: old[key] for key in alike}
    # An instance keeps its image, and the old image still exists.
    kept = launch(ImageId=before["Value"])["InstanceId"]
    fresh = launch(ImageId=f"resolve:ssm:{name}")
    assert fresh["ImageId"] == after["Value"]
    found = until(lambda: granted(ec2.describe_instances, InstanceIds=[kept]))
    assert found["Reservations"][0]["Instances"][0]["ImageId"] == before["Value"]
    # Other regions are unchanged, and the next image is newer again.
    elsewhere = sandbox.client("ssm", "us-east-1").get_parameters(Names=[name])["Parameters"][0]
    assert elsewhere["Value"] == before["Value"]
    sandbox.control("emulator/publish-image?region=eu-west-1")
    last, other_last = newest()
    assert look(last["Value"])["CreationDate"] > new["CreationDate"]
    assert last["Value"] != after["Value"] and other_last["Value"] != untouched["Value"]


# Groups and keys


@pytest.mark.parametrize(
    ("name", "description"), [("sg-mine", "x"), ("ok", "somebody's"), ("ok", "ä"), ("n" * 256, "x"), ("ok", "d" * 256)]
)
def test_group_names_and_descriptions_are_validated(ec2, name, description):
    assert refused(ec2.create_security_group, GroupName=name, Description=description)[0] == "InvalidParameterValue"


def test_a_new_group_is_unknown_to_the_next_call(sandbox, ec2):
    with sandbox.delays(unknown=2):
        group = ec2.create_security_group(GroupName=f"group-{next(NUMBERS)}", Description="x")["GroupId"]
        rule = {"GroupId": group, "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": "0.0.0.0/0"}
        assert refused(ec2.authorize_security_group_ingress, **rule)[0] == "InvalidGroup.NotFound"
    until(lambda: granted(ec2.describe_security_groups, GroupIds=[group]))
    ec2.authorize_security_group_ingress(**rule)
    assert refused(ec2.authorize_security_group_ingress, **rule)[0] == "InvalidPermission.Duplicate"


def test_a_group_in_use_cannot_be_deleted(ec2, group, launch):
    instance = launch(SecurityGroupIds=[group])["InstanceId"]
    runs(ec2, instance)
    assert refused(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "terminated")
    # The interface is deleted a moment after the instance.
    assert refused(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
    until(lambda: granted(ec2.delete_security_group, GroupId=group))


def test_without_a_default_vpc_a_group_needs_one(sandbox):
    ec2 = sandbox.client("ec2", "eu-north-1")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for vpc in ec2.describe_vpcs()["Vpcs"]:
        ec2.delete_vpc(VpcId=vpc["VpcId"])
    assert refused(ec2.create_security_group, GroupName="x", Description="x")[0] == "VPCIdNotSpecified"


def test_an_unknown_group_is_refused_and_not_created(ec2, launch):
    gone = "sg-0123456789abcdef0"
    interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": True, "Groups": [gone]}
    for where in ({"NetworkInterfaces": [interface]}, {"SecurityGroupIds": [gone]}):
        assert refused(launch, **where)[0] == "InvalidGroup.NotFound"
    assert gone not in [group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]]


def test_a_default_vpc_can_lack_subnets(sandbox):
    ec2 = sandbox.client("ec2", "eu-west-3")
    wanted = {"ImageId": image(sandbox, ec2), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
    for subnet in subnets[1:]:
        ec2.delete_subnet(SubnetId=subnet)
    launched = ec2.run_instances(**wanted)["Instances"][0]["InstanceId"]
    until(lambda: granted(ec2.terminate_instances, InstanceIds=[launched]))
    until(lambda: granted(ec2.delete_subnet, SubnetId=subnets[0]))
    code, message = refused(ec2.run_instances, **wanted)
    assert (code, "No subnets found for the default VPC" in message) == ("MissingInput", True)


def test_a_key_pair_can_be_deleted_by_id(ec2):
    pair = ec2.create_key_pair(KeyName="a-key")["KeyPairId"]
    assert refused(ec2.delete_key_pair, KeyPairId="key-00000000000000000")[0] == "InvalidKeyPair.NotFound"
    ec2.delete_key_pair(KeyPairId=pair)
    assert not ec2.describe_key_pairs()["KeyPairs"]


# Profiles


def test_a_new_profile_is_unknown_to_ec2_for_a_while(sandbox, ec2, launch, request):
    with sandbox.delays(profile=5):
        profile = request.getfixturevalue("profile")
    code, message = refused(launch, IamInstanceProfile={"Name": profile})
    assert (code, "Invalid IAM Instance Profile" in message) == ("InvalidParameterValue", True)


def test_a_profile_is_associated_once_with_a_running_instance(sandbox, ec2, iam, launch, profile):
    with sandbox.delays(pending=3):
        instance = launch()["InstanceId"]
    until(lambda: state(ec2, instance))
    named = {"InstanceId": instance, "IamInstanceProfile": {"Name": profile}}
    assert refused(ec2.associate_iam_instance_profile, **named)[0] == "IncorrectInstanceState"
    runs(ec2, instance)
    until(lambda: associated(ec2, instance, profile))
    assert refused(ec2.associate_iam_instance_profile, **named)[0] == "IncorrectState"
    shown = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["IamInstanceProfile"]
    own = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
    assert (shown["Id"], shown["Arn"]) == (own["InstanceProfileId"], own["Arn"])


def test_an_account_can_attach_a_foreign_profile(sandbox, ec2, launch, profile):
    until(lambda: known(ec2, launch, profile))
    sandbox.control(f"emulator/attach-profile?profile={profile}")
    try:
        instance = launch()["InstanceId"]
    finally:
        sandbox.control("emulator/attach-profile")
    found = [{"Name": "instance-id", "Values": [instance]}]
    until(lambda: ec2.describe_iam_instance_profile_associations(Filters=found)["IamInstanceProfileAssociations"])
    named = {"InstanceId": instance, "IamInstanceProfile": {"Name": profile}}
    code, message = refused(ec2.associate_iam_instance_profile, **named)
    assert (code, "existing association" in message) == ("IncorrectState", True)


def known(ec2, launch, profile):
    """Whether EC2 finds the profile."""
    try:
        return launch(IamInstanceProfile={"Name": profile})
    except ec2.exceptions.ClientError:
        return None


def test_a_profile_without_a_role_is_refused(ec2, iam, launch):
    iam.create_instance_profile(InstanceProfileName="empty")
    instance = launch()["InstanceId"]
    runs(ec2, instance)

    def why():
        named = {"InstanceId": instance, "IamInstanceProfile": {"Name": "empty"}}
        return refused(ec2.associate_iam_instance_profile, **named)[1]

    until(lambda: "has no associated IAM Roles" in why())


def test_a_role_is_removed_from_its_profile_once(iam, profile):
    named = {"InstanceProfileName": profile, "RoleName": profile}
    iam.remove_role_from_instance_profile(**named)
    assert refused(iam.remove_role_from_instance_profile, **named)[0] == "NoSuchEntity"


def test_a_role_takes_effect_when_its_profile_is_associated(sandbox, ec2, iam, launch, profile):
    instance = launch()["InstanceId"]
    runs(ec2, instance)
    association = until(lambda: associated(ec2, instance, profile))["IamInstanceProfileAssociation"]["AssociationId"]
    assert json.loads(sandbox.control(f"emulator/credentials?instance={instance}"))["AccessKeyId"]
    iam.remove_role_from_instance_profile(InstanceProfileName=profile, RoleName=profile)
    iam.delete_role(RoleName=profile)
    iam.create_role(RoleName=profile, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.add_role_to_instance_profile(InstanceProfileName=profile, RoleName=profile)
    with pytest.raises(OSError, match="404"):
        sandbox.control(f"emulator/credentials?instance={instance}")
    ec2.disassociate_iam_instance_profile(AssociationId=association)
    until(lambda: associated(ec2, instance, profile))
    assert json.loads(sandbox.control(f"emulator/credentials?instance={instance}"))["AccessKeyId"]


# Addresses


def test_an_address_needs_a_running_instance_and_cannot_be_released_in_use(sandbox, ec2, launch):
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    with sandbox.delays(pending=5):
        instance = launch()["InstanceId"]
        until(lambda: state(ec2, instance))
        assert refused(ec2.associate_address, AllocationId=address, InstanceId=instance)[0] == "InvalidInstanceID"
    runs(ec2, instance)
    association = ec2.associate_address(AllocationId=address, InstanceId=instance)["AssociationId"]
    assert refused(ec2.release_address, AllocationId=address)[0] == "InvalidIPAddress.InUse"
    ec2.disassociate_address(AssociationId=association)
    ec2.release_address(AllocationId=address)


def test_a_region_has_at_most_five_addresses(sandbox):
    ec2 = sandbox.client("ec2", "ca-central-1")
    for _ in range(5):
        ec2.allocate_address(Domain="vpc")
    assert refused(ec2.allocate_address, Domain="vpc")[0] == "AddressLimitExceeded"
