"""IAM in the sandbox: the command line may do what `devopsctl policy` prints, an instance what its role allows."""

import json
import os
import subprocess

import pytest
from conftest import NUMBERS, OURS, TRUST, USER, associated, granted, permission_log, refused, until

# A harmless policy.
NOTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}]}
)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def tagged(*kinds, tags=OURS):
    return [{"ResourceType": kind, "Tags": tags} for kind in kinds]


@pytest.fixture
def make_group(ec2):
    """A security group of the administrator with these tags."""

    def make(tags):
        specification = {"TagSpecifications": tagged("security-group", tags=tags)} if tags else {}
        name = f"devopsctl-{next(NUMBERS)}"
        group = ec2.create_security_group(GroupName=name, Description="x", **specification)["GroupId"]
        until(lambda: granted(ec2.describe_security_groups, GroupIds=[group]))
        return group

    return make


@pytest.fixture
def launch(cli, make_group):
    """A launch with the command line's parameters, which a test can replace."""
    name = f"devopsctl-{next(NUMBERS)}"
    cli("ec2").import_key_pair(KeyName=name, PublicKeyMaterial=KEY, TagSpecifications=tagged("key-pair"))
    group = make_group(OURS)
    launched = []

    def launch(groups=(group,), **more):
        wanted = {
            "ImageId": newest_image(cli("ssm")),
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


def newest_image(ssm):
    return ssm.get_parameters(Names=["/aws/service/debian/release/13/latest/amd64"])["Parameters"][0]["Value"]


def forbidden(call, **arguments):
    """The message of EC2's error for a forbidden call."""
    code, message = refused(call, **arguments)
    assert code == "UnauthorizedOperation", message
    return message


# EC2


def test_tagged_resources_can_be_created_changed_and_deleted(sandbox, cli, ec2, launch):
    mine = cli("ec2")
    instance = launch()
    until(lambda: granted(mine.create_tags, Resources=[instance], Tags=[{"Key": "devopsctl:token", "Value": "1"}]))
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    address = mine.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"]
    association = mine.associate_address(AllocationId=address, InstanceId=instance)["AssociationId"]
    mine.disassociate_address(AssociationId=association)
    mine.release_address(AllocationId=address)
    call = next(call for call in reversed(permission_log(sandbox)) if call["action"] == "ec2:AssociateAddress")
    kinds = [check["resource"].split(":")[5].split("/")[0] for check in call["checks"]]
    assert kinds == ["elastic-ip", "instance", "network-interface"]
    assert all(check["by"] == ["Change"] for check in call["checks"])


def test_only_ssh_tags_of_an_instance_can_be_deleted(cli, launch):
    mine, instance = cli("ec2"), launch()
    ssh, name = {"Key": "devopsctl:ssh:abcd"}, {"Key": "devopsctl:name"}
    until(lambda: granted(mine.create_tags, Resources=[instance], Tags=[{**ssh, "Value": "x"}]))
    for tags in ([name], [ssh, name], []):
        assert "ec2:DeleteTags" in forbidden(mine.delete_tags, Resources=[instance], Tags=tags)
    mine.delete_tags(Resources=[instance], Tags=[ssh])
    left = mine.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["Tags"]
    assert left == OURS


def test_security_groups_of_others_cannot_be_changed(cli, make_group):
    mine, group = cli("ec2"), make_group([])
    message = forbidden(mine.delete_security_group, GroupId=group)
    arn = f"arn:aws:ec2:eu-west-1:123456789012:security-group/{group}"
    assert f"User: {USER} is not authorized to perform: ec2:DeleteSecurityGroup on resource: {arn}" in message
    forbidden(mine.authorize_security_group_ingress, GroupId=group, IpProtocol="tcp", FromPort=1, ToPort=1)
    # It cannot be tagged as our own either.
    forbidden(mine.create_tags, Resources=[group], Tags=OURS)
    ours = make_group(OURS)
    mine.delete_security_group(GroupId=ours)
    assert refused(mine.delete_security_group, GroupId=ours)[0] == "InvalidGroup.NotFound"


def test_resources_cannot_be_created_without_the_tag(cli, launch):
    mine = cli("ec2")
    forbidden(mine.create_security_group, GroupName="devopsctl-x", Description="x")
    forbidden(mine.import_key_pair, KeyName="devopsctl-x", PublicKeyMaterial=KEY)
    forbidden(mine.allocate_address, Domain="vpc")
    other = [{"Key": "Name", "Value": "devopsctl-x"}]
    forbidden(mine.allocate_address, Domain="vpc", TagSpecifications=tagged("elastic-ip", tags=other))
    assert "instance/*" in forbidden(launch, TagSpecifications=[])
    assert "volume/*" in forbidden(launch, TagSpecifications=tagged("instance", "network-interface"))
    assert "network-interface/*" in forbidden(launch, TagSpecifications=tagged("instance", "volume"))


def test_a_launch_cannot_use_resources_of_others(ec2, launch, make_group):
    assert "security-group/sg-" in forbidden(launch, groups=[make_group([])])
    # The default group of the VPC, which a launch without a group uses.
    forbidden(launch, NetworkInterfaces=[])
    ec2.import_key_pair(KeyName="foreign", PublicKeyMaterial=KEY)
    assert "key-pair/" in forbidden(launch, KeyName="foreign")
    ec2.delete_key_pair(KeyName="foreign")


def test_calls_outside_the_policy_are_refused(cli, ec2, launch):
    mine, instance = cli("ec2"), launch()
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    assert "ec2:RebootInstances" in forbidden(mine.reboot_instances, InstanceIds=[instance])
    assert "has no rule" in forbidden(mine.describe_vpcs)
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


def test_a_role_needs_the_tag(cli, iam):
    mine, name, trust = cli("iam"), f"devopsctl-{next(NUMBERS)}", json.dumps(TRUST)
    assert refused(mine.create_role, RoleName=name, AssumeRolePolicyDocument=trust)[0] == "AccessDenied"
    # A role of another owner with a name of this form.
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
    # It can be read.
    assert mine.get_role(RoleName=name)["Role"]["RoleName"] == name
    iam.tag_role(RoleName=name, Tags=OURS)
    until(lambda: granted(mine.put_role_policy, **put))
    mine.delete_role_policy(RoleName=name, PolicyName="x")
    mine.delete_role(RoleName=name)


def test_an_instance_profile_needs_the_tag(cli, iam):
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


def test_a_boundary_must_exist(iam):
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
    """The boundary, and the client of a user with the policy that `policy --boundary` prints."""
    name = f"bounded-{next(NUMBERS)}"
    boundary = iam.create_policy(PolicyName=name, PolicyDocument=NOTHING)["Policy"]["Arn"]
    command = [os.environ.get("DEVOPSCTL", "devopsctl"), "policy", "--account", "123456789012", "--boundary", boundary]
    policy = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    keys = {"access_key": keys["AccessKeyId"], "secret_key": keys["SecretAccessKey"]}
    return boundary, sandbox.client("iam", keys=keys)


def test_with_a_boundary_every_role_and_policy_needs_it(iam, bounded):
    boundary, mine = bounded
    trust, name = json.dumps(TRUST), f"devopsctl-{next(NUMBERS)}"
    looser = iam.create_policy(PolicyName=name, PolicyDocument=NOTHING)["Policy"]["Arn"]
    made = {"RoleName": name, "AssumeRolePolicyDocument": trust, "Tags": OURS}
    everything = json.dumps(TRUST | {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    put = {"RoleName": name, "PolicyName": "x", "PolicyDocument": everything}
    for more in ({}, {"PermissionsBoundary": looser}):
        assert refused(mine.create_role, **made, **more)[0] == "AccessDenied"
    # An existing role with the tag and without a boundary.
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


def test_new_tags_take_effect_after_a_delay(sandbox, cli):
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


def test_a_new_boundary_takes_effect_after_a_delay(sandbox, iam, bounded):
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


def test_a_missing_resource_has_no_tags(cli):
    """The error does not reveal whether the resource exists, unless the caller may read it."""
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


def test_only_tagged_roles_can_be_passed(sandbox, cli, iam, ec2, launch):
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
    call = permission_log(sandbox)[-1]
    assert [(check["action"], check["by"]) for check in call["checks"]] == [
        ("iam:AddRoleToInstanceProfile", ["Role"]),
        ("iam:PassRole", ["PassRole"]),
    ]
    # A profile with our name that contains a role of another owner.
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"admin-{number}")
    instance = launch()
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    profile = {"Name": name}
    assert "iam:PassRole" in forbidden(
        cli("ec2").associate_iam_instance_profile, InstanceId=instance, IamInstanceProfile=profile
    )


def test_an_instance_may_do_what_its_role_allows(sandbox, cli, ec2, iam, ssm, launch):
    """The policy has the form of the one that `up` creates."""
    name = f"devopsctl-{next(NUMBERS)}"
    parameters = "arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": f"{parameters}/mine/token"},
            {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": f"{parameters}/mine/report/*"},
            {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": f"{parameters}/mine/secrets"},
        ],
    }
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    for owner in ("mine", "theirs"):
        ssm.put_parameter(Name=f"/devopsctl/{owner}/token", Type="SecureString", Value=f"token of {owner}")
        ssm.put_parameter(Name=f"/devopsctl/{owner}/secrets/A", Type="SecureString", Value=f"secret of {owner}")
    instance = launch()
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    until(lambda: associated(cli("ec2"), instance, name))
    given = json.loads(sandbox.control(f"emulator/credentials?instance={instance}"))
    keys = {"access_key": given["AccessKeyId"], "secret_key": given["SecretAccessKey"], "token": given["Token"]}
    machine = sandbox.client("ssm", keys=keys)
    assert machine.get_parameter(Name="/devopsctl/mine/token", WithDecryption=True)["Parameter"]["Version"] == 1
    secrets = machine.get_parameters_by_path(Path="/devopsctl/mine/secrets", WithDecryption=True)["Parameters"]
    assert [one["Value"] for one in secrets] == ["secret of mine"]
    machine.put_parameter(Name=f"/devopsctl/mine/report/{instance}", Type="String", Value="well")
    code, message = refused(machine.get_parameter, Name="/devopsctl/theirs/token", WithDecryption=True)
    assert code == "AccessDeniedException"
    assert f"assumed-role/{name}/{instance} is not authorized to perform: ssm:GetParameter" in message
    for call, arguments in (
        (machine.put_parameter, {"Name": "/devopsctl/mine/token", "Type": "String", "Value": "x", "Overwrite": True}),
        (machine.get_parameters_by_path, {"Path": "/devopsctl/mine"}),
        (machine.get_parameters_by_path, {"Path": "/devopsctl/theirs/secrets"}),
        (machine.get_parameter, {"Name": "/devopsctl/mine/secrets/A"}),
    ):
        assert refused(call, **arguments)[0] == "AccessDeniedException"
    # A boundary grants nothing and limits the role's permissions, also if the boundary's policy is deleted.
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
    # Without the session token, and after the role is deleted, the keys are useless.
    assert refused(sandbox.client("ssm", keys=keys | {"token": None}).get_parameter, Name="x")[0] == (
        "UnrecognizedClientException"
    )
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.delete_role_policy(RoleName=name, PolicyName=name)
    iam.delete_role(RoleName=name)
    assert refused(machine.get_parameter, Name="/devopsctl/mine/token")[0] == "AccessDeniedException"
