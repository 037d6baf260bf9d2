"""Sessions of roles in the sandbox: trust policies, their delay, and the policies of a role."""

import json

import pytest
from conftest import NUMBERS, granted, refused, until

ACCOUNT = "arn:aws:iam::123456789012:root"
OBJECTS = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::*/*"}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(principal=ACCOUNT, **condition):
    allowed = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}
    return document(allowed | ({"Condition": condition} if condition else {}))


@pytest.fixture
def make_role(iam):
    """Creates a role with these statements -> its ARN."""

    def make(trusted, *statements):
        name = f"session-{next(NUMBERS)}"
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusted)["Role"]["Arn"]
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=document(*statements))
        return arn

    return make


def name_of(arn):
    return arn.rpartition("/")[2]


def assumed(client, arn, **more):
    """The keys of a session, once the role is known."""
    wanted = {"RoleArn": arn, "RoleSessionName": "a-session", **more}
    found = until(lambda: granted(client.assume_role, **wanted))["Credentials"]
    return {"access_key": found["AccessKeyId"], "secret_key": found["SecretAccessKey"], "token": found["SessionToken"]}


def test_only_a_trusted_caller_with_the_permission_gets_a_session(sandbox, cli, iam, make_role):
    first = make_role(trust())
    session = {"RoleSessionName": "a-session"}
    by = {"aws:PrincipalArn": first}
    app = make_role(trust(ArnEquals=by), OBJECTS)
    sts = sandbox.client("sts")
    agent = sandbox.client("sts", keys=assumed(sts, first))
    # The trust policy alone is not enough, because it names the account.
    code, message = refused(agent.assume_role, RoleArn=app, **session)
    assert code == "AccessDenied" and f"not authorized to perform: sts:AssumeRole on resource: {app}" in message
    allowed = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": app}
    iam.put_role_policy(RoleName=name_of(first), PolicyName="x", PolicyDocument=document(allowed))
    keys = assumed(agent, app)
    # Neither are all permissions enough without the trust policy.
    for caller in (sts, cli("sts")):
        assert refused(caller.assume_role, RoleArn=app, **session)[0] == "AccessDenied"
    for unknown in (app + "x", "arn:aws:iam::999999999999:role/x"):
        assert refused(sts.assume_role, RoleArn=unknown, **session)[0] == "AccessDenied"
    who = sandbox.client("sts", keys=keys).get_caller_identity()["Arn"]
    assert who == f"arn:aws:sts::123456789012:assumed-role/{name_of(app)}/a-session"
    # The session has the role's permissions and no others, as they are at each call.
    bucket, admin, mine = f"bucket-{next(NUMBERS)}", sandbox.client("s3"), sandbox.client("s3", keys=keys)
    admin.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    mine.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert mine.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    assert refused(mine.delete_object, Bucket=bucket, Key="a")[0] == "AccessDenied"
    assert refused(sandbox.client("ssm", keys=keys).get_parameter, Name="x")[0] == "AccessDeniedException"
    iam.delete_role_policy(RoleName=name_of(app), PolicyName=name_of(app))
    assert refused(mine.get_object, Bucket=bucket, Key="a")[0] == "AccessDenied"


@pytest.mark.parametrize(
    "trusted",
    [
        document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}),
        trust(ArnEquals={"aws:PrincipalArn": "arn:aws:iam::123456789012:role/another"}),
        document(*json.loads(trust())["Statement"], {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}),
    ],
)
def test_others_are_not_trusted(sandbox, make_role, trusted):
    with sandbox.delays(role=0):
        arn = make_role(trusted)
        call = sandbox.client("sts").assume_role
        assert refused(call, RoleArn=arn, RoleSessionName="a-session")[0] == "AccessDenied"


def test_a_trust_policy_takes_effect_after_a_delay(sandbox, iam, make_role):
    sts = sandbox.client("sts")
    with sandbox.delays(role=2):
        arn = make_role(trust())
        wanted = {"RoleArn": arn, "RoleSessionName": "a-session"}
        assert refused(sts.assume_role, **wanted)[0] == "AccessDenied"
        until(lambda: granted(sts.assume_role, **wanted))
        other = trust(ArnEquals={"aws:PrincipalArn": "arn:aws:iam::123456789012:role/another"})
        iam.update_assume_role_policy(RoleName=name_of(arn), PolicyDocument=other)
        assert sts.assume_role(**wanted)["Credentials"]
        until(lambda: not granted(sts.assume_role, **wanted))


def test_a_session_of_a_session_lasts_an_hour(sandbox, make_role):
    first = make_role(trust(), {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"})
    second = make_role(trust())
    chained = sandbox.client("sts", keys=assumed(sandbox.client("sts"), first))
    assumed(chained, second, DurationSeconds=3600)
    wanted = {"RoleArn": second, "RoleSessionName": "a-session"}
    for more, words in (
        ({"DurationSeconds": 3601}, "exceeds the 1 hour session limit for roles assumed by role chaining"),
        ({"RoleSessionName": "a b"}, "roleSessionName"),
        ({"Policy": document(OBJECTS)}, "does not support policies of a session"),
    ):
        code, message = refused(chained.assume_role, **wanted | more)
        assert code == "ValidationError" and words in message
    assert "MaxSessionDuration" in refused(sandbox.client("sts").assume_role, **wanted, DurationSeconds=7200)[1]


def test_the_policies_of_a_role_are_limited(iam, make_role):
    name = name_of(make_role(trust()))
    for number in range(10):
        arn = iam.create_policy(PolicyName=f"{name}-{number}", PolicyDocument=document(OBJECTS))["Policy"]["Arn"]
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    one_more = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    refusal = refused(iam.attach_role_policy, RoleName=name, PolicyArn=one_more)
    assert refusal == ("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10")
    assert refused(iam.delete_role, RoleName=name)[0] == "DeleteConflict"
    iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    assert refused(iam.detach_role_policy, RoleName=name, PolicyArn=arn)[0] == "NoSuchEntity"
    iam.attach_role_policy(RoleName=name, PolicyArn=one_more)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert len(attached) == 10 and one_more in [policy["PolicyArn"] for policy in attached]
    unknown = "arn:aws:iam::aws:policy/NoSuchPolicy"
    refusal = refused(iam.attach_role_policy, RoleName=name, PolicyArn=unknown)
    assert refusal == ("NoSuchEntity", f"Policy {unknown} does not exist or is not attachable.")
    # White space does not count.
    long = OBJECTS | {"Resource": [f"arn:aws:s3:::{'b' * 40}-{number}/*" for number in range(70)]}
    put = {"RoleName": name, "PolicyDocument": json.dumps(json.loads(document(long)), indent=40)}
    iam.put_role_policy(**put, PolicyName="a")
    iam.put_role_policy(**put, PolicyName="a")
    iam.put_role_policy(**put, PolicyName="b")
    code, message = refused(iam.put_role_policy, **put, PolicyName="c")
    assert code == "LimitExceeded" and message == f"Maximum policy size of 10240 bytes exceeded for role {name}"
