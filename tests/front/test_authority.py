"""The sandbox enforces IAM: the command line's user may do what `devopsctl policy` prints, an instance what its role
says, and nobody what is not signed."""

import itertools
import json
import os
import subprocess
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError
from conftest import SLOW, associated, granted, refused, until

NUMBERS = itertools.count()
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
}
# A policy that allows no harm.
NOTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}]}
)
OURS = [{"Key": "devopsctl:name", "Value": "hello"}]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
USER = "arn:aws:iam::123456789012:user/devopsctl"


def tagged(*kinds, tags=OURS):
    return [{"ResourceType": kind, "Tags": tags} for kind in kinds]


@pytest.fixture
def cli(sandbox):
    """Clients of the command line's user."""
    return lambda service, region="eu-west-1": sandbox.client(service, region, sandbox.handle)


@pytest.fixture
def make_group(ec2):
    """A security group that the administrator made, with these tags."""

    def make(tags):
        specification = {"TagSpecifications": tagged("security-group", tags=tags)} if tags else {}
        name = f"devopsctl-{next(NUMBERS)}"
        group = ec2.create_security_group(GroupName=name, Description="x", **specification)["GroupId"]
        until(lambda: granted(ec2.describe_security_groups, GroupIds=[group]))
        return group

    return make


@pytest.fixture
def launch(cli, make_group):
    """A launch as the command line asks for it, with what a test leaves out or changes."""
    name = f"devopsctl-{next(NUMBERS)}"
    cli("ec2").import_key_pair(KeyName=name, PublicKeyMaterial=KEY, TagSpecifications=tagged("key-pair"))
    group = make_group(OURS)
    launched = []

    def launch(groups=(group,), **more):
        wanted = {
            "ImageId": image(cli("ssm")),
            "InstanceType": "t3.micro",
            "KeyName": name,
            "MinCount": 1,
            "MaxCount": 1,
            "NetworkInterfaces": [{"DeviceIndex": 0, "AssociatePublicIpAddress": True, "Groups": list(groups)}],
            "TagSpecifications": tagged("instance", "volume", "network-interface"),
            **more,
        }
        instance = cli("ec2").run_instances(**wanted)["Instances"][0]["InstanceId"]
        launched.append(instance)
        return instance

    yield launch
    for instance in launched:
        until(lambda instance=instance: granted(cli("ec2").terminate_instances, InstanceIds=[instance]))
    cli("ec2").delete_key_pair(KeyName=name)


def image(ssm):
    return ssm.get_parameters(Names=["/aws/service/debian/release/13/latest/amd64"])["Parameters"][0]["Value"]


def forbidden(call, **arguments):
    """The message with which EC2 refuses what is not allowed."""
    code, message = refused(call, **arguments)
    assert code == "UnauthorizedOperation", message
    return message


def noted(sandbox):
    return [json.loads(line) for line in (sandbox.folder / "authority.log").read_text().splitlines()]


# EC2


def test_what_is_ours_can_be_made_changed_and_removed(sandbox, cli, ec2, launch):
    mine = cli("ec2")
    instance = launch()
    until(lambda: granted(mine.create_tags, Resources=[instance], Tags=[{"Key": "devopsctl:token", "Value": "1"}]))
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    address = mine.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"]
    association = mine.associate_address(AllocationId=address, InstanceId=instance)["AssociationId"]
    mine.disassociate_address(AssociationId=association)
    mine.release_address(AllocationId=address)
    call = next(call for call in reversed(noted(sandbox)) if call["action"] == "ec2:AssociateAddress")
    kinds = [check["resource"].split(":")[5].split("/")[0] for check in call["checks"]]
    assert kinds == ["elastic-ip", "instance", "network-interface"]
    assert all(check["by"] == ["Change"] for check in call["checks"])


def test_of_all_tags_only_those_of_an_ssh_can_be_taken_away(cli, launch):
    mine, instance = cli("ec2"), launch()
    ssh, name = {"Key": "devopsctl:ssh:abcd"}, {"Key": "devopsctl:name"}
    until(lambda: granted(mine.create_tags, Resources=[instance], Tags=[{**ssh, "Value": "x"}]))
    for tags in ([name], [ssh, name], []):
        assert "ec2:DeleteTags" in forbidden(mine.delete_tags, Resources=[instance], Tags=tags)
    mine.delete_tags(Resources=[instance], Tags=[ssh])
    left = mine.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["Tags"]
    assert left == OURS


def test_a_group_of_others_stays_as_it_is(cli, make_group):
    mine, group = cli("ec2"), make_group([])
    message = forbidden(mine.delete_security_group, GroupId=group)
    arn = f"arn:aws:ec2:eu-west-1:123456789012:security-group/{group}"
    assert f"User: {USER} is not authorized to perform: ec2:DeleteSecurityGroup on resource: {arn}" in message
    forbidden(mine.authorize_security_group_ingress, GroupId=group, IpProtocol="tcp", FromPort=1, ToPort=1)
    # Nor can it be made ours.
    forbidden(mine.create_tags, Resources=[group], Tags=OURS)
    ours = make_group(OURS)
    mine.delete_security_group(GroupId=ours)
    assert refused(mine.delete_security_group, GroupId=ours)[0] == "InvalidGroup.NotFound"


def test_what_is_made_without_our_tag_is_refused(cli, launch):
    mine = cli("ec2")
    forbidden(mine.create_security_group, GroupName="devopsctl-x", Description="x")
    forbidden(mine.import_key_pair, KeyName="devopsctl-x", PublicKeyMaterial=KEY)
    forbidden(mine.allocate_address, Domain="vpc")
    other = [{"Key": "Name", "Value": "devopsctl-x"}]
    forbidden(mine.allocate_address, Domain="vpc", TagSpecifications=tagged("elastic-ip", tags=other))
    assert "instance/*" in forbidden(launch, TagSpecifications=[])
    assert "volume/*" in forbidden(launch, TagSpecifications=tagged("instance", "network-interface"))
    assert "network-interface/*" in forbidden(launch, TagSpecifications=tagged("instance", "volume"))


def test_a_launch_takes_nothing_of_others(ec2, launch, make_group):
    assert "security-group/sg-" in forbidden(launch, groups=[make_group([])])
    # The VPC's own group, which it would be in if none were named.
    forbidden(launch, NetworkInterfaces=[])
    ec2.import_key_pair(KeyName="somebody", PublicKeyMaterial=KEY)
    assert "key-pair/" in forbidden(launch, KeyName="somebody")
    ec2.delete_key_pair(KeyName="somebody")


def test_a_call_that_is_not_in_the_policy_is_refused(cli, ec2, launch):
    mine, instance = cli("ec2"), launch()
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    assert "ec2:StopInstances" in forbidden(mine.stop_instances, InstanceIds=[instance])
    assert "does not know" in forbidden(mine.describe_vpcs)
    assert ec2.describe_vpcs()["Vpcs"]


# IAM


def test_roles_of_other_names_are_refused(cli):
    iam, trust = cli("iam"), json.dumps(TRUST)
    code, message = refused(iam.create_role, RoleName="admin", AssumeRolePolicyDocument=trust)
    assert code == "AccessDenied"
    assert "iam:CreateRole on resource: arn:aws:iam::123456789012:role/admin" in message
    assert refused(iam.create_instance_profile, InstanceProfileName="admin")[0] == "AccessDenied"
    # A path is part of the name.
    other = {"RoleName": "devopsctl-x", "Path": "/team/", "AssumeRolePolicyDocument": trust}
    assert refused(iam.create_role, **other)[0] == "AccessDenied"
    assert refused(iam.attach_role_policy, RoleName="devopsctl-x", PolicyArn="arn:aws:iam::aws:policy/x")[0] == (
        "AccessDenied"
    )


def test_a_role_is_made_and_changed_with_our_tag_alone(cli, iam):
    mine, name, trust = cli("iam"), f"devopsctl-{next(NUMBERS)}", json.dumps(TRUST)
    assert refused(mine.create_role, RoleName=name, AssumeRolePolicyDocument=trust)[0] == "AccessDenied"
    # A role of the company's own that happens to have such a name.
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    put = {"RoleName": name, "PolicyName": "x", "PolicyDocument": NOTHING}
    calls = (
        (mine.put_role_policy, put),
        (mine.tag_role, {"RoleName": name, "Tags": [{"Key": "team", "Value": "web"}]}),
        (mine.delete_role_policy, {"RoleName": name, "PolicyName": "x"}),
        (mine.detach_role_policy, {"RoleName": name, "PolicyArn": "arn:aws:iam::aws:policy/x"}),
        (mine.delete_role, {"RoleName": name}),
    )
    for call, arguments in calls:
        assert refused(call, **arguments)[0] == "AccessDenied", call
    # That it is there can be seen.
    assert mine.get_role(RoleName=name)["Role"]["RoleName"] == name
    iam.tag_role(RoleName=name, Tags=OURS)
    until(lambda: granted(mine.put_role_policy, **put))
    mine.delete_role_policy(RoleName=name, PolicyName="x")
    mine.delete_role(RoleName=name)


def test_a_profile_is_made_and_changed_with_our_tag_alone(cli, iam):
    mine, name = cli("iam"), f"devopsctl-{next(NUMBERS)}"
    assert refused(mine.create_instance_profile, InstanceProfileName=name)[0] == "AccessDenied"
    iam.create_instance_profile(InstanceProfileName=name)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=OURS)
    both = {"InstanceProfileName": name, "RoleName": name}
    for call, arguments in (
        (mine.add_role_to_instance_profile, both),
        (mine.remove_role_from_instance_profile, both),
        (mine.tag_instance_profile, {"InstanceProfileName": name, "Tags": [{"Key": "team", "Value": "web"}]}),
        (mine.delete_instance_profile, {"InstanceProfileName": name}),
    ):
        assert refused(call, **arguments)[0] == "AccessDenied", call
    iam.tag_instance_profile(InstanceProfileName=name, Tags=OURS)
    until(lambda: granted(mine.add_role_to_instance_profile, **both))
    mine.remove_role_from_instance_profile(**both)
    mine.delete_instance_profile(InstanceProfileName=name)
    until(lambda: granted(mine.delete_role, RoleName=name))


def test_a_boundary_must_be_there(iam):
    trust, name = json.dumps(TRUST), f"devopsctl-{next(NUMBERS)}"
    nowhere = "arn:aws:iam::123456789012:policy/nowhere"
    made = {"RoleName": name, "AssumeRolePolicyDocument": trust}
    refusal = refused(iam.create_role, **made, PermissionsBoundary=nowhere)
    assert refusal == ("NoSuchEntity", f"Scope ARN: {nowhere} does not exist or is not attachable.")
    iam.create_role(**made)
    assert refused(iam.put_role_permissions_boundary, RoleName=name, PermissionsBoundary=nowhere)[0] == "NoSuchEntity"
    iam.delete_role(RoleName=name)


@pytest.fixture
def bounded(sandbox, iam):
    """The boundary, and a client of a user who has what `policy --boundary` prints."""
    name = f"bounded-{next(NUMBERS)}"
    boundary = iam.create_policy(PolicyName=name, PolicyDocument=NOTHING)["Policy"]["Arn"]
    command = [os.environ.get("DEVOPSCTL", "devopsctl"), "policy", "--account", "123456789012", "--boundary", boundary]
    policy = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    keys = {"access_key": keys["AccessKeyId"], "secret_key": keys["SecretAccessKey"]}
    return boundary, sandbox.client("iam", keys=keys)


def test_with_a_boundary_no_role_is_made_or_given_rights_without_it(iam, bounded):
    boundary, mine = bounded
    trust, name = json.dumps(TRUST), f"devopsctl-{next(NUMBERS)}"
    looser = iam.create_policy(PolicyName=name, PolicyDocument=NOTHING)["Policy"]["Arn"]
    made = {"RoleName": name, "AssumeRolePolicyDocument": trust, "Tags": OURS}
    everything = json.dumps(TRUST | {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    put = {"RoleName": name, "PolicyName": "x", "PolicyDocument": everything}
    for more in ({}, {"PermissionsBoundary": looser}):
        assert refused(mine.create_role, **made, **more)[0] == "AccessDenied"
    # A role from before, with the tag and without a boundary.
    iam.create_role(**made)
    until(lambda: granted(mine.tag_role, RoleName=name, Tags=[{"Key": "team", "Value": "web"}]))
    assert refused(mine.put_role_policy, **put)[0] == "AccessDenied"
    for call in (mine.put_role_permissions_boundary, mine.delete_role_permissions_boundary):
        arguments = {"PermissionsBoundary": looser} if call == mine.put_role_permissions_boundary else {}
        assert refused(call, RoleName=name, **arguments)[0] == "AccessDenied"
    mine.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=boundary)
    until(lambda: granted(mine.put_role_policy, **put))
    code, message = refused(mine.delete_role_permissions_boundary, RoleName=name)
    assert code == "AccessDenied" and "no identity-based policy allows the iam:DeleteRolePermissionsBoundary" in message
    mine.delete_role_policy(RoleName=name, PolicyName="x")
    mine.delete_role(RoleName=name)
    mine.create_role(**made, PermissionsBoundary=boundary)
    until(lambda: granted(mine.put_role_policy, **put))


def test_the_tags_of_what_is_new_count_after_a_while(sandbox, cli):
    mine, name = cli("iam"), f"devopsctl-{next(NUMBERS)}"
    put = {"RoleName": name, "PolicyName": "x", "PolicyDocument": NOTHING}
    join = {"InstanceProfileName": name, "RoleName": name}
    with sandbox.delays(role=2):
        mine.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=OURS)
        assert refused(mine.put_role_policy, **put)[0] == "AccessDenied"
        until(lambda: granted(mine.put_role_policy, **put))
        mine.create_instance_profile(InstanceProfileName=name, Tags=OURS)
        assert refused(mine.add_role_to_instance_profile, **join)[0] == "AccessDenied"
        until(lambda: granted(mine.add_role_to_instance_profile, **join))
    mine.remove_role_from_instance_profile(**join)
    mine.delete_instance_profile(InstanceProfileName=name)
    mine.delete_role_policy(RoleName=name, PolicyName="x")
    mine.delete_role(RoleName=name)


def test_a_new_boundary_counts_after_a_while(sandbox, iam, bounded):
    boundary, mine = bounded
    name = f"devopsctl-{next(NUMBERS)}"
    put = {"RoleName": name, "PolicyName": "x", "PolicyDocument": NOTHING}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=OURS)
    with sandbox.delays(role=2):
        until(lambda: granted(mine.put_role_permissions_boundary, RoleName=name, PermissionsBoundary=boundary))
        assert refused(mine.put_role_policy, **put)[0] == "AccessDenied"
        until(lambda: granted(mine.put_role_policy, **put))
    mine.delete_role_policy(RoleName=name, PolicyName="x")
    mine.delete_role(RoleName=name)


def test_of_what_is_gone_a_policy_of_tags_says_nothing(cli):
    """AWS refuses without a word on whether it is there; who may look is told."""
    mine, role, profile = cli("iam"), {"RoleName": "devopsctl-gone"}, {"InstanceProfileName": "devopsctl-gone"}
    for call, arguments in (
        (mine.delete_role, role),
        (mine.delete_role_policy, role | {"PolicyName": "x"}),
        (mine.put_role_policy, role | {"PolicyName": "x", "PolicyDocument": NOTHING}),
        (mine.delete_instance_profile, profile),
        (mine.remove_role_from_instance_profile, role | profile),
    ):
        assert refused(call, **arguments)[0] == "AccessDenied", call
    for call, arguments in ((mine.get_role, role), (mine.get_instance_profile, profile)):
        assert refused(call, **arguments)[0] == "NoSuchEntity"


def test_only_our_own_role_is_passed(sandbox, cli, iam, ec2, launch):
    name, number = f"devopsctl-{next(NUMBERS)}", next(NUMBERS)
    iam.create_role(RoleName=f"admin-{number}", AssumeRolePolicyDocument=json.dumps(TRUST))
    mine = cli("iam")
    mine.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=OURS)
    mine.create_instance_profile(InstanceProfileName=name, Tags=OURS)
    tag = {"InstanceProfileName": name, "Tags": [{"Key": "team", "Value": "web"}]}
    until(lambda: granted(mine.tag_instance_profile, **tag))
    code, message = refused(mine.add_role_to_instance_profile, InstanceProfileName=name, RoleName=f"admin-{number}")
    assert code == "AccessDenied" and f"iam:PassRole on resource: arn:aws:iam::123456789012:role/admin-{number}" in (
        message
    )
    until(lambda: granted(mine.add_role_to_instance_profile, InstanceProfileName=name, RoleName=name))
    call = noted(sandbox)[-1]
    assert [(check["action"], check["by"]) for check in call["checks"]] == [
        ("iam:AddRoleToInstanceProfile", ["Role"]),
        ("iam:PassRole", ["PassRole"]),
    ]
    # A profile of our name that somebody else has put his role into.
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"admin-{number}")
    instance = launch()
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    profile = {"Name": name}
    assert "iam:PassRole" in forbidden(
        cli("ec2").associate_iam_instance_profile, InstanceId=instance, IamInstanceProfile=profile
    )


# SSM and S3


def test_parameters_of_others_are_refused(cli, ssm):
    mine = cli("ssm")
    ssm.put_parameter(Name="/other/token", Type="String", Value="x")
    mine.put_parameter(Name="/devopsctl/a/token", Type="SecureString", Value="x", Tags=OURS)
    assert mine.get_parameter(Name="/devopsctl/a/token")["Parameter"]["Version"] == 1
    for call, arguments in (
        (mine.get_parameter, {"Name": "/other/token"}),
        (mine.get_parameters, {"Names": ["/devopsctl/a/token", "/other/token"]}),
        (mine.put_parameter, {"Name": "/other/new", "Type": "String", "Value": "x"}),
        (mine.get_parameters_by_path, {"Path": "/"}),
        (mine.delete_parameter, {"Name": "/other/token"}),
        (mine.describe_parameters, {}),
    ):
        code, message = refused(call, **arguments)
        assert code == "AccessDeniedException" and f"User: {USER} is not authorized" in message


def test_what_a_buckets_policy_denies_nobody_may(s3):
    """Neither the administrator, who may do everything else."""
    bucket = "devopsctl-of-a-policy"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for key in ("hello/certificates.json", "hello/other.json"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*/c*"}
    roles = "arn:aws:iam::123456789012:role/devopsctl-*"
    deny["Condition"] = {"StringNotLike": {"aws:PrincipalArn": roles}}
    clear = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    clear["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}
    policy = {"Version": "2012-10-17", "Statement": [deny, clear]}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    code, message = refused(s3.get_object, Bucket=bucket, Key="hello/certificates.json")
    assert code == "AccessDenied" and "resource-based policy" in message
    assert s3.get_object(Bucket=bucket, Key="hello/other.json")["Body"].read() == b"x"
    s3.put_object(Bucket=bucket, Key="hello/certificates.json", Body=b"y")


def test_buckets_of_other_accounts_are_refused(cli, s3):
    mine = cli("s3", "us-east-1")
    for bucket in ("devopsctl-999999999999-us-east-1-an", "somebody"):
        assert refused(mine.create_bucket, Bucket=bucket)[0] == "AccessDenied"
        assert refused(mine.put_object, Bucket=bucket, Key="a", Body=b"x")[0] == "AccessDenied"
    bucket = "devopsctl-123456789012-us-east-1-an"
    until(lambda: granted(mine.create_bucket, Bucket=bucket))
    key = "a/releases/with space+plus=ä.gz"
    mine.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [one["Key"] for one in mine.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]] == [key]
    # The notes on a release are read with the right to read it, and logs are for people; what else is there is the instance's.
    assert mine.head_object(Bucket=bucket, Key=key)["ContentLength"] == 1
    for kept, read in (("a/logs/x", True), ("a/certificates.json", False)):
        mine.put_object(Bucket=bucket, Key=kept, Body=b"x")
        assert bool(granted(mine.get_object, Bucket=bucket, Key=kept)) == read
        mine.delete_object(Bucket=bucket, Key=kept)
    assert refused(mine.head_object, Bucket=bucket, Key="a/certificates.json")[0] == "403"
    assert refused(mine.get_object_acl, Bucket=bucket, Key=key)[0] == "AccessDenied"
    assert refused(mine.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})[0] == (
        "AccessDenied"
    )
    assert refused(mine.list_buckets)[0] == "AccessDenied"
    assert [one["Key"] for one in mine.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})["Deleted"]]
    mine.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket="somebody", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="somebody", Key="a", Body=b"x")
    kept = mine.delete_objects(Bucket="somebody", Delete={"Objects": [{"Key": "a"}]})
    assert [(one["Key"], one["Code"]) for one in kept["Errors"]] == [("a", "AccessDenied")]


# Route 53


def test_only_records_with_a_mark_are_changed(cli, route53):
    zone = route53.create_hosted_zone(Name="marked.example", CallerReference="marked")["HostedZone"]["Id"]
    mine = cli("route53")

    def send(*sets, by=mine):
        values = {"A": "192.0.2.1", "TXT": '"x"', "MX": "1 a.example"}
        changes = [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": {
                    "Name": f"{name}.marked.example",
                    "Type": kind,
                    "TTL": 60,
                    "ResourceRecords": [{"Value": values[kind]}],
                },
            }
            for name, kind in sets
        ]
        return by.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": changes})

    for sets in ([("a", "A")], [("a", "MX"), ("_devopsctl.a", "TXT")], [("x_devopsctl.a", "TXT")]):
        code, message = refused(lambda sets=sets: send(*sets))
        assert code == "AccessDenied" and "route53:ChangeResourceRecordSets on resource: arn:aws:route53:::" in message
        send(*sets, by=route53)
    send(("a", "A"), ("_devopsctl.a", "TXT"))
    assert mine.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert mine.list_hosted_zones_by_name()["HostedZones"]
    assert refused(mine.list_hosted_zones)[0] == "AccessDenied"
    assert refused(mine.create_hosted_zone, Name="b.example", CallerReference="b")[0] == "AccessDenied"


# Who calls


@pytest.mark.parametrize(
    ("service", "call", "tampered", "unknown"),
    [
        ("ec2", "describe_instances", "AuthFailure", "AuthFailure"),
        ("freetier", "get_account_plan_state", "InvalidSignatureException", "UnrecognizedClientException"),
        ("iam", "list_users", "SignatureDoesNotMatch", "InvalidClientTokenId"),
        ("route53", "list_hosted_zones_by_name", "SignatureDoesNotMatch", "InvalidClientTokenId"),
        ("s3", "list_buckets", "SignatureDoesNotMatch", "InvalidAccessKeyId"),
        ("service-quotas", "list_services", "InvalidSignatureException", "UnrecognizedClientException"),
        ("ssm", "describe_parameters", "InvalidSignatureException", "UnrecognizedClientException"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch", "InvalidClientTokenId"),
    ],
)
def test_who_has_not_signed_is_refused(sandbox, service, call, tampered, unknown):
    keys = sandbox.handle["administrator"]
    for wrong, code in (({"secret_key": "x" * 40}, tampered), ({"access_key": "AKIA0000000000000000"}, unknown)):
        assert refused(getattr(sandbox.client(service, keys=keys | wrong), call))[0] == code


def test_a_call_that_was_changed_on_its_way_is_refused(sandbox, cli):
    client = cli("ec2")

    def change(request, **_):
        request.body = request.body.replace("hello", "other")

    client.meta.events.register("before-send.ec2.DescribeKeyPairs", change)
    assert refused(client.describe_key_pairs, Filters=[{"Name": "key-name", "Values": ["hello"]}])[0] == "AuthFailure"
    assert client.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["another"]}])["KeyPairs"] == []


def test_a_body_that_was_changed_on_its_way_is_refused(cli):
    client, bucket = cli("s3", "us-east-1"), "devopsctl-123456789012-us-east-1-an"
    # The name of a bucket that was just deleted rests for a while.
    until(lambda: granted(client.create_bucket, Bucket=bucket))

    def change(request, **_):
        request.body = b"other"

    client.meta.events.register("before-send.s3.PutBucketPolicy", change)
    assert refused(client.put_bucket_policy, Bucket=bucket, Policy="hello")[0] == "XAmzContentSHA256Mismatch"
    client.delete_bucket(Bucket=bucket)


def test_a_call_without_a_signature_is_refused(sandbox):
    request = urllib.request.Request(f"{sandbox.endpoint}/somebodys-bucket/key")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request, timeout=SLOW)
    assert refusal.value.code == 403


def test_an_instance_may_do_what_its_role_says(sandbox, cli, ec2, iam, ssm, launch):
    """With a policy of the form that `up` gives it."""
    name = f"devopsctl-{next(NUMBERS)}"
    parameters = "arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": f"{parameters}/mine/token"},
            {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": f"{parameters}/mine/report/*"},
        ],
    }
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    for owner in ("mine", "theirs"):
        ssm.put_parameter(Name=f"/devopsctl/{owner}/token", Type="SecureString", Value=f"token of {owner}")
    instance = launch()
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    until(lambda: associated(cli("ec2"), instance, name))
    given = json.loads(sandbox.control(f"emulator/credentials?instance={instance}"))
    keys = {"access_key": given["AccessKeyId"], "secret_key": given["SecretAccessKey"], "token": given["Token"]}
    machine = sandbox.client("ssm", keys=keys)
    assert machine.get_parameter(Name="/devopsctl/mine/token", WithDecryption=True)["Parameter"]["Version"] == 1
    machine.put_parameter(Name=f"/devopsctl/mine/report/{instance}", Type="String", Value="well")
    code, message = refused(machine.get_parameter, Name="/devopsctl/theirs/token", WithDecryption=True)
    assert code == "AccessDeniedException"
    assert f"assumed-role/{name}/{instance} is not authorized to perform: ssm:GetParameter" in message
    for call, arguments in (
        (machine.put_parameter, {"Name": "/devopsctl/mine/token", "Type": "String", "Value": "x", "Overwrite": True}),
        (machine.get_parameters_by_path, {"Path": "/devopsctl/mine"}),
    ):
        assert refused(call, **arguments)[0] == "AccessDeniedException"
    # A boundary grants nothing, and takes away what it does not allow; also where the policy of it is gone.
    reports = json.dumps({"Version": "2012-10-17", "Statement": [policy["Statement"][1]]})
    boundary = iam.create_policy(PolicyName=name, PolicyDocument=reports)["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=boundary)
    code, message = refused(machine.get_parameter, Name="/devopsctl/mine/token", WithDecryption=True)
    assert code == "AccessDeniedException" and "no permissions boundary allows the ssm:GetParameter" in message
    report = {"Name": f"/devopsctl/mine/report/{instance}", "Type": "String", "Value": "well", "Overwrite": True}
    machine.put_parameter(**report)
    iam.delete_role_policy(RoleName=name, PolicyName=name)
    assert refused(machine.put_parameter, **report)[0] == "AccessDeniedException"
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    iam.delete_policy(PolicyArn=boundary)
    assert refused(machine.put_parameter, **report)[0] == "AccessDeniedException"
    # Without the session's token, and after the role is gone, they open nothing.
    assert refused(sandbox.client("ssm", keys=keys | {"token": None}).get_parameter, Name="x")[0] == (
        "UnrecognizedClientException"
    )
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.delete_role_policy(RoleName=name, PolicyName=name)
    iam.delete_role(RoleName=name)
    assert refused(machine.get_parameter, Name="/devopsctl/mine/token")[0] == "AccessDeniedException"


def test_what_was_allowed_is_noted_without_values(sandbox, cli):
    cli("ssm").put_parameter(Name="/devopsctl/b/token", Type="SecureString", Value="nobody-must-see-this", Tags=OURS)
    with pytest.raises(ClientError):
        cli("ssm").get_parameter(Name="/other/b/token")
    text = (sandbox.folder / "authority.log").read_text()
    assert "nobody-must-see-this" not in text and "/other/b/token" not in text
    arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl/b/token"
    assert noted(sandbox)[-1] == {
        "action": "ssm:PutParameter",
        "checks": [
            {"action": "ssm:PutParameter", "resource": arn, "by": ["Parameters"]},
            {"action": "ssm:AddTagsToResource", "resource": arn, "by": ["Parameters"]},
        ],
    }


def test_everybody_may_ask_who_he_is(cli):
    assert cli("sts").get_caller_identity()["Arn"] == USER


def test_a_signature_of_another_time_is_refused_by_each_service_in_its_own_words(sandbox):
    calls = {
        "ec2": ("describe_instances", "RequestExpired"),
        "iam": ("list_users", "SignatureDoesNotMatch"),
        "s3": ("list_buckets", "RequestTimeTooSkewed"),
        "ssm": ("describe_parameters", "InvalidSignatureException"),
        "sts": ("get_caller_identity", "SignatureDoesNotMatch"),
    }
    try:
        for ahead in (1000, -1000):
            sandbox.control(f"emulator/clock?ahead={ahead}")
            for service, (call, code) in calls.items():
                # botocore's S3 sets its own clock right by the first refusal.
                client = sandbox.client(service)
                assert refused(getattr(client, call))[0] == code, service
        # S3 takes a quarter of an hour, the others five minutes.
        sandbox.control("emulator/clock?ahead=600")
        sandbox.client("s3").list_buckets()
        assert refused(sandbox.client("sts").get_caller_identity)[0] == "SignatureDoesNotMatch"
    finally:
        sandbox.control("emulator/clock?ahead=0")
    sandbox.client("sts").get_caller_identity()
