"""One process of the app beside its web server, such as a worker of a queue. It may be started many times; one of its starts is a
*run*.

`/agent/process.py` of the release is the program. Its name is that of its unit, so it never runs twice at the same time.
"""

import os
import shutil

from app_role import credentials
from boot.validate import check, integer, optional, process_id
from orders.decide import one_line
from processes.generation import environment
from system.paths import write_json
from workers import shell

STOP_SECONDS = 1, 900  # The limits of `stop_seconds`.
WORDS = 80  # Characters of an error in the report.


class Process:
    """`volume`: the one with its data."""

    def __init__(self, paths, name, release, settings, volume=None):
        self.paths, self.name, self.release = paths, check("process", name), check("release", release)
        self.volume = volume
        self.command, self.stop_seconds = str(settings["run"]), integer(settings["stop_seconds"], *STOP_SECONDS)
        self.folder, self.log = paths.process(name), "process-" + name
        self.variables = self.folder + "/token"
        self.run = self.pid = self.end = None
        self.adopted = False  # Whether its parent is gone, so that its end is known by the absence of its processes.
        self.log_start = 0
        self.began = None  # On the monotonic clock; None while it does not run.
        self.since = None  # The same on the calendar.
        self.due = 0.0  # When it starts; on the monotonic clock.
        self.until = None  # When it is killed, once it was told to end.
        self.lived = False  # Whether it ever ran for long enough to count as healthy.
        self.restarts = self.failures = 0
        self.error = None  # How its last run ended.
        self.grant = credentials.NOTHING  # What it has of the app's role.

    def create(self, given, grant):
        """Creates the next run with everything but its processes."""
        self.run, self.grant = os.urandom(4).hex(), grant
        self.pid = self.end = None
        self.adopted = False
        self.paths.keep_instance(self.release)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder, 0o700)
        write_json(self.variables, {**given, **grant.variables})

    def record(self):
        """The record from which another agent takes it over."""
        names = ("name", "release", "volume", "run", "pid", "since", "until", "lived", "restarts", "error")
        settings = {"run": self.command, "stop_seconds": self.stop_seconds}
        return {**{name: getattr(self, name) for name in names}, "settings": settings, "port": self.grant.port}

    @classmethod
    def from_record(cls, paths, record, steady):
        """The process of a record that `record` made; an error for anything else."""
        self = cls(paths, record["name"], record["release"], record["settings"], optional("volume", record))
        if record["run"] is not None:
            self.run, self.began = check("run", record["run"]), steady
        self.pid = None if record["pid"] is None else process_id(record["pid"])
        self.since = None if record["since"] is None else integer(record["since"])
        self.until = None if record["until"] is None else float(record["until"])
        self.lived, self.restarts = record["lived"] is True, integer(record["restarts"])
        self.error = None if record["error"] is None else one_line(str(record["error"]), WORDS)
        self.grant = credentials.kept(record["port"], self.variables)
        return self

    @property
    def verdict(self):
        """Names a run for the runners. Nothing is written there."""
        return f"{self.folder}/verdict-{self.run}"

    def environment(self):
        """The environment of its program. It holds neither secrets nor any variable of the machine."""
        return {**self.grant.environment, **environment(self), "DEVOPSCTL_PROCESS": self.name}

    def program(self):
        return self.paths.release(self.release) + "/agent/process.py"

    def unit(self):
        """Its unit under systemd."""
        return f"process@{self.name}.service"

    def has_shell(self):
        """Whether its first program is a shell, which does not pass on signals."""
        return not shell.is_simple(self.command)

    def workers(self):
        """The runners know its processes by its unit, or by what they inherit."""
        return set()

    def forget(self, runner):
        runner.forget(self.unit())
        shutil.rmtree(self.folder, ignore_errors=True)

    def said(self):
        """Its part of the report."""
        return {"since": self.since if self.began is not None else None, "restarts": self.restarts, "error": self.error}
