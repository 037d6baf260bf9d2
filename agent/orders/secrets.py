"""The app's secrets: one parameter in SSM each. `src/resources/secrets` is the other side; the cases in `tests/secrets` hold
both sides to the same form.

No error here quotes a value.
"""

import hashlib
import json

from boot.aws import AwsError, backoff
from boot.validate import Invalid, integer, match
from orders.decide import NO_SECRETS, Secrets
from orders.report import ErrorCode

PREFIX = "json:"  # Before a value that SSM would refuse as it is.
MOST_BYTES = 32 << 10  # Of all values: to mask them in logs takes 2.5 KB of the agent's memory per character.
LATE_SECONDS = 10  # How long SSM may show other secrets than the ordered ones.


class BadSecret(Invalid):
    """A parameter that cannot become a variable of the app."""

    error_code = ErrorCode.BAD_SECRET


def read_secrets(aws, name, ordered, wanted, clock):
    """The secrets that SSM has. While it shows others than the ordered ones, they are read again for a moment. Then they count as
    they are, because a secret can be stored without an order. `wanted` says whether that is still the order."""
    end, attempt = clock.monotonic() + LATE_SECONDS, 0
    while True:
        secrets = look(aws, f"/devopsctl/{name}/secrets")._replace(answered=ordered is not None)
        if ordered in (None, secrets.fingerprint) or not wanted() or clock.monotonic() >= end:
            return secrets
        clock.sleep(backoff(attempt, 0.2, 2))
        attempt += 1


def look(aws, path):
    """The secrets that SSM shows now."""
    try:
        found = {held["Name"][len(path) + 1 :]: entry(held) for held in listed(aws, path)}
    except (AttributeError, KeyError, OverflowError, TypeError):
        # Without the cause, which could show a value.
        raise AwsError("BadAnswer", "ssm:GetParametersByPath: SSM's answer does not have the expected form") from None
    for name, (_, _, value) in found.items():
        if not match("variable", name):
            shown = ascii(f"{path}/{name}")[:200]
            raise BadSecret(f"{shown} does not have the name of a variable: delete it with `devopsctl secrets unset`")
        if not is_variable(value):
            what = f"the value of {path}/{name} cannot be that of a variable"
            raise BadSecret(f"{what}: replace it with `devopsctl secrets set {name}`")
    if sum(len(value.encode()) for _, _, value in found.values()) > MOST_BYTES:
        what = f"the secrets below {path} have more than {MOST_BYTES >> 10} KiB in all"
        raise BadSecret(f"{what}: remove one with `devopsctl secrets unset`, and keep large data elsewhere")
    known = fingerprint((name, version, modified) for name, (version, modified, _) in found.items())
    return Secrets(known, {name: value for name, (_, _, value) in found.items()})


def listed(aws, path):
    """The parameters directly below a path, from all pages."""
    more = {}
    while True:
        answer = aws.ssm("GetParametersByPath", Path=path, Recursive=False, WithDecryption=True, **more)
        yield from answer["Parameters"]
        if not answer.get("NextToken"):
            return
        more = {"NextToken": answer["NextToken"]}


def entry(held):
    """(version, milliseconds, value) of a parameter."""
    return integer(held["Version"], 1), integer(round(held["LastModifiedDate"] * 1000)), decode(held["Value"])


def fingerprint(secrets):
    """The fingerprint of secrets as (name, version, milliseconds): it differs once one is written, or deleted and written again."""
    lines = [f"{name} {version} {milliseconds}\n" for name, version, milliseconds in sorted(secrets)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16] if lines else NO_SECRETS


def decode(stored):
    """The value of a stored text. A text that only looks encoded is a value: a person may have written it in AWS's console."""
    if stored.startswith(PREFIX):
        try:
            value = json.loads(stored[len(PREFIX) :])
        except (ValueError, RecursionError):
            return stored
        if isinstance(value, str) and is_text(value):
            return value
    return stored


def is_variable(text):
    """Whether a text can be the value of an environment variable."""
    return "\0" not in text and is_text(text)


def is_text(text):
    """Whether it has no lone surrogates."""
    return text.encode(errors="replace").decode() == text
