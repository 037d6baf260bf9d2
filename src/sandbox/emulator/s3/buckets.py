"""Buckets: their owner, the defaults of a new one, and that the name of a deleted bucket is not available for a while. Objects:
conditional writes (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
"""

import base64
import errno
import hashlib
import tempfile

from core import clock, delays, faults
from core.errors import S3Error
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, FakeKey, PublicAccessBlock, S3Backend, s3_backends
from moto.s3.responses import S3Response

# The names of deleted buckets that are not available yet.
_unavailable = set()


def install():
    """Installs the rules."""
    create, delete, get = S3Backend.create_bucket, S3Backend.delete_bucket, S3Backend.get_object
    versions = S3Backend.list_object_versions

    def create_bucket(backend, bucket_name, *args, **kwargs):
        with clock.LOCK:
            clock.settle()
            if bucket_name in _unavailable:
                message = "A conflicting conditional operation is currently in progress against this resource. "
                raise S3Error("OperationAborted", f"{message}Please try again.", 409)
            bucket = create(backend, bucket_name, *args, **kwargs)
        # The default since April 2023.
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
            if deleted is not None and delays.seconds("bucket") > 0:
                _unavailable.add(bucket_name)
                clock.after(delays.seconds("bucket"), lambda: _unavailable.discard(bucket_name))
            return deleted

    def list_object_versions(backend, *args, **kwargs):
        # moto copies each object with its content, only to sort them.
        with clock.LOCK:
            FakeKey.__deepcopy__ = lambda key, _: key
            try:
                return versions(backend, *args, **kwargs)
            finally:
                del FakeKey.__deepcopy__

    def get_object(backend, *args, **kwargs):
        faults.check("GetObject", S3Error)
        return get(backend, *args, **kwargs)

    S3Backend.create_bucket, S3Backend.delete_bucket, S3Backend.get_object = create_bucket, delete_bucket, get_object
    S3Backend.list_object_versions = list_object_versions
    S3Response.put_object = checked(S3Response.put_object)
    # moto ignores conditions; iam/auth.py does not.
    FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL
    for name in ("_bucket_response", "_key_response"):
        setattr(S3Response, name, of_expected_owner(getattr(S3Response, name)))


def forget():
    """Makes all names available."""
    _unavailable.clear()


def policy(account, name):
    """A bucket's policy as text, or None."""
    bucket = s3_backends[account]["aws"].buckets.get(name)
    return bucket and bucket.policy and (bucket.policy if isinstance(bucket.policy, str) else bucket.policy.decode())


def checked(original):
    """Refuses a body whose SHA-256 differs from the header, and conditions that AWS does not implement. A condition and its write
    are one step."""

    def put_object(response):
        said = response.headers.get("x-amz-checksum-sha256")
        if said and said != base64.b64encode(hashlib.sha256(response.body).digest()).decode():
            message = "The SHA256 you specified did not match the calculated checksum."
            raise S3Error("BadDigest", message, 400)
        faults.check("PutObject", S3Error)
        none, match = response.headers.get("If-None-Match"), response.headers.get("If-Match")
        if none not in (None, "*") or (none and match):
            raise S3Error("NotImplemented", "A header you provided implies functionality that is not implemented", 501)
        try:
            with clock.LOCK:
                return original(response)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # AWS has no such code. Here, large objects are files.
            message = f"The disk with {tempfile.gettempdir()} is full."
            raise S3Error("SandboxDiskFull", message, 400) from error

    return put_object


def of_expected_owner(original):
    """Refuses a call if the bucket does not belong to the expected owner."""

    def answer(response, request, full_url, *args, **kwargs):
        expected = request.headers.get("x-amz-expected-bucket-owner")
        if expected:
            owner = s3_backends.bucket_accounts.get(response.parse_bucket_name_from_url(request, full_url))
            if owner is not None and owner[-1] != expected:
                raise S3Error("AccessDenied", "Access Denied", 403)
        return original(response, request, full_url, *args, **kwargs)

    return answer
