"""Secrets Manager: which names and values it refuses, and how it answers for a secret that is missing or will be deleted."""

import re

from core.errors import AwsError
from core.hooks import around
from moto.secretsmanager.exceptions import SecretsManagerClientError
from moto.secretsmanager.responses import SecretsManagerResponse

LARGEST = 65536
NAME = re.compile(r"[A-Za-z0-9/_+=.@!-]{1,512}")
DELETED = "You can't perform this operation on the secret because it was marked for deletion."
# The key of a secret that names none. Its policy gives all principals of the account access.
DEFAULT_KEY = "alias/aws/secretsmanager"


@around(SecretsManagerResponse, "create_secret")
def create_secret(call, proceed):
    name = call._get_param("Name") or ""
    if not NAME.fullmatch(name):
        message = (
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
        )
        raise AwsError("ValidationException", message, 400)
    found = find(call, name)
    if found and found.is_deleted():
        message = "You can't create this secret because a secret with this name is already scheduled for deletion."
        raise AwsError("InvalidRequestException", message, 400)
    check_value(call)
    return proceed()


@around(SecretsManagerResponse, "put_secret_value")
def put_secret_value(call, proceed):
    check_value(call)
    return answered(call, proceed)


def check_value(call):
    """Refuses a value that is too large."""
    for field in ("SecretString", "SecretBinary"):
        if len((call._get_param(field) or "").encode()) > LARGEST:
            message = (
                f"1 validation error detected: Value at '{field[0].lower()}{field[1:]}' failed to satisfy constraint: "
            )
            message += f"Member must have length less than or equal to {LARGEST}"
            raise AwsError("ValidationException", message, 400)


@around(SecretsManagerResponse, "get_secret_value")
def get_secret_value(call, proceed):
    found = find(call, call._get_param("SecretId") or "")
    if found and found.is_deleted():
        raise AwsError("InvalidRequestException", DELETED, 400)
    return answered(call, proceed)


@around(SecretsManagerResponse, "describe_secret")
def describe_secret(call, proceed):
    return answered(call, proceed)


def answered(_call, proceed):
    """AWS answers every error of this service with 400; moto has 404 for some."""
    try:
        return proceed()
    except SecretsManagerClientError as error:
        error.code = 400
        raise


def find(call, identifier):
    """The secret with this name or ARN, with or without the random part. None: there is none."""
    return call.backend.secrets.get(identifier)


def own_key(secret):
    """The customer's key of a secret. None: it has AWS's own."""
    return secret.kms_key_id if secret.kms_key_id != DEFAULT_KEY else None
