"""The commands of a release (`app.release`) on a machine: once for a release, in the app's environment, before it starts."""

import json
import os
import pathlib
import signal

import pytest
from machine import Machine, agent_file, release, until
from running_machine import TOKEN, bring_up, healthy

from orders import record

SECRET = "the-secret-of-a-migration-0123"
# What each command of these tests does: it adds a line to a file below the machine's own temporary folder.
NOTE = "echo {} >> $TMPDIR/ran"


def with_commands(*commands, timeout=60, **more):
    return release(**{"release": {"commands": list(commands), "timeout": timeout}, **more})


def ran(machine):
    try:
        return (machine.root / "tmp/ran").read_text().split()
    except FileNotFoundError:
        return []


def order(aws, archive):
    aws.tags["devopsctl:release"] = aws.put_release(archive)
    return aws.tags["devopsctl:release"]


def running(machine, word):
    """The processes of an app or a command on the machine with this word in their command line."""
    return [pid for pid in machine.strays() if word.encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]


def state(aws, name):
    return json.loads(aws.objects.get(f"shop/released/{name}.json", b"{}")).get("state")


def log(aws, instance="i-0123456789abcdef0"):
    shown = aws.objects.get(f"shop/logs/{instance}/release.json")
    return shown and [text for _, _, text in json.loads(shown)["lines"]]


def failed(name):
    return lambda report: report["phase"] == "failed" and report["wanted"]["release"] == name


def agent_pid(machine):
    return machine.program.pid


PRINTS = """
import json, os, sys
import flask
print(json.dumps({"cwd": os.getcwd(), "path": list(map(os.path.realpath, sys.path)), "executable": sys.executable,
                  "environment": dict(os.environ)}), file=open(os.environ["TMPDIR"] + "/seen", "w"))
try:
    open("own.txt", "w")
except OSError:
    print("the release is read-only")
"""


def test_commands_run_in_the_apps_environment_and_their_output_is_published_masked(aws, machine):
    aws.put_secrets(DATABASE_URL=SECRET)
    app = 'import app as module\nopen("/dev/null").close()\n' + PRINTS
    commands = [
        "python -c 'import os; exec(os.environ[\"SCRIPT\"])'",
        "flask --version; echo $DATABASE_URL; echo $GREETING",
        NOTE.format("second"),
        "(sleep 1000; " + NOTE.format("late") + ") &",
    ]
    archive = with_commands(*commands, env={"GREETING": "Hello", "SCRIPT": app}, secrets=["DATABASE_URL"])
    name, _ = bring_up(aws, machine, archive)
    seen = json.loads((machine.root / "tmp/seen").read_text())
    folder = str(machine.root / "opt/devopsctl/releases" / name)
    assert seen["cwd"] == folder + "/app"
    given = seen["environment"]
    assert (given["DATABASE_URL"], given["GREETING"], given["APP_SECRET_TOKEN"]) == (SECRET, "Hello", TOKEN)
    assert not [each for each in given if each.startswith(("DEVOPSCTL_", "CREDENTIALS_"))]
    assert given["VIRTUAL_ENV"] + "/bin" == given["PATH"].split(":")[0] == os.path.dirname(seen["executable"])
    assert folder + "/site" in seen["path"] and not [path for path in seen["path"] if "dist-packages" in path]
    assert ran(machine) == ["second"] and state(aws, name) == "done"
    shown = until(lambda: log(aws))
    assert "the release is read-only" in shown and "***" in shown and "Hello" in shown
    assert shown[0].startswith("$ python -c") and any(line.startswith("Flask ") for line in shown)
    assert not [key for key, held in aws.objects.items() if SECRET.encode() in held or TOKEN.encode() in held]
    assert os.listdir(machine.root / "run/devopsctl/commands") == []
    assert not [each for each in os.listdir(machine.root / "tmp") if each.startswith("devopsctl-")]

    # Nothing runs again: not with a new token, not after a boot, not for a release that has run.
    version = aws.put_token("second-token")
    aws.wait_report(healthy(name, version))
    machine.stop()
    machine.boot()
    del aws.reports[:]
    aws.wait_report(healthy(name, version))
    other = order(aws, with_commands(NOTE.format("other")))
    aws.wait_report(healthy(other, version))
    aws.tags["devopsctl:release"] = name
    del aws.reports[:]
    aws.wait_report(healthy(name, version))
    assert ran(machine) == ["second", "other"]


@pytest.fixture
def pair(aws):
    """Another machine of the same deployment: it has another AWS with the same bucket."""
    made = []

    def another(instance):
        copy = type(aws)()
        copy.objects, copy.notes, copy.written, copy.change = aws.objects, aws.notes, aws.written, aws.change
        copy.instance = instance
        machine = Machine(copy)
        made.append(machine)
        return copy, machine

    yield another
    for machine in made:
        machine.destroy()
        machine.aws.close()


def test_a_failure_refuses_the_release_and_is_not_repeated_until_something_is_ordered(aws, machine):
    good, version = bring_up(aws, machine)
    broken = order(aws, with_commands(NOTE.format("one"), "echo no table; exit 7", NOTE.format("never")))
    report = aws.wait_report(failed(broken))
    assert report["error"] == "app.release failed: echo no table; exit 7: exit code 7"
    assert report["error_code"] == "release_failed" and report["log_tail"].splitlines()[-1] == "no table"
    assert report["release"] == good and machine.get(TOKEN)[0] == 200, "what ran before serves"
    assert state(aws, broken) == "failed" and ran(machine) == ["one"]

    # An agent that starts again does not repeat it.
    machine.stop()
    del aws.reports[:]
    machine.boot()
    report = aws.wait_report(failed(broken))
    assert report["error"] == "app.release failed: echo no table; exit 7: exit code 7" and ran(machine) == ["one"]
    # `up` does, and so does another release.
    aws.tags["devopsctl:try"] = "again"
    aws.wait_report(lambda report: failed(broken)(report) and report["wanted"]["try"] == "again")
    assert ran(machine) == ["one", "one"]
    fixed = order(aws, with_commands(NOTE.format("fixed")))
    aws.wait_report(healthy(fixed, version))
    assert ran(machine) == ["one", "one", "fixed"]


def test_commands_that_hang_are_ended_with_all_their_processes(aws, machine):
    aws.put_token(TOKEN)
    script = "trap '' TERM; (trap '' TERM; sleep 987) & sleep 987"
    agent = {"processes/command.py": agent_file("processes/command.py", STOP_SECONDS=0.5)}
    hangs = order(aws, with_commands(script, timeout=1, agent=agent))
    machine.boot()
    report = aws.wait_report(failed(hangs), 60)
    assert report["error"] == "app.release failed: not done within 1 seconds (app.release_timeout)"
    assert not running(machine, "987")


SLOW = NOTE.format("begun") + "; while ! test -e $TMPDIR/go; do sleep 0.05; done; " + NOTE.format("done")


def test_a_run_survives_the_end_of_the_agent_and_is_not_repeated(aws, machine):
    version = aws.put_token(TOKEN)
    name = order(aws, with_commands(SLOW))
    machine.boot()
    until(lambda: ran(machine) == ["begun"])
    os.kill(agent_pid(machine), signal.SIGKILL)
    machine.program.wait()
    machine.boot()
    aws.wait_report(lambda report: report["phase"] == "releasing")
    (machine.root / "tmp/go").touch()
    aws.wait_report(healthy(name, version), 60)
    assert ran(machine) == ["begun", "done"] and state(aws, name) == "done"


def test_a_run_that_ended_with_the_machine_is_repeated(aws, machine):
    version = aws.put_token(TOKEN)
    name = order(aws, with_commands(SLOW))
    machine.boot()
    until(lambda: ran(machine) == ["begun"])
    machine.stop()
    assert state(aws, name) == "running" and not running(machine, "command.py")
    (machine.root / "tmp/go").touch()
    machine.boot()
    aws.wait_report(healthy(name, version), 60)
    assert ran(machine) == ["begun", "begun", "done"]


def test_of_two_machines_one_runs_them_and_the_other_waits(aws, machine, pair):
    other_aws, other = pair("i-0123456789abcdef1")
    name = order(aws, with_commands(SLOW))
    other_aws.tags["devopsctl:release"] = name
    version = aws.put_token(TOKEN)
    other_aws.put_token(TOKEN)
    machine.boot()
    until(lambda: ran(machine) == ["begun"])
    other.boot()
    other_aws.wait_report(lambda report: report["phase"] == "releasing")
    (machine.root / "tmp/go").touch()
    for each in (aws, other_aws):
        each.wait_report(healthy(name, version), 60)
    assert ran(machine) == ["begun", "done"] and ran(other) == []


def test_it_waits_and_reports_while_s3_cannot_be_asked(aws, machine):
    good, version = bring_up(aws, machine)
    aws.faults["/released/"] = 403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    name = order(aws, with_commands(NOTE.format("one")))
    report = aws.wait_report(lambda report: report["phase"] == "releasing" and report["error"])
    assert f"s3:PutObject of shop/released/{name}.json was refused: AccessDenied" in report["error"]
    assert report["release"] == good and ran(machine) == []
    del aws.faults["/released/"]
    aws.wait_report(healthy(name, version))
    assert ran(machine) == ["one"] and state(aws, name) == record.State.DONE
