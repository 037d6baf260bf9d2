"""The systemd runner where there is no systemd: what it decides from what systemd says. `tests/vm` has the real one."""

import ast
import os
import re
import socket
import subprocess
import sys
from types import SimpleNamespace

import decide
import edge_runner
import generation
import pytest
import runner_systemd
import systemd as sd
from machine import AGENT
from places import Places

RELEASE = "a" * 64


@pytest.fixture
def places(tmp_path):
    places = Places(str(tmp_path))
    places.prepare()
    return places


def test_what_an_earlier_generation_said_is_not_taken_for_anothers_word(places, tmp_path, monkeypatch):
    """Its folder is systemd's to remove, which may come later than the next generation."""
    monkeypatch.setattr(places, "verdict", lambda number: f"{tmp_path}/app-{number}/verdict")
    release = tmp_path / "opt/devopsctl/releases" / RELEASE
    release.mkdir(parents=True)
    release.joinpath("manifest.json").write_text('{"health": {"timeout": 30}, "token": {"env": "T"}}')
    (tmp_path / "private-1").mkdir()
    (tmp_path / "app-1").symlink_to(tmp_path / "private-1")
    (tmp_path / "app-2").symlink_to(tmp_path / "nowhere")
    token = decide.Token(1, "some-token-of-a-test")
    assert generation.Generation.create(places, decide.Target(RELEASE, 1), token, 0.0).number == 3


def test_units_have_no_gaps_and_bear_the_rules_that_count():
    text = runner_systemd.text_of("app@.service")
    for rule in ("IPAddressDeny=169.254.169.254 fd00:ec2::254", "DynamicUser=yes", "StartLimitIntervalSec=0"):
        assert rule in text.splitlines()
    edge = runner_systemd.text_of("edge.service")
    assert {"@CADDY@"} == set(re.findall("@[A-Z]+@", edge))
    for rule in ("IPAddressDeny=169.254.169.254 fd00:ec2::254", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"):
        assert rule in edge.splitlines()


def test_only_where_certificates_are_to_be_put_back_a_program_runs_before_caddy(places, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(edge_runner, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(edge_runner, "systemctl", lambda *words: calls.append(words))
    edge = edge_runner.SystemdEdge(places, runner_systemd.text_of("edge.service"))
    unit = tmp_path / "units" / edge_runner.UNIT
    assert edge.install("/caddy") is True and edge.install("/caddy") is False
    assert "ExecStart=/caddy run" in unit.read_text() and "ExecStartPre" not in unit.read_text()
    assert not calls, "systemd finds by itself what is new"
    edge.restore({"certificates/a.crt": "YQ=="})
    assert os.stat(edge.kept).st_mode & 0o777 == 0o600
    assert edge.install("/caddy") is True and edge.install("/caddy") is False
    assert f"ExecStartPre=-/usr/bin/python3 -S {edge.helper} " in unit.read_text() and os.path.exists(edge.helper)
    assert f"LoadCredential=certificates:{edge.kept}\n" in unit.read_text()
    assert calls == [("daemon-reload",)]


def test_only_what_listens_at_our_path_counts(tmp_path):
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind(ours)
        assert runner_systemd.listening(ours) == set(), "it is bound, and does not listen yet"
        listener.listen()
        caller.connect(ours)
        accepted, _ = listener.accept()
        with accepted:
            assert runner_systemd.listening(ours) == {f"socket:[{os.fstat(listener.fileno()).st_ino}]"}
        assert runner_systemd.listening(theirs) == set()


def test_who_waits_in_a_socket_of_systemds_is_answered_when_nothing_serves(places, tmp_path, monkeypatch):
    """The agent has no part in that socket, and takes it from the process that holds it."""
    edge = edge_runner.SystemdEdge(places, "")
    edge.where = SimpleNamespace(app=str(tmp_path / "app.sock"))
    runner = SimpleNamespace(edge=edge, looked=0.0)
    holder = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print(flush=True); input()"
    command = [sys.executable, "-c", holder, edge.where.app]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        monkeypatch.setattr(runner_systemd, "SYSTEMD", process.pid)
        ways = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for way in ways:
            way.connect(edge.where.app)
            way.settimeout(5)
            way.sendall(b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\nstring")
        runner_systemd.SystemdRunner.turn_away(runner)
        for way in ways:
            with way, way.makefile("rb") as said:
                assert said.read().startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n")
        process.stdin.close()


@pytest.mark.parametrize(
    ("shown", "lacked", "words"),
    [
        ({"Result": "exit-code", "ExecMainCode": "1", "ExecMainStatus": "3"}, False, "exit code 3"),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"}, False, "signal 9"),
        (
            {"Result": "oom-kill", "ExecMainCode": "2", "ExecMainStatus": "9"},
            False,
            "it took more memory than there is",
        ),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"}, True, "it took more memory than there is"),
        ({"Result": "resources", "ExecMainCode": "0", "ExecMainStatus": "0"}, False, "resources"),
    ],
)
def test_how_a_generation_ended_is_said_in_words(shown, lacked, words):
    assert runner_systemd.ending(shown, lacked) == words


def test_a_sign_of_life_goes_where_systemd_listens(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "n"))
        ear.settimeout(5)
        sd.notify("READY=1", str(tmp_path / "n"))
        assert ear.recv(100) == b"READY=1"
    sd.notify("READY=1", None)


def test_nothing_of_the_agent_is_imported_late():
    """It may outlive the folder that it came from, when later releases bring the same agent."""
    ours = {path.stem for path in AGENT.glob("*.py")}
    late = []
    for path in AGENT.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, (ast.FunctionDef, ast.ClassDef)) and (path.name, function.name) != (
                "agent.py",
                "make",
            ):
                for node in ast.walk(function):
                    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                    names += [node.module] if isinstance(node, ast.ImportFrom) else []
                    late += [(path.name, function.name, name) for name in names if name in ours]
    assert late == []
