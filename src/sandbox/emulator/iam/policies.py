"""Evaluates IAM policies: which statements allow a check, and whether one denies it. It does not depend on moto.

It implements the parts of the policy language that the policies here use, and fails on any other: an ignored condition would
allow more than AWS does.
"""

import functools
import json
import re
from collections import namedtuple

# Whether `action` is allowed on `resource`, an ARN or `*`. None: the resource does not exist, so only the action is evaluated.
# `keys` has the condition keys in lower case with their values.
Check = namedtuple("Check", "action resource keys")
# The Sids of the statements that allow the check, and whether one denies it.
Ruling = namedtuple("Ruling", "by denied")

ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
KEYS = re.compile(
    r"aws:(RequestTag|ResourceTag)/.+|aws:(PrincipalArn|SecureTransport)|ec2:(CreateAction|Encrypted|MetadataHttpTokens)"
    r"|iam:(PassedToService|PermissionsBoundary)|kms:(ViaService|EncryptionContext:.+)",
    re.IGNORECASE,
)
# Keys with several values, which need a set operator (`ForAllValues`, `ForAnyValue`).
LISTS = re.compile(
    r"route53:ChangeResourceRecordSets(NormalizedRecordNames|RecordTypes|Actions)|aws:TagKeys", re.IGNORECASE
)
SEGMENTS = 6


class Unsupported(Exception):
    """A policy uses a feature that this evaluator does not support."""


def ruling(documents, check):
    """Evaluates policy documents together."""
    by, denied = [], False
    for document in documents:
        for statement in compiled(document):
            if not statement.applies(check):
                continue
            if statement.allows:
                by.append(statement.sid)
            else:
                denied = True
    return Ruling(by, denied)


def allows_everything(documents):
    """Whether they allow every action on every resource and deny nothing."""
    statements = [statement for document in documents for statement in compiled(document)]
    return any(one.unlimited for one in statements) and all(one.allows for one in statements)


@functools.lru_cache(maxsize=256)
def compiled(document):
    """The compiled statements of a policy document."""
    statements = json.loads(document)["Statement"]
    return [Statement(one, number) for number, one in enumerate(listed(statements), 1)]


class Statement:
    """One statement: it applies if all of its parts do."""

    def __init__(self, statement, number):
        unknown = set(statement) - ELEMENTS
        if unknown:
            raise Unsupported(f"the sandbox does not support {', '.join(sorted(unknown))} in a policy")
        if statement.get("Principal", "*") != "*":
            raise Unsupported("the sandbox does not support a policy for some principals only")
        self.sid = statement.get("Sid", f"statement {number}")
        self.allows = statement["Effect"] == "Allow"
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        self.actions = [wildcard(action, re.IGNORECASE) for action in actions]
        self.resources = [arn(resource) for resource in resources]
        self.conditions = [
            condition(operator, key, listed(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        ]
        self.unlimited = self.allows and "*" in actions and "*" in resources and not self.conditions

    def applies(self, check):
        """Whether it applies to the action, the resource and the keys."""
        if not any(action.fullmatch(check.action) for action in self.actions):
            return False
        if check.resource is None:
            return True
        return any(resource.fullmatch(check.resource) for resource in self.resources) and all(
            holds(check.keys) for holds in self.conditions
        )


def listed(value):
    """A single value is a list of one."""
    return value if isinstance(value, list) else [value]


def wildcard(text, flags=0, star=".*"):
    """`*` matches any text, `?` any character."""
    if "${" in text:
        raise Unsupported(f"the sandbox does not support a policy with variables: {text}")
    parts = (star if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", text))
    return re.compile("".join(parts), flags | re.DOTALL)


def arn(text):
    """A wildcard does not cross a part of the ARN. Only the last part can contain colons."""
    if text == "*":
        return wildcard(text)
    parts = text.split(":", SEGMENTS - 1)
    if len(parts) != SEGMENTS:
        raise Unsupported(f"{text} is no ARN")
    head = [wildcard(part, star="[^:]*").pattern for part in parts[:-1]]
    return re.compile(":".join([*head, wildcard(parts[-1]).pattern]), re.DOTALL)


def condition(operator, key, wanted):
    """A function of a check's keys. A missing key matches nothing."""
    quantity, _, rest = operator.rpartition(":")
    if not (LISTS if quantity else KEYS).fullmatch(key):
        raise Unsupported(f"the sandbox does not support the condition key {key}")
    key = key.lower()
    if quantity:
        return of_several(quantity, rest, key, wanted)
    if operator in ("StringEquals", "Bool"):
        return lambda keys: keys.get(key) in wanted
    if operator in ("ArnEquals", "ArnLike"):  # Both are the same.
        arns = [arn(value) for value in wanted]
        return lambda keys: key in keys and any(pattern.fullmatch(keys[key]) for pattern in arns)
    if operator in ("StringLike", "StringNotLike"):
        patterns = [wildcard(value) for value in wanted]
        like = operator == "StringLike"
        return lambda keys: like == (key in keys and any(pattern.fullmatch(keys[key]) for pattern in patterns))
    if operator == "Null":
        absent = [str(value).lower() == "true" for value in wanted]
        return lambda keys: (key not in keys) in absent
    raise Unsupported(f"the sandbox does not support the condition operator {operator}")


def of_several(quantity, operator, key, wanted):
    """A condition on a key with several values. For no values, ForAllValues holds and ForAnyValue does not."""
    if quantity not in ("ForAllValues", "ForAnyValue") or operator not in ("StringEquals", "StringLike"):
        raise Unsupported(f"the sandbox does not support the condition operator {quantity}:{operator}")
    patterns = [re.compile(re.escape(one)) if operator == "StringEquals" else wildcard(one) for one in wanted]
    which = all if quantity == "ForAllValues" else any
    return lambda keys: which(any(one.fullmatch(value) for one in patterns) for value in keys.get(key, []))
