"""IAM, enforced: who calls is who has signed, and may do what his policies say of each resource that the call touches.

moto checks signatures, and knows of policies the actions alone. Here the whole policy counts (policies.py), for each of
the checks that AWS makes (demands.py). An action of which the sandbox does not know what AWS checks is allowed only to
somebody who may do everything, and is refused to others with a word on that: it is never let through unseen.

What the command line was allowed is noted, so that a policy that allows more than is ever used can be told.
"""

import hashlib
import hmac
import io
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path

import buckets
import clock
import demands
import faults
import hooks
import policies
from botocore.auth import S3SigV4Auth, SigV4Auth
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam.access_control import IAMRequest
from moto.iam.exceptions import NotFoundException
from moto.iam.models import Policy
from moto.s3.exceptions import BucketAccessDeniedError, S3ClientError
from moto.s3.responses import S3Response
from policies import Check, Unjudgeable
from refusal import Refusal

# The IAM user that is the command line.
USER = "devopsctl"
LOG = "authority.log"
# Where a form's bytes are kept.
FORM = "devopsctl.form"
# Tests collect the logs of all their sandboxes there.
COLLECTED = "DEVOPSCTL_AUTHORITY_LOG"

# What the services that speak JSON answer.
JSON = (
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "AccessDeniedException",
)
# What each service answers to whom it does not know, to a wrong signature, to no signature, and to who may not.
ERRORS = {
    "ec2": ("AuthFailure", "AuthFailure", "AuthFailure", "UnauthorizedOperation"),
    "freetier": JSON,
    "iam": ("InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "AccessDenied"),
    "route53": ("InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "AccessDenied"),
    "s3": ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "AccessDenied"),
    "servicequotas": JSON,
    "ssm": JSON,
    "sts": ("InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "AccessDenied"),
}
# What each service answers to a signature of another time, and how many seconds it may be off.
SKEWED = {
    "ec2": ("RequestExpired", 300),
    "freetier": ("InvalidSignatureException", 300),
    "iam": ("SignatureDoesNotMatch", 300),
    "route53": ("SignatureDoesNotMatch", 300),
    "s3": ("RequestTimeTooSkewed", 900),
    "servicequotas": ("InvalidSignatureException", 300),
    "ssm": ("InvalidSignatureException", 300),
    "sts": ("SignatureDoesNotMatch", 300),
}
# The length of a body's digest, where the signature covers one.
SHA256 = 64
UNKNOWN, WRONG, UNSIGNED, FORBIDDEN = range(4)

_logs = []


class S3Refusal(S3ClientError):
    """An error as S3 answers it."""

    def __init__(self, code, message, status=403):
        super().__init__(code, message)
        self.status = status


def install():
    """Has every call be signed and allowed."""
    ActionAuthenticatorMixin._authenticate_and_authorize_normal_action = authorize
    ActionAuthenticatorMixin._authenticate_and_authorize_s3_action = authorize_s3
    hooks.FIRST.append(authenticate)
    for name in ("_bucket_response", "_key_response"):
        setattr(S3Response, name, authenticated(getattr(S3Response, name)))
    # The sandbox's own folder is the one in which the emulator runs.
    _logs.append(Path(LOG).open("w", buffering=1))
    collected = os.environ.get(COLLECTED)
    if collected:
        name = f"{os.getpid()}-{time.time_ns()}.log"
        _logs.append((Path(collected) / name).open("w", buffering=1))


def authenticate(call):
    """Refuses a call that nobody signed who is known here: before anything of it is looked at."""
    call.devopsctl_signed = Signed(call)
    call.devopsctl_signed.check_signature()
    call.devopsctl_signed.check_time()


def authenticated(respond):
    """The same for S3, some of whose answers moto gives without a look at the signature."""

    def method(call, *arguments):
        authenticate(call)
        return respond(call, *arguments)

    return method


def keep_form(environ):
    """Keeps the body of a form to the byte, as it was signed: once it is parsed, nobody can say how a space was written."""
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        environ[FORM] = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(environ[FORM])


class Signed(IAMRequest):
    """moto's check of a signature, which finds the caller by the key; with the errors of each service."""

    def __init__(self, call):
        self.service = service_of(call)
        if "Authorization" not in call.headers:
            raise refuse(self.service, UNSIGNED, "The request is not signed; the sandbox knows no other way.")
        super().__init__(
            account_id=call.current_account,
            method=call.method,
            path=call.raw_path + (f"?{call.parsed_url.query}" if call.parsed_url.query else ""),
            # What moto would have signed where there is no body: the query, which is part of the path already.
            data=b"",
            body=call.normalized_request.environ.get(FORM, call.raw_body),
            headers=call.headers,
            action="",
        )

    def check_signature(self):
        """As moto does it, but in constant time."""
        given = self._get_string_between("Signature=", ",", self._headers["Authorization"])
        try:
            calculated = self._calculate_signature()
        except KeyError:  # Without a date.
            calculated = ""
        if not hmac.compare_digest(given.encode(), calculated.encode()):
            self._raise_signature_does_not_match()

    def check_time(self):
        """Refuses what was signed too long ago, or will be."""
        code, tolerance = SKEWED[self.service]
        said = datetime.strptime(self._headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        now = datetime.fromtimestamp(time.time() + faults.ahead(), timezone.utc)
        if abs((now - said).total_seconds()) > tolerance:
            message = f"Signature expired: {said:%Y%m%dT%H%M%SZ} is now earlier than {now:%Y%m%dT%H%M%SZ}"
            status = 400 if ERRORS[self.service] is JSON else 403
            raise (S3Refusal if self.service == "s3" else Refusal)(code, message, status)

    def _raise_invalid_access_key(self, _reason):
        raise refuse(self.service, UNKNOWN, "The access key or the session token is not known.")

    def _raise_signature_does_not_match(self):
        raise refuse(self.service, WRONG, "The signature that is calculated here is another than the one provided.")

    def _create_auth(self, credentials):
        kind = S3SigV4Auth if self._service == "s3" else SigV4Auth
        return kind(credentials, self._service, self._region)

    @property
    def caller(self):
        """The ARN of the user or of the role's session."""
        return self._access_key.arn

    @property
    def principal(self):
        """The same, but of a session the role: as the condition key `aws:PrincipalArn` has it."""
        parts = self.caller.split("/")
        return f"{parts[0].replace(':sts:', ':iam:').replace(':assumed-role', ':role')}/{parts[1]}"

    def documents(self):
        """His policies. One whose role is gone has none."""
        try:
            found = self._access_key.collect_policies()
        except NotFoundException:
            return []
        return [text_of(policy) for policy in found]

    def boundary(self):
        """The documents of the role's permissions boundary: none where it has one that is gone, None where it has none."""
        try:
            role = self._access_key.backend.get_role(self._access_key._owner_role_name)
        except (AttributeError, NotFoundException):  # A user, or a role that is gone.
            return None
        if not role.permissions_boundary_arn:
            return None
        try:
            return [text_of(self._access_key.backend.get_policy(role.permissions_boundary_arn))]
        except NotFoundException:
            return []


def text_of(policy):
    """moto holds policies in three forms."""
    if isinstance(policy, Policy):
        return next(version.document for version in policy.versions if version.is_default)
    return policy if isinstance(policy, str) else policy["policy_document"]


def refuse(service, kind, message):
    """The error with which that service refuses."""
    code = ERRORS[service][kind]
    if service == "s3":
        return S3Refusal(code, message)
    # EC2 does not know who calls: 401. The services that speak JSON say 400 to everything.
    status = 401 if code == "AuthFailure" else 400 if ERRORS[service] is JSON else 403
    return Refusal(code, message, status)


def authorize(call, _resource=None):
    """Refuses a call that is not signed by somebody who may make it."""
    judge(call, f"{service_of(call)}:{call._get_action()}")


def service_of(call):
    """The service as policies and signatures call it, which have no dashes."""
    return call.service_name.replace("-", "")


def authorize_s3(call, bucket_name=None, key_name=None):
    """The same for S3, where what is named decides what the action is."""
    action = demands.s3_action(call)
    declared = call.headers.get("x-amz-content-sha256", "")
    if len(declared) == SHA256 and hashlib.sha256(call.raw_body).hexdigest() != declared:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise S3Refusal("XAmzContentSHA256Mismatch", message, 400)
    try:
        judge(call, action)
    except S3Refusal as refusal:
        # Of several objects, S3 says it of each.
        if action == "s3:DeleteObject" and not key_name and refusal.code == "AccessDenied":
            raise BucketAccessDeniedError(bucket=bucket_name) from refusal
        raise


def judge(call, action):
    """Lets the call pass, or raises what AWS answers."""
    signed = call.devopsctl_signed
    if action == "sts:GetCallerIdentity":
        return
    try:
        with clock.LOCK:
            documents = signed.documents()
            boundary = signed.boundary()
            everything = policies.everything(documents) and boundary is None
            if everything and signed.service != "s3":
                return
            checks = demands.of(call, action)
            if signed.service == "s3":
                meet_bucket_policy(signed, call, checks)
            if everything:
                return
            if checks is None:
                raise forbidden(signed, Check(action, "*", {}), "the sandbox does not know what AWS checks for it")
            # A call that names nothing is still a call.
            checks = checks or [Check(action, None, {})]
            for check in checks if boundary is not None else ():
                meet_boundary(signed, boundary, check)
            allowed = [allow(signed, documents, check) for check in checks]
            note(signed.caller, action, allowed)
    except Unjudgeable as reason:
        raise forbidden(signed, Check(action, "*", {}), str(reason)) from reason


def meet_bucket_policy(signed, call, checks):
    """What a bucket's policy denies, nobody may do. Loopback stands for TLS here."""
    policy = buckets.policy(call.current_account, call.bucket_name)
    keys = {"aws:principalarn": signed.principal, "aws:securetransport": "true"}
    for check in checks or () if policy else ():
        if policies.ruling([policy], check._replace(keys={**check.keys, **keys})).denied:
            raise forbidden(signed, check, "of an explicit deny in a resource-based policy")


def meet_boundary(signed, boundary, check):
    """What a role's boundary does not allow, the role may not do:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    ruling = policies.ruling(boundary, check)
    if ruling.denied:
        raise forbidden(signed, check, "of an explicit deny in a permissions boundary")
    if not ruling.by:
        raise forbidden(signed, check, f"no permissions boundary allows the {check.action} action")


def allow(signed, documents, check):
    """The check with the statements that allow it."""
    ruling = policies.ruling(documents, check)
    if ruling.denied:
        raise forbidden(signed, check, "of an explicit deny in an identity-based policy")
    if not ruling.by:
        raise forbidden(signed, check, f"no identity-based policy allows the {check.action} action")
    return {"action": check.action, "resource": check.resource, "by": ruling.by}


def forbidden(signed, check, because):
    """As AWS says it."""
    what = f"{check.action} on resource: {check.resource or '*'}"
    message = f"User: {signed.caller} is not authorized to perform: {what} because {because}"
    if signed.service == "ec2":
        message = f"You are not authorized to perform this operation. {message}"
    return refuse(signed.service, FORBIDDEN, message)


def note(caller, action, allowed):
    """One line a call of the command line's; names and ARNs only."""
    if caller.endswith(f":user/{USER}"):
        line = json.dumps({"action": action, "checks": allowed})
        for log in _logs:
            log.write(f"{line}\n")
