"""Which requests reach moto: signed calls to the services that the sandbox has, at a path that has only one meaning.

The front refuses the same (front/admission.rs). This module holds without it, so neither is the only protection. It reads
the path as it arrived, never a decoded form: two programs that decode differently are two programs that disagree.
A refused request gets an empty answer.
"""

import hmac
import re
import string
from pathlib import Path

# The header of the sandbox's own calls; their secret is in a private file that is read once.
HEADER = "HTTP_X_DEVOPSCTL_EMULATOR"
SERVICES = ("ec2", "freetier", "iam", "route53", "s3", "servicequotas", "ssm", "sts")
METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")
# This machine, as its own programs and as virtual machines name it. A page behind another name is not answered.
HOST = re.compile(r"(127\.0\.0\.1|localhost|169\.254\.169\.2)(:[0-9]{1,5})?")
# A browser sends these with what a page asks for, and AWS's clients do not.
BROWSER = ("HTTP_ORIGIN", "HTTP_ACCESS_CONTROL_REQUEST_METHOD")
BROWSER_PREFIX = "HTTP_SEC_FETCH_"
SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=[^/,\s]{1,128}/[0-9]{8}/[a-z0-9-]{1,64}/([a-z0-9-]{1,64})/aws4_request,"
    r" *SignedHeaders=[a-z0-9;._-]+, *Signature=[0-9a-f]{64}"
)
SEGMENT = r"(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+"
PATH = re.compile(rf"/|(?:/{SEGMENT})+/?")
# What is never written as an escape, because it needs none or because it would mean something else once it is decoded.
UNRESERVED = string.ascii_letters + string.digits + "-._~"
UNESCAPED = {*UNRESERVED.encode(), *b"/\\", *range(0x20), 0x7F}


class Admission:
    """Tells which requests may pass."""

    def __init__(self, secret):
        self._secret = secret.encode()

    @classmethod
    def from_file(cls, path):
        """Takes the secret from a file, which it removes."""
        path = Path(path)
        secret = path.read_text()
        path.unlink()
        return cls(secret)

    def is_own(self, environ):
        """Whether the sandbox itself makes the request."""
        return hmac.compare_digest(environ.get(HEADER, "").encode("latin-1"), self._secret)


def service(environ):
    """The service that a request calls, or None where it may not pass."""
    signed = SIGNED.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    if signed is None or signed[1] not in SERVICES or environ["REQUEST_METHOD"] not in METHODS:
        return None
    by_browser = any(name in BROWSER or name.startswith(BROWSER_PREFIX) for name in environ)
    if by_browser or not HOST.fullmatch(environ.get("HTTP_HOST", "")) or not is_canonical(path(environ)):
        return None
    return signed[1]


def path(environ):
    """The path as it arrived."""
    return environ["RAW_URI"].partition("?")[0]


def is_canonical(path):
    """Whether a path has one spelling and one meaning."""
    if PATH.fullmatch(path) is None:
        return False
    escaped = {int(code, 16) for code in re.findall(r"%(..)", path)}
    return not escaped & UNESCAPED
