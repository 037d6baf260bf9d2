"""Caddy before the app: a real one, as the package that the command line takes it from brings it."""

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

import caddy
import certificates
import edge
import pytest
import restore
from edge_runner import SystemdEdge
from fake_aws import BUCKET
from machine import CLIENT_PAUSE, agent_file, release, until
from test_machine import children

TOKEN, ADDRESS = "a-token-of-the-edge-tests", "203.0.113.7"
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
    until(lambda: serves(machine), what="the edge")


@pytest.fixture
def served(serving):
    """A shared machine on which the app is reached through the edge."""
    until(lambda: serves(serving), what="the edge")
    return serving


def serves(machine):
    try:
        return machine.get(TOKEN, socket="80.sock")[0] == 200
    except OSError:
        return False


def pid_of_edge(machine):
    for process in os.listdir("/proc"):
        try:
            with open(f"/proc/{process}/cmdline") as file:
                if f"{machine.root}/opt/devopsctl/tools/caddy-" in file.read():
                    return int(process)
        except OSError:
            continue
    return None


def raw(machine, request, seconds=5, whole=False):
    """What a client gets that writes just that, until it has a header or, if `whole`, is hung up on; empty where it is at once."""
    connection = machine.connect(seconds, "80.sock")
    connection.connect()
    found = b""
    try:
        with contextlib.suppress(BrokenPipeError):  # It may know before all is said.
            connection.sock.sendall(request)
        while chunk := connection.sock.recv(65536):
            found += chunk
            if b"\r\n\r\n" in found and not whole:
                break
    except ConnectionResetError:
        pass
    connection.close()
    return found


def test_the_app_learns_of_its_client_from_the_edge_alone(served):
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


# What a request tells an app of where it was sent, and how.
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


def test_the_health_request_is_what_the_app_gets_of_a_client(served):
    name = put(served.aws, ECHO + RECALLING)
    served.aws.wait_report(lambda said: said["release"] == name and said["phase"] == "healthy", 60)
    connection = served.connect(socket="80.sock")
    connection.request("GET", "/first", headers={"Host": ADDRESS})
    health, visit = json.loads(connection.getresponse().read())
    # X-Forwarded-For and -Host Caddy adds only where it knows its client, so not on a Unix socket as here.
    assert health == visit and health["HTTP_HOST"] == ADDRESS


def test_what_the_app_should_not_see_it_does_not_see(served):
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


def test_a_smuggled_request_is_one_of_its_own_or_part_of_the_body(served):
    """A length and pieces: the pieces count, to the edge as to the app. What follows them has no token, and is told so."""
    inner = b"GET /inner HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    head = f"POST /outer HTTP/1.1\r\nHost: here\r\nAuthorization: Token {TOKEN}\r\n".encode()
    both = b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    found = raw(served, head + both + inner, whole=True)
    assert re.findall(rb"HTTP/1.1 (\d+) ", found) == [b"200", b"401"]
    found = raw(served, head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner, whole=True)
    assert re.findall(rb"HTTP/1.1 (\d+) ", found) == [b"200"] and b'"length": %d}' % len(inner) in found


def test_slow_clients_are_in_nobodys_way(served):
    """Headers and bodies that never end: more of them than the app has threads, many times over."""
    edge = pid_of_edge(served)
    before = len(os.listdir(f"/proc/{edge}/fd"))
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
        # Those with half a body have had their time, too; Caddy waits for them to hang up (Go discards what is left).
        assert served.get(TOKEN, timeout=2, socket="80.sock")[0] == 200
    finally:
        for connection in ways:
            connection.close()
    until(lambda: len(os.listdir(f"/proc/{edge}/fd")) <= before + 2, what="nothing is left of them")


def test_clients_that_take_nothing_of_their_answers_are_in_nobodys_way_and_hung_up_on(aws, machine):
    """More of them than the app has threads, and each asks for more than sockets hold."""
    put(aws, agent={"caddy.py": agent_file("caddy.py", TAKE_SECONDS=1)})
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), what="the edge")
    ways = []
    try:
        for _ in range(16):
            ways.append(machine.connect(socket="80.sock"))
            ways[-1].request("GET", "/much", headers={"Authorization": f"Token {TOKEN}"})
        for _ in range(20):
            assert machine.get(TOKEN, timeout=5, socket="80.sock")[0] == 200
        until(lambda: machine.app_log().count("/much") == 16, what="each of them was served")
        log = machine.root / "var/log/edge.log"
        until(lambda: "aborting with incomplete response" in log.read_text(), what="the edge says so")
        assert "headers" not in log.read_text() and '"host"' not in log.read_text()
    finally:
        for connection in ways:
            connection.close()


def test_a_body_in_pieces_is_cut_off_at_the_limit(served):
    before = len(served.app_log())
    line = f"Host: here\r\nAuthorization: Token {TOKEN}\r\nTransfer-Encoding: chunked\r\n"
    for size, status in ((1 << 20, b"200"), ((1 << 20) + 1, b"413"), (3 << 20, b"413")):
        pieces = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)
        assert raw(served, f"POST /{size} HTTP/1.1\r\n{line}\r\n".encode() + pieces)[9:12] == status, size
    # What was cut off is no shorter body to the app: it fails while it reads.
    assert serves(served)
    log = served.app_log()[before:]
    assert [line for line in log.splitlines() if line[-1] != "/"] == ["asked for /1048576"]


def test_no_request_is_lost_over_new_tokens_and_new_code_and_the_edge_learns_of_neither(served):
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
    before = pid_of_edge(served), config.stat().st_mtime_ns
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
    assert (pid_of_edge(served), config.stat().st_mtime_ns) == before


BROKEN = "raise ValueError('not yet')\n"
# An app that can be loaded for as long as there is no file `broken`.
FRAGILE = "import os\nif os.path.exists(os.environ['TMPDIR'] + '/broken'):\n    " + BROKEN + ECHO


class Visitors:
    """Clients that ask through the edge all the time, each time on a connection of its own: which statuses they saw, in order."""

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
        """What each of them saw, with what came several times in a row once."""
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
        # Caddy makes the socket a moment before it listens.
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return ask()

    return until(once_it_listens, what="Caddy listens")


UNAVAILABLE = (503, "5", "The app is not running yet. Try again in a few seconds.\n")


def test_what_was_never_healthy_is_answered_at_once_and_the_first_that_is_by_the_same_caddy(aws, machine):
    broken = put(aws, BROKEN)
    aws.put_token(TOKEN)
    machine.boot()
    aws.wait_report(lambda each: each["phase"] == "failed", 60)
    assert answer(machine) == UNAVAILABLE
    config = machine.root / "run/devopsctl/edge/caddy.json"
    before = pid_of_edge(machine), config.stat().st_mtime_ns
    visitors = Visitors(machine)
    mended = put(aws, FRAGILE)
    aws.wait_report(lambda each: each["release"] == mended and each["phase"] == "healthy")
    assert answer(machine)[0] == 200, "at once, when it is said that it is healthy"
    version = aws.put_token(TOKEN)
    aws.wait_report(lambda each: each["token"] == version and each["phase"] == "healthy")
    assert visitors.end() == [[503, 200]] * 3, "not one is lost, neither at the first moment nor at a rotation"
    assert (pid_of_edge(machine), config.stat().st_mtime_ns) == before
    # A failed release that comes after it changes nothing.
    put(aws, BROKEN + "# again")
    aws.wait_report(lambda each: each["wanted"]["release"] not in (broken, mended) and each["phase"] == "failed")
    assert answer(machine)[0] == 200


def test_when_what_served_does_not_come_back_nobody_waits_for_it(aws, machine):
    """Requests are answered at once: those that come then, those that waited in the socket already, and those after a boot."""
    put(aws, FRAGILE, agent={"fleet.py": agent_file("fleet.py", GAP_SECONDS=2)})
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), what="the edge")
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


def test_an_error_of_the_edges_own_says_what_it_means(served):
    """A body in pieces that is too large: it is known only on the way to the app."""
    head = f"POST / HTTP/1.1\r\nHost: here\r\nAuthorization: Token {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = raw(served, head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (2 << 20, bytes(2 << 20)), whole=True)
    assert found.startswith(b"HTTP/1.1 413 ") and found.endswith(b"\r\n\r\n413 Request Entity Too Large\n")


def test_other_limits_come_with_the_release_that_has_them_and_it_is_the_same_caddy(served):
    before = pid_of_edge(served)
    body = b"x" * (3 << 19)
    head = f"POST / HTTP/1.1\r\nHost: here\r\nAuthorization: Token {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    assert raw(served, head.encode() + body).startswith(b"HTTP/1.1 413")
    for limits, status in (({**HTTP["limits"], "body_mb": 2}, b"200"), (HTTP["limits"], b"413")):
        put(served.aws, limits=limits)
        until(lambda status=status: raw(served, head.encode() + body)[9:12] == status, what="the new limit")
    assert pid_of_edge(served) == before


def test_another_program_than_the_one_that_was_named_is_never_run(aws, machine):
    put(aws)
    sha384, _ = program()
    aws.objects[f"_tools/caddy-{sha384}.gz"] = gzip.compress(b"#!/bin/sh\ntouch here\n")
    aws.put_token(TOKEN)
    machine.boot()
    report = aws.wait_report(lambda each: (each.get("edge") or {}).get("phase") == "failed" and each["healthy"])
    assert "another sha384" in report["edge"]["error"]
    assert [path.name for path in (machine.root / "opt/devopsctl/tools").iterdir()] == [".lock"]


def test_a_first_caddy_that_is_long_in_coming_has_not_failed(aws, machine):
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
    until(lambda: serves(machine), what="the edge")


def test_the_token_is_nowhere_in_what_the_edge_knows_or_says(served):
    assert served.get(TOKEN, socket="80.sock", path="/looked-for")[0] == 200
    log = served.root / "var/log/edge.log"
    until(lambda: "/looked-for" in log.read_text(), what="the access log")
    found = [
        path for path in served.root.rglob("*") if path.is_file() and not {"tools", "__pycache__"} & set(path.parts)
    ]
    holds = [path for path in found if path.exists() and TOKEN.encode() in path.read_bytes()]
    assert [path.name for path in holds] == ["token"], holds
    assert "Authorization" not in log.read_text()
    with open(f"/proc/{pid_of_edge(served)}/environ", "rb") as file:
        assert TOKEN.encode() not in file.read()


def test_without_certificates_caddy_makes_no_authority_of_its_own(served):
    made = [name for _, folders, files in os.walk(f"{served.root}/var/lib/devopsctl-edge") for name in folders + files]
    assert made, "it keeps its things there"
    assert not [name for name in made if name == "pki" or name.endswith(".key")]


def test_it_comes_back_when_it_is_killed_and_goes_when_the_machine_stops(served):
    os.kill(pid_of_edge(served), signal.SIGKILL)
    until(lambda: serves(served), what="the edge is back")
    served.stop()
    assert pid_of_edge(served) is None


# What it is told


def secure(host="203.0.113.7", **settings):
    return caddy.config({**HTTP, "https": True, **settings}, host, SystemdEdge.where)


def test_without_a_certificate_nothing_is_served_in_clear():
    text = json.dumps(secure(host=None))
    assert "reverse_proxy" not in text and ":443" not in text and "503" in text
    servers = secure()["apps"]["http"]["servers"]
    assert "reverse_proxy" not in json.dumps(servers["plain"]) and "308" in json.dumps(servers["plain"])
    assert servers["secure"]["tls_connection_policies"][0]["default_sni"] == "203.0.113.7"


def test_the_short_lived_profile_is_lets_encrypts_for_addresses_alone():
    def issuer(**settings):
        return secure(**settings)["apps"]["tls"]["automation"]["policies"][0]["issuers"][0]

    assert issuer()["profile"] == "shortlived" and issuer()["ca"] == caddy.LETS_ENCRYPT
    assert "profile" not in issuer(domain="app.example.com")
    own = issuer(acme={"directory": "https://ca.example.com/dir", "root": "PEM"})
    assert "profile" not in own and own["trusted_roots_pem_files"] == [SystemdEdge.where.root]


@pytest.mark.parametrize("limit", [1, 9, 10, 99, 1048576, 10 << 20, 5000 << 20])
def test_numbers_above_a_limit_are_known_by_their_digits(limit):
    pattern = re.compile(caddy.more_than(limit))
    near = range(max(0, limit - 1200), limit + 1200)
    far = (limit * 9, limit * 10, limit * 10 + 9, limit * 123, limit // 10, limit // 123, 10**18)
    for number in (*near, *far):
        for written in (f"{number}", f"00{number}"):
            assert bool(pattern.search(written)) == (number > limit), written
    for other in ("", "+99999999999", "99999999999 ", "0x99999999999", "1e12"):
        assert not pattern.search(other)


def test_only_a_name_of_ones_own_is_kept_to_https_by_browsers():
    assert "Strict-Transport-Security" not in json.dumps(secure())
    assert "Strict-Transport-Security" in json.dumps(secure(host="a.example.com", domain="a.example.com"))


# Whom the certificate is for


class Metadata:
    def __init__(self, own=None, **tags):
        self.own, self.tags = own, tags

    def tag(self, key):
        return self.tags.get(key)

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

    return edge.Edge(None, Aws, Runner(tmp_path), None, None, Clock())


def look(looker, own, want=None, **tags):
    looker.aws.metadata = Metadata(own, **tags)
    looker.look({**HTTP, "https": True, **(want or {})})
    return looker.host, looker.waits


def test_nothing_is_asked_for_before_the_address_leads_here(looker):
    assert look(looker, "198.51.100.1") == (None, "the address is on its way")
    host, waits = look(looker, "198.51.100.1", address="203.0.113.7")
    assert host is None and "203.0.113.7 does not lead here yet" in waits
    assert look(looker, "203.0.113.7", address="203.0.113.7") == ("203.0.113.7", None)


def test_an_address_of_its_own_is_known_at_once(looker):
    assert look(looker, "198.51.100.1", {"address": "own"}) == ("198.51.100.1", None)


def test_a_name_must_lead_here_and_the_record_is_said(looker, monkeypatch):
    leads = []
    monkeypatch.setattr(edge.socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (ip, 443)) for ip in leads])
    want = {"domain": "app.example.com"}
    host, waits = look(looker, "203.0.113.7", want, address="203.0.113.7")
    assert host is None and "app.example.com. A 203.0.113.7" in waits
    leads[:] = ["192.0.2.1"]
    assert "leads to 192.0.2.1" in look(looker, "203.0.113.7", want, address="203.0.113.7")[1]
    leads[:] = ["203.0.113.7", "2001:db8::1"]
    assert "2001:db8::1" in look(looker, "203.0.113.7", want, address="203.0.113.7")[1], "the authority prefers IPv6"
    leads[:] = ["203.0.113.7"]
    assert look(looker, "203.0.113.7", want, address="203.0.113.7") == ("app.example.com", None)


def test_the_authority_is_quoted_until_it_has_given_something(looker):
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


# What outlives the machine


def test_what_is_kept_comes_back_as_it_was_and_nothing_else_does(tmp_path):
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
