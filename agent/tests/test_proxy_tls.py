"""The real Caddy with the configuration of its unit on EC2, on ports of loopback.

Machines that are processes listen on Unix sockets, where there is no QUIC. The certificate is the test's own and lies
where Caddy keeps those that it has been given, so nobody is asked for one.
"""

import contextlib
import copy
import http.client
import json
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
from types import SimpleNamespace

import pytest
from fake_aws import FakeAws
from h2.connection import H2Connection
from h2.events import DataReceived as H2Data
from h2.events import StreamReset
from h2.settings import SettingCodes
from http_clients import HOST, RIGHT, SECONDS, fields, over_http1, over_http2, over_http3
from machine import Machine, release, until
from proxied_machine import ECHO, HTTP, TOKEN

from proxy import caddy
from proxy.runner import SystemdProxy

LIMIT = HTTP["limits"]["body_mb"] << 20
# Longer than a client may read nothing.
PAUSING = """
import time

echo = app
def app(environ, start_response):
    if environ["PATH_INFO"] != "/pauses":
        return echo(environ, start_response)
    start_response("200 OK", [])
    return pauses()

def pauses():
    yield b"before "
    time.sleep(2)
    yield b"after"
"""
# A separate Caddy: the agent manages the machine's own.
ADMITS = "this.admits"


def write_config(folder, host, port, directory, plain=None, **settings):
    """The configuration of the unit on EC2, with other paths. `plain`: the port of plain HTTP."""
    where = {
        "folder": "run",
        "admits": ADMITS,
        "app": "net/app.sock",
        "plain": lambda _: f"{HOST}:{plain or free_port()}",
        "secure": f"{HOST}:{port}",
        "admin": "run/admin.sock",
        "store": str(folder / "store"),
        "log": str(folder / "run/certificates.log"),
        "static": "opt/devopsctl/static",
    }
    want = {**HTTP, "https": True, "acme": {"directory": directory, "root": None}, **settings}
    config = caddy.config(want, host, SimpleNamespace(**{**vars(SystemdProxy.where), **where}))
    (folder / "caddy.json").write_text(json.dumps(config))


@contextlib.contextmanager
def running(folder, log, is_ready):
    """Caddy with that configuration."""
    with open(log, "ab") as file:
        command = [shutil.which("caddy"), "run", "--config", "caddy.json"]
        environment = {"HOME": str(folder / "root")}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        until(lambda: process.poll() is not None or is_ready(), what="Caddy")
        assert process.poll() is None, "it ended"
        yield
    finally:
        print(log.read_text()[-4000:])  # pytest shows it only with a failure.
        process.kill()
        process.wait()


class Secured:
    """An app with Caddy before it."""

    def __init__(self, machine, **settings):
        self.machine, self.root, self.port, self.plain, self.source = (
            machine,
            machine.root,
            free_port(),
            free_port(),
            HOST,
        )
        self.certificate, self.log = self.root / "own.pem", self.root / "var/log/caddy.log"
        store, key = self.root / "store", self.root / "own.key"
        (self.root / "run" / ADMITS).touch()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(caddy, "TAKE_SECONDS", 1)
            write_config(self.root, HOST, self.port, "https://ca.invalid/directory", self.plain, **settings)
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        make += ["-days", "90", "-subj", "/CN=a test", "-addext", f"subjectAltName=IP:{HOST}"]
        subprocess.run([*make, "-keyout", key, "-out", self.certificate], check=True, capture_output=True)
        kept = store / "certificates/ca.invalid-directory" / HOST
        kept.mkdir(parents=True)
        shutil.copy(self.certificate, kept / f"{HOST}.crt")
        shutil.copy(key, kept / f"{HOST}.key")
        (kept / f"{HOST}.json").write_text(json.dumps({"sans": [HOST]}))

    @contextlib.contextmanager
    def running(self):
        with running(self.root, self.log, self.answers):
            yield self

    def answers(self):
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def seen_from(self, source):
        """The same proxy for clients with another address."""
        other = copy.copy(self)
        other.source = source
        return other

    def connect(self, version=None, alpn=None, ciphers=None):
        """Like a client that connects to an address: without a server name, and with full verification."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.set_alpn_protocols(alpn or [])
        if ciphers:
            context.set_ciphers(ciphers)
        if version:
            context.minimum_version = context.maximum_version = version
        way = socket.create_connection((HOST, self.port), SECONDS, source_address=(self.source, 0))
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(way, server_hostname=HOST)


@contextlib.contextmanager
def secured_app(archive):
    """A machine with this release, and Caddy before it."""
    with contextlib.ExitStack() as ends:
        aws = FakeAws()
        ends.callback(aws.close)
        machine = Machine(aws, tempfile.mkdtemp(prefix="machine-"))
        ends.callback(machine.destroy)
        aws.tags["devopsctl:release"] = aws.put_release(archive)
        aws.put_token(TOKEN)
        machine.boot()
        aws.wait_report(lambda report: report["healthy"])
        yield ends.enter_context(Secured(machine).running())


@pytest.fixture(scope="module")
def secured():
    with secured_app(release(app=ECHO + PAUSING)) as secured:
        yield secured


def free_port():
    """A port that is free for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((HOST, 0))
            with contextlib.suppress(OSError):
                udp.bind(tcp.getsockname())
                return tcp.getsockname()[1]


EACH_WAY = pytest.mark.parametrize(
    ("ask", "protocol"), [(over_http1, "HTTP/1.1"), (over_http2, "HTTP/2.0"), (over_http3, "HTTP/3.0")]
)


@EACH_WAY
def test_the_app_answers_with_the_token_only(secured, ask, protocol):
    status, headers, body = ask(secured, "POST", "/some?where=1", body=b"12345")
    told = json.loads(body)
    assert (status, told["length"], told["environ"]["PATH_INFO"]) == (200, 5, "/some")
    assert "server" not in headers and "via" not in headers
    status, _, body = ask(secured, headers={})
    assert (status, json.loads(body)["length"]) == (401, 0)


@EACH_WAY
def test_forwarding_headers_of_a_client_are_dropped(secured, ask, protocol):
    lies = dict.fromkeys(("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-real-ip"), "lie")
    told = json.loads(ask(secured, headers={**RIGHT, **lies})[2])["environ"]
    assert "lie" not in told.values()
    assert (told["HTTP_X_FORWARDED_FOR"], told["HTTP_X_FORWARDED_PROTO"]) == (HOST, "https")


@EACH_WAY
def test_without_a_generation_503_comes_before_the_body(secured, ask, protocol):
    admits = secured.root / "run" / ADMITS
    admits.unlink()
    try:
        for method, length in (("GET", 0), ("POST", 1000), ("POST", LIMIT)):
            told = {**RIGHT, "content-length": str(length)} if length else RIGHT
            status, headers, text = ask(secured, method, headers=told)
            assert (status, headers["retry-after"]) == (503, "5")
            assert text.startswith(b"The app is not running yet"), length
    finally:
        admits.touch()
    assert ask(secured)[0] == 200


@EACH_WAY
def test_the_limit_of_a_body_holds(secured, ask, protocol):
    length = {**RIGHT, "content-length": str(LIMIT)}
    assert json.loads(ask(secured, "POST", headers=length, body=bytes(LIMIT))[2])["length"] == LIMIT
    # Refused because of its declared length.
    assert ask(secured, "POST", headers={**RIGHT, "content-length": str(LIMIT + 1)})[0] == 413


@EACH_WAY
def test_another_server_name_is_refused(secured, ask, protocol):
    assert ask(secured, host="somebody.example")[0] == 421


@EACH_WAY
def test_the_access_log_has_no_token(secured, ask, protocol):
    assert ask(secured, path=f"/looked-for/{protocol}")[0] == 200

    def logged():
        lines = (json.loads(line) for line in secured.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("request", {}).get("uri") == f"/looked-for/{protocol}"]

    (line,) = until(logged, what="the access log")
    assert (line["request"]["proto"], line["request"]["remote_ip"]) == (protocol, HOST)
    assert TOKEN not in secured.log.read_text() and "uthorization" not in secured.log.read_text()


@EACH_WAY
def test_an_answer_may_pause(secured, ask, protocol):
    assert ask(secured, path="/pauses")[2] == b"before after"


def test_an_http2_client_that_reads_nothing_is_disconnected(secured):
    with secured.connect(alpn=["h2"]) as way:
        talk = H2Connection()
        talk.initiate_connection()
        talk.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        talk.send_headers(1, fields("GET", "/much", HOST, RIGHT), end_stream=True)
        events = []
        while not any(isinstance(event, StreamReset) for event in events):
            way.sendall(talk.data_to_send())
            events += talk.receive_data(way.recv(65536))
        assert not any(isinstance(event, H2Data) for event in events)


@pytest.mark.parametrize(
    ("target", "status", "location"),
    [
        ("/some?where=1", 308, f"https://{HOST}/some?where=1"),
        ("//example.com/", 308, f"https://{HOST}//example.com/"),
        ("x:.example.com/", 400, None),  # Not to 127.0.0.1.example.com.
    ],
)
def test_plain_http_leads_to_this_host_only(secured, target, status, location):
    connection = http.client.HTTPConnection(HOST, secured.plain)
    connection.request("GET", target)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (status, location)
    connection.close()


def test_http3_is_advertised(secured):
    for ask in (over_http1, over_http2):
        assert f'h3=":{secured.port}"' in ask(secured)[1]["alt-svc"]


# TLS


def test_the_newest_common_version_is_used(secured):
    newer = {None: "TLSv1.3", ssl.TLSVersion.TLSv1_3: "TLSv1.3", ssl.TLSVersion.TLSv1_2: "TLSv1.2"}
    for version, spoken in newer.items():
        with secured.connect(version, ["h2", "http/1.1"]) as way:
            assert (way.version(), way.selected_alpn_protocol()) == (spoken, "h2")
    with secured.connect(alpn=["http/1.1"]) as way:
        assert way.selected_alpn_protocol() == "http/1.1"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(secured, version):
    """By the proxy and not by this computer's OpenSSL: the refusal is an alert from the proxy."""
    with pytest.raises(ssl.SSLError) as refusal:
        secured.connect(version, ciphers="ALL:@SECLEVEL=0")
    assert refusal.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"


GOOD = {0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256", 0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384"}
WEAK = {
    0x0003: "EXP-RC4-MD5",
    0x0005: "RC4-SHA",
    0x000A: "DES-CBC3-SHA",
    0x002F: "AES128-SHA",
    0x003B: "NULL-SHA256",
    0x009C: "AES128-GCM-SHA256",  # Without forward secrecy.
    0xC006: "ECDHE-ECDSA-NULL-SHA",
    0xC007: "ECDHE-ECDSA-RC4-SHA",
    0xC008: "ECDHE-ECDSA-DES-CBC3-SHA",
    0xC009: "ECDHE-ECDSA-AES128-SHA",
    0xC00A: "ECDHE-ECDSA-AES256-SHA",
    0xC018: "AECDH-AES128-SHA",
    0xC023: "ECDHE-ECDSA-AES128-SHA256",
}


def offer(secured, suite):
    """The proxy's answer to a TLS 1.2 client with only one cipher suite: `hello`, or the number of an alert.

    Written by hand, because no OpenSSL of today would offer some of them.
    """

    def sized(width, content):
        return len(content).to_bytes(width, "big") + content

    def extension(number, content):
        return struct.pack(">H", number) + sized(2, content)

    extensions = extension(10, sized(2, bytes.fromhex("001d00170018")))  # x25519, P-256, P-384
    extensions += extension(11, sized(1, b"\0"))
    extensions += extension(13, sized(2, bytes.fromhex("040308040401050302030201")))
    hello = b"\3\3" + bytes(range(32)) + sized(1, b"") + sized(2, struct.pack(">H", suite)) + sized(1, b"\0")
    message = b"\1" + sized(3, hello + sized(2, extensions))
    with socket.create_connection((HOST, secured.port), SECONDS) as way:
        way.sendall(b"\x16\3\1" + sized(2, message))
        answer = way.makefile("rb").read(7)
    return "hello" if (answer[0], answer[5]) == (22, 2) else answer[6]


def test_weak_ciphers_are_refused(secured):
    assert {name: offer(secured, suite) for suite, name in GOOD.items()} == dict.fromkeys(GOOD.values(), "hello")
    handshake_failure = 40
    assert {name: offer(secured, suite) for suite, name in WEAK.items()} == dict.fromkeys(
        WEAK.values(), handshake_failure
    )


@pytest.mark.parametrize(
    ("host", "known"), [("app.example.com", True), ("18.204.9.3", True), ("app.internal", False), (HOST, False)]
)
def test_caddy_uses_its_own_authority_only_for_private_hosts(tmp_path, host, known):
    (tmp_path / "run").mkdir()
    write_config(tmp_path, host, free_port(), f"https://{HOST}:{free_port()}/nobody")
    log = tmp_path / "log"

    def has_started():
        with socket.socket(socket.AF_UNIX) as admin, contextlib.suppress(OSError):
            admin.connect(str(tmp_path / "run/admin.sock"))
            admin.sendall(b"GET /config/ HTTP/1.0\r\n\r\n")
            return b" 200 OK" in admin.recv(100)  # Only once all of Caddy runs.

    with running(tmp_path, log, has_started):
        assert (tmp_path / "store/pki").exists() != known
    assert "installing root certificate" not in log.read_text()
