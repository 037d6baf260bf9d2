"""Authentication in the sandbox: every call needs a valid signature of a known key."""

import urllib.error
import urllib.request

import pytest
from conftest import SLOW, USER, granted, refused, until


@pytest.mark.parametrize(
    ("service", "call", "tampered", "unknown"),
    [
        ("ec2", "describe_instances", "AuthFailure", "AuthFailure"),
        ("freetier", "get_account_plan_state", "InvalidSignatureException", "UnrecognizedClientException"),
        ("iam", "list_users", "SignatureDoesNotMatch", "InvalidClientTokenId"),
        ("route53", "list_hosted_zones_by_name", "SignatureDoesNotMatch", "InvalidClientTokenId"),
        ("s3", "list_buckets", "SignatureDoesNotMatch", "InvalidAccessKeyId"),
        ("secretsmanager", "list_secrets", "InvalidSignatureException", "UnrecognizedClientException"),
        ("service-quotas", "list_services", "InvalidSignatureException", "UnrecognizedClientException"),
        ("ssm", "describe_parameters", "InvalidSignatureException", "UnrecognizedClientException"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch", "InvalidClientTokenId"),
    ],
)
def test_unknown_keys_and_wrong_signatures_are_refused(sandbox, service, call, tampered, unknown):
    keys = sandbox.handle["administrator"]
    for wrong, code in (({"secret_key": "x" * 40}, tampered), ({"access_key": "AKIA0000000000000000"}, unknown)):
        assert refused(getattr(sandbox.client(service, keys=keys | wrong), call))[0] == code


def test_a_call_that_was_changed_after_signing_is_refused(sandbox, cli):
    client = cli("ec2")

    def change(request, **_):
        request.body = request.body.replace("hello", "other")

    client.meta.events.register("before-send.ec2.DescribeKeyPairs", change)
    assert refused(client.describe_key_pairs, Filters=[{"Name": "key-name", "Values": ["hello"]}])[0] == "AuthFailure"
    assert client.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["another"]}])["KeyPairs"] == []


def test_a_body_that_was_changed_after_signing_is_refused(cli):
    client, bucket = cli("s3", "us-east-1"), "devopsctl-123456789012-us-east-1-an"
    # The name of a deleted bucket is unavailable for a while.
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


def test_every_caller_may_call_get_caller_identity(cli):
    assert cli("sts").get_caller_identity()["Arn"] == USER


def test_each_service_has_its_own_error_for_an_expired_signature(sandbox):
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
                # botocore's S3 client corrects its clock after the first error.
                client = sandbox.client(service)
                assert refused(getattr(client, call))[0] == code, service
        # S3 tolerates 15 minutes, the other services five.
        sandbox.control("emulator/clock?ahead=600")
        sandbox.client("s3").list_buckets()
        assert refused(sandbox.client("sts").get_caller_identity)[0] == "SignatureDoesNotMatch"
    finally:
        sandbox.control("emulator/clock?ahead=0")
    sandbox.client("sts").get_caller_identity()
