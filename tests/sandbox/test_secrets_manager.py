"""Secrets Manager in the sandbox: what it refuses, and which permissions a read needs."""

import json

import pytest
from conftest import NUMBERS, granted, refused

PLACE = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"
KEYS = "arn:aws:kms:eu-west-1:123456789012:key/"
KEY = "1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def manager(sandbox):
    return sandbox.client("secretsmanager")


@pytest.fixture
def name():
    return f"prod/db-{next(NUMBERS)}"


@pytest.fixture
def user(sandbox, iam):
    """Clients of a user, and a function that gives it a policy."""
    name = f"reads-secrets-{next(NUMBERS)}"
    iam.create_user(UserName=name)
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    keys = {"access_key": keys["AccessKeyId"], "secret_key": keys["SecretAccessKey"]}

    def may(*statements):
        listed = [{"Effect": "Allow", **statement} for statement in statements]
        document = json.dumps({"Version": "2012-10-17", "Statement": listed})
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=document)

    return (lambda service: sandbox.client(service, keys=keys)), may


def test_a_secret_has_an_arn_with_six_characters_and_a_version(manager, name):
    made = manager.create_secret(Name=name, SecretString="x")
    assert made["ARN"].startswith(f"{PLACE}{name}-") and len(made["ARN"]) == len(f"{PLACE}{name}-") + 6
    for identifier in (name, made["ARN"]):
        read = manager.get_secret_value(SecretId=identifier)
        assert (read["SecretString"], read["VersionId"]) == ("x", made["VersionId"])
        assert manager.describe_secret(SecretId=identifier)["VersionIdsToStages"] == {made["VersionId"]: ["AWSCURRENT"]}
    changed = manager.put_secret_value(SecretId=name, SecretString="y")["VersionId"]
    stages = manager.describe_secret(SecretId=name)["VersionIdsToStages"]
    assert stages == {changed: ["AWSCURRENT"], made["VersionId"]: ["AWSPREVIOUS"]}
    assert manager.get_secret_value(SecretId=name)["VersionId"] == changed


@pytest.mark.parametrize("wrong", ["a b", "a#b", "ü", "a:b", "a\n", "a" * 513])
def test_a_name_has_plain_characters_only(manager, wrong):
    assert refused(manager.create_secret, Name=wrong, SecretString="x")[0] in ("ValidationException", "ParamValidation")


def test_a_value_has_a_maximum_length(manager, name):
    assert refused(manager.create_secret, Name=name, SecretString="ü" * 32769)[0] == "ValidationException"
    manager.create_secret(Name=f"rds!{name}", SecretString="x" * 65536)
    assert refused(manager.put_secret_value, SecretId=f"rds!{name}", SecretString="x" * 65537)[0] == (
        "ValidationException"
    )


def test_a_missing_secret_and_one_without_a_value_are_400(manager, name):
    for call in (manager.get_secret_value, manager.describe_secret):
        code, message = refused(call, SecretId=name)
        assert (code, message) == (
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret.",
        )
    manager.create_secret(Name=name)
    code, message = refused(manager.get_secret_value, SecretId=name)
    assert code == "ResourceNotFoundException" and "value for staging label: AWSCURRENT" in message
    assert "VersionIdsToStages" not in manager.describe_secret(SecretId=name)


def test_a_deleted_secret_can_be_described_in_its_recovery_window_but_not_read(manager, name):
    manager.create_secret(Name=name, SecretString="x")
    manager.delete_secret(SecretId=name)
    for call in (manager.get_secret_value, manager.create_secret):
        arguments = {"Name": name, "SecretString": "y"} if call == manager.create_secret else {"SecretId": name}
        code, message = refused(call, **arguments)
        assert code == "InvalidRequestException" and "deletion" in message
    assert manager.describe_secret(SecretId=name)["DeletedDate"]
    manager.restore_secret(SecretId=name)
    assert manager.get_secret_value(SecretId=name)["SecretString"] == "x"


def test_a_read_needs_its_permission_on_exactly_that_secret(manager, user, name):
    clients, may = user
    mine = clients("secretsmanager")
    manager.create_secret(Name=name, SecretString="x")
    manager.create_secret(Name=f"{name}-other", SecretString="x")
    may({"Action": "secretsmanager:GetSecretValue", "Resource": f"{PLACE}{name}-??????"})
    assert mine.get_secret_value(SecretId=name)["SecretString"] == "x"
    for denied in (f"{name}-other", f"{name}x"):
        code, message = refused(mine.get_secret_value, SecretId=denied)
        assert code == "AccessDeniedException" and "secretsmanager:GetSecretValue on resource" in message
    assert refused(mine.describe_secret, SecretId=name)[0] == "AccessDeniedException"
    may({"Action": "secretsmanager:DescribeSecret", "Resource": f"{PLACE}*"})
    assert mine.describe_secret(SecretId=name)["Name"] == name
    assert refused(mine.get_secret_value, SecretId=name)[0] == "AccessDeniedException"


def decrypts(service, context, arn, **more):
    equals = {"kms:ViaService": f"{service}.eu-west-1.amazonaws.com"}
    condition = {"StringEquals": equals, "StringLike": {f"kms:EncryptionContext:{context}": arn}}
    return {"Action": "kms:Decrypt", "Resource": f"{KEYS}*", "Condition": condition, **more}


def test_a_secret_with_a_customers_key_needs_its_decryption(manager, user, name):
    clients, may = user
    mine = clients("secretsmanager")
    manager.create_secret(Name=name, SecretString="x", KmsKeyId=KEY)
    assert manager.describe_secret(SecretId=name)["KmsKeyId"] == KEY
    read = {"Action": "secretsmanager:GetSecretValue", "Resource": f"{PLACE}{name}-??????"}
    may(read)
    code, message = refused(mine.get_secret_value, SecretId=name)
    assert code == "AccessDeniedException" and f"kms:Decrypt on resource: {KEYS}{KEY}" in message
    for wrong in (
        decrypts("ssm", "SecretARN", f"{PLACE}{name}-??????"),
        decrypts("secretsmanager", "SecretARN", f"{PLACE}other-??????"),
        decrypts("secretsmanager", "SecretARN", f"{PLACE}{name}-??????", Resource=f"{KEYS}other"),
    ):
        may(read, wrong)
        assert not granted(mine.get_secret_value, SecretId=name)
    may(read, decrypts("secretsmanager", "SecretARN", f"{PLACE}{name}-??????"))
    assert mine.get_secret_value(SecretId=name)["SecretString"] == "x"


def test_a_parameter_with_a_customers_key_needs_its_decryption(ssm, user, name):
    clients, may = user
    mine = clients("ssm")
    ssm.put_parameter(Name=f"/{name}", Type="SecureString", Value="x", KeyId=KEY)
    [described] = ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [f"/{name}"]}])["Parameters"]
    assert described["KeyId"] == KEY
    arn = f"arn:aws:ssm:eu-west-1:123456789012:parameter/{name}"
    read = {"Action": "ssm:GetParameter", "Resource": arn}
    may(read)
    # The description and the encrypted text need no key.
    assert mine.get_parameter(Name=f"/{name}")["Parameter"]["Version"] == 1
    code, message = refused(mine.get_parameter, Name=f"/{name}", WithDecryption=True)
    assert code == "AccessDeniedException" and f"kms:Decrypt on resource: {KEYS}{KEY}" in message
    may(read, decrypts("ssm", "PARAMETER_ARN", f"{arn}x"))
    assert not granted(mine.get_parameter, Name=f"/{name}", WithDecryption=True)
    may(read, decrypts("ssm", "PARAMETER_ARN", arn))
    assert mine.get_parameter(Name=f"/{name}", WithDecryption=True)["Parameter"]["Value"] == "x"
