"""The releases and the processes of the simulation (see simulation.py)."""

import contextlib
import errno
import hashlib
import json
import os
from types import SimpleNamespace

from machine import pack

from data.runner import Held

TIMEOUT = 30  # health.timeout of every release
PASSWORD = 'an "env" value'


class Release:
    """The behaviour of a release: the error of its download, or the result of its gunicorn after some seconds. `needs`: the
    secret that it requires. `worker`: how its process beside the web server behaves. `data`: whether it has a data volume."""

    def __init__(self, kind, why=None, after=1.0, fetch=None, deaf=False, needs=None, worker=None, data=False):
        self.kind, self.why, self.after, self.fetch, self.deaf, self.needs = kind, why, after, fetch, deaf, needs
        self.worker, self.data = worker, data
        manifest = {
            "workers": 1,
            "threads": 4,
            "health": {"path": "/", "timeout": TIMEOUT},
            "token": {"env": "APP_SECRET_TOKEN", "check": "proxy" if worker == "deaf" else "app"},
            "env": {"PASSWORD": PASSWORD},
            "secrets": [needs] if needs else [],
            "processes": {"worker": {"run": "work", "stop_seconds": 5}} if worker else {},
            "data": {"path": "/data"} if data else None,
        }
        self.archive = pack({"manifest.json": json.dumps(manifest).encode(), "app/app.py": kind.encode()})
        self.name = hashlib.sha256(self.archive).hexdigest()


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/opt/devopsctl/releases/x")
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS), "/opt/devopsctl/releases/x")
GOOD = [Release("good"), Release("other"), Release("slow", after=20), Release("deaf", deaf=True)]
GOOD += [Release("with a worker", worker="lives"), Release("with a worker that clings", worker="deaf")]
BAD = [
    Release("broken", "ImportError: no such module"),
    Release("dead", "gunicorn exited before it was ready"),
    Release("hangs", f"not healthy within {TIMEOUT} seconds", after=1e9),
    Release("with a worker that ends", "the process worker did not live", worker="ends"),
    Release("torn", "another sha256", fetch="torn"),
    Release("full", "the disk is full", fetch=FULL),
    Release("read-only", "Read-only file system", fetch=READ_ONLY),
]
NEEDY = Release("needy", needs="A")  # The name of a secret, as in `SECRETS`.
KEEPS = [Release("keeps", data=True), Release("keeps and hangs", deaf=True, data=True)]
RELEASES = {release.name: release for release in [*GOOD, *BAD, NEEDY, *KEEPS]}
VOLUMES = ("vol-0123456789abcdef0", "vol-0123456789abcdef1")
SECRETS = ("A", "B", "a_b")


class Process:
    """One generation's gunicorn, with all its workers."""

    def __init__(self, generation, clock):
        self.target, self.verdict, self.clock = generation.target, generation.verdict, clock
        self.is_let = generation.is_let
        self.output = noise(generation)
        self.release = RELEASES[generation.target.release]
        self.began, self.told = clock.now, None
        self.proved, self.listens, self.end = False, False, None

    def live(self):
        """Updates its state to the current time."""
        if self.end or self.clock.now < self.began + self.release.after:
            pass
        elif self.release.kind == "dead":
            self.end = "exit code 3"
        elif self.release.why and not self.release.worker:
            self.say(failed=self.release.why, detail="Traceback: " + self.output)
            self.end = "exit code 3"
        elif not self.proved and not self.told:
            self.say(proved=71)
            self.proved = True
        self.listens = self.proved and not self.end and (self.listens or self.is_let())
        if self.told and not (self.release.deaf and self.proved):
            closes, ends = (2, 3) if self.proved else (0, 0.5)
            self.listens = self.listens and self.clock.now < self.told + closes
            if self.clock.now > self.told + ends:
                self.end = self.end or "exit code 0"

    def say(self, **line):
        with contextlib.suppress(OSError), open(self.verdict, "a") as file:
            file.write(json.dumps(line) + "\n")


class Worker:
    """A run of a process beside the web server."""

    listens = False

    def __init__(self, process, clock):
        self.release, self.clock = RELEASES[process.release], clock
        self.began, self.told, self.end = clock.now, None, None

    def live(self):
        if self.release.worker == "ends" and self.clock.now > self.began + 3:
            self.end = self.end or "exit code 1"
        if self.told and self.release.worker != "deaf" and self.clock.now > self.told + 1:
            self.end = self.end or "exit code 0"


def secret(version):
    return f'token-"{version}"\tof {{{{ours}}}}'


def noise(generation):
    """The output of an app: secrets in every spelling, braces, and far too much text."""
    with open(generation.variables) as file:
        values = [*json.load(file).values(), PASSWORD]
    return "\n".join(text for value in values for text in ("ü{{" * 400, value, json.dumps(value), repr(value)))


class Volumes:
    """The data volumes: those that are attached, and the mounted one. They outlive the agent, but not the machine."""

    def __init__(self, runner):
        self.runner, self.simulation = runner, runner.simulation
        self.attached, self.mounted = {}, None

    def held(self):
        return self.mounted

    def device(self, volume):
        return self.attached.get(volume)

    def used(self, volume):
        return 1

    def mount(self, volume):
        self.simulation.perhaps_crash()
        assert self.mounted is None or self.mounted.volume == volume
        if volume not in self.attached:
            raise OSError("the volume is not attached")
        self.mounted = Held(volume, self.attached[volume], True)
        self.simulation.perhaps_crash()

    grow = mount

    def unmount(self, volume):
        self.simulation.perhaps_crash()
        users = [each for each in self.runner.alive().values() if each.target.volume]
        assert not users, "a volume is not unmounted while it is used"
        self.mounted = None
        self.simulation.perhaps_crash()


class Runner:
    """Like SystemdRunner, without systemd. The agent may be killed in any call."""

    outlived = True
    sshd = SimpleNamespace(allow=lambda lines: {})
    updates = SimpleNamespace(said=None)

    def __init__(self, simulation):
        self.simulation, self.clock = simulation, simulation.clock
        self.processes, self.starts = {}, 0
        self.workers = {}  # By unit.
        self.volumes = Volumes(self)
        # The proxy's thread is not started here.
        self.admits = None
        self.proxy = SimpleNamespace(admit=lambda whether: setattr(self, "admits", whether))

    def live(self):
        for process in [*self.processes.values(), *self.workers.values()]:
            process.live()

    def alive(self):
        return {number: process for number, process in self.processes.items() if not process.end}

    def record(self):
        return {}

    def before_exec(self):
        raise AssertionError("there is no other agent here")

    def take_over(self, record):
        return True

    def start(self, generation):
        self.simulation.perhaps_crash()
        self.simulation.check_start(generation.target)
        self.starts += 1
        assert generation.number not in self.alive()
        self.processes[generation.number] = Process(generation, self.clock)
        self.simulation.perhaps_crash()

    def run(self, process):
        """Starts one beside the web server."""
        self.simulation.perhaps_crash()
        assert not self.alive_workers(), "the one before has not ended"
        self.workers[process.unit()] = Worker(process, self.clock)
        self.simulation.perhaps_crash()

    def alive_workers(self):
        return [worker for worker in self.workers.values() if not worker.end]

    def of(self, generation):
        """The processes of a generation, or of one beside the web server."""
        number = getattr(generation, "number", None)
        return self.workers.get(generation.unit()) if number is None else self.processes.get(number)

    def terminate(self, process):
        self.retire(process)

    def forget(self, unit):
        self.workers.pop(unit, None)

    def ended(self, generation):
        process = self.of(generation)
        return process.end if process else "it was not started"

    def retire(self, generation):
        self.simulation.perhaps_crash()
        process = self.of(generation)
        if process and not process.told:
            process.told = self.clock.now
        self.simulation.perhaps_crash()

    def kill(self, generation):
        process = self.of(generation)
        if process:
            process.end = process.end or "SIGKILL"
            process.live()

    def members(self, generation):
        process = self.of(generation)
        return [1] if process and not process.end else []

    def listens(self, generation):
        process = self.processes.get(generation.number)
        return bool(process and process.listens)

    def turn_away(self):
        assert not self.admits

    def output(self, generation):
        return noise(generation)

    def settle(self, serving):
        pass

    def tidy(self):
        pass
