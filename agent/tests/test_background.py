"""The processes of the app beside its web server (`processes`), on a machine."""

import json
import os
import signal

import pytest
from machine import AGENT, agent_file, release, until
from running_machine import TOKEN, alive, bring_up, healthy

from workers import shell

SECRET = "the-secret-of-a-worker-0123"
# A worker of these tests: it adds lines to a file below the machine's own temporary folder, and holds a lock while it runs.
WORKER = """
import fcntl, json, os, signal, sys, time

VERSION = {version!r}
folder = os.environ["TMPDIR"]


def note(what):
    with open(folder + "/ran", "a") as file:
        file.write(f"{{what}} {{VERSION}}\\n")


def told(*_):
    note("told")
    if os.path.exists(folder + "/clings"):
        return
    note("ended")
    sys.exit(0)


lock = open(folder + "/lock-" + sys.argv[1], "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    note("overlaps")
signal.signal(signal.SIGTERM, told)
with open(folder + "/seen", "w") as file:
    json.dump({{"environment": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid()}}, file)
note("begun")
print("working with", os.environ.get("DATABASE_URL"), flush=True)
if {crashes}:
    sys.exit("no queue")
while True:
    time.sleep(0.05)
"""
OPEN = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'open']\n"
QUICK = {"processes/background.py": agent_file("processes/background.py", ALIVE_SECONDS=0.5)}
# A busy machine may need seconds to start a process, which then ends.
PATIENT = {"processes/background.py": agent_file("processes/background.py", ALIVE_SECONDS=5)}


def settings(command, stop_seconds=30):
    return {"run": command, "stop_seconds": stop_seconds}


def with_worker(version, crashes=False, command="python work.py worker", check="app", agent=None, **more):
    files = {"work.py": WORKER.format(version=version, crashes=crashes).encode()}
    token = {"env": "APP_SECRET_TOKEN", "check": check, "open": [], "open_preflight": False, "path": "/"}
    return release(
        agent=agent or QUICK, files=files, token=token, **{"processes": {"worker": settings(command)}, **more}
    )


def order(aws, archive):
    aws.tags["devopsctl:release"] = aws.put_release(archive)
    return aws.tags["devopsctl:release"]


def ran(machine):
    try:
        return (machine.root / "tmp/ran").read_text().splitlines()
    except FileNotFoundError:
        return []


def runs(machine, *lines):
    """Waits until exactly this happened: a busy machine may count a process as healthy before its program has begun."""
    until(lambda: ran(machine) == list(lines), what=str(lines))


def seen(machine):
    return json.loads((machine.root / "tmp/seen").read_text())


def failed(name):
    return lambda report: report["phase"] == "failed" and report["wanted"]["release"] == name


def worker_of(report):
    return (report["processes"] or {}).get("worker")


def started_again(report):
    said = worker_of(report)
    return said and said["restarts"] == 1 and said["since"]


def log(aws, source):
    shown = aws.objects.get(f"shop/logs/{aws.instance}/{source}.json")
    return shown and json.loads(shown)


def test_a_process_runs_in_the_apps_environment_and_changes_with_it(aws, machine):
    aws.put_secrets(DATABASE_URL=SECRET)
    name, version = bring_up(aws, machine, with_worker("one", env={"GREETING": "Hello"}))
    runs(machine, "begun one")
    folder = str(machine.root / "opt/devopsctl/releases" / name)
    given = seen(machine)["environment"]
    assert seen(machine)["cwd"] == folder + "/app"
    assert (given["DATABASE_URL"], given["GREETING"], given["APP_SECRET_TOKEN"]) == (SECRET, "Hello", TOKEN)
    assert not [each for each in given if each.startswith(("DEVOPSCTL_", "CREDENTIALS_"))]
    assert given["VIRTUAL_ENV"] + "/bin" == given["PATH"].split(":")[0]
    report = aws.wait_report(worker_of)
    assert worker_of(report)["restarts"] == 0 and worker_of(report)["error"] is None

    # Its log, masked; and that of all.
    aws.tags["devopsctl:logs"] = "worker/1-a"
    assert until(lambda: log(aws, "worker"))["lines"][0][2] == "working with ***"
    aws.tags["devopsctl:logs"] = "app/1-b"
    shown = until(lambda: log(aws, "app"))
    assert ("worker", "working with ***") in zip(shown["from"], [line[2] for line in shown["lines"]])
    assert not [key for key, held in aws.objects.items() if SECRET.encode() in held]

    # A new token, which it gets: another run.
    version = aws.put_token("second-token")
    aws.wait_report(healthy(name, version))
    runs(machine, "begun one", "told one", "ended one", "begun one")
    assert seen(machine)["environment"]["APP_SECRET_TOKEN"] == "second-token"

    # A new release: the earlier process has ended before the next one begins.
    (machine.root / "tmp/ran").unlink()
    second = order(aws, with_worker("two", check="proxy", app=OPEN))
    aws.wait_report(healthy(second, version))
    runs(machine, "told one", "ended one", "begun two")
    # Behind `check: proxy` it does not get the token, so a new one does not concern it.
    version = aws.put_token("third-token")
    aws.wait_report(healthy(second, version))
    assert ran(machine)[3:] == [] and "APP_SECRET_TOKEN" not in seen(machine)["environment"]

    # A release without processes.
    third = order(aws, release(agent=QUICK))
    report = aws.wait_report(healthy(third, version))
    assert report["processes"] is None and ran(machine)[3:] == ["told two", "ended two"]
    assert os.listdir(machine.root / "run/devopsctl/processes") == []


def test_a_process_that_does_not_live_fails_the_release_and_the_earlier_ones_come_back(aws, machine):
    good, version = bring_up(aws, machine, with_worker("good", agent=PATIENT))
    before = seen(machine)["pid"]
    broken = order(aws, with_worker("broken", crashes=True, agent=PATIENT))
    report = aws.wait_report(failed(broken))
    assert report["error"] == "the process worker did not live for 5 seconds: exit code 1"
    assert report["log_tail"].splitlines()[-1] == "no queue"
    assert report["release"] == good and machine.get(TOKEN)[0] == 200, "what ran before serves"
    runs = until(lambda: ran(machine)[4:] and ran(machine))
    assert runs == ["begun good", "told good", "ended good", "begun broken", "begun good"]
    assert not alive(before) and alive(seen(machine)["pid"])
    # It is not tried again until something is ordered.
    aws.tags["devopsctl:try"] = "again"
    aws.wait_report(lambda report: failed(broken)(report) and report["wanted"]["try"] == "again")
    until(lambda: ran(machine)[8:])
    fixed = order(aws, with_worker("fixed", agent=PATIENT))
    report = aws.wait_report(healthy(fixed, version))
    assert ran(machine)[-3:] == ["told good", "ended good", "begun fixed"] and "overlaps" not in str(ran(machine))
    assert worker_of(report)["error"] is None


def test_a_process_that_ends_later_is_started_again(aws, machine):
    bring_up(aws, machine, with_worker("one"))
    runs(machine, "begun one")
    os.kill(seen(machine)["pid"], signal.SIGKILL)
    until(lambda: len(ran(machine)) == 2)
    report = aws.wait_report(started_again)
    assert worker_of(report)["error"] == "SIGKILL" and report["phase"] == "healthy"


def test_a_process_that_ignores_its_end_is_killed_before_the_next_one_begins(aws, machine):
    # A shell stays, and its program is told as well.
    slow = settings("echo begins; python work.py worker; echo never", 1)
    _, version = bring_up(aws, machine, with_worker("one", processes={"worker": slow}))
    runs(machine, "begun one")
    (machine.root / "tmp/clings").touch()
    second = order(aws, with_worker("two"))
    aws.wait_report(healthy(second, version))
    runs(machine, "begun one", "told one", "begun two")
    assert "never" not in (machine.root / "var/log/process-worker.log").read_text()


@pytest.mark.parametrize("ends", ["killed", "handed over"])
def test_another_agent_takes_the_processes_over(aws, machine, ends):
    name, version = bring_up(aws, machine, with_worker("one"))
    runs(machine, "begun one")
    pid = seen(machine)["pid"]
    if ends == "killed":
        os.kill(machine.program.pid, signal.SIGKILL)
        machine.program.wait()
        machine.boot()
        del aws.reports[:]
        aws.wait_report(healthy(name, version), 60)
        assert ran(machine) == ["begun one"] and alive(pid)
    else:
        version = aws.put_token("second-token")
        aws.wait_report(healthy(name, version))
        changed = {**QUICK, "system/kernel.py": agent_file("system/kernel.py") + "# Another agent.\n"}
        files = {"work.py": WORKER.format(version="two", crashes=False).encode()}
        other = order(aws, release(agent=changed, files=files, processes={"worker": settings("python work.py worker")}))
        aws.wait_report(healthy(other, version))
        until(lambda: "takes over" in machine.console() and ran(machine)[-1] == "begun two")
        pid = seen(machine)["pid"]
    # It knows of its end.
    until(lambda: worker_of(aws.reports[-1][1]))
    before = len(ran(machine))
    os.kill(pid, signal.SIGKILL)
    until(lambda: len(ran(machine)) == before + 1)
    machine.stop()
    assert ran(machine)[-1].startswith("ended") and not list(machine.strays())


@pytest.mark.parametrize(
    ("command", "simple"),
    [
        ("celery -A shop worker --concurrency 2", True),
        ("python -m shop.bot --name='a b' $EXTRA", True),
        ("./run.sh > /tmp/out", True),
        ("cd shop && celery worker", False),
        ("QUEUE=a celery worker", False),
        (". ./env; celery worker", False),
        ("cd shop", False),
        ("while true; do python poll.py; sleep 5; done", False),
        ("exec celery worker", False),
        ("celery worker | tee log", False),
        ("one\ntwo", False),
    ],
)
def test_a_simple_command_takes_the_place_of_its_shell(command, simple):
    assert shell.is_simple(command) is simple
    assert shell.arguments(command)[2].startswith("exec " if simple else "trap ")


def test_the_unit_stays_below_systemds_limits():
    text = (AGENT / "units/process@.service").read_text()
    assert "TimeoutStopSec=45\n" in text and "KillMode=mixed\n" in text and "Restart=no\n" in text
