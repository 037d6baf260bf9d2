"""The calls to AWS that an instance needs, with the standard library only: metadata (IMDSv2), SigV4, S3, SSM.

The user-data, which EC2 limits to 16 KB, contains this file.
"""

import email.utils
import errno
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import socket
import threading
import time
import urllib.parse

from boot.validate import check, parse

MOST = 8 << 20  # Bytes of a response that is kept in memory.


class AwsError(Exception):
    """`code` is AWS's error code, or one of ours; the text is for a person. `error_code` is the one of a report
    (`orders/report.py`)."""

    error_code = None

    def __init__(self, code, text, status=0):
        super().__init__(text)
        self.code, self.status = code, status

    def absent(self):
        """Whether the requested object is missing. S3 says 403 to a caller that may not list the bucket."""
        return self.status in (403, 404)

    def may_pass(self):
        """Whether a retry may succeed. A new role's policy takes minutes to propagate: until then 403, 404 and SSM's 400 for a
        denial are temporary."""
        busy = self.status >= 500 or re.search("Network|Throttl|TooMany", self.code)
        late = self.absent() or "AccessDenied" in self.code
        return bool(busy) or (late and since_boot() < 300)


def since_boot():
    """Seconds since the boot program started. Each program passes that time on to the next one."""
    return time.monotonic() - float(os.environ.setdefault("DEVOPSCTL_BOOTED", str(time.monotonic())))


def backoff(attempt, least=0.5, most=30.0):
    """Seconds to wait after the `attempt`th failure: exponential, with jitter."""
    return min(most, least * 2 ** min(attempt, 16)) * random.uniform(0.5, 1)


def send(method, url, headers, body=b"", seconds=5, into=None, heard=None, near=False):
    """One HTTP request with a deadline -> (status, headers, body). For a 2xx, `heard` gets the headers, and the body is
    written to the file `into`.

    A slow peer can keep each single read from timing out, so a timer ends the connection at the deadline. A `near` peer, which
    is part of the machine and is called every second, needs no timer.
    """
    end = time.monotonic() + seconds
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=min(seconds, 10))
    alarm = None
    try:
        connection.connect()
        if not near:
            alarm = threading.Timer(seconds, socket.socket.shutdown, (connection.sock, socket.SHUT_RDWR))
            alarm.daemon = True
            alarm.start()
        connection.request(method, parts.path, body, headers)
        answer, text = connection.getresponse(), b""
        if heard and answer.status < 300:
            heard(answer.headers)
        while True:
            chunk = answer.read1(65536)
            if time.monotonic() > end or (answer.length and not chunk):
                raise TimeoutError("the response is incomplete")
            if not chunk:
                return answer.status, answer.headers, text
            if into and answer.status < 300:
                into.write(chunk)
            else:
                text += chunk
            if len(text) > MOST:
                raise AwsError("TooLarge", f"{parts.netloc}: the response is larger than {MOST} bytes")
    except (http.client.HTTPException, OSError, UnicodeError) as error:
        if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            raise  # The disk is full.
        raise AwsError("Network", f"{parts.netloc}: {error or type(error).__name__}") from error
    finally:
        if alarm:
            alarm.cancel()
        connection.close()


class Metadata:
    """The instance metadata service."""

    def __init__(self, session=None, known=()):
        self.base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254") + "/latest/"
        self.session, self.known = session, dict(known)

    def get(self, path, errors="strict"):
        """The value at `path`; None if there is none."""
        for _ in range(2):
            session = self.session  # Another thread may end it.
            if not session:
                ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
                status, _, text = send("PUT", self.base + "api/token", ttl, seconds=2, near=True)
                if status != 200:
                    break
                session = self.session = check("session", text.decode().strip())
            headers = {"X-aws-ec2-metadata-token": session}
            status, _, text = send("GET", self.base + path, headers, seconds=2, near=True)
            if status in (200, 404):
                return text.decode(errors=errors) if status == 200 else None
            self.session = None
        raise AwsError("Metadata", f"the metadata service answers {status} for {path}", status)

    def tag_names(self):
        """The names of our tags, without the prefix. A name that is not UTF-8 is none of ours."""
        names = (self.get("meta-data/tags/instance", "replace") or "").split("\n")
        return [name[len("devopsctl:") :] for name in names if name.startswith("devopsctl:")]

    def tag(self, key):
        return self.get("meta-data/tags/instance/devopsctl:" + key)

    def name(self):
        """The deployment's name."""
        name = self.fact("meta-data/tags/instance/devopsctl:name")
        return name and check("name", name)

    def fact(self, path):
        """A value that never changes: it is read once."""
        if self.known.get(path) is None:
            self.known[path] = self.get(path)
        return self.known[path]

    def identity(self):
        """accountId, region and instanceId."""
        found = parse(self.fact("dynamic/instance-identity/document") or "", kind=dict)
        forms = (("accountId", "account"), ("region", "region"), ("instanceId", "instance"))
        return {key: check(form, found.get(key)) for key, form in forms}


def sign(credentials, service, region, method, url, headers, body=b"", now=None):
    """The headers of a request that is signed with SigV4. `url` is encoded, and has no query."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    parts = urllib.parse.urlsplit(url)
    digest = hashlib.sha256(body).hexdigest()
    headers = {**headers, "Host": parts.netloc, "X-Amz-Date": stamp}
    if service == "s3":
        headers["X-Amz-Content-SHA256"] = digest
    if credentials.get("Token"):
        headers["X-Amz-Security-Token"] = credentials["Token"]
    lines = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    names = ";".join(name for name, _ in lines)
    request = "\n".join([method, parts.path, "", *(f"{name}:{value}" for name, value in lines), "", names, digest])
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    key = ("AWS4" + credentials["SecretAccessKey"]).encode()
    digest = hashlib.sha256(request.encode()).hexdigest()
    for text in [*scope.split("/"), f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"]:
        key = hmac.new(key, text.encode(), "sha256").digest()
    who = f"Credential={credentials['AccessKeyId']}/{scope}"
    headers["Authorization"] = f"AWS4-HMAC-SHA256 {who}, SignedHeaders={names}, Signature={key.hex()}"
    return headers


class Aws:
    """Calls that are signed with the instance's role."""

    def __init__(self, metadata):
        self.metadata, self.held, self.until = metadata, None, 0
        self.skew = 0  # Seconds by which AWS's clock is ahead of ours.

    def credentials(self):
        """The role's credentials, read again each minute: new ones exist five minutes before the old ones expire."""
        if not self.held or time.monotonic() > self.until:
            try:
                place = "meta-data/iam/security-credentials/"
                role = self.metadata.get(place)
                found = parse(role and self.metadata.get(place + check("role", role.strip())) or "{}", kind=dict)
                if not all(isinstance(found.get(key), str) for key in ("AccessKeyId", "SecretAccessKey")):
                    raise AwsError("NoCredentials", "the instance has no role (yet)", 404)
                self.held, self.until = found, time.monotonic() + 60
            except (AwsError, ValueError):
                if not self.held:
                    raise
        return self.held

    def call(self, what, service, method, url, headers, body=b"", **sending):
        region = self.metadata.identity()["region"]
        now = time.time() + self.skew
        headers = sign(self.credentials(), service, region, method, url, headers, body, now)
        status, answer, text = send(method, url, headers, body, **sending)
        if status < 300:
            return text
        text = text.decode(errors="replace")  # JSON from SSM, XML from S3.
        code = re.search(r'(?:__type"\s*:\s*"(?:[^"]*#)?|<Code>)(\w+)', text)
        said = re.search(r'(?i:"message"\s*:\s*"|<message>)([^"<]*)', text)
        code, said = code[1] if code else f"Http{status}", said[1] if said else ""
        date = email.utils.parsedate_tz(answer["Date"] or "")
        self.skew = email.utils.mktime_tz(date) - time.time() if date else 0  # The next call uses it.
        fast = -self.skew / 60
        if abs(fast) > 4:
            said += f" (this machine's clock is {abs(fast):.0f} minutes {'fast' if fast > 0 else 'slow'})"
        raise AwsError(code, f"{what} was refused: {code}: {said}", status)

    def endpoint(self, service, bucket=""):
        """`AWS_ENDPOINT_URL`, as for every AWS tool, else the region's own."""
        given = os.environ.get("AWS_ENDPOINT_URL")
        if given:
            return f"{given.rstrip('/')}/{bucket and bucket + '/'}"
        domain = self.metadata.fact("meta-data/services/domain") or "amazonaws.com"
        region = self.metadata.identity()["region"]
        return f"https://{bucket and bucket + '.'}{service}.{region}.{check('domain', domain)}/"

    def ssm(self, action, **request):
        return self.json("ssm", "AmazonSSM", action, request)

    def secrets_manager(self, action, **request):
        return self.json("secretsmanager", "secretsmanager", action, request)

    def json(self, service, prefix, action, request):
        """The answer of a service with the JSON protocol."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{prefix}.{action}"}
        url, body = self.endpoint(service), json.dumps(request).encode()
        return parse(self.call(f"{service}:{action}", service, "POST", url, headers, body), MOST, dict)

    def object(self, key):
        """(url, headers) of an object in the deployments' bucket."""
        account, region = self.metadata.identity()["accountId"], self.metadata.identity()["region"]
        own = "" if region in ("me-south-1", "me-central-1") else "-an"
        url = self.endpoint("s3", f"devopsctl-{account}-{region}{own}") + urllib.parse.quote(key, safe="/~")
        return url, {"x-amz-expected-bucket-owner": account}

    def download(self, key, file, heard=None):
        """Writes an object into a file or file-like object; `heard` gets its headers before."""
        url, headers = self.object(key)
        self.call("s3:GetObject of " + key, "s3", "GET", url, headers, seconds=600, into=file, heard=heard)

    def upload(self, key, body, kind, condition=None, heard=None):
        """Stores `body` as the object, encrypted at rest. `condition`: the header of a conditional write. `heard` gets the headers
        of the response."""
        url, headers = self.object(key)
        headers.update({"Content-Type": kind, "x-amz-server-side-encryption": "AES256", **(condition or {})})
        self.call("s3:PutObject of " + key, "s3", "PUT", url, headers, body, seconds=60, heard=heard)
