"""The real Caddy before the app, from the package that the command line uses."""

import base64
import collections
import contextlib
import functools
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import threading
import time

import pytest
from fake_aws import BUCKET
from machine import CLIENT_PAUSE, agent_file, release, until
from test_machine import children

from proxy import caddy, certificates, proxy, restore
from proxy.runner import SystemdProxy

TOKEN, ADDRESS = "a-token-of-the-proxy-tests", "203.0.113.7"
ECHO = """
import json, os

def app(environ, start_response):
    token = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    body = environ["wsgi.input"].read()
    print("asked for", environ["PATH_INFO"], flush=True)
    told = {key: value for key, value in environ.items() if isinstance(value, str)}
    text = json.dumps({"environ": told, "length": len(body)}).encode()
    if environ["PATH_INFO"] == "/much":
        text += b" " * (4 << 20)
    start_response("200 OK" if token else "401 UNAUTHORIZED", [("Content-Length", str(len(text))), ("Server", "mine")])
    return [text]
"""
HTTP = {
    "https": False,
    "port": 80,
    "domain": None,
    "address": "static",
    "acme": {"directory": None, "root": None},
    "limits": {"body_mb": 1, "header_seconds": 2, "body_seconds": 3, "idle_seconds": 5},
}


@functools.lru_cache(None)
def program():
    """(sha384, packed) of Caddy."""
    path = shutil.which("caddy")
    with open(path, "rb") as file:
        content = file.read()
    return hashlib.sha384(content).hexdigest(), gzip.compress(content, 1)


def put(aws, app=ECHO, agent=None, **settings):
    sha384, packed = program()
    aws.objects[f"_tools/caddy-{sha384}.gz"] = packed
    packed = release(app=app, agent=agent, edge={**HTTP, "caddy": sha384, **settings})
    aws.tags["devopsctl:address"] = ADDRESS
    aws.tags["devopsctl:release"] = aws.put_release(packed, caddy=sha384)
    return aws.tags["devopsctl:release"]


def begin(aws, machine):
    put(aws)
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), what="the proxy")


@pytest.fixture
def served(serving):
    """A shared machine whose app is reached through the proxy."""
    until(lambda: serves(serving), what="the proxy")
    return serving


def serves(machine):
    try:
        return machine.get(TOKEN, socket="80.sock")[0] == 200
    except OSError:
        return False


def pid_of_proxy(machine):
    for process in os.listdir("/proc"):
        try:
            with open(f"/proc/{process}/cmdline") as file:
                if f"{machine.root}/opt/devopsctl/tools/caddy-" in file.read():
                    return int(process)
        except OSError:
            continue
    return None


def raw(machine, request, seconds=5, whole=False):
    """The response to a client that sends just this: up to the end of the headers or, if `whole`, up to the end of the connection."""
    connection = machine.connect(seconds, "80.sock")
    connection.connect()
    found = b""
    try:
        with contextlib.suppress(BrokenPipeError):  # The proxy may answer before all is sent.
            connection.sock.sendall(request)
        while chunk := connection.sock.recv(65536):
            found += chunk
            if b"\r\n\r\n" in found and not whole:
                break
    except ConnectionResetError:
        pass
    connection.close()
    return found


def test_only_the_proxy_describes_the_client_to_the_app(served):
    connection = served.connect(socket="80.sock")
    lies = dict.fromkeys(("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded", "X-Real-IP"), "lie")
    connection.request("POST", "/some?where=1", b"12345", {"Authorization": f"Token {TOKEN}", "Host": "here", **lies})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    assert raw(served, b"GET / HTTP/1.1\r\nHost: here\r\nX: %s\r\n\r\n" % (b"x" * 65536)).count(b"Server") == 0
    assert (answer.status, answer.headers["Server"], answer.headers["Via"]) == (200, None, None)
    assert told["length"] == 5
    assert "lie" not in told["environ"].values()
    assert (told["environ"]["HTTP_X_FORWARDED_PROTO"], told["environ"]["HTTP_HOST"]) == ("http", "here")


# The parts of a request that describe its host and protocol.
WAY = ("HTTP_HOST", "HTTP_X_FORWARDED_PROTO", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme")
RECALLING = f"""
FIRST = []
echo = app

def app(environ, start_response):
    FIRST.append({{key: environ.get(key) for key in {WAY}}})
    if environ["PATH_INFO"] != "/first":
        return echo(environ, start_response)
    start_response("200 OK", [])
    return [json.dumps([FIRST[0], FIRST[-1]]).encode()]
"""


def test_the_health_request_equals_a_clients_request(served):
    name = put(served.aws, ECHO + RECALLING)
    served.aws.wait_report(lambda said: said["release"] == name and said["phase"] == "healthy", 60)
    connection = served.connect(socket="80.sock")
    connection.request("GET", "/first", headers={"Host": ADDRESS})
    health, visit = json.loads(connection.getresponse().read())
    # Caddy adds X-Forwarded-For and -Host only if it knows its client, so not on a Unix socket as here.
    assert health == visit and health["HTTP_HOST"] == ADDRESS


def test_the_proxy_refuses_malformed_requests(served):
    before = served.app_log()
    line = f"Host: here\r\nAuthorization: Token {TOKEN}\r\nConnection: close\r\n"
    lengths = "Content-Length: 4\r\nContent-Length: 5\r\n"
    refused = {
        "a path that climbs": f"GET /a/../b HTTP/1.1\r\n{line}\r\n",
        "one in disguise": f"GET /a/%2e%2e/b HTTP/1.1\r\n{line}\r\n",
        "two lengths": f"POST / HTTP/1.1\r\n{line}{lengths}\r\nabcde",
        "a length and pieces that are not": f"POST / HTTP/1.1\r\n{line}Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nabcd",
        "pieces twice": f"POST / HTTP/1.1\r\n{line}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a length that is none": f"POST / HTTP/1.1\r\n{line}Content-Length: +4\r\n\r\nabcd",
        "a header without end": f"GET / HTTP/1.1\r\n{line}X: {'x' * 65536}\r\n\r\n",
        "a space before the colon": f"GET / HTTP/1.1\r\n{line}Content-Length : 4\r\n\r\nabcd",
        "a folded header": f"GET / HTTP/1.1\r\nX: a\r\n\tb\0\r\n{line}\r\n",
        "no host": "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "more than it may be": f"POST / HTTP/1.1\r\n{line}Content-Length: 1048577\r\n\r\n",
        "no HTTP": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    }
    for what, request in refused.items():
        status = raw(served, request.encode("latin-1"))[:12]
        assert status[9:10] == b"4" or status[9:12] == b"501", f"{what}: {status}"
    assert served.app_log() == before
    assert serves(served)
    assert served.app_log() != before, "what the app sees it writes down"


def test_request_smuggling_is_impossible(served):
    """With a length and chunks, the chunks count for the proxy and for the app. A request after them has no token, and is refused."""
    inner = b"GET /inner HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    head = f"POST /outer HTTP/1.1\r\nHost: here\r\nAuthorization: Token {TOKEN}\r\n".encode()
    both = b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    found = raw(served, head + both + inner, whole=True)
    assert re.findall(rb"HTTP/1.1 (\d+) ", found) == [b"200", b"401"]
    found = raw(served, head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner, whole=True)
    assert re.findall(rb"HTTP/1.1 (\d+) ", found) == [b"200"] and b'"length": %d}' % len(inner) in found


def test_slow_clients_block_no_thread(served):
    """Endless headers and bodies, many more than the app has threads."""
    pid = pid_of_proxy(served)
    before = len(os.listdir(f"/proc/{pid}/fd"))
    start = f"POST / HTTP/1.1\r\nHost: here\r\nAuthorization: Token {TOKEN}\r\nContent-Length: 1000\r\n"
    ways = []
    try:
        for number in range(60):
            connection = served.connect(10, "80.sock")
            connection.connect()
            connection.sock.sendall(start.encode() + (b"\r\nabc" if number % 2 else b"X-Slow: "))
            ways.append(connection)
        for _ in range(20):
            assert served.get(TOKEN, timeout=2, socket="80.sock")[0] == 200
        for connection in ways[::2]:
            assert connection.sock.recv(4096) == b"", "who has no headers yet is hung up on"
        # Clients with half a body timed out, too; Caddy waits until they hang up (Go discards the rest).
        assert served.get(TOKEN, timeout=2, socket="80.sock")[0] == 200
    finally:
        for connection in ways:
            connection.close()
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + 2, what="nothing is left of them")


def test_clients_that_read_nothing_block_no_thread_and_are_disconnected(aws, machine):
    """More clients than the app has threads, each with a response larger than the sockets' buffers."""
    put(aws, agent={"proxy/caddy.py": agent_file("proxy/caddy.py", TAKE_SECONDS=1)})
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), what="the proxy")
    ways = []
    try:
        for _ in range(16):
            ways.append(machine.connect(socket="80.sock"))
            ways[-1].request("GET", "/much", headers={"Authorization": f"Token {TOKEN}"})
        for _ in range(20):
            assert machine.get(TOKEN, timeout=5, socket="80.sock")[0] == 200
        until(lambda: machine.app_log().count("/much") == 16, what="each of them was served")
        log = machine.root / "var/log/edge.log"
        until(lambda: "aborting with incomplete response" in log.read_text(), what="the proxy logs it")
        assert "headers" not in log.read_text() and '"host"' not in log.read_text()
    finally:
        for connection in ways:
            connection.close()


def test_a_chunked_body_is_cut_off_at_the_limit(served):
    before = len(served.app_log())
    line = f"Host: here\r\nAuthorization: Token {TOKEN}\r\nTransfer-Encoding: chunked\r\n"
    for size, status in ((1 << 20, b"200"), ((1 << 20) + 1, b"413"), (3 << 20, b"413")):
        pieces = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)
        assert raw(served, f"POST /{size} HTTP/1.1\r\n{line}\r\n".encode() + pieces)[9:12] == status, size
    # A truncated body is not a shorter one: the app's read fails.
    assert serves(served)
    log = served.app_log()[before:]
    assert [line for line in log.splitlines() if line[-1] != "/"] == ["asked for /1048576"]


def test_no_request_is_lost_and_the_proxy_is_not_reloaded(served):
    aws, counts, done = served.aws, collections.Counter(), threading.Event()

    def visit():
        while not done.is_set():
            try:
                status, _ = served.get(TOKEN, socket="80.sock")
            except OSError as problem:
                status = repr(problem)
            counts[status] += 1
            time.sleep(CLIENT_PAUSE)

    visitors = [threading.Thread(target=visit) for _ in range(3)]
    for visitor in visitors:
        visitor.start()
    config = served.root / "run/devopsctl/edge/caddy.json"
    before = pid_of_proxy(served), config.stat().st_mtime_ns
    version = aws.put_token(TOKEN)
    aws.wait_report(lambda each: each["token"] == version and each["phase"] == "healthy")
    other = put(aws, ECHO + "\n# other code")
    aws.wait_report(lambda each: each["release"] == other and each["phase"] == "healthy")
    more = counts[200] + 50
    until(lambda: counts[200] > more, what="visitors")
    done.set()
    for visitor in visitors:
        visitor.join()
    assert set(counts) == {200}, counts
    assert (pid_of_proxy(served), config.stat().st_mtime_ns) == before


BROKEN = "raise ValueError('not yet')\n"
# An app that loads only while there is no file `broken`.
FRAGILE = "import os\nif os.path.exists(os.environ['TMPDIR'] + '/broken'):\n    " + BROKEN + ECHO


class Visitors:
    """Clients that send requests through the proxy continuously, each on a new connection: the statuses they got, in order."""

    def __init__(self, machine, number=3):
        self.machine, self.going, self.seen = machine, True, [[] for _ in range(number)]
        self.threads = [threading.Thread(target=self.visit, args=(seen,), daemon=True) for seen in self.seen]
        for thread in self.threads:
            thread.start()

    def visit(self, seen):
        while self.going:
            try:
                status, text = self.machine.get(TOKEN, timeout=10, socket="80.sock")
                seen.append(status if text else f"{status} and no text")
            except OSError as problem:
                seen.append(repr(problem))
            time.sleep(CLIENT_PAUSE)

    def end(self):
        """The statuses of each client, without repetitions."""
        self.going = False
        for thread in self.threads:
            thread.join()
        return [[status for status, _ in itertools.groupby(seen)] for seen in self.seen]


def answer(machine, timeout=5):
    def ask():
        connection = machine.connect(timeout, "80.sock")
        connection.request("GET", "/", headers={"Authorization": f"Token {TOKEN}"})
        found = connection.getresponse()
        return found.status, found.headers["Retry-After"], found.read().decode()

    def once_it_listens():
        # Caddy creates the socket a moment before it listens.
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return ask()

    return until(once_it_listens, what="Caddy listens")


UNAVAILABLE = (503, "5", "The app is not running yet. Try again in a few seconds.\n")


def test_before_the_first_healthy_release_requests_get_503_at_once(aws, machine):
    broken = put(aws, BROKEN)
    aws.put_token(TOKEN)
    machine.boot()
    aws.wait_report(lambda each: each["phase"] == "failed", 60)
    assert answer(machine) == UNAVAILABLE
    config = machine.root / "run/devopsctl/edge/caddy.json"
    before = pid_of_proxy(machine), config.stat().st_mtime_ns
    visitors = Visitors(machine)
    mended = put(aws, FRAGILE)
    aws.wait_report(lambda each: each["release"] == mended and each["phase"] == "healthy")
    assert answer(machine)[0] == 200, "at once, when it is said that it is healthy"
    version = aws.put_token(TOKEN)
    aws.wait_report(lambda each: each["token"] == version and each["phase"] == "healthy")
    assert visitors.end() == [[503, 200]] * 3, "not one is lost, neither at the first moment nor at a rotation"
    assert (pid_of_proxy(machine), config.stat().st_mtime_ns) == before
    # A failed release that comes after it changes nothing.
    put(aws, BROKEN + "# again")
    aws.wait_report(lambda each: each["wanted"]["release"] not in (broken, mended) and each["phase"] == "failed")
    assert answer(machine)[0] == 200


def test_requests_get_503_if_the_app_does_not_come_back(aws, machine):
    """Requests are answered at once: new ones, those that waited in the socket, and those after a boot."""
    put(aws, FRAGILE, agent={"processes/generations.py": agent_file("processes/generations.py", GAP_SECONDS=2)})
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), what="the proxy")
    broken = machine.root / "tmp/broken"
    broken.touch()
    master = machine.pid()
    for pid in (master, *children(master)):
        os.kill(pid, signal.SIGKILL)
    waits = answer(machine, 20)
    assert waits == answer(machine) == UNAVAILABLE
    aws.wait_report(lambda each: each["phase"] == "failed" and not each["healthy"])
    machine.stop()
    aws.reports.clear()
    machine.boot()
    aws.wait_report(lambda each: each["phase"] == "failed", 60)
    assert answer(machine) == UNAVAILABLE
    broken.unlink()
    aws.tags["devopsctl:try"] = "again"
    aws.wait_report(lambda each: each["phase"] == "healthy")
    assert answer(machine)[0] == 200


def test_an_error_of_the_proxy_has_a_text(served):
    """A chunked body that is too large: Caddy notices it only while it passes it to the app."""
    head = f"POST / HTTP/1.1\r\nHost: here\r\nAuthorization: Token {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = raw(served, head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (2 << 20, bytes(2 << 20)), whole=True)
    assert found.startswith(b"HTTP/1.1 413 ") and found.endswith(b"\r\n\r\n413 Request Entity Too Large\n")


def test_other_limits_come_with_their_release_without_a_restart(served):
    before = pid_of_proxy(served)
    body = b"x" * (3 << 19)
    head = f"POST / HTTP/1.1\r\nHost: here\r\nAuthorization: Token {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    assert raw(served, head.encode() + body).startswith(b"HTTP/1.1 413")
    for limits, status in (({**HTTP["limits"], "body_mb": 2}, b"200"), (HTTP["limits"], b"413")):
        put(served.aws, limits=limits)
        until(lambda status=status: raw(served, head.encode() + body)[9:12] == status, what="the new limit")
    assert pid_of_proxy(served) == before


def test_a_program_with_another_hash_never_runs(aws, machine):
    put(aws)
    sha384, _ = program()
    aws.objects[f"_tools/caddy-{sha384}.gz"] = gzip.compress(b"#!/bin/sh\ntouch here\n")
    aws.put_token(TOKEN)
    machine.boot()
    report = aws.wait_report(lambda each: (each.get("edge") or {}).get("phase") == "failed" and each["healthy"])
    assert "another sha384" in report["edge"]["error"]
    assert [path.name for path in (machine.root / "opt/devopsctl/tools").iterdir()] == [".lock"]


def test_a_missing_first_caddy_is_no_failure(aws, machine):
    put(aws)
    sha384, _ = program()
    packed = aws.objects.pop(f"_tools/caddy-{sha384}.gz")
    aws.put_token(TOKEN)
    machine.boot(DEVOPSCTL_BOOTED=str(time.monotonic() - 1000))
    report = aws.wait_report(lambda each: each["healthy"] and each.get("edge"))
    tries = aws.calls.count(("s3", f"/{BUCKET}/_tools/caddy-{sha384}.gz"))
    until(lambda: aws.calls.count(("s3", f"/{BUCKET}/_tools/caddy-{sha384}.gz")) > tries + 2, what="another look")
    assert {each["edge"]["phase"] for _, each, _ in aws.reports if each.get("edge")} == {"fetching"}, report
    aws.objects[f"_tools/caddy-{sha384}.gz"] = packed
    until(lambda: serves(machine), what="the proxy")


def test_the_proxy_never_stores_or_logs_the_token(served):
    assert served.get(TOKEN, socket="80.sock", path="/looked-for")[0] == 200
    log = served.root / "var/log/edge.log"
    until(lambda: "/looked-for" in log.read_text(), what="the access log")
    found = [
        path for path in served.root.rglob("*") if path.is_file() and not {"tools", "__pycache__"} & set(path.parts)
    ]
    holds = [path for path in found if path.exists() and TOKEN.encode() in path.read_bytes()]
    assert [path.name for path in holds] == ["token"], holds
    assert "Authorization" not in log.read_text()
    with open(f"/proc/{pid_of_proxy(served)}/environ", "rb") as file:
        assert TOKEN.encode() not in file.read()


def test_without_certificates_caddy_creates_no_authority(served):
    made = [name for _, folders, files in os.walk(f"{served.root}/var/lib/devopsctl-edge") for name in folders + files]
    assert made, "it keeps its things there"
    assert not [name for name in made if name == "pki" or name.endswith(".key")]


def test_it_restarts_when_killed_and_ends_with_the_machine(served):
    os.kill(pid_of_proxy(served), signal.SIGKILL)
    until(lambda: serves(served), what="the proxy is back")
    served.stop()
    assert pid_of_proxy(served) is None


# The configuration


def secure(host="203.0.113.7", **settings):
    return caddy.config({**HTTP, "https": True, **settings}, host, SystemdProxy.where)


def test_without_a_certificate_nothing_is_served_over_plain_http():
    text = json.dumps(secure(host=None))
    assert "reverse_proxy" not in text and ":443" not in text and "503" in text
    servers = secure()["apps"]["http"]["servers"]
    assert "reverse_proxy" not in json.dumps(servers["plain"]) and "308" in json.dumps(servers["plain"])
    assert servers["secure"]["tls_connection_policies"][0]["default_sni"] == "203.0.113.7"


def test_certificates_are_checked_often_whatever_the_first_configuration_is():
    for whole in (secure(), secure(host=None), secure(host=None, https=False)):
        assert whole["apps"]["tls"]["automation"]["renew_interval"] == "20s"


def test_only_addresses_at_lets_encrypt_use_the_short_lived_profile():
    def issuer(**settings):
        return secure(**settings)["apps"]["tls"]["automation"]["policies"][0]["issuers"][0]

    assert issuer()["profile"] == "shortlived" and issuer()["ca"] == caddy.LETS_ENCRYPT
    assert "profile" not in issuer(domain="app.example.com")
    own = issuer(acme={"directory": "https://ca.example.com/dir", "root": "PEM"})
    assert "profile" not in own and own["trusted_roots_pem_files"] == [SystemdProxy.where.root]


@pytest.mark.parametrize("limit", [1, 9, 10, 99, 1048576, 10 << 20, 5000 << 20])
def test_the_pattern_matches_numbers_above_the_limit(limit):
    pattern = re.compile(caddy.more_than(limit))
    near = range(max(0, limit - 1200), limit + 1200)
    far = (limit * 9, limit * 10, limit * 10 + 9, limit * 123, limit // 10, limit // 123, 10**18)
    for number in (*near, *far):
        for written in (f"{number}", f"00{number}"):
            assert bool(pattern.search(written)) == (number > limit), written
    for other in ("", "+99999999999", "99999999999 ", "0x99999999999", "1e12"):
        assert not pattern.search(other)


def test_only_a_domain_gets_strict_transport_security():
    assert "Strict-Transport-Security" not in json.dumps(secure())
    assert "Strict-Transport-Security" in json.dumps(secure(host="a.example.com", domain="a.example.com"))


# The host of the certificate


class Metadata:
    def __init__(self, own=None):
        self.own = own

    def get(self, path):
        assert path == "meta-data/public-ipv4"
        return self.own


class Runner:
    def __init__(self, folder):
        self.store, self.log = str(folder / "store"), str(folder / "log")


class Clock:
    def monotonic(self):
        return 0.0


@pytest.fixture
def looker(tmp_path):
    class Aws:
        metadata = Metadata()

    return proxy.Proxy(None, Aws, Runner(tmp_path), None, None, Clock())


def look(looker, own, want=None, address=None):
    looker.aws.metadata = Metadata(own)
    looker.look({**HTTP, "https": True, **(want or {})}, address)
    return looker.host, looker.waits


def test_no_certificate_is_requested_before_the_address_leads_here(looker):
    assert look(looker, "198.51.100.1") == (None, "waiting for the address")
    host, waits = look(looker, "198.51.100.1", address="203.0.113.7")
    assert host is None and "203.0.113.7 does not lead here yet" in waits
    assert look(looker, "203.0.113.7", address="203.0.113.7") == ("203.0.113.7", None)


def test_the_instances_own_address_needs_no_wait(looker):
    assert look(looker, "198.51.100.1", {"address": "own"}) == ("198.51.100.1", None)


def test_a_domain_must_lead_here_and_the_missing_record_is_named(looker, monkeypatch):
    leads = []
    monkeypatch.setattr(proxy.socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (ip, 443)) for ip in leads])
    want = {"domain": "app.example.com"}
    host, waits = look(looker, "203.0.113.7", want, address="203.0.113.7")
    assert host is None and "app.example.com. A 203.0.113.7" in waits
    leads[:] = ["192.0.2.1"]
    assert "leads to 192.0.2.1" in look(looker, "203.0.113.7", want, address="203.0.113.7")[1]
    leads[:] = ["203.0.113.7", "2001:db8::1"]
    assert "2001:db8::1" in look(looker, "203.0.113.7", want, address="203.0.113.7")[1], "the authority prefers IPv6"
    leads[:] = ["203.0.113.7"]
    assert look(looker, "203.0.113.7", want, address="203.0.113.7") == ("app.example.com", None)


def test_the_authority_is_quoted_until_a_certificate_is_issued(looker):
    lines = [
        {"level": "info", "msg": "obtaining certificate"},
        {"level": "error", "msg": "will retry", "error": "[203.0.113.7] HTTP 429 rateLimited - too many"},
    ]
    log = looker.runner.log
    assert looker.refusal() is None
    with open(log, "w") as file:
        file.write("\n".join(map(json.dumps, lines)) + "\n{torn")
    assert "too many" in looker.refusal()
    with open(log, "a") as file:
        file.write("\n" + json.dumps({"level": "info", "msg": "certificate obtained successfully"}) + "\n")
    assert looker.refusal() is None


# Certificates outlive the machine


def test_stored_certificates_are_restored_and_nothing_else(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    for name in ("certificates/ca/host/host.key", "acme/ca/users/default/default.json", "locks/x", "last_clean.json"):
        (before / name).parent.mkdir(parents=True, exist_ok=True)
        (before / name).write_text(f"content of {name}")
    document = certificates.pack(str(before))
    assert sorted(document) == ["acme/ca/users/default/default.json", "certificates/ca/host/host.key"]
    after.mkdir()
    newer = after / "acme/ca/users/default/default.json"
    newer.parent.mkdir(parents=True)
    newer.write_text("newer")
    document["certificates/../../escaped"] = document["/etc/passwd"] = document["locks/x"] = base64.b64encode(
        b"x"
    ).decode()
    restore.unpack(document, str(after))
    key = after / "certificates/ca/host/host.key"
    assert key.read_text() == "content of certificates/ca/host/host.key" and key.stat().st_mode & 0o777 == 0o600
    assert newer.read_text() == "newer"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and "before" not in path.parts) == [
        "default.json",
        "host.key",
    ]
