"""IAM: authenticates each call by its signature, and authorizes it by the caller's policies.

moto checks signatures, but of policies only the actions. Here the whole policy counts (policies.py), for each check that AWS
makes (actions.py). An action without a rule in actions.py is allowed only to a caller with all permissions, and refused to
others with that reason.

The permissions that the command line uses are logged, so that a test finds permissions that it does not need.
"""

import hashlib
import hmac
import io
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path

from botocore.auth import S3SigV4Auth, SigV4Auth
from core import clock, faults, hooks
from core.errors import AwsError, S3Error
from iam import actions, policies
from iam.policies import Check, Unsupported
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam.access_control import IAMRequest
from moto.iam.exceptions import NotFoundException
from moto.iam.models import Policy
from moto.s3.exceptions import BucketAccessDeniedError
from moto.s3.responses import S3Response
from s3 import buckets

# The command line's IAM user.
USER = "devopsctl"
LOG = "iam.log"
# The key of a form's bytes in the WSGI environment.
FORM = "devopsctl.form"
# The variable with a folder where tests collect the logs of all sandboxes.
COLLECTED = "DEVOPSCTL_IAM_LOG"

# The error codes of the JSON services.
JSON = (
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "AccessDeniedException",
)
# The error codes of each service for an unknown key, a wrong signature, no signature, and a forbidden call.
ERRORS = {
    "ec2": ("AuthFailure", "AuthFailure", "AuthFailure", "UnauthorizedOperation"),
    "freetier": JSON,
    "iam": ("InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "AccessDenied"),
    "route53": ("InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "AccessDenied"),
    "s3": ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "AccessDenied"),
    "secretsmanager": JSON,
    "servicequotas": JSON,
    "ssm": JSON,
    "sts": ("InvalidClientTokenId", "SignatureDoesNotMatch", "MissingAuthenticationToken", "AccessDenied"),
}
# The error code of each service for a signature with a wrong time, and the tolerance in seconds.
SKEWED = {
    "ec2": ("RequestExpired", 300),
    "freetier": ("InvalidSignatureException", 300),
    "iam": ("SignatureDoesNotMatch", 300),
    "route53": ("SignatureDoesNotMatch", 300),
    "s3": ("RequestTimeTooSkewed", 900),
    "secretsmanager": ("InvalidSignatureException", 300),
    "servicequotas": ("InvalidSignatureException", 300),
    "ssm": ("InvalidSignatureException", 300),
    "sts": ("SignatureDoesNotMatch", 300),
}
# The length of a body's digest, if the signature covers the body.
SHA256 = 64
UNKNOWN, WRONG, UNSIGNED, FORBIDDEN = range(4)

_logs = []


def install():
    """Authenticates and authorizes every call."""
    ActionAuthenticatorMixin._authenticate_and_authorize_normal_action = authorize
    ActionAuthenticatorMixin._authenticate_and_authorize_s3_action = authorize_s3
    hooks.FIRST.append(authenticate)
    for name in ("_bucket_response", "_key_response"):
        setattr(S3Response, name, authenticated(getattr(S3Response, name)))
    # The emulator runs in the sandbox's folder.
    _logs.append(Path(LOG).open("w", buffering=1))
    collected = os.environ.get(COLLECTED)
    if collected:
        name = f"{os.getpid()}-{time.time_ns()}.log"
        _logs.append((Path(collected) / name).open("w", buffering=1))


def authenticate(call):
    """Refuses a call without a valid signature, before anything else of it is read."""
    call.devopsctl_signed = Signed(call)
    call.devopsctl_signed.check_signature()
    call.devopsctl_signed.check_time()


def authenticated(respond):
    """The same for S3, where moto skips the signature of some calls."""

    def method(call, *arguments):
        authenticate(call)
        return respond(call, *arguments)

    return method


def keep_form(environ):
    """Keeps the signed bytes of a form: the parsed form does not show how a space was encoded."""
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        environ[FORM] = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(environ[FORM])


class Signed(IAMRequest):
    """moto's signature check, which finds the caller by the key, with the errors of each service."""

    def __init__(self, call):
        self.service = service_of(call)
        if "Authorization" not in call.headers:
            raise service_error(
                self.service, UNSIGNED, "The request is not signed; the sandbox supports only signed requests."
            )
        super().__init__(
            account_id=call.current_account,
            method=call.method,
            path=call.raw_path + (f"?{call.parsed_url.query}" if call.parsed_url.query else ""),
            # moto would add the query where there is no body, but it is part of the path already.
            data=b"",
            body=call.normalized_request.environ.get(FORM, call.raw_body),
            headers=call.headers,
            action="",
        )

    def check_signature(self):
        """As in moto, but in constant time."""
        given = self._get_string_between("Signature=", ",", self._headers["Authorization"])
        try:
            calculated = self._calculate_signature()
        except KeyError:  # There is no date.
            calculated = ""
        if not hmac.compare_digest(given.encode(), calculated.encode()):
            self._raise_signature_does_not_match()

    def check_time(self):
        """Refuses a signature from too far in the past or the future."""
        code, tolerance = SKEWED[self.service]
        said = datetime.strptime(self._headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        now = datetime.fromtimestamp(time.time() + faults.ahead(), timezone.utc)
        if abs((now - said).total_seconds()) > tolerance:
            message = f"Signature expired: {said:%Y%m%dT%H%M%SZ} is now earlier than {now:%Y%m%dT%H%M%SZ}"
            status = 400 if ERRORS[self.service] is JSON else 403
            raise (S3Error if self.service == "s3" else AwsError)(code, message, status)

    def _raise_invalid_access_key(self, _reason):
        raise service_error(self.service, UNKNOWN, "The access key or the session token is not known.")

    def _raise_signature_does_not_match(self):
        raise service_error(self.service, WRONG, "The calculated signature does not match the one provided.")

    def _create_auth(self, credentials):
        kind = S3SigV4Auth if self._service == "s3" else SigV4Auth
        return kind(credentials, self._service, self._region)

    @property
    def caller(self):
        """The ARN of the user or of the role session."""
        return self._access_key.arn

    @property
    def principal(self):
        """The same, but for a session the ARN of its role, as in the condition key `aws:PrincipalArn`."""
        parts = self.caller.split("/")
        return f"{parts[0].replace(':sts:', ':iam:').replace(':assumed-role', ':role')}/{parts[1]}"

    def documents(self):
        """The caller's policies. A session whose role is deleted has none."""
        try:
            found = self._access_key.collect_policies()
        except NotFoundException:
            return []
        return [text_of(policy) for policy in found]

    def boundary(self):
        """The documents of the role's permissions boundary. None: it has none. An empty list: its boundary is deleted."""
        try:
            role = self._access_key.backend.get_role(self._access_key._owner_role_name)
        except (AttributeError, NotFoundException):  # A user, or a deleted role.
            return None
        if not role.permissions_boundary_arn:
            return None
        try:
            return [text_of(self._access_key.backend.get_policy(role.permissions_boundary_arn))]
        except NotFoundException:
            return []


def text_of(policy):
    """moto stores policies in three forms."""
    if isinstance(policy, Policy):
        return next(version.document for version in policy.versions if version.is_default)
    return policy if isinstance(policy, str) else policy["policy_document"]


def service_error(service, kind, message):
    """The service's error for that kind of refusal."""
    code = ERRORS[service][kind]
    if service == "s3":
        return S3Error(code, message)
    # EC2 returns 401 for an unknown caller. The JSON services return 400 for every error.
    status = 401 if code == "AuthFailure" else 400 if ERRORS[service] is JSON else 403
    return AwsError(code, message, status)


def authorize(call, _resource=None):
    """Refuses a call that the caller's policies do not allow."""
    check_permissions(call, f"{service_of(call)}:{call._get_action()}")


def service_of(call):
    """The service's name in policies and signatures, which has no dashes."""
    return call.service_name.replace("-", "")


def authorize_s3(call, bucket_name=None, key_name=None):
    """The same for S3, where the method and the resource determine the action."""
    action = actions.s3_action(call)
    declared = call.headers.get("x-amz-content-sha256", "")
    if len(declared) == SHA256 and hashlib.sha256(call.raw_body).hexdigest() != declared:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise S3Error("XAmzContentSHA256Mismatch", message, 400)
    try:
        check_permissions(call, action)
    except S3Error as error:
        # For several objects, S3 returns an error for each.
        if action == "s3:DeleteObject" and not key_name and error.code == "AccessDenied":
            raise BucketAccessDeniedError(bucket=bucket_name) from error
        raise


def check_permissions(call, action):
    """Raises AWS's error unless the call is allowed."""
    signed = call.devopsctl_signed
    if action == "sts:GetCallerIdentity":
        return
    try:
        with clock.LOCK:
            documents = signed.documents()
            boundary = signed.boundary()
            everything = policies.allows_everything(documents) and boundary is None
            if everything and signed.service != "s3":
                return
            checks = actions.checks_of(call, action)
            if signed.service == "s3":
                check_bucket_policy(signed, call, checks)
            if everything:
                return
            if checks is None:
                raise forbidden(signed, Check(action, "*", {}), "the sandbox has no rule for what AWS checks")
            # A call without resources still needs the action.
            checks = checks or [Check(action, None, {})]
            for check in checks if boundary is not None else ():
                check_boundary(signed, boundary, check)
            allowed = [allow(signed, documents, check) for check in checks]
            log_permissions(signed.caller, action, allowed)
    except Unsupported as reason:
        raise forbidden(signed, Check(action, "*", {}), str(reason)) from reason


def check_bucket_policy(signed, call, checks):
    """Applies the deny statements of a bucket's policy. Loopback counts as TLS."""
    policy = buckets.policy(call.current_account, call.bucket_name)
    keys = {"aws:principalarn": signed.principal, "aws:securetransport": "true"}
    for check in checks or () if policy else ():
        if policies.ruling([policy], check._replace(keys={**check.keys, **keys})).denied:
            raise forbidden(signed, check, "of an explicit deny in a resource-based policy")


def check_boundary(signed, boundary, check):
    """A role has only permissions that its boundary allows too:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    ruling = policies.ruling(boundary, check)
    if ruling.denied:
        raise forbidden(signed, check, "of an explicit deny in a permissions boundary")
    if not ruling.by:
        raise forbidden(signed, check, f"no permissions boundary allows the {check.action} action")


def allow(signed, documents, check):
    """Raises AWS's error unless a statement allows the check. Returns the statements for the log."""
    ruling = policies.ruling(documents, check)
    if ruling.denied:
        raise forbidden(signed, check, "of an explicit deny in an identity-based policy")
    if not ruling.by:
        raise forbidden(signed, check, f"no identity-based policy allows the {check.action} action")
    return {"action": check.action, "resource": check.resource, "by": ruling.by}


def forbidden(signed, check, because):
    """AWS's error for a forbidden call."""
    what = f"{check.action} on resource: {check.resource or '*'}"
    message = f"User: {signed.caller} is not authorized to perform: {what} because {because}"
    if signed.service == "ec2":
        message = f"You are not authorized to perform this operation. {message}"
    return service_error(signed.service, FORBIDDEN, message)


def log_permissions(caller, action, allowed):
    """Logs one line per call of the command line, with names and ARNs only."""
    if caller.endswith(f":user/{USER}"):
        line = json.dumps({"action": action, "checks": allowed})
        for log in _logs:
            log.write(f"{line}\n")
