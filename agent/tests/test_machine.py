"""A machine from boot to shutdown, with real gunicorn: an older version, as on Amazon Linux, and the newest."""

import contextlib
import errno
import http.client
import os
import pathlib
import re
import threading
import time

import machine as machines
import pytest
from machine import agent_file, release, until
from running_machine import TOKEN, Load, bring_up, healthy, state

begin = bring_up


@pytest.fixture
def load(machine):
    loads = []

    def start(*tokens):
        loads.append(Load(machine, *tokens))
        return loads[-1]

    yield start
    for each in loads:
        each.going = False


@pytest.mark.parametrize("gunicorn", ["==23.0.0", "==27.0.1"])
def test_it_waits_for_its_token_and_rotates_it_under_load(aws, machine, load, gunicorn):
    name = aws.put_release(release(gunicorn, app=SLOW, flask=True))
    aws.tags["devopsctl:release"] = name
    machine.boot()
    aws.wait_report(lambda report: report["phase"] == "token", 60)
    version = aws.put_token(TOKEN)
    aws.wait_report(healthy(name, version), 60)
    assert machine.get(TOKEN)[0] == 200
    assert machine.get()[0] == machine.get("wrong")[0] == 401

    clients = load(TOKEN, "second-token")
    slow = []
    in_flight = threading.Thread(target=lambda: slow.append(machine.get(TOKEN, "/slow")))
    in_flight.start()
    until(lambda: clients.count() > 50)
    version = aws.put_token("second-token")
    aws.wait_report(healthy(name, version), 60)
    changed, before = time.monotonic(), clients.count()
    until(lambda: clients.count() > before + 50)
    clients.end()
    in_flight.join()
    assert slow == [(200, "at last")]
    assert {status for began, status in clients.seen[TOKEN] if began > changed} == {401}
    assert {status for began, status in clients.seen["second-token"] if began > changed} == {200}
    assert {status for seen in clients.seen.values() for _, status in seen} == {200, 401}


# Every release since 20.1, the first that accepts the app's name as a setting.
GUNICORNS = [
    "20.1.0",
    "21.0.0",
    "21.0.1",
    "21.1.0",
    "21.2.0",
    "22.0.0",
    "23.0.0",
    "24.0.0",
    "24.1.0",
    "24.1.1",
    "25.0.0",
    "25.0.1",
    "25.0.2",
    "25.0.3",
    "25.1.0",
    "25.2.0",
    "25.3.0",
    "26.0.0",
    "26.1.0",
    "26.2.0",
    "27.0.0",
    "27.0.1",
]


def test_every_gunicorn_from_20_1_on_serves_and_hands_over(aws, machine):
    version = aws.put_token(TOKEN)
    served, kept = [], None
    for gunicorn in GUNICORNS:
        name = aws.put_release(release(f"=={gunicorn}", app=SAYS_GUNICORN, flask=False))
        aws.tags["devopsctl:release"] = name
        if not machine.program:
            machine.boot()
        aws.wait_report(healthy(name, version), 60)
        if kept:
            # The earlier generation answers an open connection once more, or closes it.
            with contextlib.suppress(http.client.HTTPException, OSError):
                assert ask_again(kept) == (200, served[-1])
        kept = machine.connect()
        served.append(ask_again(kept)[1])
        assert ask_again(kept) == (200, gunicorn), "a second request on the same connection"
        assert machine.get("wrong")[0] == 401
    assert served == GUNICORNS


def ask_again(connection):
    connection.request("GET", "/", headers={"Authorization": f"Token {TOKEN}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


SAYS_GUNICORN = """
import os, sys, gunicorn
TOKEN = "Token " + os.environ["APP_SECRET_TOKEN"]
assert sys.modules.get("pkg_resources", os).__spec__, "one that serve.py has made up"

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == TOKEN
    body = gunicorn.__version__.encode()
    start_response("200 OK" if right else "401 Unauthorized", [("Content-Length", str(len(body)))])
    return [body]
"""

SLOW = """
import os, time
TOKEN = "Token " + os.environ["APP_SECRET_TOKEN"]

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == TOKEN
    body = b"at last" if environ["PATH_INFO"] == "/slow" else b"hello"
    if environ["PATH_INFO"] == "/slow":
        time.sleep(4)
    start_response("200 OK" if right else "401 Unauthorized", [("Content-Length", str(len(body)))])
    return [body]
"""

GUARDED = "import os\ndef app(environ, start_response):\n    {}\n    return [b'new']\n"
ANSWERS = (
    "import os\ndef app(environ, start_response):\n"
    "    right = environ.get('HTTP_AUTHORIZATION') == 'Token ' + os.environ['APP_SECRET_TOKEN']\n"
    "    start_response('{}' if right else '{}', [('Location', '/login')])\n    return [b'new']\n"
)
RIGHT = (
    "right = environ.get('HTTP_AUTHORIZATION') == 'Token ' + os.environ['APP_SECRET_TOKEN']\n"
    "    start_response('200 OK' if right else '401 No', [('Content-Length', '3')])"
)


def test_a_new_release_takes_over_under_load(aws, machine, load):
    """Without byte-code, like the releases of the command line."""
    bring_up(aws, machine, release(compiled=False))
    clients = load(TOKEN)
    until(lambda: clients.count() > 20)
    name = aws.put_release(release(app=GUARDED.format(RIGHT), compiled=False))
    aws.tags["devopsctl:release"] = name
    aws.wait_report(healthy(name, 1), 60)
    assert machine.get(TOKEN) == (200, "new")
    clients.end()
    assert {status for _, status in clients.seen[TOKEN]} == {200}


def test_during_a_grace_period_both_tokens_are_valid(serving):
    machine, (aws, _, version, before) = serving, state(serving)
    name = aws.tags["devopsctl:release"] = aws.put_release(release())  # This app supports a grace period.
    aws.wait_report(healthy(name, version), 60)
    token, ends = f"token-after-{version}", time.time() + 6
    version = aws.put_token(token, before, ends)
    aws.wait_report(healthy(name, version), 60)
    assert machine.get(token)[0] == machine.get(before)[0] == 200
    until(lambda: machine.get(before)[0] == 401, 30)
    assert time.time() >= ends
    assert machine.get(token)[0] == 200


@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param("import no_such_module\n", "No module named 'no_such_module'", id="import"),
        pytest.param("def wrong(): pass\n", "app", id="no callable"),
        pytest.param("import os\nos._exit(7)\n", "a worker exited before it could answer", id="dies"),
        pytest.param(GUARDED.format("raise ValueError('no table')"), "ValueError: no table", id="raises"),
        pytest.param(GUARDED.format("start_response('500 Oh', [])"), "3xx; its answer begins: new", id="500"),
        pytest.param(
            "def app(environ, start_response):\n    start_response('404 No', [('Content-Type', 'text/html')])\n"
            "    return [b'<!doctype html><style>p {}</style>', b'<h1>Not &lt;here&gt;</h1>\\n<p>' + b'x' * 5000]\n",
            "answers 404 at / with the token; healthy is 2xx or 3xx; its answer begins: Not <here> xxxxxxxxxx",
            id="404 with a page",
        ),
        pytest.param(GUARDED.format("start_response('200 OK', [])"), "open to everyone", id="unguarded"),
        pytest.param(
            ANSWERS.format("302 Found", "302 Found"), "answers 302 at / without a token, as it does", id="302"
        ),
        pytest.param(ANSWERS.format("200 OK", "500 Oh"), "does not show that it refuses", id="500 without the token"),
        pytest.param("import time\ntime.sleep(600)\n", "not healthy within 2 seconds", id="hangs"),
    ],
)
def test_a_broken_release_changes_nothing_but_the_report(serving, source, why):
    machine, (aws, good, version, token), before = serving, state(serving), len(serving.app_log())
    broken = aws.put_release(release(app=source, health={"path": "/", "timeout": 2 if "sleep" in source else 30}))
    aws.tags["devopsctl:release"] = broken
    report = aws.wait_report(lambda report: report["phase"] == "failed" and report["wanted"]["release"] == broken, 60)
    assert why in report["error"] + report["log_tail"]
    assert report["release"] == good and report["healthy"]
    assert machine.get(token)[0] == 200
    # The serving release gets a new token, and a fixed release takes over.
    token = f"token-after-{version}"
    version = aws.put_token(token)
    aws.wait_report(lambda report: report["token"] == version and report["release"] == good, 60)
    assert machine.get(token)[0] == 200
    fixed = aws.put_release(release(app=GUARDED.format(RIGHT) + f"# {why}\n"))
    aws.tags["devopsctl:release"] = fixed
    aws.wait_report(healthy(fixed, version), 60)
    # gunicorn's message that it exits is not the reason.
    assert not re.search("exited with code [34]|Shutting down|HaltServer", machine.app_log()[before:])


def test_a_full_disk_is_reported_and_the_retry_has_the_space(serving):
    machine, (aws, good, version, token) = serving, state(serving)
    name = aws.put_release(release(app=GUARDED.format(RIGHT) + "# once there is space\n"))
    archive = machine.root / f"opt/devopsctl/releases/{name}.tar.gz"
    archive.symlink_to("/dev/full")
    aws.tags["devopsctl:release"] = name
    report = aws.wait_report(lambda report: report["phase"] == "failed", 60)
    assert report["error"].startswith("the disk is full: ") and os.strerror(errno.ENOSPC) in report["error"]
    assert (report["release"], report["token"], report["healthy"]) == (good, version, True)
    assert machine.get(token)[0] == 200
    assert not archive.is_symlink()
    aws.tags["devopsctl:try"] = "again"
    aws.wait_report(healthy(name, version), 60)


def test_secrets_are_masked_and_paths_are_shortened(aws, machine):
    source = (
        "import os\nprint('token', os.environ['APP_SECRET_TOKEN'], os.environ['PASSWORD'])\nraise ValueError('oh')\n"
    )
    name = aws.put_release(release(app=source, env={"PASSWORD": "open-sesame"}))
    aws.tags["devopsctl:release"] = name
    aws.put_token(TOKEN)
    machine.boot()
    report = aws.wait_report(lambda report: report["phase"] == "failed", 60)
    assert 'File "app/app.py", line 3' in report["log_tail"]
    for _, _, text in aws.reports:
        assert TOKEN not in text and "open-sesame" not in text


def test_the_token_is_only_in_the_file_of_its_generation(serving):
    machine, (_, _, _, token) = serving, state(serving)
    for path in machine.root.rglob("*"):
        if path.is_file() and token.encode() in path.read_bytes():
            assert "run/devopsctl/generations" in str(path)
            assert path.stat().st_mode & 0o077 == 0
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            try:
                assert token.encode() not in (process / name).read_bytes(), process
            except OSError:
                continue


def test_the_app_serves_without_the_metadata_service(serving):
    machine, (aws, name, version, token) = serving, state(serving)
    asked = len(aws.calls)
    aws.faults["imds"] = 500, ""
    until(lambda: len(aws.calls) > asked + 4)
    assert machine.get(token)[0] == 200
    token = f"token-after-{version}"
    version = aws.put_token(token)
    aws.faults.clear()
    aws.wait_report(healthy(name, version), 60)
    assert machine.get(token)[0] == 200


def test_an_older_token_never_comes_back(aws, machine):
    name, _ = bring_up(aws, machine)
    version = aws.put_token("second-token")
    aws.wait_report(healthy(name, version), 60)
    # Another user changed the tags, or restored an old parameter.
    parameter = f"/devopsctl/{aws.name}/token"
    aws.parameters[parameter] = 1, aws.parameters[parameter][1].replace("second-token", TOKEN)
    aws.tags["devopsctl:token"] = "7"
    aws.wait_report(
        lambda report: report["wanted"]["token"] == 7 and "older than version 2" in (report["error"] or ""), 60
    )
    assert machine.get("second-token")[0] == 200
    assert machine.get(TOKEN)[0] == 401


def test_a_broken_agent_does_not_take_over(serving):
    machine, (aws, _, version, _) = serving, state(serving)
    name = aws.put_release(release(agent={"orders/decide.py": "raise SystemExit('broken')\n"}))
    aws.tags["devopsctl:release"] = name
    aws.wait_report(healthy(name, version), 60)
    until(lambda: "fails its check, this agent stays" in machine.console())
    version = aws.put_token(f"token-after-{version}")
    aws.wait_report(healthy(name, version), 60)


def test_the_agent_of_a_new_release_takes_over(serving):
    machine, (aws, _, version, token) = serving, state(serving)
    program = machine.program.pid
    half_fetched = machine.root / "opt/devopsctl/releases" / ("f" * 64 + ".tar.gz")
    half_fetched.touch()
    changed = agent_file("orders/report.py").replace('"v": 1,', '"v": 1, "generation": "next",')
    name = aws.put_release(release(agent={"orders/report.py": changed}))
    aws.tags["devopsctl:release"] = name
    aws.wait_report(lambda report: report.get("generation") == "next" and report["phase"] == "healthy", 60)
    assert machine.program.poll() is None and machine.program.pid == program
    assert machine.get(token)[0] == 200
    until(lambda: not half_fetched.exists(), what="the new agent to clear up")
    # The new agent works.
    version = aws.put_token(f"token-after-{version}")
    aws.wait_report(healthy(name, version), 60)


def test_it_is_written_for_python_3_9():
    """The agent runs on the Python of Amazon Linux 2023, which is 3.9."""
    import ast

    for name, text in machines.agent_files().items():
        if name.endswith(".py"):
            ast.parse(text, feature_version=(3, 9))
    assert machines.user_data().startswith("#!")
