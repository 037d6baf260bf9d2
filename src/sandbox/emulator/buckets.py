"""Buckets: whose they are, what a new one is like, and that a name rests after its bucket is deleted."""

import json

import clock
import faults
import settings
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, PublicAccessBlock, S3Backend, s3_backends
from moto.s3.responses import S3Response

# Names whose bucket was just deleted.
_resting = set()


class Refused(S3ClientError):
    """An error as S3 answers it."""

    def __init__(self, code, message, status):
        super().__init__(code, message)
        self.status = status


def install():
    """Has S3 be S3."""
    create, delete, get = S3Backend.create_bucket, S3Backend.delete_bucket, S3Backend.get_object

    def create_bucket(backend, bucket_name, *args, **kwargs):
        with clock.LOCK:
            clock.settle()
            if bucket_name in _resting:
                message = "A conflicting conditional operation is currently in progress against this resource. "
                raise Refused("OperationAborted", f"{message}Please try again.", 409)
            bucket = create(backend, bucket_name, *args, **kwargs)
        # As every new bucket since April 2023.
        bucket.public_access_block = PublicAccessBlock(
            block_public_acls="true",
            ignore_public_acls="true",
            block_public_policy="true",
            restrict_public_buckets="true",
        )
        return bucket

    def delete_bucket(backend, bucket_name):
        with clock.LOCK:
            deleted = delete(backend, bucket_name)
            if deleted is not None and settings.delay("bucket") > 0:
                _resting.add(bucket_name)
                clock.after(settings.delay("bucket"), lambda: _resting.discard(bucket_name))
            return deleted

    def get_object(backend, *args, **kwargs):
        faults.meet("GetObject", Refused)
        return get(backend, *args, **kwargs)

    S3Backend.create_bucket, S3Backend.delete_bucket, S3Backend.get_object = create_bucket, delete_bucket, get_object
    FakeBucket.get_permission = get_permission
    for name in ("_bucket_response", "_key_response"):
        setattr(S3Response, name, of_expected_owner(getattr(S3Response, name)))


def forget():
    """No name rests."""
    _resting.clear()


def get_permission(bucket, action, resource):
    """What the bucket's policy says of a call. moto knows no conditions: it would refuse everything to everybody where
    only unencrypted calls are refused. Loopback stands for TLS here, so that statement never applies."""
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    policy = json.loads(bucket.policy)
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    policy["Statement"] = [one for one in statements if not only_unencrypted(one)]
    return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)


def only_unencrypted(statement):
    """Whether it is about calls that do not come over TLS."""
    return str(statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport", "")).lower() == "false"


def of_expected_owner(original):
    """Refuses a call on a bucket that is not whose the caller thinks."""

    def answer(response, request, full_url, *args, **kwargs):
        expected = request.headers.get("x-amz-expected-bucket-owner")
        if expected:
            owner = s3_backends.bucket_accounts.get(response.parse_bucket_name_from_url(request, full_url))
            if owner is not None and owner[-1] != expected:
                raise Refused("AccessDenied", "Access Denied", 403)
        return original(response, request, full_url, *args, **kwargs)

    return answer
