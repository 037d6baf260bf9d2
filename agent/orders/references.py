"""Secrets that are kept elsewhere in AWS, and to which a release refers. `src/config/reference.rs` and `src/resources/references.rs` are
the other side; the cases in `tests/secrets` hold both sides to the same forms.

No error here quotes a value.
"""

import json

from boot.aws import MOST, AwsError, backoff
from boot.validate import Invalid, integer, match, parse
from orders.decide import NO_SECRETS, Secrets
from orders.secrets import LATE_SECONDS, MOST_BYTES, BadSecret, fingerprint, is_variable

LONGEST = 4 << 10  # Bytes of one value.
REFUSED_SECONDS = 30  # How long a refusal may pass: a change of the role's policy takes some seconds to propagate.
# A secret that was made a moment ago may not be found, either.
REFUSALS = ("AccessDeniedException", "ParameterNotFound", "ResourceNotFoundException")


def read_references(aws, named, ordered, wanted, clock):
    """The secrets to which the variables refer. While a read is refused, or shows other versions than the ordered ones, they are read
    again for a moment. Then they count as they are. `wanted` says whether that is still the order."""
    begun, attempt = clock.monotonic(), 0
    while True:
        found, refusal = Secrets(NO_SECRETS, {}), None
        try:
            found = look(aws, named)
        except AwsError as problem:
            refusal = problem
        taken = clock.monotonic() - begun
        if refusal and (refusal.code not in REFUSALS or not wanted() or taken >= REFUSED_SECONDS):
            if refusal.code in REFUSALS and not refusal.may_pass():
                raise BadSecret(f"{refusal}: correct the reference in deploy.yaml, or the permission to read it")
            raise refusal
        if not refusal and (ordered in (None, NO_SECRETS, found.fingerprint) or not wanted() or taken >= LATE_SECONDS):
            return found._replace(answered=True)
        clock.sleep(backoff(attempt, 0.2, 2))
        attempt += 1


def look(aws, named):
    """The secrets as AWS shows them now. A secret of which several keys are used is read once."""
    sources, values, lines = {}, {}, []
    for name, reference in sorted(named.items()):
        form = match("variable", name) and match("reference", reference)
        if not form:
            raise BadSecret(f"the release has a reference that is not valid: {ascii(reference)[:80]}")
        source = reference.partition("#")[0]
        if source not in sources:
            sources[source] = read(aws, f"{name} ({source})", form)
        version, text = sources[source]
        values[name] = select(text, form["key"], f"{name} ({reference})")
        lines.append((name, reference, version))
    if sum(len(value.encode()) for value in values.values()) > MOST_BYTES:
        raise BadSecret(f"the secrets that are kept elsewhere have more than {MOST_BYTES >> 10} KiB in all")
    return Secrets(fingerprint(lines), values)


def read(aws, shown, form):
    """(version, text) of a source."""
    try:
        if form["parameter"]:
            held = aws.ssm("GetParameter", Name=form["parameter"], WithDecryption=True)["Parameter"]
            milliseconds = integer(round(held["LastModifiedDate"] * 1000))
            version, text = f"{integer(held['Version'], 1)} {milliseconds}", held["Value"]
        else:
            held = aws.secrets_manager("GetSecretValue", SecretId=form["secret"])
            version, text = held["VersionId"] + "", held.get("SecretString")
    except AwsError as problem:
        raise AwsError(problem.code, f"{shown}: {problem}", problem.status) from None
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        # Without the cause, which could show a value.
        raise AwsError("BadAnswer", f"{shown}: the answer does not have the expected form") from None
    if not isinstance(text, str):
        raise BadSecret(f"{shown} is binary, and a variable is text")
    return version, text


def select(text, key, shown):
    """The value of a text, or of a key in it."""
    value = text
    if key:
        try:
            found = parse(text, MOST, dict)
        except Invalid:
            raise BadSecret(f"{shown} is not a JSON object") from None
        if key not in found:
            raise BadSecret(f"{shown} does not have that key")
        value = found[key]
        if isinstance(value, (bool, int, float)):
            value = json.dumps(value)
    if not isinstance(value, str):
        raise BadSecret(f"{shown} is not text, a number or a truth value")
    if not is_variable(value):
        raise BadSecret(f"the value of {shown} cannot be that of a variable")
    if len(value.encode()) > LONGEST:
        raise BadSecret(f"the value of {shown} has more than {LONGEST >> 10} KiB")
    return value
