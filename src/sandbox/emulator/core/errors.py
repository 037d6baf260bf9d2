"""Errors as AWS returns them."""

from moto.core.exceptions import ServiceException
from moto.s3.exceptions import S3ClientError


class AwsError(ServiceException):
    """Code and message. `status` replaces the service's default HTTP status."""

    def __init__(self, code, message, status=None):
        super().__init__(code, message)
        self.status = status


class S3Error(S3ClientError):
    """The same for S3."""

    def __init__(self, code, message, status=403):
        super().__init__(code, message)
        self.status = status
