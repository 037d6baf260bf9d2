"""The systemd runner's decisions, without systemd. `tests/vm` tests it with systemd."""

import ast
import os
import re
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from machine import AGENT, agent_files

from orders import decide
from processes import command, generation, runner_systemd
from proxy import runner
from system import systemd as sd
from system.paths import Paths

RELEASE = "a" * 64


@pytest.fixture
def paths(tmp_path):
    paths = Paths(str(tmp_path))
    paths.prepare()
    return paths


def test_the_verdict_of_an_earlier_generation_does_not_count(paths, tmp_path, monkeypatch):
    """systemd removes its folder, perhaps after the next generation starts."""
    monkeypatch.setattr(paths, "verdict", lambda number: f"{tmp_path}/app-{number}/verdict")
    release = tmp_path / "opt/devopsctl/releases" / RELEASE
    release.mkdir(parents=True)
    release.joinpath("manifest.json").write_text('{"health": {"timeout": 30}, "token": {"env": "T"}}')
    (tmp_path / "private-1").mkdir()
    (tmp_path / "app-1").symlink_to(tmp_path / "private-1")
    (tmp_path / "app-2").symlink_to(tmp_path / "nowhere")
    token = decide.Token(1, "some-token-of-a-test")
    assert (
        generation.Generation.create(paths, decide.Target(RELEASE, 1), token, decide.Secrets("none", {}), 0.0).number
        == 3
    )


def test_units_are_complete_and_have_the_important_rules():
    for name in runner_systemd.SANDBOXED:
        assert "StartLimitIntervalSec=0" in runner_systemd.text_of("units/" + name).splitlines()
    assert "SyslogIdentifier=devopsctl-release\n" in runner_systemd.text_of("units/command@.service"), (
        "schedules replace it"
    )
    text = runner_systemd.text_of("units/sandbox.conf")
    assert text.startswith("\n"), "it is appended to other text"
    for rule in ("IPAddressDeny=169.254.169.254 fd00:ec2::254", "DynamicUser=yes", "NoNewPrivileges=yes"):
        assert rule in text.splitlines()
    edge = runner_systemd.text_of("units/proxy.service")
    assert {"@CADDY@"} == set(re.findall("@[A-Z]+@", edge))
    for rule in ("IPAddressDeny=169.254.169.254 fd00:ec2::254", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"):
        assert rule in edge.splitlines()


def test_a_command_gets_the_files_that_its_unit_names(paths, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(runner_systemd, "systemctl", lambda *words, **_: calls.append(words))
    release = tmp_path / "opt/devopsctl/releases" / RELEASE
    (release / "app").mkdir(parents=True)
    release.joinpath("manifest.json").write_text('{"release": {"commands": ["true"], "timeout": 600}}')
    created = command.Command.create(paths, "release", RELEASE, {"SECRET": "of-a-test"}, 1)
    systemd = object.__new__(runner_systemd.SystemdRunner)
    systemd.paths, systemd.endings, systemd.stale = paths, {}, False
    systemd.run(created)
    folder = tmp_path / "run/devopsctl/commands" / f"release-{RELEASE[:12]}"
    assert (folder / "release").resolve() == release
    environment = (folder / "environment").read_text()
    assert "DEVOPSCTL_RELEASE=/opt/devopsctl/release\n" in environment and "of-a-test" not in environment
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert calls == [("start", "--no-block", f"command@release-{RELEASE[:12]}.service")]


def test_a_program_runs_before_caddy_only_to_restore_certificates(paths, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(runner, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(runner, "systemctl", lambda *words: calls.append(words))
    edge = runner.SystemdProxy(paths, runner_systemd.text_of("units/proxy.service"))
    unit = tmp_path / "units" / runner.UNIT
    assert edge.install("/caddy") is True and edge.install("/caddy") is False
    assert "ExecStart=/caddy run" in unit.read_text() and "ExecStartPre" not in unit.read_text()
    assert not calls, "systemd finds by itself what is new"
    edge.restore({"certificates/a.crt": "YQ=="})
    assert os.stat(edge.kept).st_mode & 0o777 == 0o600
    assert edge.install("/caddy") is True and edge.install("/caddy") is False
    assert f"ExecStartPre=-/usr/bin/python3 -S {edge.helper} " in unit.read_text() and os.path.exists(edge.helper)
    assert f"LoadCredential=certificates:{edge.kept}\n" in unit.read_text()
    assert calls == [("daemon-reload",)]


def test_only_sockets_that_listen_at_our_path_count(tmp_path):
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


def test_requests_in_systemds_socket_are_answered_when_nothing_serves(paths, tmp_path, monkeypatch):
    """systemd holds that socket; the agent takes it from there."""
    edge = runner.SystemdProxy(paths, "")
    edge.where = SimpleNamespace(app=str(tmp_path / "app.sock"))
    systemd = SimpleNamespace(proxy=edge, looked=0.0)
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
        runner_systemd.SystemdRunner.turn_away(systemd)
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
        ({"Result": "success", "ExecMainCode": "0", "ExecMainStatus": "0"}, False, "exit code 0"),
        ({"Result": "resources", "ExecMainCode": "0", "ExecMainStatus": "0"}, False, "resources"),
    ],
)
def test_the_end_of_a_generation_becomes_text(shown, lacked, words):
    assert runner_systemd.ending(shown, lacked) == words


def test_a_notification_reaches_systemds_socket(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "n"))
        ear.settimeout(5)
        sd.notify("READY=1", str(tmp_path / "n"))
        assert ear.recv(100) == b"READY=1"
    sd.notify("READY=1", None)


def test_the_agent_imports_its_modules_at_its_start():
    """The agent may outlive its folder, when later releases contain the same agent."""
    files = [AGENT / name for name in agent_files() if name.endswith(".py")]
    ours = {path.stem for path in files} | {path.parent.name for path in files}
    late = []
    for path in files:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, (ast.FunctionDef, ast.ClassDef)) and (path.name, function.name) != (
                "agent.py",
                "make",
            ):
                for node in ast.walk(function):
                    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                    names += [node.module] if isinstance(node, ast.ImportFrom) else []
                    late += [(path.name, function.name, name) for name in names if name.partition(".")[0] in ours]
    assert late == []
