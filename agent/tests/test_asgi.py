"""ASGI apps on a machine, with real gunicorn and uvicorn."""

import asyncio
import functools
import http.client
import os
import signal
import socket
import struct
import time
import types

import pytest
from machine import agent_file, release, until
from running_machine import TOKEN, Load, alive, bring_up, healthy
from test_app_behaviour import Asking, rotate
from test_proof import CASES, check, proof_of
from test_proof import TOKEN as RIGHT

from workers import asgi
from workers.proof import Failed

PLAIN = ("uvicorn==0.54.0", "websockets==17.4")
FAST = (*PLAIN, "httptools==0.9.0", "uvloop==0.23.0")
# The oldest version that src/release/dependencies accepts.
OLDEST = ("uvicorn==0.23.0", *FAST[1:])

# "/3" answers after three seconds; "/events" and "/file" never end; "/told" ends when the server does, as libraries do;
# "/ws" echoes.
APP = """
import asyncio, os, signal

{more}

def refused(scope):
    return dict(scope["headers"]).get(b"authorization") != b"Token " + os.environ["APP_SECRET_TOKEN"].encode()

async def lifespan(receive, send):
    while True:
        event = await receive()
        print("event", event["type"], flush=True)
        if event["type"] == "lifespan.startup":
            {startup}
            state.append("started")
        await send({{"type": event["type"] + ".complete"}})
        if event["type"] == "lifespan.shutdown":
            return

async def echo(receive, send):
    await receive()
    await send({{"type": "websocket.accept"}})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            print("disconnect", event["code"], flush=True)
            return
        await send({{"type": "websocket.send", "text": event["text"] + "!"}})

state = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await echo(receive, send)
    status, path = 401 if refused(scope) else 200, scope["path"]
    if path in ("/events", "/file", "/told"):
        server = signal.getsignal(signal.SIGTERM).__self__
        kind = b"text/csv" if path == "/file" else b"Text/event-stream; charset=utf-8"
        await send({{"type": "http.response.start", "status": status, "headers": [(b"Content-Type", kind)]}})
        while True:
            await send({{"type": "http.response.body", "body": b"data: x\\n\\n", "more_body": True}})
            await asyncio.sleep(0.1)
            if path == "/told" and server.should_exit:
                return
    if path == "/raises":
        raise ValueError("no table of raises")
    if path == "/scope":
        return await answer(send, status, repr((scope["scheme"], scope["client"], state)).encode())
    if path != "/":
        await asyncio.sleep(float(path[1:]))
    await answer(send, status, b"ok")

async def answer(send, status, body):
    headers = [(b"content-length", b"%d" % len(body))]
    await send({{"type": "http.response.start", "status": status, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""


def app(startup="pass", more=""):
    return APP.format(startup=startup, more=more)


class WebSocket:
    """The part of RFC 6455 that an echo needs."""

    def __init__(self, machine, path="app.sock"):
        self.connection = machine.connect(60, path)
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        self.connection.request("GET", "/ws", headers={"Connection": "Upgrade", "Upgrade": "websocket", **key})
        self.sock = self.connection.sock
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.sock.recv(1)
        assert head.startswith(b"HTTP/1.1 101 "), head

    def send(self, text, opcode=1):
        """Less than 126 bytes, with a mask of zeros."""
        content = text if isinstance(text, bytes) else text.encode()
        self.sock.sendall(bytes([0x80 | opcode, 0x80 | len(content)]) + bytes(4) + content)

    def frame(self):
        """(opcode, payload) of the next frame; None at the end of the connection. Pings (9) get their pongs (10)."""
        while head := self.sock.recv(2, socket.MSG_WAITALL):
            content = self.sock.recv(head[1], socket.MSG_WAITALL) if head[1] else b""
            if head[0] & 15 != 9:
                return head[0] & 15, content
            self.send(content, 10)
        return None


def streamed(machine, path, token=TOKEN, socket="app.sock"):
    """A response that has begun."""
    connection = machine.connect(60, socket)
    connection.request("GET", path, headers={"Authorization": f"Token {token}"})
    return connection.getresponse()


@pytest.mark.parametrize("packages", [FAST, PLAIN, OLDEST], ids=["uvloop", "asyncio", "oldest"])
def test_an_app_rotates_its_token_under_load(aws, machine, packages):
    agent = {"workers/gunicorn.conf.py": agent_file("workers/gunicorn.conf.py", graceful_timeout=12)}
    name, _ = bring_up(aws, machine, release(app=app(), packages=packages, agent=agent))
    assert machine.get()[0] == machine.get("wrong")[0] == 401
    assert machine.get(TOKEN, "/scope") == (200, "('http', ('127.0.0.1', 0), ['started'])")
    websocket, idle, silent = WebSocket(machine), machine.connect(), machine.connect()
    websocket.send("hello")
    assert websocket.frame() == (1, b"hello!")
    idle.request("GET", "/", headers={"Authorization": f"Token {TOKEN}"})
    answer = idle.getresponse()
    assert (answer.read(), answer.getheader("Connection")) == (b"ok", None)
    kept = idle.sock
    silent.connect()
    clients = Load(machine, TOKEN, "second-token")
    try:
        asking, file = Asking(machine, "/6"), streamed(machine, "/file")
        streams = [streamed(machine, "/events"), streamed(machine, "/told")]
        until(lambda: clients.count() > 50)
        rotate(aws, name)
        changed, before = time.monotonic(), clients.count()
        assert [each["role"] for each in machine.running()] == ["serving", "old"], (
            "the stream does not hold up a change"
        )
        until(lambda: clients.count() > before + 50)
    finally:
        clients.end()
    assert {status for began, status in clients.seen[TOKEN] if began > changed} == {401}
    assert {status for began, status in clients.seen["second-token"] if began > changed} == {200}
    assert {status for seen in clients.seen.values() for _, status in seen} == {200, 401}
    asking.join()
    assert asking.answer[:2] == (200, b"ok")
    assert websocket.frame() == (8, struct.pack("!H", 1012)) and websocket.frame() is None
    assert kept.recv(1) == b"" and silent.sock.recv(1) == b"", "an end, no reset"
    assert all(each.read().endswith(b"data: x\n\n") for each in streams), "their clients connect again"
    with pytest.raises(http.client.IncompleteRead):
        file.read()
    until(lambda: "event lifespan.shutdown" in machine.app_log(), 60)
    until(lambda: [each["role"] for each in machine.running()] == ["serving"], 60)
    assert "disconnect 1012" in machine.app_log() or packages is OLDEST
    assert "Traceback" not in machine.app_log(), machine.app_log()


def test_a_request_on_an_old_connection_is_answered_during_a_shutdown(aws, machine):
    name, _ = bring_up(aws, machine, release(app=app(), packages=FAST))
    late = [machine.connect() for _ in range(8)]
    for each in late:
        each.connect()
    busy = Asking(machine, "/3")
    os.kill(machine.pid(), signal.SIGTERM)
    time.sleep(0.5)  # Not to wait for the shutdown, which has begun in any case, but to send within its two seconds.
    for each in late:
        each.request("GET", "/", headers={"Authorization": f"Token {TOKEN}"})
    answers = [each.getresponse() for each in late]
    assert {(each.status, each.getheader("Connection")) for each in answers} == {(200, "close")}
    busy.join()
    assert busy.answer[:2] == (200, b"ok")
    aws.wait_report(healthy(name, 1), 60)


# What frameworks do: Starlette tells and raises, Quart logs and tells, an app of its own only raises.
FAILS = "raise ValueError('no database')"
TELLS = """
            try:
                raise ValueError("no database")
            except ValueError:
                import traceback
                traceback.print_exc()
                return await send({"type": "lifespan.startup.failed", "message": "told: no database"})
"""
BOTH = """
            try:
                raise ValueError("no database")
            except ValueError:
                await send({"type": "lifespan.startup.failed", "message": "as text"})
                raise
"""
# anyio's task groups, such as Litestar's, in Python 3.11 and later.
GROUP = """
            class Group(Exception):
                exceptions = ()
            group = Group("unhandled errors in a TaskGroup (1 sub-exception)")
            try:
                raise ValueError("no database")
            except ValueError as problem:
                group.exceptions = (problem,)
            raise group
"""


@pytest.mark.parametrize(
    ("startup", "reason"),
    [
        pytest.param(FAILS, "ValueError: no database", id="raises"),
        pytest.param(TELLS, "told: no database", id="tells"),
        pytest.param(GROUP, "ValueError: no database", id="group"),
        pytest.param(BOTH, "ValueError: no database", id="both"),
        pytest.param("raise SystemExit('no database')", "SystemExit: no database", id="exits"),
    ],
)
def test_an_app_whose_start_up_fails_never_serves(aws, machine, startup, reason):
    good, _ = bring_up(aws, machine, release(app=app(), packages=FAST))
    bad = aws.tags["devopsctl:release"] = aws.put_release(release(app=app(startup), packages=FAST))
    report = aws.wait_report(lambda each: (each["phase"], each["wanted"]["release"]) == ("failed", bad), 60)
    assert report["error"] == f"the app's start-up failed: {reason}" and report["release"] == good
    assert 'app/app.py", line' in report["log_tail"] and "no database" in report["log_tail"]
    assert machine.get(TOKEN)[0] == 200


@pytest.mark.parametrize(
    "more",
    [
        pytest.param('assert scope["type"] == "http"', id="refuses"),
        pytest.param('if scope["type"] == "lifespan": return', id="returns"),
        pytest.param('scope.setdefault("path", "/"); scope.setdefault("headers", []); await receive()', id="answers"),
    ],
)
def test_an_app_without_lifespan_serves(aws, machine, more):
    source = app().replace('if scope["type"] == "lifespan":\n        return await lifespan(receive, send)', more)
    assert more in source
    bring_up(aws, machine, release(app=source, packages=PLAIN))
    assert machine.get(TOKEN)[0] == 200


def test_a_worker_that_replaces_another_starts_again_until_it_can(aws, machine):
    """A database may be away for a moment: this must not end the other workers."""
    gone = machine.root / "tmp/gone"
    startup = 'assert not os.path.exists(os.environ["GONE"])'
    bring_up(aws, machine, release(app=app(startup), packages=FAST, env={"GONE": str(gone)}))
    master, log = machine.pid(), machine.app_log
    gone.touch()
    workers = children(master)
    os.kill(workers[0], signal.SIGKILL)
    until(lambda: log().count("The app's start-up failed") >= 2)
    assert machine.get(TOKEN)[0] == 200 and alive(master) and alive(workers[1])
    started = log().count("event lifespan.startup")
    gone.unlink()
    until(lambda: log().count("event lifespan.startup") > started and len(children(master)) == 2)
    assert machine.get(TOKEN)[0] == 200 and machine.pid() == master


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]


def test_an_exception_of_a_request_is_logged_once(aws, machine):
    bring_up(aws, machine, release(app=app(), packages=FAST))
    assert machine.get(TOKEN, "/raises")[0] == 500
    until(lambda: "\nValueError: no table of raises\n" in machine.app_log(), what="the log")
    assert machine.get(TOKEN)[0] == 200
    assert machine.app_log().count("\nValueError: ") == 1, machine.app_log()


def test_without_uvicorn_the_report_says_what_to_add(aws, machine):
    aws.tags["devopsctl:release"] = aws.put_release(release(app=app(), packages=()))
    aws.put_token(TOKEN)
    machine.boot()
    report = aws.wait_report(lambda each: each["phase"] == "failed", 60)
    assert "add a line `uvicorn` to the app's requirements" in report["error"]


class Method:
    async def __call__(self, scope, receive, send): ...


def wraps(call):
    @functools.wraps(call)
    def wrapper(*args):
        return call(*args)

    return wrapper


async def function(scope, receive, send): ...


def wsgi(environ, start_response): ...


class Wsgi:
    def __call__(self, environ, start_response): ...


@pytest.mark.parametrize("found", [Method(), function, wraps(function), functools.partial(function), Method().__call__])
def test_an_async_callable_is_asgi(found):
    assert asgi.is_app(found)


@pytest.mark.parametrize("found", [Wsgi(), wsgi, wraps(wsgi), functools.partial(wsgi), dict, lambda *_: None])
def test_any_other_callable_is_wsgi(found):
    assert not asgi.is_app(found)


def asked(folder, app, **edge):
    """A proof that asks an ASGI app."""
    proof = proof_of(folder, **edge)
    told = []
    worker = types.SimpleNamespace(tell=lambda path, problem: told.append(problem))
    server = types.SimpleNamespace(worker=worker, lifespan=types.SimpleNamespace(state={"pool": 1}))
    proof.call = lambda *what: asyncio.run(asgi.Server.ask(server, *what))
    return proof, told


def answering(right, other, seen=None, raises=None):
    async def answer(scope, receive, send):
        if seen is not None:
            seen.append(scope)
        status, location = right if dict(scope["headers"]).get(b"authorization") == f"Token {RIGHT}".encode() else other
        assert (await receive())["type"] == "http.request"
        headers = [(b"location", location.encode())] if location else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
        assert (await receive())["type"] == "http.disconnect"
        if raises:
            raise raises

    return answer


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_asgi_app_is_guarded_by_the_same_rule(tmp_path, case):
    proof, _ = asked(tmp_path, None, token={"path": "/shop/?page=2"})
    try:
        proof.check_guard(answering(case["with"], case["without"]), None)
        guarded = True
    except Failed:
        guarded = False
    assert guarded == case["guarded"]


def test_the_request_of_the_proof_is_that_of_a_client(tmp_path):
    seen = []
    proof, _ = asked(tmp_path, None, domain="app.example.com")
    check(proof, answering((200, None), (401, None), seen))
    assert len(seen) == 4
    for scope in seen:
        headers = dict(scope["headers"])
        assert headers[b"host"] == headers[b"x-forwarded-host"] == b"app.example.com"
        assert headers[b"x-forwarded-proto"].decode() == scope["scheme"] == "https"
        assert scope["server"] == ("app.example.com", 443) and scope["state"] == {"pool": 1}


def test_an_exception_after_an_answer_is_the_cause_of_the_failure(tmp_path):
    problem = ValueError("no table")
    proof, told = asked(tmp_path, None)
    with pytest.raises(Failed, match="answers 500 at /healthz") as failed:
        proof.check_health(answering((500, None), (500, None), raises=problem))
    assert failed.value.__cause__ is problem and told == [problem]

    async def silent(scope, receive, send):
        pass

    with pytest.raises(Failed, match="it returned without a response"):
        proof.check_health(silent)
