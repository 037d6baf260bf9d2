"""Only signed calls get a response, from the API and from the emulator's socket. Other users of this machine and web pages get
none.

Each request is sent byte by byte, because a client would normalize it.
"""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import SLOW

# moto's own pages, its metadata service, the control paths and other services of moto, each in several spellings.
PATHS = [
    "/",
    "/bucket",
    "/bucket/key",
    "/moto-api/data.json",
    "//moto-api/data.json",
    "///moto-api/data.json",
    "/./moto-api/data.json",
    "/x/../moto-api/data.json",
    "/x/%2e%2e/moto-api/data.json",
    "/%6doto-api/data.json",
    "/%6Doto-api/data.json",
    "/moto%2Dapi/data.json",
    "/moto-api%2Fdata.json",
    "/moto-api%2fdata.json",
    "/%2Fmoto-api/data.json",
    "/moto-api//data.json",
    "/\\moto-api/data.json",
    "http://127.0.0.1/moto-api/data.json",
    "/moto-api/",
    "/moto-api/reset",
    "/favicon.ico",
    "/latest/meta-data/",
    "//latest/meta-data/",
    "/%6catest/api/token",
    "/_devopsctl/users",
    "//_devopsctl/users",
    "/./_devopsctl/users",
    "/%5fdevopsctl/users",
    "/%5Fdevopsctl/users",
    "/_devopsctl%2Fusers",
    "/_devopsctl/aws-state",
    "http://127.0.0.1/_devopsctl/users",
    "/_devopsctl/status",
    "/lambda_us-east-1/2015-03-31/functions",
    "/us-east-1_pool/.well-known/jwks.json",
]
SCOPE = "AKIAIOSFODNN7EXAMPLE/20260101/us-east-1"
PRESIGNED = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE}/s3/aws4_request&X-Amz-Signature={'0' * 64}"


def forged(service):
    """A header with a forged signature."""
    scope = f"{SCOPE}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"


class Local(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path):
        super().__init__("127.0.0.1", timeout=SLOW)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@pytest.fixture(params=["api", "emulator"])
def connect(request, sandbox):
    """Opens connections to the API or to the emulator."""
    if request.param == "emulator":
        return lambda: Local(sandbox.folder / "emulator.sock")
    return lambda: http.client.HTTPConnection(urlsplit(sandbox.endpoint).netloc, timeout=SLOW)


def send(connect, path, headers, method="GET", body=b""):
    """The status, the headers and the body of the response."""
    connection = connect()
    try:
        # The standard library would refuse these paths.
        connection._validate_path = lambda _: None
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def signed(sandbox, service, path="/", method="GET", body=b"", host=None, **headers):
    """The headers of a call that is signed by the administrator."""
    keys = sandbox.handle["administrator"]
    host = host or urlsplit(sandbox.endpoint).netloc
    call = AWSRequest(method, f"http://{host}{path}", data=body, headers={"Host": host, **headers})
    SigV4Auth(Credentials(keys["access_key"], keys["secret_key"]), service, "us-east-1").add_auth(call)
    return dict(call.headers.items())


def is_nothing(answer):
    """Whether the response contains no information."""
    status, headers, body = answer
    cors = [name for name in headers if name.startswith("access-control-")]
    return status in (400, 403, 404) and not body and not cors and headers.get("server") in (None, "sandbox")


@pytest.mark.parametrize("path", PATHS)
def test_unsigned_requests_are_refused_for_every_spelling_of_a_path(connect, path):
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        assert is_nothing(send(connect, path, {}, method))
    assert is_nothing(send(connect, path, {"Origin": "http://evil.example"}))
    assert is_nothing(send(connect, path, {"Host": "evil.example"}))
    assert is_nothing(send(connect, f"{path}?{PRESIGNED}", {}))
    for scheme in ("", "Basic eDp5", "AWS AKIA:00", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=x"):
        assert is_nothing(send(connect, path, {"Authorization": scheme}))


@pytest.mark.parametrize("path", [path for path in PATHS if path not in ("/", "/bucket", "/bucket/key")])
def test_forged_signatures_are_refused(connect, path):
    for service in ("moto_api", "motoapi", "instance_metadata", "lambda", "s3"):
        status, headers, body = send(
            connect, path, {"Authorization": forged(service), "X-Amz-Date": "20260101T000000Z"}
        )
        assert status in (400, 403, 404)
        assert b"AKIA" not in body.replace(SCOPE[:20].encode(), b"")
        assert "access-control-allow-origin" not in headers


def test_signed_requests_of_browsers_or_with_other_spellings_are_refused(request, sandbox, connect):
    def ask(path="/", method="GET", host=None, **headers):
        return send(connect, path, signed(sandbox, "s3", path, method, host=host, **headers), method)

    status, headers, body = ask()
    assert (status, b"<ListAllMyBucketsResult" in body) == (200, True)
    assert "Python" not in headers.get("server", "")
    port = urlsplit(sandbox.endpoint).port
    for host in (f"localhost:{port}", f"169.254.169.2:{port}"):
        assert ask(host=host)[0] == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        "127.0.0.1:x",
        "[::1]",
        "a b",
    ):
        assert is_nothing(ask(host=host)), host
    for name in ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Access-Control-Request-Method"):
        assert is_nothing(ask(**{name: "null"})), name
    for method in ("OPTIONS", "PATCH", "TRACE"):
        assert is_nothing(ask(method=method)), method
    for path in (
        "//",
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/a/%2E%2E/b",
        "/%61",
        "/a%2fb",
        "/a%2Fb",
        "/a%5Cb",
        "/a%00",
        "/a%",
    ):
        # The emulator's HTTP server merges leading slashes before the path is checked.
        if path != "//" or "api" in request.node.name:
            assert is_nothing(ask(path)), path


def test_control_paths_need_their_secret(sandbox, connect):
    for secret in ("", "0" * 48, sandbox.handle["control"][:-1]):
        for name in ("x-devopsctl-sandbox", "x-devopsctl-emulator"):
            for call in ("users", "aws-state", "status", "stop"):
                assert is_nothing(send(connect, f"/_devopsctl/{call}", {name: secret}, "POST"))
                call = f"/_devopsctl/{call}"
                assert is_nothing(send(connect, call, {**signed(sandbox, "s3", call), name: secret}))


def test_browsers_cannot_use_control_paths_even_with_the_secret(sandbox):
    def connect():
        return http.client.HTTPConnection(urlsplit(sandbox.endpoint).netloc, timeout=SLOW)

    secret = {"x-devopsctl-sandbox": sandbox.handle["control"]}
    assert send(connect, "/_devopsctl/status", secret)[0] == 200
    for more in ({"Host": "evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert is_nothing(send(connect, "/_devopsctl/status", {**secret, **more}))


def test_public_objects_need_a_signature(sandbox, connect, s3):
    everyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:*"}
    policy = {"Version": "2012-10-17", "Statement": [{**everyone, "Resource": "arn:aws:s3:::public/*"}]}
    if not [bucket for bucket in s3.list_buckets()["Buckets"] if bucket["Name"] == "public"]:
        s3.create_bucket(Bucket="public", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        s3.put_object(Bucket="public", Key="a", Body=b"x")
        s3.put_bucket_policy(Bucket="public", Policy=json.dumps(policy))
    for path in ("/public/a", "/public", f"/public/a?{PRESIGNED}"):
        for method in ("GET", "HEAD", "PUT", "DELETE", "POST"):
            assert is_nothing(send(connect, path, {}, method))
            headers = {"Authorization": forged("s3"), "X-Amz-Date": "20260101T000000Z"}
            assert send(connect, path, headers, method)[0] == 403
    assert s3.get_object(Bucket="public", Key="a")["Body"].read() == b"x"


def test_keys_with_uncommon_characters_work(sandbox, s3):
    s3.create_bucket(Bucket="odd-keys", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for key in (
        "a b",
        "ä/ö",
        "a+b&c=d",
        "50%",
        "%41",
        "it's(1)!*",
        "a@b:c,d;e$",
        "_/~x",
        "a?b#c",
        ".hidden/..x",
        "folder/",
    ):
        s3.put_object(Bucket="odd-keys", Key=key, Body=key.encode())
        assert s3.get_object(Bucket="odd-keys", Key=key)["Body"].read() == key.encode()


def test_responses_do_not_reveal_the_implementation(sandbox, connect):
    status, headers, _ = send(connect, "/", {"Authorization": forged("s3"), "X-Amz-Date": "20260101T000000Z"})
    assert status == 403
    assert not any(word in headers.get("server", "") for word in ("Werkzeug", "Python"))
