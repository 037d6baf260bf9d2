"""Where moto is lenient, the sandbox is as strict as AWS: a test for each rule, spoken by a client that is not ours."""

import base64
import hashlib
import itertools
import json
import uuid

import pytest
from conftest import associated, granted, refused, until

NUMBERS = itertools.count()
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
}


def image(sandbox, ec2):
    ssm = sandbox.client("ssm", ec2.meta.region_name)
    name = "/aws/service/debian/release/13/latest/amd64"
    return ssm.get_parameters(Names=[name])["Parameters"][0]["Value"]


@pytest.fixture
def launch(sandbox, ec2):
    """Launches instances that are nothing but an entry (no user-data, so nothing boots), and ends them."""
    launched = []

    def launch(**more):
        wanted = {"ImageId": image(sandbox, ec2), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
        instance = ec2.run_instances(**wanted)["Instances"][0]
        launched.append(instance["InstanceId"])
        return instance

    yield launch
    if launched:
        # What is not known yet is refused.
        until(lambda: granted(ec2.terminate_instances, InstanceIds=launched))


def state(ec2, instance):
    found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance]}])["Reservations"]
    return found[0]["Instances"][0]["State"]["Name"] if found else None


def runs(ec2, instance):
    return until(lambda: state(ec2, instance) == "running")


@pytest.fixture
def group(ec2):
    group = ec2.create_security_group(GroupName=f"group-{next(NUMBERS)}", Description="x")["GroupId"]
    until(lambda: granted(ec2.describe_security_groups, GroupIds=[group]))
    return group


@pytest.fixture
def profile(iam):
    """An instance profile with its role, and the moment it was made."""
    name = f"profile-{next(NUMBERS)}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return name


# Launches


def credits_of(ec2, *instances):
    found = ec2.describe_instance_credit_specifications(InstanceIds=list(instances))["InstanceCreditSpecifications"]
    return {one["InstanceId"]: one["CpuCredits"] for one in found}


def test_only_burstable_types_have_cpu_credits_and_most_begin_unlimited(sandbox, ec2, launch):
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


def test_without_ids_only_the_unlimited_are_told_and_each_change_has_its_own_answer(ec2, launch):
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


def test_a_tag_that_is_set_after_the_launch_reaches_the_instance_later(sandbox, ec2, launch):
    def seen():
        found = json.loads(sandbox.control("emulator/view"))["instances"]
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


def test_a_launch_may_be_accepted_and_die(sandbox, ec2, launch):
    sandbox.control("emulator/doom?code=Client.VolumeLimitExceeded&message=Volume+limit+exceeded")
    instance = launch()["InstanceId"]
    until(lambda: state(ec2, instance) in ("shutting-down", "terminated"))
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Client.VolumeLimitExceeded"


def test_user_data_may_have_16384_bytes(launch):
    assert refused(launch, UserData="x" * 16385)[0] == "InvalidParameterValue"


@pytest.mark.parametrize("key", ["with space", "a/b", ".", "..", "_index", "ä"])
def test_tag_keys_must_fit_into_metadata(ec2, launch, key):
    tags = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": "x"}]}]
    metadata = {"InstanceMetadataTags": "enabled"}
    assert refused(launch, TagSpecifications=tags, MetadataOptions=metadata)[0] == "InvalidParameterValue"
    instance = launch(MetadataOptions=metadata)["InstanceId"]
    runs(ec2, instance)
    assert refused(ec2.create_tags, Resources=[instance], Tags=tags[0]["Tags"])[0] == "InvalidParameterValue"


def test_an_image_that_is_not_there_is_refused(launch):
    assert refused(launch, ImageId="ami-00000000000000000")[0] == "InvalidAMIID.NotFound"


def test_a_resolved_image_shows_its_own_id(sandbox, ec2, launch):
    instance = launch(ImageId="resolve:ssm:/aws/service/debian/release/13/latest/amd64")
    assert instance["ImageId"] == image(sandbox, ec2)


def test_a_newer_image_is_published(sandbox, ec2, ssm, launch):
    """The control of the tests has a publisher's parameter name another image, as AWS does every week or two."""
    name = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    other = "/aws/service/debian/release/13/latest/amd64"

    def newest():
        found = {each["Name"]: each for each in ssm.get_parameters(Names=[name, other])["Parameters"]}
        return found[name], found[other]

    def look(image):
        return ec2.describe_images(ImageIds=[image])["Images"][0]

    before, untouched = newest()
    sandbox.control(f"emulator/publish?region=eu-west-1&parameter={name}")
    after, same = newest()
    assert after["Value"] != before["Value"] and after["Version"] == before["Version"] + 1
    assert same == untouched
    old, new = look(before["Value"]), look(after["Value"])
    assert new["CreationDate"] > old["CreationDate"] and new["Name"] != old["Name"]
    alike = ("Architecture", "OwnerId", "Public", "RootDeviceName", "RootDeviceType", "State", "VirtualizationType")
    assert {key: new[key] for key in alike} == {key: old[key] for key in alike}
    # An instance keeps the image that it was launched from; the old image is there still.
    kept = launch(ImageId=before["Value"])["InstanceId"]
    fresh = launch(ImageId=f"resolve:ssm:{name}")
    assert fresh["ImageId"] == after["Value"]
    found = until(lambda: granted(ec2.describe_instances, InstanceIds=[kept]))
    assert found["Reservations"][0]["Instances"][0]["ImageId"] == before["Value"]
    # Elsewhere nothing was published, and once more is newer still.
    elsewhere = sandbox.client("ssm", "us-east-1").get_parameters(Names=[name])["Parameters"][0]
    assert elsewhere["Value"] == before["Value"]
    sandbox.control("emulator/publish?region=eu-west-1")
    last, other_last = newest()
    assert look(last["Value"])["CreationDate"] > new["CreationDate"]
    assert last["Value"] != after["Value"] and other_last["Value"] != untouched["Value"]


# Groups and keys


@pytest.mark.parametrize(
    ("name", "description"), [("sg-mine", "x"), ("ok", "somebody's"), ("ok", "ä"), ("n" * 256, "x"), ("ok", "d" * 256)]
)
def test_a_groups_name_and_description_have_rules(ec2, name, description):
    assert refused(ec2.create_security_group, GroupName=name, Description=description)[0] == "InvalidParameterValue"


def test_a_new_group_is_unknown_to_the_next_call(sandbox, ec2):
    with sandbox.delays(unknown=2):
        group = ec2.create_security_group(GroupName=f"group-{next(NUMBERS)}", Description="x")["GroupId"]
        rule = {"GroupId": group, "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIp": "0.0.0.0/0"}
        assert refused(ec2.authorize_security_group_ingress, **rule)[0] == "InvalidGroup.NotFound"
    until(lambda: granted(ec2.describe_security_groups, GroupIds=[group]))
    ec2.authorize_security_group_ingress(**rule)
    assert refused(ec2.authorize_security_group_ingress, **rule)[0] == "InvalidPermission.Duplicate"


def test_a_group_stays_while_an_interface_uses_it(ec2, group, launch):
    instance = launch(SecurityGroupIds=[group])["InstanceId"]
    runs(ec2, instance)
    assert refused(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance])
    until(lambda: state(ec2, instance) == "terminated")
    # The interface goes a moment after the instance.
    assert refused(ec2.delete_security_group, GroupId=group)[0] == "DependencyViolation"
    until(lambda: granted(ec2.delete_security_group, GroupId=group))


def test_without_a_default_vpc_a_group_needs_one(sandbox):
    ec2 = sandbox.client("ec2", "eu-north-1")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for vpc in ec2.describe_vpcs()["Vpcs"]:
        ec2.delete_vpc(VpcId=vpc["VpcId"])
    assert refused(ec2.create_security_group, GroupName="x", Description="x")[0] == "VPCIdNotSpecified"


def test_a_group_that_is_not_there_is_refused_and_not_made(ec2, launch):
    gone = "sg-0123456789abcdef0"
    interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": True, "Groups": [gone]}
    for where in ({"NetworkInterfaces": [interface]}, {"SecurityGroupIds": [gone]}):
        assert refused(launch, **where)[0] == "InvalidGroup.NotFound"
    assert gone not in [group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]]


def test_a_default_vpc_may_have_no_subnet(sandbox):
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


def test_a_key_pair_is_deleted_by_its_id(ec2):
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


def test_a_profile_is_attached_to_what_runs_and_once(sandbox, ec2, iam, launch, profile):
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


def test_an_accounts_rules_may_attach_a_profile_of_theirs(sandbox, ec2, launch, profile):
    until(lambda: known(ec2, launch, profile))
    sandbox.control(f"emulator/attach?profile={profile}")
    try:
        instance = launch()["InstanceId"]
    finally:
        sandbox.control("emulator/attach")
    found = [{"Name": "instance-id", "Values": [instance]}]
    until(lambda: ec2.describe_iam_instance_profile_associations(Filters=found)["IamInstanceProfileAssociations"])
    named = {"InstanceId": instance, "IamInstanceProfile": {"Name": profile}}
    code, message = refused(ec2.associate_iam_instance_profile, **named)
    assert (code, "existing association" in message) == ("IncorrectState", True)


def known(ec2, launch, profile):
    """Whether EC2 has heard of the profile."""
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


def test_a_role_is_taken_out_of_its_profile_once(iam, profile):
    named = {"InstanceProfileName": profile, "RoleName": profile}
    iam.remove_role_from_instance_profile(**named)
    assert refused(iam.remove_role_from_instance_profile, **named)[0] == "NoSuchEntity"


def test_a_role_put_back_counts_after_the_profile_is_associated_again(sandbox, ec2, iam, launch, profile):
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


def test_an_address_waits_for_the_instance_to_run_and_stays_while_used(sandbox, ec2, launch):
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


def test_a_region_has_five_addresses(sandbox):
    ec2 = sandbox.client("ec2", "ca-central-1")
    for _ in range(5):
        ec2.allocate_address(Domain="vpc")
    assert refused(ec2.allocate_address, Domain="vpc")[0] == "AddressLimitExceeded"


# Parameters and buckets


def test_a_value_may_not_nest_a_parameter(ssm):
    value = {"Name": "/x", "Type": "String"}
    assert refused(ssm.put_parameter, Value="a {{b}} c", **value)[0] == "ValidationException"
    ssm.put_parameter(Value="a {b}} c", **value)


def test_tags_do_not_go_with_overwriting(ssm):
    value = {"Name": "/y", "Type": "String", "Value": "1", "Tags": [{"Key": "a", "Value": "b"}]}
    assert ssm.put_parameter(**value)["Version"] == 1
    assert refused(ssm.put_parameter, **value)[0] == "ParameterAlreadyExists"
    assert refused(ssm.put_parameter, Overwrite=True, **value)[0] == "ValidationException"


def test_each_region_knows_the_newest_images(sandbox):
    for region in ("us-east-1", "eu-west-1"):
        ssm = sandbox.client("ssm", region)
        names = ["/aws/service/debian/release/13/latest/amd64", "/aws/service/debian/release/13/latest/arm64"]
        assert len(ssm.get_parameters(Names=names)["Parameters"]) == 2


def make(s3, name):
    return s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})


def test_a_bucket_is_closed_and_whose_it_is_counts(s3):
    make(s3, "closed")
    assert all(s3.get_public_access_block(Bucket="closed")["PublicAccessBlockConfiguration"].values())
    assert refused(s3.list_objects_v2, Bucket="closed", ExpectedBucketOwner="999999999999")[0] == "AccessDenied"
    s3.list_objects_v2(Bucket="closed", ExpectedBucketOwner="123456789012")


def test_a_body_with_another_sha256_than_was_said_is_refused(s3):
    make(s3, "checked")
    said = base64.b64encode(hashlib.sha256(b"whole").digest()).decode()
    s3.put_object(Bucket="checked", Key="a", Body=b"whole", ChecksumSHA256=said)
    cut = {"Bucket": "checked", "Key": "b", "Body": b"who", "ChecksumSHA256": said}
    assert refused(s3.put_object, **cut)[0] == "BadDigest"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="checked")["Contents"]] == ["a"]


def test_an_account_that_is_kept_keeps_what_is_in_its_buckets(sandbox, s3):
    sandbox.control("emulator/reset")  # Nothing may be on its way, as other tests may have left it.
    make(s3, "kept")
    s3.put_object(Bucket="kept", Key="a", Body=b"whole")
    sandbox.control("emulator/keep?name=kept")
    for _ in range(3):
        sandbox.control("emulator/again?name=kept")
        assert s3.list_objects_v2(Bucket="kept")["Contents"][0]["Size"] == 5
        assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"whole"


def test_the_name_of_a_deleted_bucket_rests(s3):
    make(s3, "resting")
    s3.delete_bucket(Bucket="resting")
    assert refused(make, s3=s3, name="resting")[0] == "OperationAborted"
    until(lambda: granted(make, s3=s3, name="resting"))


def test_a_policy_against_unencrypted_calls_does_not_shut_everybody_out(s3):
    make(s3, "tls-only")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::tls-only", "arn:aws:s3:::tls-only/*"],
    }
    tls = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    s3.put_bucket_policy(Bucket="tls-only", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny | tls]}))
    s3.put_object(Bucket="tls-only", Key="a", Body=b"x")
    s3.put_bucket_policy(Bucket="tls-only", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    assert refused(s3.put_object, Bucket="tls-only", Key="b", Body=b"x")[0] in ("AccessDenied", "403")


# Route 53


@pytest.fixture
def zone(route53):
    """A zone of its own, as a function that sends batches to it, and what it holds after each."""
    name = f"zone-{next(NUMBERS)}.example"
    zone = route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"]

    def send(*changes):
        batch = [{"Action": action, "ResourceRecordSet": one} for action, one in changes]
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": batch})
        listed = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        return [one for one in listed if one["Type"] not in ("NS", "SOA")]

    send.zone = name
    return send


def record(zone, label, kind="A", value="192.0.2.1", **more):
    return {"Name": f"{label}.{zone}.", "Type": kind, "TTL": 60, "ResourceRecords": [{"Value": value}], **more}


def test_a_record_is_made_once(zone):
    one = record(zone.zone, "a")
    assert zone(("CREATE", one)) == [one]
    code, message = refused(lambda: zone(("CREATE", one)))
    assert code == "InvalidChangeBatch" and "already exists" in message
    # What is gone can be made again, also where there are others.
    zone(("CREATE", record(zone.zone, "z")))
    assert zone(("DELETE", one)) == [record(zone.zone, "z")]
    assert zone(("CREATE", one)) == [one, record(zone.zone, "z")]


@pytest.mark.parametrize("other", [{"TTL": 300}, {"ResourceRecords": [{"Value": "192.0.2.2"}]}])
def test_only_what_is_known_exactly_is_deleted(zone, other):
    one = record(zone.zone, "a")
    assert "was not found" in refused(lambda: zone(("DELETE", one)))[1]
    zone(("CREATE", one))
    code, message = refused(lambda: zone(("DELETE", one | other)))
    assert code == "InvalidChangeBatch" and "do not match the current values" in message
    # Also where it was so once.
    zone(("UPSERT", one | other))
    assert "do not match" in refused(lambda: zone(("DELETE", one)))[1]


def test_a_batch_is_carried_out_as_a_whole_or_not_at_all(zone):
    one, two = record(zone.zone, "a"), record(zone.zone, "b")
    zone(("CREATE", one))
    assert "already exists" in refused(lambda: zone(("CREATE", two), ("CREATE", one)))[1]
    assert zone(("UPSERT", one)) == [one]
    assert zone(("DELETE", one), ("CREATE", two)) == [two]


def test_a_cname_stands_alone_and_texts_stand_in_quotes(zone):
    zone(("CREATE", record(zone.zone, "a", "CNAME", "b.example.com")))
    assert "conflicting RRSet of type CNAME" in refused(lambda: zone(("UPSERT", record(zone.zone, "a"))))[1]
    assert "quotation marks" in refused(lambda: zone(("CREATE", record(zone.zone, "t", "TXT", "bare"))))[1]
    assert "not permitted in zone" in refused(lambda: zone(("CREATE", record("other.example", "a"))))[1]
    weighted = {"SetIdentifier": "one", "Weight": 1}
    zone(("CREATE", record(zone.zone, "w", **weighted)))
    assert "other RRSets exist" in refused(lambda: zone(("CREATE", record(zone.zone, "w"))))[1]


def test_zones_are_listed_from_a_name_on_by_their_labels_from_the_right(route53):
    names = ["shop.test.", "a.shop.test.", "b.a.shop.test.", "shopping.test."]
    for name in reversed(names):
        route53.create_hosted_zone(Name=name, CallerReference=name)
    listed = route53.list_hosted_zones_by_name(DNSName="a.shop.test")
    assert [zone["Name"] for zone in listed["HostedZones"]] == names[1:]
    assert listed["IsTruncated"] is False


# The front itself


def test_faults_come_once_and_only_where_asked(sandbox, ec2):
    sandbox.control("emulator/refuse?action=DescribeInstances&code=RequestLimitExceeded&status=503")
    ec2.describe_security_groups()
    assert refused(ec2.describe_instances)[0] == "RequestLimitExceeded"
    ec2.describe_instances()


def test_an_address_needs_an_internet_gateway_and_the_default_vpc_has_one(ec2, launch):
    tables = ec2.describe_route_tables(Filters=[{"Name": "association.main", "Values": ["true"]}])["RouteTables"]
    assert any(route.get("GatewayId", "").startswith("igw-") for table in tables for route in table["Routes"])
    vpc = ec2.create_vpc(CidrBlock="10.11.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.11.0.0/24")["Subnet"]["SubnetId"]
    instance = launch(SubnetId=subnet)["InstanceId"]
    runs(ec2, instance)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    lead = {"AllocationId": address, "InstanceId": instance}
    assert refused(ec2.associate_address, **lead)[0] == "Gateway.NotAttached"
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.associate_address(**lead)
    ec2.disassociate_address(
        AssociationId=ec2.describe_addresses(AllocationIds=[address])["Addresses"][0]["AssociationId"]
    )
    ec2.release_address(AllocationId=address)


def test_an_association_may_be_with_a_profile_that_was_deleted(sandbox, ec2, iam, launch, profile):
    instance = launch()["InstanceId"]
    runs(ec2, instance)
    sandbox.control("emulator/recollect")
    made = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
    attached = until(lambda: associated(ec2, instance, profile))["IamInstanceProfileAssociation"]
    assert attached["IamInstanceProfile"]["Arn"] == made["Arn"]
    assert attached["IamInstanceProfile"]["Id"] != made["InstanceProfileId"]
    ec2.disassociate_iam_instance_profile(AssociationId=attached["AssociationId"])
    attached = until(lambda: associated(ec2, instance, profile))["IamInstanceProfileAssociation"]
    assert attached["IamInstanceProfile"]["Id"] == made["InstanceProfileId"]


def test_a_bucket_with_versions_is_not_empty_and_a_delete_leaves_them(sandbox):
    s3, bucket = sandbox.client("s3", "us-east-1"), f"bucket-{next(NUMBERS)}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="key", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="key")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert refused(s3.delete_bucket, Bucket=bucket)[0] == "BucketNotEmpty"
    listed = s3.list_object_versions(Bucket=bucket)
    found = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in listed["Versions"] + listed["DeleteMarkers"]]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": found})
    s3.delete_bucket(Bucket=bucket)
