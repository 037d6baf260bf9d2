"""The program of a generation, before it becomes gunicorn."""

import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys

import pytest

import serve
from workers import confinement

PROGRAM = pathlib.Path(serve.__file__)


def test_only_a_listening_port_is_reachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert confinement.reachable(socket.AF_INET, "127.0.0.1", port)
    assert not confinement.reachable(socket.AF_INET, "127.0.0.1", port)


def test_the_app_is_not_started_when_it_could_reach_the_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("DEVOPSCTL_VERDICT", str(tmp_path / "verdict"))
    monkeypatch.setenv("DEVOPSCTL_RELEASE", str(tmp_path))
    monkeypatch.delenv("DEVOPSCTL_RUNNER", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # A machine on which everything is reachable.
    monkeypatch.setattr(socket, "create_connection", lambda *_: socket.socket())
    monkeypatch.setattr(socket.socket, "connect", lambda *_: None)
    monkeypatch.setattr(socket.socket, "send", lambda *_: 0)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(PROGRAM), run_name="__main__")
    assert ended.value.code == 3
    said = json.loads((tmp_path / "verdict").read_text())
    assert said["failed"].startswith("the app is not started: it could reach the instance's credentials at 169.254.")


def test_the_app_is_not_started_without_a_socket(tmp_path):
    given = {"DEVOPSCTL_VERDICT": str(tmp_path / "verdict"), "DEVOPSCTL_RUNNER": "process"}
    given["DEVOPSCTL_RELEASE"] = "/nowhere"
    ran = subprocess.run([sys.executable, PROGRAM], env=given, capture_output=True, check=False, text=True)
    assert ran.returncode == 3
    said = json.loads((tmp_path / "verdict").read_text())
    assert said["failed"] == ran.stdout.strip()
    assert "app.socket could not be opened" in said["failed"]


def test_nothing_of_the_release_is_loaded_before_the_check(tmp_path):
    """Python loads `sitecustomize` from its path before a program's first line."""
    site = tmp_path / "site"
    (site / "gunicorn/app").mkdir(parents=True)
    (site / "sitecustomize.py").write_text("print('too early', flush=True)\n")
    (site / "gunicorn/app/wsgiapp.py").write_text("import json, os, sys\n" + SAYS)
    (site / "gunicorn/errors.py").write_text("class HaltServer(BaseException):\n    exit_status = 0\n")
    given = {
        "DEVOPSCTL_RELEASE": str(tmp_path),
        "DEVOPSCTL_RUNNER": "process",
        "DEVOPSCTL_VERDICT": str(tmp_path / "v"),
    }
    given.update(LISTEN_FDS="1", PYTHONDONTWRITEBYTECODE="1")
    ran = subprocess.run([sys.executable, PROGRAM], env=given, capture_output=True, check=True, text=True)
    said = json.loads(ran.stdout)
    assert said["argv"] == ["gunicorn", "-c", str(PROGRAM.parent / "workers/gunicorn.conf.py")]
    # Processes of the app find the release's modules, and never the agent's.
    assert said["path"][0] == said["PYTHONPATH"] == str(site)
    assert os.path.dirname(PROGRAM) not in said["path"]


def test_a_gunicorn_that_imports_pkg_resources_starts(tmp_path):
    site = tmp_path / "site"
    (site / "gunicorn/app").mkdir(parents=True)
    (site / "pkg_resources.py").write_text("raise ModuleNotFoundError('gone', name='pkg_resources')\n")
    (site / "gunicorn/app/wsgiapp.py").write_text(
        "import json, os, sys, gunicorn.util\n" + SAYS.replace("sys.path,", "'pkg_resources' in sys.modules,")
    )
    (site / "gunicorn/util.py").write_text("import pkg_resources\n")
    (site / "gunicorn/errors.py").write_text("class HaltServer(BaseException):\n    exit_status = 0\n")
    given = {"DEVOPSCTL_RELEASE": str(tmp_path), "DEVOPSCTL_RUNNER": "process"}
    given.update(LISTEN_FDS="1", PYTHONDONTWRITEBYTECODE="1", DEVOPSCTL_VERDICT=str(tmp_path / "verdict"))

    def ran():
        return subprocess.run([sys.executable, PROGRAM], env=given, capture_output=True, check=False, text=True)

    assert json.loads(ran().stdout)["path"] is False, "the app must not find a part that is not there"
    # Any other missing module is reported.
    (site / "gunicorn/util.py").write_text("import no_such_module\n")
    failed = ran()
    assert failed.returncode == 1 and "No module named 'no_such_module'" in failed.stderr


SAYS = """
def run():
    print(json.dumps({"argv": sys.argv, "path": sys.path, "PYTHONPATH": os.environ["PYTHONPATH"]}))
"""
