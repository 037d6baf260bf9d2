"""Sessions of roles: STS gives credentials only to a caller that the role's trust policy allows, besides the caller's own policies.

A new role, or a changed trust policy, takes effect after a delay, because IAM is eventually consistent. For an unknown role and for
one that does not trust the caller, AWS returns the same error.
"""

import json
import re

from core import clock, delays
from core.errors import AwsError
from core.hooks import around
from iam import policies
from moto.iam.exceptions import NotFoundException
from moto.iam.models import IAMBackend, Role, iam_backends
from moto.sts.responses import TokenResponse

# The trust policies that are still in effect, by the id of the role. None: nothing is allowed yet.
_before = {}

NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
# Seconds: the longest session of a caller that is itself a role's session.
LONGEST_CHAINED = 3600


def install():
    """Installs the rules."""
    make, update = Role.__init__, IAMBackend.update_assume_role_policy

    def made(role, *args, **kwargs):
        make(role, *args, **kwargs)
        delay_effect(role, None)

    def updated(backend, role_name, policy_document):
        role = backend.get_role(role_name)
        before = effective(role)
        update(backend, role_name, policy_document)
        delay_effect(role, before)

    Role.__init__, IAMBackend.update_assume_role_policy = made, updated


def forget():
    """Makes all trust policies effective."""
    _before.clear()


def delay_effect(role, before):
    if delays.seconds("role") > 0:
        _before[role.id] = before
        clock.after(delays.seconds("role"), lambda: _before.pop(role.id, None))


def effective(role):
    return _before.get(role.id, role.assume_role_policy_document)


@around(TokenResponse, "assume_role")
def assume_role(call, proceed):
    arn, signed = call._get_param("RoleArn"), call.devopsctl_signed
    role = role_named(call, arn)
    trust = role and effective(role)
    try:
        trusted = trust is not None and trusts(trust, signed.principal, call.current_account)
    except policies.Unsupported as reason:
        raise denied(signed, arn, f": {reason}") from reason
    if not trusted:
        raise denied(signed, arn)
    require_valid(call, role, chained=":assumed-role/" in signed.caller)
    return proceed()


def role_named(call, arn):
    try:
        return iam_backends[call.current_account][call.partition].get_role_by_arn(arn)
    except NotFoundException:
        return None


def denied(signed, arn, why=""):
    message = f"User: {signed.caller} is not authorized to perform: sts:AssumeRole on resource: {arn}{why}"
    return AwsError("AccessDenied", message, 403)


def require_valid(call, role, chained):
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""
    if not NAME.fullmatch(call._get_param("RoleSessionName") or ""):
        raise invalid("Value at 'roleSessionName' failed to satisfy constraint: [\\w+=,.@-]* of 2 to 64 characters")
    if call._get_param("Policy") or call._get_param("PolicyArns"):
        raise invalid("the sandbox does not support policies of a session")
    seconds = call._get_int_param("DurationSeconds", 3600)
    if chained and seconds > LONGEST_CHAINED:
        raise invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    if seconds > int(role.max_session_duration or 3600):
        raise invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")


def invalid(message):
    return AwsError("ValidationError", message, 400)


def trusts(document, principal, account):
    """Whether a trust policy allows a user or role of the account."""
    statements = [
        {name: value for name, value in statement.items() if name != "Principal"} | {"Resource": "*"}
        for statement in policies.listed(json.loads(document)["Statement"])
        if names(statement["Principal"], account)
    ]
    check = policies.Check("sts:AssumeRole", "*", {"aws:principalarn": principal})
    ruling = policies.ruling([json.dumps({"Statement": statements})], check)
    return bool(ruling.by) and not ruling.denied


def names(principal, account):
    """Whether it names the account, and so its users and roles. A service is none of them."""
    if principal == "*":
        return True
    known = ("*", account, f"arn:aws:iam::{account}:root")
    named = policies.listed(principal.get("AWS", []))
    if not set(named) <= set(known):
        raise policies.Unsupported("the sandbox supports only this account in a trust policy")
    return bool(named)
