"""A small AWS on loopback: the parts of the metadata service, S3, SSM and STS that a machine uses.

Every signed call is verified with botocore, and everything that happens is kept for the test to look at.
"""

import calendar
import hashlib
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.auth
import botocore.awsrequest
import botocore.credentials

ACCOUNT, REGION, INSTANCE = "123456789012", "eu-central-1", "i-0123456789abcdef0"
KEYS = {"AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "secret/key+example", "Token": "session//token+="}
BUCKET = f"devopsctl-{ACCOUNT}-{REGION}-an"
HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"


def etag(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


class Parameters:
    """The parameters below one path of SSM, in pages."""

    def __init__(self, size=10, path="/devopsctl/shop/secrets"):
        self.size, self.path = size, path
        self.held = {}  # By name: (version, seconds since 1970, the stored text).
        self.writes = 0
        self.late, self.before = 0, {}  # How many responses still show what was held before.

    def put(self, name, value):
        """Like the command line."""
        stored = value
        if "{{" in value or value.startswith("json:"):
            stored = "json:" + json.dumps(value, ensure_ascii=False).replace("{", "\\u007b")
        self.write(name, stored)

    def write(self, name, stored):
        assert 1 <= len(stored) <= 4096 and "{{" not in stored
        self.writes += 1
        self.before = dict(self.held)
        self.held[name] = self.held.get(name, (0,))[0] + 1, 1.7e9 + self.writes / 1000, stored

    def delete(self, name):
        self.before = dict(self.held)
        self.held.pop(name, None)

    def fingerprint(self):
        """Like the command line's."""
        lines = (f"{name} {held[0]} {round(held[1] * 1000)}\n" for name, held in sorted(self.held.items()))
        text = "".join(lines)
        return hashlib.sha256(text.encode()).hexdigest()[:16] if text else "none"

    def page(self, request):
        """The response to GetParametersByPath."""
        assert request["Path"] == self.path and request["WithDecryption"] and not request["Recursive"]
        begin = int(request.get("NextToken", 0))
        held = self.before if self.late else self.held
        names = sorted(held)
        end = begin + self.size
        if end < len(names):
            more = {"NextToken": str(end)}
        else:
            more, self.late = {}, max(0, self.late - 1)
        shown = [(name, *held[name]) for name in names[begin:end]]
        parameters = [
            {"Name": f"{self.path}/{name}", "Type": "SecureString", "Value": stored, "Version": version}
            | {"LastModifiedDate": modified}
            for name, version, modified, stored in shown
        ]
        return {"Parameters": parameters, **more}


class FakeAws:
    def __init__(self, name="shop"):
        self.name, self.instance = name, INSTANCE
        self.tags = {"devopsctl:name": name}
        self.role = True
        self.public = None  # Its public address.
        self.objects, self.parameters = {}, {}
        self.secrets = Parameters(path=f"/devopsctl/{name}/secrets")
        self.notes = {}  # The metadata of objects.
        self.written = {}  # When an object was written, on this AWS's clock.
        self.reports = []  # (time, parsed report)
        self.calls = []  # (service or "imds", what)
        self.faults = {}  # what, or a part of an object's path -> the response to send instead: (status, body) or a callable
        self.skew = 0  # Seconds by which this AWS's clock is ahead.
        self.keys = dict(KEYS)
        self.lasting = 3600  # Seconds until the keys expire, from each request on.
        self.sessions = 0  # How many sessions of the app's role STS has given.
        self.change = threading.Condition()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"aws": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def put_release(self, archive, **notes):
        """Like the command line: the id is the archive's sha256."""
        release = hashlib.sha256(archive).hexdigest()
        key = f"{self.name}/releases/{release}.tar.gz"
        self.objects[key], self.notes[key] = archive, notes
        return release

    def put_token(self, current, previous=None, until=None, ring=True):
        value = json.dumps({"current": current, "previous": previous, "previous_until": until})
        version = self.put_parameter(f"/devopsctl/{self.name}/token", value)
        if ring:
            self.tags["devopsctl:token"] = str(version)
        return version

    def put_secrets(self, ring=True, **values):
        """Writes secrets, or deletes those that are None, and orders them -> their fingerprint."""
        with self.change:
            for name, value in values.items():
                self.secrets.delete(name) if value is None else self.secrets.put(name, value)
            known = self.secrets.fingerprint()
        if ring:
            self.tags["devopsctl:secrets"] = known
        return known

    def token(self):
        """(version, the token) that SSM has."""
        version, value = self.parameters[f"/devopsctl/{self.name}/token"]
        return version, json.loads(value)["current"]

    def put_parameter(self, name, value):
        with self.change:
            version = self.parameters.get(name, (0, ""))[0] + 1
            self.parameters[name] = version, value
            if "/report/" in name:
                self.reports.append((time.monotonic(), json.loads(value), value))
            self.change.notify_all()
        return version

    def wait_report(self, condition, seconds=30):
        """The first report that meets a condition, also among those that exist already."""
        with self.change:
            found = self.change.wait_for(lambda: [each for _, each, _ in self.reports if condition(each)], seconds)
        assert found, f"no such report within {seconds} s; the last ones: {[each for _, each, _ in self.reports[-3:]]}"
        return found[0]


class Handler(BaseHTTPRequestHandler):
    aws = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", kind="text/plain", notes=None, **headers):
        body = body.encode() if isinstance(body, str) else body
        self.send_response_only(status)
        self.send_header("Date", time.strftime(HTTP_DATE, time.gmtime(time.time() + self.aws.skew)))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, text in {**{f"x-amz-meta-{name}": text for name, text in (notes or {}).items()}, **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        if self.path == "/latest/api/token":
            assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            return self.answer(200, "a-session")
        return self.s3()

    def do_GET(self):
        if self.path.startswith("/latest/"):
            return self.metadata(self.path[len("/latest/") :])
        return self.s3()

    def metadata(self, path):
        aws = self.aws
        aws.calls.append(("imds", path))
        fault = aws.faults.get("imds")
        if fault:
            return self.answer(*fault)
        if self.headers["X-aws-ec2-metadata-token"] != "a-session":
            return self.answer(401)
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + aws.skew + aws.lasting))
        role = {"Code": "Success", **aws.keys, "Expiration": ends}
        known = {
            "meta-data/instance-id": aws.instance,
            "meta-data/services/domain": "amazonaws.com",
            "dynamic/instance-identity/document": json.dumps(
                {"accountId": ACCOUNT, "region": REGION, "instanceId": aws.instance}
            ),
            "meta-data/tags/instance": "\n".join(aws.tags),
            **{f"meta-data/tags/instance/{key}": value for key, value in aws.tags.items()},
        }
        if aws.public:
            known["meta-data/public-ipv4"] = aws.public
        if aws.role:
            known["meta-data/iam/security-credentials/"] = "the-role"
            known["meta-data/iam/security-credentials/the-role"] = json.dumps(role)
        if path in known:
            return self.answer(200, known[path])
        return self.answer(404)

    def signed(self, service, body):
        """Whether botocore would have signed this request the same way."""
        sent = self.headers["Authorization"]
        names = sent.split("SignedHeaders=")[1].split(",")[0].split(";")
        headers = {name: self.headers[name] for name in names if name not in ("host", "x-amz-date")}
        request = botocore.awsrequest.AWSRequest(
            self.command, f"http://{self.headers['Host']}{self.path}", headers, body
        )
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        credentials = botocore.credentials.Credentials(*self.aws.keys.values())
        kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        signer = kind(credentials, service, REGION)
        text = signer.string_to_sign(request, self.canonical(signer, request, names))
        return sent.endswith(f"Signature={signer.signature(text, request)}")

    def late(self):
        """Whether the clocks differ by more than AWS accepts."""
        then = calendar.timegm(time.strptime(self.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
        return abs(time.time() + self.aws.skew - then) > 300

    def canonical(self, signer, request, names):
        request.headers["X-Amz-Date"] = self.headers["X-Amz-Date"]
        if "host" not in request.headers:
            request.headers["host"] = self.headers["Host"]
        return signer.canonical_request(request)

    def s3(self):
        aws = self.aws
        aws.calls.append(("s3", self.path))
        fault = aws.faults.get("s3") or next((fault for part, fault in aws.faults.items() if part in self.path), None)
        if callable(fault):
            return fault(self)
        if fault:
            return self.answer(*fault)
        assert self.headers["x-amz-expected-bucket-owner"] == ACCOUNT
        if self.late():
            text = "The difference between the request time and the current time is too large."
            return self.answer(403, f"<Error><Code>RequestTimeTooSkewed</Code><Message>{text}</Message></Error>")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if not self.signed("s3", body):
            return self.answer(403, "<Error><Code>SignatureDoesNotMatch</Code><Message>wrong</Message></Error>")
        _, bucket, key = self.path.split("/", 2)
        if self.command == "PUT":
            assert self.headers["x-amz-server-side-encryption"] == "AES256" and bucket == BUCKET
            return self.put(urllib.parse.unquote(key), body)
        key = urllib.parse.unquote(key)
        found = aws.objects.get(key) if bucket == BUCKET else None
        if found is None:
            return self.answer(404, "<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>")
        at = aws.written.get(key, time.time())
        modified = {"ETag": etag(found), "Last-Modified": time.strftime(HTTP_DATE, time.gmtime(at))}
        return self.answer(200, found, notes=aws.notes.get(key), **modified)

    def put(self, key, body):
        """Atomic, as in S3; a condition that does not hold is refused."""
        aws = self.aws
        with aws.change:
            found = aws.objects.get(key)
            none, same = self.headers["If-None-Match"], self.headers["If-Match"]
            assert none in (None, "*") and not (none and same)
            if same and found is None:
                return self.answer(
                    404, "<Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>"
                )
            if (none and found is not None) or (same and same != etag(found)):
                text = "At least one of the pre-conditions you specified did not hold"
                return self.answer(412, f"<Error><Code>PreconditionFailed</Code><Message>{text}</Message></Error>")
            aws.objects[key], aws.written[key] = body, time.time() + aws.skew
            aws.change.notify_all()
        return self.answer(200, ETag=etag(body))

    def do_POST(self):
        aws = self.aws
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "X-Amz-Target" not in self.headers:
            return self.sts(body)
        action = self.headers["X-Amz-Target"].split(".")[1]
        request = json.loads(body)
        aws.calls.append(("ssm", action))
        fault = aws.faults.get(action)
        if fault:
            return self.answer(*fault)
        if self.late():
            return self.answer(400, '{"__type":"InvalidSignatureException","message":"Signature expired"}')
        if not self.signed("ssm", body):
            return self.answer(400, '{"__type":"InvalidSignatureException","message":"wrong"}')
        if action == "PutParameter":
            assert "{{" not in request["Value"] and len(request["Value"].encode()) <= 4096
            return self.answer(200, json.dumps({"Version": aws.put_parameter(request["Name"], request["Value"])}))
        if action == "GetParametersByPath":
            with aws.change:
                return self.answer(200, json.dumps(aws.secrets.page(request)))
        if request["Name"] not in aws.parameters:
            return self.answer(400, '{"__type":"ParameterNotFound","message":""}')
        version, value = aws.parameters[request["Name"]]
        return self.answer(
            200, json.dumps({"Parameter": {"Name": request["Name"], "Value": value, "Version": version}})
        )

    def sts(self, body):
        aws, asked = self.aws, dict(urllib.parse.parse_qsl(body.decode()))
        aws.calls.append(("sts", asked["Action"]))
        fault = aws.faults.get("AssumeRole")
        if fault:
            return self.answer(*fault)
        role = f"arn:aws:iam::{ACCOUNT}:role/devopsctl-{aws.name}-{REGION}-app"
        right = ("AssumeRole", role, INSTANCE, "3600")
        assert tuple(asked[key] for key in ("Action", "RoleArn", "RoleSessionName", "DurationSeconds")) == right
        if not self.signed("sts", body):
            return self.answer(403, "<Error><Code>SignatureDoesNotMatch</Code><Message>wrong</Message></Error>")
        with aws.change:
            aws.sessions += 1
        return self.answer(200, session(aws.sessions, time.time() + aws.skew + 3600))


def session(number, until):
    """The answer of STS."""
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    return (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
        f"<AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>secret/{number}+x</SecretAccessKey>"
        f"<SessionToken>session//{number}+=</SessionToken><Expiration>{ends}</Expiration></Credentials>"
        "</AssumeRoleResult></AssumeRoleResponse>"
    )
