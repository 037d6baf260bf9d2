"""The data volume on a machine: mounted before the app starts, given up on request, and the same on the next machine.

`Disk` does here what the sandbox does with a volume that EC2 attaches to a process machine.
"""

import json
import os
import pathlib
import signal

import pytest
from machine import Machine, agent_file, release, until
from running_machine import TOKEN, bring_up, children, healthy

VOLUME = "vol-0123456789abcdef0"
# Adds a row at each request, and shows all.
APP = """import os
def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    path = os.environ["DATA_DIR"] + "/rows"
    if right and environ["PATH_INFO"] == "/add":
        with open(path, "a") as file:
            print("row", file=file)
    rows = str(len(open(path).read().split()) if os.path.exists(path) else 0).encode()
    start_response("200 OK" if right else "401 No", [("Content-Length", str(len(rows)))])
    return [rows]
"""


class Disk:
    """A volume in EC2."""

    def __init__(self, folder):
        self.folder = folder

    def attach(self, machine, gib=1):
        (machine.root / "dev").mkdir(exist_ok=True)
        self.resize(machine, gib)
        (machine.root / "dev" / VOLUME).symlink_to(self.folder)

    def resize(self, machine, gib):
        (machine.root / "dev" / f"{VOLUME}.size").write_text(str(gib))

    def is_mounted(self, machine):
        return os.path.lexists(machine.root / "run/devopsctl/volumes" / VOLUME)

    def detach(self, machine):
        """As EC2 does it: a mounted volume stays."""
        until(lambda: not self.is_mounted(machine))
        (machine.root / "dev" / VOLUME).unlink()


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path)


@pytest.fixture
def second(aws):
    """Another machine of the same deployment."""
    copy = type(aws)()
    copy.objects, copy.notes, copy.written, copy.change = aws.objects, aws.notes, aws.written, aws.change
    copy.parameters = aws.parameters
    copy.tags, copy.instance = dict(aws.tags), "i-0123456789abcdef1"
    machine = Machine(copy)
    yield machine
    machine.destroy()
    copy.close()


def with_data(text="", **more):
    return release(app=APP + text, data={"path": "/data"}, **more)


def has(**wanted):
    return lambda report: report["data"] and all(report["data"][name] == value for name, value in wanted.items())


def data_phase(report):
    return report["phase"] == "data"


def test_an_app_keeps_its_rows_through_releases_tokens_reboots_and_machines(aws, machine, second, disk):
    commands = {"commands": ["cd $DATA_DIR && echo migrated >> log"], "timeout": 60}
    first = aws.tags["devopsctl:release"] = aws.put_release(with_data(release=commands))
    version = aws.put_token(TOKEN)
    machine.boot()
    report = aws.wait_report(data_phase, 60)
    assert report["data"] == {"volume": None, "error": None, "gib": None, "used": None}
    assert report["wanted"]["data"] is None and not machine.running()
    aws.tags["devopsctl:data"] = VOLUME
    aws.wait_report(lambda report: report["wanted"]["data"] == VOLUME)
    assert not list(disk.folder.iterdir()), "its commands wait for the volume as well"
    disk.attach(machine)
    report = aws.wait_report(healthy(first, version), 60)
    assert has(volume=VOLUME, error=None, gib=1)(report) and 0 <= report["data"]["used"] <= 1
    assert machine.get(TOKEN, "/add")[1] == "1" and (disk.folder / "log").read_text() == "migrated\n"

    # A larger volume, another token, another release, another agent.
    disk.resize(machine, 2)
    aws.wait_report(has(gib=2))
    version = aws.put_token("second")
    aws.wait_report(healthy(first, version))
    assert machine.get("second", "/add")[1] == "2"
    release_two = aws.tags["devopsctl:release"] = aws.put_release(with_data("# 2\n"))
    aws.wait_report(healthy(release_two, version), 60)
    assert machine.get("second", "/add")[1] == "3"
    machine.stop()
    (machine.root / "run/devopsctl/volumes" / VOLUME).unlink()  # As a boot does.
    del aws.reports[:]
    machine.boot()
    aws.wait_report(healthy(release_two, version), 60)
    assert machine.get("second", "/add")[1] == "4"

    # Another machine takes the volume: this one gives it up first.
    second.aws.tags.update(aws.tags)
    del second.aws.tags["devopsctl:data"]
    second.boot()
    second.aws.wait_report(data_phase, 60)
    gunicorn = [machine.pid(), *children(machine.pid())]
    aws.tags["devopsctl:data"] = "none"
    report = aws.wait_report(lambda report: report["wanted"]["data"] == "none" and report["data"]["volume"] is None)
    assert (report["phase"], report["error"], report["healthy"]) == ("data", None, False)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in gunicorn) and not machine.running()
    assert machine.get("second")[0] == 503
    disk.detach(machine)
    second.aws.tags["devopsctl:data"] = VOLUME
    disk.attach(second)
    second.aws.wait_report(healthy(release_two, version), 60)
    assert second.get("second", "/add")[1] == "5"


def sleeps(machine):
    """The processes of the app's worker."""
    return [pid for pid in machine.strays() if b"1234" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_an_agent_that_was_killed_finds_the_volume_and_gives_it_up(aws, machine, disk):
    disk.attach(machine)
    aws.tags["devopsctl:data"] = VOLUME
    worker = {"worker": {"run": "echo x >> $DATA_DIR/worker; exec sleep 1234", "stop_seconds": 5}}
    quick = {"processes/background.py": agent_file("processes/background.py", ALIVE_SECONDS=0.5)}
    name, version = bring_up(aws, machine, with_data(processes=worker, agent=quick))
    assert (disk.folder / "worker").read_text() == "x\n" and sleeps(machine)
    os.killpg(machine.program.pid, signal.SIGKILL)
    machine.program.wait()
    assert disk.is_mounted(machine)
    aws.tags["devopsctl:data"] = "none"
    del aws.reports[:]
    machine.boot()
    report = aws.wait_report(data_phase, 60)
    until(lambda: not disk.is_mounted(machine))
    assert not sleeps(machine), "the process beside the web server has ended before"
    aws.wait_report(lambda report: report["data"]["volume"] is None)
    # The release without data needs none, and starts.
    plain = aws.tags["devopsctl:release"] = aws.put_release(release())
    aws.wait_report(healthy(plain, version), 60)
    assert report["wanted"]["release"] == name


def test_a_release_with_data_replaces_one_without_and_back(aws, machine, disk):
    plain, version = bring_up(aws, machine)
    name = aws.tags["devopsctl:release"] = aws.put_release(with_data())
    report = aws.wait_report(data_phase, 60)
    assert report["release"] == plain and machine.get(TOKEN)[0] == 200, "what ran before serves"
    disk.attach(machine)
    aws.tags["devopsctl:data"] = VOLUME
    aws.wait_report(healthy(name, version), 60)
    aws.tags["devopsctl:release"] = plain
    del aws.reports[:]
    report = aws.wait_report(healthy(plain, version), 60)
    assert report["data"]["volume"] == VOLUME, "it stays until another order"
    aws.tags["devopsctl:data"] = "none"
    aws.wait_report(lambda report: report["data"] and report["data"]["volume"] is None)
    assert machine.get(TOKEN)[0] == 200 and json.dumps(machine.running()).count('"serving"') == 1
