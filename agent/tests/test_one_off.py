"""Commands of `devopsctl run`: in the environment of the serving generation, until they end or their client is gone."""

import json
import os
import signal
import subprocess
import sys

import pytest
from machine import release, until
from running_machine import bring_up, healthy, start_run

from processes import one_off
from system.paths import Paths

SECRET = "the-secret-of-a-command-0123"
SHOWS = """
import json, os, sys
import flask
try:
    open("own.txt", "w")
except OSError as problem:
    print("refused", file=sys.stderr)
print(json.dumps({"cwd": os.getcwd(), "words": sys.argv[1:], "environment": dict(os.environ)}))
"""


def begin(aws, machine):
    aws.put_secrets(DATABASE_URL=SECRET)
    bring_up(aws, machine, release(env={"GREETING": "Hello"}, secrets=["DATABASE_URL"]))


def ran(machine, *words, **more):
    child = start_run(machine, *words, **more)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def folders(machine):
    return os.listdir(machine.root / "run/devopsctl/runs")


def processes(machine, word):
    return [pid for pid in machine.strays() if word in open(f"/proc/{pid}/cmdline").read()]


def test_a_command_has_what_the_app_has(serving):
    words = ["a b", "", "$(id)", "it's\n"]
    code, out, err = ran(serving, "python", "-c", SHOWS, *words)
    seen = json.loads(out)
    given = seen["environment"]
    assert (code, err, seen["words"]) == (0, "refused\n", words)
    assert seen["cwd"].endswith("/app") and given["PATH"].startswith(given["VIRTUAL_ENV"] + "/bin:")
    known = given["DATABASE_URL"], given["GREETING"], given["APP_SECRET_TOKEN"], given["TERM"]
    assert known == (SECRET, "Hello", serving.aws.token()[1], "xterm")
    assert not [name for name in given if name.startswith(("DEVOPSCTL_", "CREDENTIALS_", "INVOCATION_"))]
    assert folders(serving) == [] and not [name for name in os.listdir(serving.root / "tmp") if "devopsctl-" in name]


def test_its_exit_code_is_that_of_the_command(serving):
    assert ran(serving, "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert ran(serving, "sh", "-c", "kill -KILL $$")[0] == 128 + 9
    assert ran(serving, "no-such-program") == (127, "", "devopsctl: no-such-program: not found\n")
    assert ran(serving, "./app.py") == (126, "", "devopsctl: ./app.py: Permission denied\n")


@pytest.mark.parametrize("end", ["nothing reads its output", "SIGTERM", "SIGHUP"])
def test_it_ends_with_its_client(serving, end):
    child = start_run(serving, "sh", "-c", "echo begun; exec sleep 987")
    assert child.stdout.readline() == "begun\n"
    assert len(folders(serving)) == 1 and len(processes(serving, "987")) == 1
    if end.startswith("SIG"):
        child.send_signal(getattr(signal, end))
    else:
        child.stdout.close()
    assert child.wait(30) == 128 + (signal.SIGTERM if end == "SIGTERM" else signal.SIGHUP)
    child.stderr.close()
    assert folders(serving) == [] and processes(serving, "987") == []


def test_what_a_killed_one_left_is_removed_by_the_next(serving):
    alive, killed = (start_run(serving, "cat", stdin=subprocess.PIPE) for _ in range(2))
    before = until(lambda: len(processes(serving, "cat")) == 2 and folders(serving))
    killed.kill()
    killed.wait()
    assert sorted(folders(serving)) == sorted(before)
    assert ran(serving, "true") == (0, "", "")
    assert len(folders(serving)) == 1
    for child in (killed, alive):
        child.communicate()
    assert alive.returncode == 0 and folders(serving) == []


def test_a_command_outlives_its_generation_and_keeps_its_release(aws, machine):
    name, version = bring_up(aws, machine)
    child = start_run(machine, "python", "-c", "input(); import flask; print(flask.__name__)", stdin=subprocess.PIPE)
    until(lambda: processes(machine, "input()"))
    assert one_off.releases(Paths(str(machine.root))) == {name}
    for number in range(4):  # More than the machine keeps.
        aws.tags["devopsctl:release"] = newer = aws.put_release(release(env={"NUMBER": str(number)}))
        aws.wait_report(healthy(newer, version), 60)
    assert child.communicate("\n", timeout=60) == ("flask\n", "") and child.returncode == 0


def test_without_a_release_that_serves_it_says_so(aws, machine):
    version = aws.put_token("first-token")
    aws.tags["devopsctl:release"] = name = aws.put_release(release(app="raise SystemExit('broken')"))
    machine.boot()
    aws.wait_report(lambda report: report["phase"] == "failed" and report["wanted"]["token"] == version, 60)
    program = machine.root / f"opt/devopsctl/releases/{name}/agent/run.py"
    command = [sys.executable, "-I", program, "true"]
    said = subprocess.run(command, env={"DEVOPSCTL_ROOT": str(machine.root)}, capture_output=True, encoding="utf-8")
    assert (said.returncode, said.stdout) == (125, "")
    assert said.stderr == "devopsctl: no release is serving: see `devopsctl status`\n" and folders(machine) == []


@pytest.fixture
def paths(tmp_path):
    paths = Paths(str(tmp_path))
    paths.prepare()
    name = "a" * 64
    os.makedirs(paths.release(name) + "/agent/workers")
    open(paths.release(name) + one_off.PROGRAM, "w").close()
    with open(paths.release(name) + "/manifest.json", "w") as file:
        file.write("{}")
    target = {"release": name, "token": 1, "grace": False}
    records = [{"number": 4, "target": target, "pid": None, "until": 0, "role": "serving"}]
    with open(paths.running, "w") as file:
        json.dump({"generations": records}, file)
    return paths


def test_a_generation_that_ends_while_its_files_are_copied_is_not_taken(paths, tmp_path):
    with pytest.raises(one_off.Refused, match="being replaced"):
        one_off.prepare(paths, str(tmp_path), ["true"])


def test_a_release_of_an_older_devopsctl_is_refused(paths, tmp_path):
    os.mkdir(paths.generations + "/4")
    for name in one_off.COPIED:
        open(f"{paths.generations}/4/{name}", "w").close()
    os.remove(paths.release("a" * 64) + one_off.PROGRAM)
    with pytest.raises(one_off.Refused, match="from an older devopsctl"):
        one_off.prepare(paths, str(tmp_path), ["true"])


def test_a_unit_has_the_rules_of_the_apps_units_in_their_order_and_no_word_of_the_command(monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda fd: False)
    words = one_off.Unit("/run/devopsctl/runs/0a0a", "/releases/aa").arguments()
    assert words[:6] == ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--unit=devopsctl-run-0a0a.service"]
    assert words[-3:] == ["--", "/usr/bin/python3", "/opt/devopsctl/release/agent/workers/one_off.py"]
    rules = [word.partition("=")[2] for word in words if word.startswith("--property=")]
    filters = [rule for rule in rules if rule.startswith("SystemCallFilter=")]
    assert filters == ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"]
    sandbox = one_off.rules_in(one_off.text_of("units/sandbox.conf"))
    assert rules[: len(sandbox)] == sandbox and len(sandbox) > 30
    last = {rule.partition("=")[0]: rule for rule in rules}
    assert last["MemoryMax"] == "MemoryMax=50%" and last["OOMScoreAdjust"] == "OOMScoreAdjust=900"
    assert last["EnvironmentFile"] == "EnvironmentFile=/run/devopsctl/runs/0a0a/environment"
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    assert "--pty" in one_off.Unit("/run/devopsctl/runs/0a0a", "/releases/aa").arguments()


def test_a_unit_sees_the_data_volume_and_is_ended_for_it(tmp_path, monkeypatch):
    stopped = []
    monkeypatch.setattr(one_off, "systemctl", lambda *words, **_: stopped.append(words))
    paths = Paths(str(tmp_path))
    paths.prepare()
    for name in ("0a0a0a0a", "1b1b1b1b"):
        os.mkdir(f"{paths.runs}/{name}")
    folder = f"{paths.runs}/0a0a0a0a"
    os.symlink(paths.volume("vol-0123456789abcdef0"), folder + "/data")
    (tmp_path / "run/devopsctl/runs/0a0a0a0a/environment").write_text("LANG=C.UTF-8\nDATA_DIR=/data\n")
    rule = f"--property=BindPaths={os.path.realpath(paths.volumes)}/vol-0123456789abcdef0:/data"
    assert rule in one_off.Unit(folder, "/releases/aa").arguments()
    assert not [word for word in one_off.Unit(f"{paths.runs}/1b1b1b1b", "/releases/aa").arguments() if "/data" in word]
    one_off.end(paths)
    assert stopped == [("stop", "devopsctl-run-0a0a0a0a.service")]
