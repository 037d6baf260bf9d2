"""Which requests reach moto: signed calls to the services of the sandbox, with a canonical path.

The API makes the same checks (api/admission.rs), so neither is the only protection. The path is checked as it arrived, not
decoded, because two programs can decode it differently. A refused request gets an empty response.
"""

import hmac
import re
import string
from pathlib import Path

# The header of control calls. Their secret is in a private file that is read once.
HEADER = "HTTP_X_DEVOPSCTL_EMULATOR"
SERVICES = ("ec2", "freetier", "iam", "route53", "s3", "secretsmanager", "servicequotas", "ssm", "sts")
METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")
# The names of this machine for its programs and for virtual machines. A web page with another host gets no response.
HOST = re.compile(r"(127\.0\.0\.1|localhost|169\.254\.169\.2)(:[0-9]{1,5})?")
# Headers that browsers send for web pages. AWS clients do not send them.
BROWSER = ("HTTP_ORIGIN", "HTTP_ACCESS_CONTROL_REQUEST_METHOD")
BROWSER_PREFIX = "HTTP_SEC_FETCH_"
SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=[^/,\s]{1,128}/[0-9]{8}/[a-z0-9-]{1,64}/([a-z0-9-]{1,64})/aws4_request,"
    r" *SignedHeaders=[a-z0-9;._-]+, *Signature=[0-9a-f]{64}"
)
SEGMENT = r"(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+"
PATH = re.compile(rf"/|(?:/{SEGMENT})+/?")
# Bytes that must not be percent-encoded: they need no escape, or would change the path when decoded.
UNRESERVED = string.ascii_letters + string.digits + "-._~"
UNESCAPED = {*UNRESERVED.encode(), *b"/\\", *range(0x20), 0x7F}


class Admission:
    """Recognizes the sandbox's own requests."""

    def __init__(self, secret):
        self._secret = secret.encode()

    @classmethod
    def from_file(cls, path):
        """Reads the secret from a file and removes the file."""
        path = Path(path)
        secret = path.read_text()
        path.unlink()
        return cls(secret)

    def is_own(self, environ):
        """Whether the sandbox itself sent the request."""
        return hmac.compare_digest(environ.get(HEADER, "").encode("latin-1"), self._secret)


def service(environ):
    """The service that a request calls. None: the request is refused."""
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
    """Whether a path has no other spelling."""
    if PATH.fullmatch(path) is None:
        return False
    escaped = {int(code, 16) for code in re.findall(r"%(..)", path)}
    return not escaped & UNESCAPED
