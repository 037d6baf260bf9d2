"""What IAM policies say of a check: which statements allow it, or that one denies it. It knows nothing of moto.

It knows the parts of the policy language that policies here use. What it does not know it refuses to judge: a condition
that is passed over would allow what AWS does not.
"""

import functools
import json
import re
from collections import namedtuple

# Whether `action` may be done to `resource`, an ARN or `*`. None: to one that does not exist, of which AWS can only know
# whether the action is allowed at all. `keys` are the condition keys, in lower case, with their values.
Check = namedtuple("Check", "action resource keys")
# The Sids of the statements that allow it, and whether one denies it.
Ruling = namedtuple("Ruling", "by denied")

ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
KEYS = re.compile(
    r"aws:(RequestTag|ResourceTag)/.+|aws:(PrincipalArn|SecureTransport)|ec2:(CreateAction|Encrypted|MetadataHttpTokens)"
    r"|iam:(PassedToService|PermissionsBoundary)",
    re.IGNORECASE,
)
# Those that hold several values, of which a condition says whether it is about all or any.
LISTS = re.compile(
    r"route53:ChangeResourceRecordSets(NormalizedRecordNames|RecordTypes|Actions)|aws:TagKeys", re.IGNORECASE
)
SEGMENTS = 6


class Unjudgeable(Exception):
    """A policy uses what this evaluator does not know."""


def ruling(documents, check):
    """What policy documents say together."""
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


def everything(documents):
    """Whether they allow every action on everything, and deny nothing: then there is nothing to look into."""
    statements = [statement for document in documents for statement in compiled(document)]
    return any(one.unlimited for one in statements) and all(one.allows for one in statements)


@functools.lru_cache(maxsize=256)
def compiled(document):
    """The statements of a policy document, made ready for many checks."""
    statements = json.loads(document)["Statement"]
    return [Statement(one, number) for number, one in enumerate(listed(statements), 1)]


class Statement:
    """One statement: it applies where all of its parts do."""

    def __init__(self, statement, number):
        unknown = set(statement) - ELEMENTS
        if unknown:
            raise Unjudgeable(f"the sandbox cannot judge {', '.join(sorted(unknown))} in a policy")
        if statement.get("Principal", "*") != "*":
            raise Unjudgeable("the sandbox cannot judge a policy for some principals only")
        self.sid = statement.get("Sid", f"statement {number}")
        self.allows = statement["Effect"] == "Allow"
        actions, resources = listed(statement["Action"]), listed(statement["Resource"])
        self.actions = [wild(action, re.IGNORECASE) for action in actions]
        self.resources = [arn(resource) for resource in resources]
        self.conditions = [
            condition(operator, key, listed(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        ]
        self.unlimited = self.allows and "*" in actions and "*" in resources and not self.conditions

    def applies(self, check):
        """Whether it is about this action, on this resource, with these keys."""
        if not any(action.fullmatch(check.action) for action in self.actions):
            return False
        if check.resource is None:
            return True
        return any(resource.fullmatch(check.resource) for resource in self.resources) and all(
            holds(check.keys) for holds in self.conditions
        )


def listed(value):
    """Where one may stand for a list of one."""
    return value if isinstance(value, list) else [value]


def wild(text, flags=0, star=".*"):
    """`*` is anything, `?` any character."""
    if "${" in text:
        raise Unjudgeable(f"the sandbox cannot judge a policy with variables: {text}")
    parts = (star if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", text))
    return re.compile("".join(parts), flags | re.DOTALL)


def arn(text):
    """A resource: a wildcard does not go beyond its part of the ARN, of which only the last may hold colons."""
    if text == "*":
        return wild(text)
    parts = text.split(":", SEGMENTS - 1)
    if len(parts) != SEGMENTS:
        raise Unjudgeable(f"{text} is no ARN")
    head = [wild(part, star="[^:]*").pattern for part in parts[:-1]]
    return re.compile(":".join([*head, wild(parts[-1]).pattern]), re.DOTALL)


def condition(operator, key, wanted):
    """A function of a check's keys. A key that the check does not have is like nothing."""
    quantity, _, rest = operator.rpartition(":")
    if not (LISTS if quantity else KEYS).fullmatch(key):
        raise Unjudgeable(f"the sandbox cannot judge the condition key {key}")
    key = key.lower()
    if quantity:
        return of_several(quantity, rest, key, wanted)
    if operator in ("StringEquals", "Bool"):
        return lambda keys: keys.get(key) in wanted
    if operator in ("StringLike", "StringNotLike"):
        patterns = [wild(value) for value in wanted]
        like = operator == "StringLike"
        return lambda keys: like == (key in keys and any(pattern.fullmatch(keys[key]) for pattern in patterns))
    if operator == "Null":
        absent = [str(value).lower() == "true" for value in wanted]
        return lambda keys: (key not in keys) in absent
    raise Unjudgeable(f"the sandbox cannot judge the condition operator {operator}")


def of_several(quantity, operator, key, wanted):
    """A condition on a key with several values. Of none, all are as they should be, and not any."""
    if quantity not in ("ForAllValues", "ForAnyValue") or operator not in ("StringEquals", "StringLike"):
        raise Unjudgeable(f"the sandbox cannot judge the condition operator {quantity}:{operator}")
    patterns = [re.compile(re.escape(one)) if operator == "StringEquals" else wild(one) for one in wanted]
    which = all if quantity == "ForAllValues" else any
    return lambda keys: which(any(one.fullmatch(value) for one in patterns) for value in keys.get(key, []))
