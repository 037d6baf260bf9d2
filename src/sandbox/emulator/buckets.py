"""Buckets: whose they are, what a new one is like, and that a name rests after its bucket is deleted."""

import base64
import errno
import hashlib
import tempfile

import clock
import faults
import settings
from moto.iam.access_control import PermissionResult
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket, FakeKey, PublicAccessBlock, S3Backend, s3_backends
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
    versions = S3Backend.list_object_versions

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

    def list_object_versions(backend, *args, **kwargs):
        # moto copies each object with its content, on the disk where it is large, only to sort them.
        with clock.LOCK:
            FakeKey.__deepcopy__ = lambda key, _: key
            try:
                return versions(backend, *args, **kwargs)
            finally:
                del FakeKey.__deepcopy__

    def get_object(backend, *args, **kwargs):
        faults.meet("GetObject", Refused)
        return get(backend, *args, **kwargs)

    S3Backend.create_bucket, S3Backend.delete_bucket, S3Backend.get_object = create_bucket, delete_bucket, get_object
    S3Backend.list_object_versions = list_object_versions
    S3Response.put_object = checked(S3Response.put_object)
    # moto knows no conditions; authority.py does.
    FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL
    for name in ("_bucket_response", "_key_response"):
        setattr(S3Response, name, of_expected_owner(getattr(S3Response, name)))


def forget():
    """No name rests."""
    _resting.clear()


def policy(account, name):
    """A bucket's policy, as text; None where there is none."""
    bucket = s3_backends[account]["aws"].buckets.get(name)
    return bucket and bucket.policy and (bucket.policy if isinstance(bucket.policy, str) else bucket.policy.decode())


def checked(original):
    """Refuses a body that has another SHA-256 than the caller says."""

    def put_object(response):
        said = response.headers.get("x-amz-checksum-sha256")
        if said and said != base64.b64encode(hashlib.sha256(response.body).digest()).decode():
            message = "The SHA256 you specified did not match the calculated checksum."
            raise Refused("BadDigest", message, 400)
        faults.meet("PutObject", Refused)
        try:
            return original(response)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # AWS has no such code: what is large lies in a file here.
            message = f"The disk with {tempfile.gettempdir()} is full."
            raise Refused("SandboxDiskFull", message, 400) from error

    return put_object


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
