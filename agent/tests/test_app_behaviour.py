"""How the agent handles what apps do; docs/APP-BEHAVIOUR.md has the table."""

import http.client
import os
import threading

import pytest
from machine import agent_file, release, until
from running_machine import TOKEN, alive, bring_up, healthy

GUARD = """
def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    path = environ["PATH_INFO"]
    if path != "/":
        time.sleep(float(path[1:]))
    start_response("200 OK" if right else "401 No", [("Content-Length", "2")])
    return [b"ok"]
"""

# All of these ignore SIGTERM: the worker, a fork, a daemon, a started program.
CLINGING = """
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def note(pid):
    with open(os.environ["PIDS"], "a") as file:
        file.write(f"{pid}\\n")

note(os.getpid())
if os.fork() == 0:
    note(os.getpid())
    time.sleep(1000)
    os._exit(0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note(os.getpid())
        time.sleep(1000)
    os._exit(0)
note(subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True).pid)
"""


class Asking(threading.Thread):
    """One request that is under way."""

    def __init__(self, machine, path, token=TOKEN):
        super().__init__()
        self.connection, self.path, self.token, self.answer = machine.connect(60), path, token, None
        self.connection.connect()
        self.start()

    def run(self):
        try:
            self.connection.request("GET", self.path, headers={"Authorization": f"Token {self.token}"})
            got = self.connection.getresponse()
            self.answer = got.status, got.read(), got.getheader("Connection")
        except (OSError, http.client.HTTPException) as problem:
            self.answer = problem


def rotate(aws, name):
    version = aws.put_token("second-token")
    aws.wait_report(healthy(name, version), 90)


def test_an_app_that_ignores_its_end_is_killed_after_its_requests(aws, machine):
    """Longer than a generation may keep listening: the app's forks do not hold the socket."""
    pids = machine.root / "tmp/pids"
    generations = agent_file("processes/generations.py", DEAF_SECONDS=3)
    archive = release(app=CLINGING + GUARD, agent={"processes/generations.py": generations}, env={"PIDS": str(pids)})
    name, _ = bring_up(aws, machine, archive)
    old = {int(line) for line in pids.read_text().split()}
    assert len(old) == 8 and all(map(alive, old))
    asking = Asking(machine, "/5")
    until(lambda: machine.get(TOKEN)[0] == 200)
    rotate(aws, name)
    asking.join()
    assert asking.answer == (200, b"ok", "close")
    until(lambda: not any(map(alive, old)))
    new = {int(line) for line in pids.read_text().split()} - old
    assert len(new) == 8 and all(map(alive, new))
    assert machine.get("second-token")[0] == 200


def test_a_slow_start_succeeds(aws, machine):
    archive = release(app="import os, time\ntime.sleep(4)\n" + GUARD, health={"path": "/", "timeout": 20})
    bring_up(aws, machine, archive)
    assert machine.get(TOKEN)[0] == 200


def test_connections_are_closed_with_a_header(aws, machine):
    name, _ = bring_up(aws, machine, release(app="import os, time\n" + GUARD))
    idle = machine.connect()
    idle.request("GET", "/", headers={"Authorization": f"Token {TOKEN}"})
    answer = idle.getresponse()
    assert (answer.read(), answer.getheader("Connection")) == (b"ok", "keep-alive")
    sock, silent = idle.sock, machine.connect()
    silent.connect()
    asking = Asking(machine, "/3")
    rotate(aws, name)
    asking.join()
    assert asking.answer == (200, b"ok", "close")
    assert sock.recv(1) == b"" and silent.sock.recv(1) == b"", "an end, no reset"
    idle.close()
    silent.close()


def test_a_request_beyond_the_graceful_timeout_is_cut_off(aws, machine):
    conf = agent_file("workers/gunicorn.conf.py", graceful_timeout=2)
    name, _ = bring_up(aws, machine, release(app="import os, time\n" + GUARD, agent={"workers/gunicorn.conf.py": conf}))
    old = machine.pid()
    asking = Asking(machine, "/1000")
    until(lambda: machine.get(TOKEN)[0] == 200)
    rotate(aws, name)
    asking.join(60)
    assert isinstance(asking.answer, (OSError, http.client.HTTPException))
    until(lambda: not alive(old))
    until(lambda: [each["role"] for each in machine.running()] == ["serving"])


# Its requests report when a thread handles them; "/hold" blocks one until it is released.
HOLDING = """
import os, time

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    path = environ["PATH_INFO"]
    print("began", path, flush=True)
    while path == "/hold" and not os.path.exists(os.environ["LET_GO"]):
        time.sleep(0.05)
    if path == "/slow":
        time.sleep(5)
    start_response("200 OK" if right else "401 No", [("Content-Length", "2")])
    return [b"ok"]
"""


def test_without_a_free_thread_a_request_waits_and_then_gets_503(aws, machine):
    let_go = machine.root / "tmp/let-go"
    agent = {
        "workers/worker.py": agent_file("workers/worker.py", THREAD_SECONDS=4),
        "processes/generations.py": agent_file("processes/generations.py", FULL_SECONDS=1),
    }
    archive = release(app=HOLDING, agent=agent, env={"LET_GO": str(let_go)}, threads=2)
    bring_up(aws, machine, archive)

    def hold(number):
        held = [Asking(machine, "/hold") for _ in range(number)]
        until(lambda: machine.app_log().count("began /hold") == number)
        return held

    held = [*hold(3)]
    for _ in range(30):
        assert machine.get(TOKEN, timeout=3)[0] == 200, "the worker with a free thread takes it"
    assert aws.reports[-1][1]["threads"] is None
    held.append(Asking(machine, "/hold"))
    report = aws.wait_report(lambda report: report.get("threads"))
    assert (report["threads"]["busy"], report["phase"], report["error"]) == (4, "healthy", None)
    connection = machine.connect(15)
    connection.request("GET", "/refused", headers={"Authorization": f"Token {TOKEN}"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Retry-After"], answer.headers["Connection"]) == (503, "5", "close")
    assert answer.read().startswith(b"The app is too busy")
    assert "/refused" not in machine.app_log()
    # A request that waited for less is answered by the app, and the time of a thread is not limited.
    waiting = Asking(machine, "/")
    aws.reports.clear()
    let_go.touch()
    for each in (*held, waiting):
        each.join()
        assert each.answer[:2] == (200, b"ok")
    assert machine.get(TOKEN, "/slow")[0] == 200
    aws.wait_report(lambda report: report["threads"] is None)


# Like Starlette's ServerErrorMiddleware: it answers, and also raises, for the server to log it.
ASGI = """
import os
from a2wsgi import ASGIMiddleware

HEADERS = [(b"content-length", b"2")]

async def answer(send, status):
    await send({"type": "http.response.start", "status": status, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"ok"})

async def asgi(scope, receive, send):
    right = dict(scope["headers"]).get(b"authorization") == b"Token " + os.environ["APP_SECRET_TOKEN"].encode()
    if scope["path"] == "/answers":
        await answer(send, 500)
    if scope["path"] != "/":
        raise ValueError("no table of " + scope["path"][1:])
    await answer(send, 200 if right else 401)

app = ASGIMiddleware(asgi)
"""
WSGI = """
import os, sys

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    try:
        if environ["PATH_INFO"] != "/":
            raise ValueError("no table of " + environ["PATH_INFO"][1:])
        start_response("200 OK" if right else "401 No", [("Content-Length", "2")])
    except ValueError:
        start_response("500 Oh", [("Content-Length", "2")], sys.exc_info())
    return [b"ok"]
"""


@pytest.mark.parametrize(
    ("source", "packages", "paths"),
    [
        pytest.param(ASGI, ("a2wsgi==1.10.10",), ["answers", "raises"], id="ASGI"),
        pytest.param(WSGI, (), ["wsgi"], id="WSGI"),
        pytest.param(WSGI.replace("except ValueError", "except KeyError"), (), ["raises"], id="gunicorn's"),
    ],
)
def test_an_exception_of_a_request_is_logged_once(aws, machine, source, packages, paths):
    bring_up(aws, machine, release(app=source, packages=packages))
    for path in paths:
        before = machine.app_log().count("\nValueError: ")
        assert machine.get(TOKEN, f"/{path}")[0] == 500
        until(lambda path=path: f"\nValueError: no table of {path}\n" in machine.app_log(), what="the log")
        assert 'app/app.py", line' in machine.app_log()
        assert machine.get(TOKEN)[0] == 200
        assert machine.app_log().count("\nValueError: ") == before + 1, machine.app_log()


def test_an_exception_behind_a_bridge_is_in_the_report(aws, machine):
    for number, path in enumerate(("/answers", "/raises")):
        health = {"path": path, "timeout": 30}
        name = aws.put_release(release(app=ASGI, packages=("a2wsgi==1.10.10",), health=health))
        aws.tags["devopsctl:release"] = name
        if not number:
            aws.put_token(TOKEN)
            machine.boot()
        report = aws.wait_report(
            lambda each, name=name: (each["phase"], each["wanted"]["release"]) == ("failed", name), 60
        )
        assert f"the app answers 500 at {path}" in report["error"]
        assert f"ValueError: no table of {path[1:]}" in report["log_tail"]
        assert 'File "app/app.py", line' in report["log_tail"]


WRITING = """
import os, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
os.makedirs(HERE + "/instance", exist_ok=True)  # As Flask's apps do.
with tempfile.TemporaryDirectory() as folder:
    os.mkdir(folder + "/a")
    open(folder + "/b", "w").close()
    os.rename(folder + "/b", folder + "/a/b")

def refused(work, *arguments):
    try:
        work(*arguments)
    except OSError:
        return True
    return False

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    start_response("200 OK" if right else "401 No", [])
    tried = [(open, HERE + "/new", "w"), (open, HERE + "/app.py", "a"), (os.truncate, HERE + "/app.py", 1), (os.mkdir, HERE + "/folder")]
    tried += [(os.remove, HERE + "/app.py"), (os.rename, HERE + "/app.py", HERE + "/other.py"), (open, HERE + "/../../../../../note", "w")]
    with open(HERE + "/instance/notes", "a+") as notes:
        if environ["PATH_INFO"] == "/note":
            notes.write("x")
        notes.seek(0)
        return [str([refused(*each) for each in tried] + [notes.read()]).encode()]
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux's own")
def test_an_app_cannot_change_its_release_and_has_a_temporary_and_an_instance_folder(aws, machine):
    bring_up(aws, machine, release(app=WRITING))
    before = sorted(machine.root.rglob("*.py"))
    assert machine.get(TOKEN, "/note") == (200, str([True] * 7 + ["x"]))
    assert sorted(machine.root.rglob("*.py")) == before
    # The next release has the same instance folder.
    newer = aws.tags["devopsctl:release"] = aws.put_release(release(app=WRITING + "# newer"))
    aws.wait_report(lambda report: (report["phase"], report["release"]) == ("healthy", newer), 60)
    assert machine.get(TOKEN, "/note") == (200, str([True] * 7 + ["xx"]))


EARLY = """
import os

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    upload = environ["REQUEST_METHOD"] == "POST"
    start_response("413 Too Large" if upload else "200 OK" if right else "401 No", [("Content-Length", "2")])
    return [b"ok"]
"""


def test_an_answer_before_the_end_of_an_upload_reaches_its_client(aws, machine):
    bring_up(aws, machine, release(app=EARLY))
    for _ in range(5):
        connection = machine.connect()
        # The proxy closes its connections, too.
        connection.request("POST", "/", b"x" * 5_000_000, {"Connection": "close"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (413, b"ok")
        connection.close()
