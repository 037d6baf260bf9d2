"""The credentials of the app's role: the agent gets them, keeps them fresh, and serves them to the generations that live."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from botocore.credentials import ContainerProvider
from botocore.exceptions import CredentialRetrievalError
from fake_aws import REGION, session
from machine import AGENT, agent_file, release, until
from running_machine import TOKEN, bring_up, healthy, start_run

from app_role import credentials, server
from app_role.credentials import AppRole, credentials_in
from boot.aws import AwsError

NEEDS = {"permissions": True}
# It asks for its credentials with the standard library: status and document; and shows its variables.
ASKS = """
import json, os, urllib.error, urllib.request
TOKEN = "Token " + os.environ["APP_SECRET_TOKEN"]
NAMES = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
         "AWS_ENDPOINT_URL")

def credentials():
    if NAMES[0] not in os.environ:
        return None
    request = urllib.request.Request(os.environ[NAMES[0]], headers={"Authorization": os.environ[NAMES[1]]})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return [answer.status, json.load(answer)]
    except urllib.error.HTTPError as error:
        return [error.code, json.load(error)]

AT_IMPORT = credentials()

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == TOKEN
    given = {"at import": AT_IMPORT, "now": credentials(), **{name: os.environ.get(name) for name in NAMES}}
    body = json.dumps(given if right else {}).encode()
    start_response("200 OK" if right else "401 Unauthorized", [("Content-Length", str(len(body)))])
    return [body]
"""


# The server


def right_token(token):
    return (200, {"AccessKeyId": "A"}) if token == "right" else (401, server.error("Unauthorized", "wrong"))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /credentials HTTP/1.1\r\nHost: x\r\nAuthorization: right\r\n\r\n", 200),
        (b"GET /credentials HTTP/1.0\r\nAUTHORIZATION:right \r\n\r\n", 200),
        (b"GET /credentials HTTP/1.1\r\nAuthorization: wrong\r\n\r\n", 401),
        (b"GET /credentials HTTP/1.1\r\n\r\n", 401),
        (b"GET /credentials HTTP/1.1\r\nX: \xff\r\nAuthorization: right\r\nAuthorization: right\r\n\r\n", 401),
        (b"POST /credentials HTTP/1.1\r\nAuthorization: right\r\n\r\n", 405),
        (b"GET /credentials/ HTTP/1.1\r\nAuthorization: right\r\n\r\n", 404),
        (b"GET /credentials?x HTTP/1.1\r\nAuthorization: right\r\n\r\n", 404),
        (b"GET  /credentials HTTP/1.1\r\nAuthorization: right\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_only_the_right_request_is_answered(request_, status):
    found, document = server.respond(request_, right_token)
    assert found == status and (status == 200 or set(document) == {"code", "message"})


@pytest.fixture
def running():
    """The port of a server."""
    listener = server.listen()
    threading.Thread(target=server.Server(listener, right_token).run, daemon=True).start()
    return listener.getsockname()[1]


def ask(port, token="right"):
    connection = http.client.HTTPConnection(server.HOST, port, timeout=10)
    connection.request("GET", server.PATH, headers={"Authorization": token})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_hostile_clients_keep_nobody_out(running):
    """Connections that send nothing, parts of a request, or too much."""
    idle = [socket.create_connection((server.HOST, running)) for _ in range(3 * server.MOST_CONNECTIONS)]
    for number, connection in enumerate(idle):
        try:
            connection.send([b"", b"GET /cre", b"A" * 3 * server.MOST_BYTES][number % 3])
        except OSError:
            pass  # The server ended it.
    for _ in range(5):
        assert ask(running)[0] == 200
    assert ask(running, "wrong")[0] == 401
    # All of them are closed in the end, with a reset if they had sent more than was read.
    for connection in idle:
        connection.settimeout(10 * server.SECONDS)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass


def test_a_request_may_arrive_in_parts(running):
    connection = socket.create_connection((server.HOST, running), 10)
    for part in (b"GET /credentials HTTP/1.1\r", b"\nAuthorization: ri", b"ght\r\n\r", b"\n"):
        connection.send(part)
        time.sleep(0.01)
    assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_request_waits_for_the_first_credentials_for_a_moment():
    answers = [None, None, (200, {"AccessKeyId": "A"})]
    listener = server.listen()
    work = server.Server(listener, lambda token: answers.pop(0) if answers else None).run
    threading.Thread(target=work, daemon=True).start()
    port = listener.getsockname()[1]
    assert ask(port) == (200, {"AccessKeyId": "A"}) and answers == []
    assert ask(port) == server.NOT_YET


# The credentials


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + 1.7e9


@pytest.fixture
def role():
    """The role with a simulated clock, whose threads a test runs itself."""
    metadata = SimpleNamespace(identity=lambda: {"region": REGION})
    aws = SimpleNamespace(metadata=metadata, skew=0)
    role = AppRole(aws, lambda: "shop", lambda name, work: None, Clock())
    yield role
    if role.listener:
        role.listener.close()


def living(*tokens, port=None):
    """The grants of generations with these tokens."""
    return [credentials.Grant({credentials.TOKEN: token}, {}, port) for token in tokens]


def held(role, number=1, seconds=3600):
    role.held = credentials_in(session(number, role.clock.time() + seconds))


def test_a_release_without_permissions_gets_nothing(role):
    assert role.grant({}) is credentials.NOTHING and role.grant({"permissions": False}) is credentials.NOTHING
    assert role.listener is None and role.since is None


def test_a_start_waits_for_the_first_credentials_for_a_time(role):
    assert role.grant(NEEDS) is None
    role.clock.now += credentials.FIRST_SECONDS - 1
    assert role.grant(NEEDS) is None
    role.clock.now += 1
    without = role.grant(NEEDS)
    assert without.environment["AWS_REGION"] == REGION and without.port in server.PORTS
    role.clock.now = 1000
    held(role)
    grants = [role.grant(NEEDS), role.grant(NEEDS)]
    tokens = {grant.variables[credentials.TOKEN] for grant in grants}
    assert len(tokens) == 2 and all(len(token) == 43 for token in tokens)
    assert grants[0].environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == f"http://127.0.0.1:{without.port}/credentials"


def test_credentials_are_for_living_generations_until_they_expire(role):
    assert role.grant(NEEDS) is None
    held(role)
    role.admit(living("one", "two"))
    given, role.held = role.held, None
    assert role.answer("one") is None and role.answer("three")[0] == 401
    role.held = given
    assert [role.answer(token)[0] for token in ("one", "two", "three", "", "öne")] == [200, 200, 401, 401, 401]
    document = role.answer("one")[1]
    assert document["AccessKeyId"] == "ASIA1" and set(document) == {*credentials.FIELDS, "Expiration"}
    role.admit(living("two"))
    assert role.answer("one")[0] == 401
    role.fail(AwsError("Network", "no way"))
    assert role.said() == {"error": None} and role.answer("two")[0] == 200
    role.clock.now += credentials.BRIEF_SECONDS
    role.fail(AwsError("Network", "no way"))
    assert role.said() == {"error": "no way"} and role.answer("two")[0] == 200
    role.clock.now += 3600
    assert role.answer("two") == (503, server.error("NoCredentials", "no way"))
    role.aws.skew = -3600  # This machine's clock is fast.
    assert role.answer("two")[0] == 200
    # Another need begins anew.
    role.admit([])
    assert role.held is None and role.said() == {"error": None} and role.grant(NEEDS) is None


def test_a_port_that_another_process_took_is_an_error_and_tried_again(role):
    taken = server.listen()
    port = taken.getsockname()[1]
    role.admit(living("one", port=port))
    assert "in use" in role.said()["error"] and role.listener is None
    taken.close()
    role.admit(living("one", port=port))
    assert role.listener.getsockname() == (server.HOST, port)


def test_without_any_credentials_an_error_is_reported_at_once(role):
    role.fail(AwsError("AccessDenied", "sts:AssumeRole was refused: AccessDenied: x"))
    assert role.said() == {"error": "sts:AssumeRole was refused: AccessDenied: x"}


@pytest.mark.parametrize(
    ("old", "new"),
    [("SecretAccessKey", "Other"), ("Z</Expiration>", "</Expiration>"), ("ASIA1", "A SIA"), ("<SessionToken>", "")],
)
def test_an_answer_of_another_form_is_refused_and_not_shown(old, new):
    text = session(1, time.time())
    assert credentials_in(text).document["Token"] == "session//1+="
    with pytest.raises(AwsError) as problem:
        credentials_in(text.replace(old, new))
    assert "ASIA" not in str(problem.value) and "secret" not in str(problem.value)


def test_a_fraction_of_a_second_is_understood():
    """The sandbox's STS sends one."""
    found = credentials_in(session(1, 1.7e9).replace("Z</Exp", ".123456Z</Exp"))
    assert found.until == 1.7e9 and found.document["Expiration"] == "2023-11-14T22:13:20Z"
    assert "secret" not in repr(found)


# On a machine


def begin(aws, machine):
    bring_up(aws, machine, release(app=ASKS, flask=False, permissions=True))


def given(machine):
    return json.loads(machine.get(TOKEN)[1])


def deploy(machine, **more):
    aws = machine.aws
    aws.tags["devopsctl:release"] = name = aws.put_release(release(app=ASKS, flask=False, **{**NEEDS, **more}))
    aws.wait_report(lambda report: report["phase"] == "healthy" and report["release"] == name, 60)
    until(lambda: [each["role"] for each in machine.running()] == ["serving"])
    return name


def provider(found):
    return ContainerProvider({name: value for name, value in found.items() if name.startswith("AWS_CONTAINER")})


def test_the_app_has_credentials_from_the_start_and_no_process_shows_its_token(serving):
    found = given(serving)
    for status, document in (found["at import"], found["now"]):
        assert status == 200 and document["AccessKeyId"].startswith("ASIA")
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == REGION
    assert found["AWS_ENDPOINT_URL"] == serving.aws.url
    assert provider(found).load().access_key == found["now"][1]["AccessKeyId"]
    token = found["AWS_CONTAINER_AUTHORIZATION_TOKEN"].encode()
    holding = [path.name for path in serving.root.rglob("*") if path.is_file() and token in path.read_bytes()]
    assert holding == ["token"], "only the file from which its workers get it"
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            try:
                assert token not in (process / name).read_bytes(), process
            except OSError:
                continue
    serving.aws.wait_report(lambda report: report["role"] == {"error": None})


def test_a_token_ends_with_its_generation(serving):
    before = given(serving)
    deploy(serving, workers=1)
    after = given(serving)
    assert before["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == after["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    assert after["now"][0] == 200
    with pytest.raises(CredentialRetrievalError, match="401"):
        provider(before).load()


COMMAND = """
import os, pathlib, time
import app
folder = pathlib.Path(os.environ["TMPDIR"])
(folder / "begun").write_text(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
while not (folder / "go").exists():
    time.sleep(0.05)
(folder / "asked").write_text(f"{app.AT_IMPORT[0]} {app.credentials()[0]}")
"""


def test_commands_of_a_release_have_credentials_until_they_end_also_after_the_agent(aws, machine):
    version, commands = aws.put_token(TOKEN), {"commands": ["python command.py"], "timeout": 60}
    files = {"command.py": COMMAND.encode()}
    archive = release(app=ASKS, flask=False, files=files, permissions=True, release=commands)
    aws.tags["devopsctl:release"] = name = aws.put_release(archive)
    machine.boot()
    token = until(lambda: (machine.root / "tmp/begun").exists() and (machine.root / "tmp/begun").read_text())
    os.kill(machine.program.pid, signal.SIGKILL)
    machine.program.wait()
    del aws.reports[:]
    machine.boot()
    aws.wait_report(lambda report: report["phase"] == "releasing")
    (machine.root / "tmp/go").touch()
    aws.wait_report(healthy(name, version), 60)
    assert (machine.root / "tmp/asked").read_text() == "200 200"
    with pytest.raises(CredentialRetrievalError, match="401"):
        provider({**given(machine), "AWS_CONTAINER_AUTHORIZATION_TOKEN": token}).load()


def test_a_command_has_the_credentials_of_its_generation_and_keeps_them(serving):
    script = "import app; print(app.AT_IMPORT[0], flush=True); input(); print(app.credentials()[0])"
    child = start_run(serving, "python", "-c", script, stdin=subprocess.PIPE)
    assert child.stdout.readline() == "200\n"
    deploy(serving, threads=3)
    assert child.communicate("\n", timeout=60) == ("200\n", "")


def test_the_next_agent_serves_the_same_generation(serving):
    before = given(serving)
    changed = (AGENT / "orders/report.py").read_text().replace('"v": 1,', '"v": 1, "agent of": "the next",')
    deploy(serving, agent={"orders/report.py": changed})
    serving.aws.wait_report(lambda report: report.get("agent of") == "the next")
    after = given(serving)
    assert after["now"][0] == 200
    assert before["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == after["AWS_CONTAINER_CREDENTIALS_FULL_URI"]


def test_the_app_sets_its_own_region(serving):
    deploy(serving, env={"AWS_REGION": "us-east-1"})
    found = given(serving)
    assert (found["AWS_REGION"], found["AWS_DEFAULT_REGION"]) == ("us-east-1", REGION)


def test_credentials_are_fresh_and_survive_a_failing_sts(serving):
    """Here an agent that gets new ones each moment."""
    often = agent_file("app_role/credentials.py", REFRESH_SECONDS=0.2, BRIEF_SECONDS=0.5)
    deploy(serving, agent={"app_role/credentials.py": often})
    first = given(serving)["now"][1]["AccessKeyId"]
    until(lambda: given(serving)["now"][1]["AccessKeyId"] != first)
    serving.aws.faults["AssumeRole"] = 403, "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>"
    try:
        said = serving.aws.wait_report(lambda report: report["role"] and report["role"]["error"])
        assert said["role"]["error"] == "sts:AssumeRole was refused: AccessDenied: not you" and said["healthy"]
        assert given(serving)["now"][0] == 200
    finally:
        del serving.aws.faults["AssumeRole"]
    del serving.aws.reports[:-1]
    serving.aws.wait_report(lambda report: report["role"] == {"error": None})


def test_without_the_role_the_app_serves_and_the_report_says_why(serving):
    aws = serving.aws
    deploy(serving, permissions=False)
    found = given(serving)
    assert found["now"] is None and found["AWS_REGION"] is None
    aws.wait_report(lambda report: report["role"] is None and report["phase"] == "healthy")
    brief = agent_file("app_role/credentials.py", FIRST_SECONDS=1)
    deploy(serving, permissions=False, agent={"app_role/credentials.py": brief}, workers=1)
    aws.faults["AssumeRole"] = 403, "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>"
    try:
        deploy(serving, agent={"app_role/credentials.py": brief})
        aws.wait_report(lambda report: report["role"] and "not you" in (report["role"]["error"] or ""))
        status, document = given(serving)["now"]
        assert (status, document["code"]) == (503, "NoCredentials") and "not you" in document["message"]
    finally:
        del aws.faults["AssumeRole"]
    until(lambda: given(serving)["now"][0] == 200)
