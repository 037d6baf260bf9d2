"""The real Caddy before the app, from the package that the command line uses."""

import collections
import gzip
import json
import os
import re
import signal
import threading
import time

import pytest
from fake_aws import BUCKET
from machine import CLIENT_PAUSE, agent_file, until
from proxied_machine import ADDRESS, ECHO, HTTP, TOKEN, Visitors, answer, pid_of_proxy, program, put, raw, serves
from running_machine import children


def begin(aws, machine):
    put(aws)
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), 60, "the proxy")


@pytest.fixture
def served(serving):
    """A shared machine whose app is reached through the proxy."""
    until(lambda: serves(serving), 60, "the proxy")
    return serving


def test_only_the_proxy_describes_the_client_to_the_app(served):
    connection = served.connect(socket="80.sock")
    lies = dict.fromkeys(("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix", "Forwarded", "X-Real-IP"), "lie")
    # gunicorn accepts SCRIPT_NAME from a Unix socket and removes it from the path, and ASGI frameworks read `_` as `-`.
    lies.update({"SCRIPT_NAME": "/some", "X_Forwarded_Host": "lie"})
    connection.request("POST", "/some?where=1", b"12345", {"Authorization": f"Token {TOKEN}", "Host": "here", **lies})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    assert raw(served, b"GET / HTTP/1.1\r\nHost: here\r\nX: %s\r\n\r\n" % (b"x" * 65536)).count(b"Server") == 0
    assert (answer.status, answer.headers["Server"], answer.headers["Via"]) == (200, None, None)
    assert told["length"] == 5
    assert "lie" not in told["environ"].values()
    assert (told["environ"]["SCRIPT_NAME"], told["environ"]["PATH_INFO"]) == ("", "/some")
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
    until(lambda: serves(machine), 60, "the proxy")
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
    until(lambda: serves(machine), 60, "the proxy")
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
    until(lambda: serves(machine), 60, "the proxy")


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
