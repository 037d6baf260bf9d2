"""One program in the environment of a release, such as the release's own commands: with its code, its settings, its secrets and
the app's sandbox, but without a socket. The runners start it like a generation.

`/agent/command.py` of the release is the program. A later agent finds a command by the files in its folder.
"""

import os
import shutil

from boot.validate import Invalid, check, clean, integer, match, optional, parse
from processes.generation import data_folder, environment
from system import untrusted
from system.paths import read_json, write_json

WORDS = 1 << 10  # Characters of a text in a verdict.
STOP_SECONDS = 10  # How long it may take to end after it was told to.
TOLD = "exit code 3"  # How its program ends after SIGTERM.


class CommandFailed(Exception):
    """A command ended with an error. `tail`: what it printed last."""

    def __init__(self, text, tail="", error_code=None):
        super().__init__(text)
        self.tail, self.error_code = tail, error_code


class Interrupted(Exception):
    """A command was ended from outside, as when the machine stops: it may run again."""


class Command:
    """`what` is the list in the manifest with its shell commands; `began` is the calendar's time of its start."""

    def __init__(self, paths, what, release, run, began, volume=None):
        self.paths, self.release, self.run, self.began = paths, check("release", release), check("run", run), began
        self.what, self.volume = what, volume
        self.name = f"{what}-{release[:12]}"
        self.folder = f"{paths.commands}/{self.name}"
        self.variables = self.folder + "/token"
        self.verdict = paths.command_verdict(self.name, run)
        self.settings = paths.manifest(release)[what]
        self.pid = self.end = None  # As of a generation.
        self.log_start = 0
        self.adopted = False  # Whether an earlier agent started it.

    @classmethod
    def create(cls, paths, what, release, given, began, volume=None):
        """Creates it with everything but its process. `given`: the secrets and the token, as `variables` has them."""
        self = cls(paths, what, release, os.urandom(4).hex(), began, volume)
        paths.keep_instance(release)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder, 0o700)
        write_json(self.variables, given)
        record = {"what": what, "release": release, "run": self.run, "began": began, "volume": volume}
        write_json(self.folder + "/command", record)
        return self

    @classmethod
    def left(cls, paths):
        """The commands that an earlier agent started since the boot, and whose end it did not record."""
        found = []
        for name in os.listdir(paths.commands):
            try:
                said = read_json(f"{paths.commands}/{name}/command")
                what, began = match("source", said["what"])[0], integer(said["began"])
                found.append(cls(paths, what, said["release"], said["run"], began, optional("volume", said)))
                found[-1].adopted, found[-1].end = True, "it was killed"
            except (OSError, ValueError, KeyError, TypeError):
                shutil.rmtree(f"{paths.commands}/{name}", ignore_errors=True)  # It was not started yet.
        return found

    def environment(self):
        """The environment of its program. It holds neither the token, nor secrets, nor any variable of the machine."""
        data = data_folder(self.paths, self.paths.manifest(self.release), self.volume)
        given = environment(self.paths.release(self.release), self.variables, self.verdict, data)
        return {**given, "DEVOPSCTL_COMMAND": self.what}

    def program(self):
        return self.paths.release(self.release) + "/agent/command.py"

    def unit(self):
        """Its unit under systemd."""
        return f"command@{self.name}.service"

    def workers(self):
        """The runners know its processes by its unit, or by what they inherit."""
        return set()

    def settle(self, error):
        """Keeps how it ended, until that is recorded."""
        write_json(self.folder + "/outcome", {"error": error})

    def outcome(self):
        """How it ended: {"error": text or None}. None before. The app could write the file of its program, too."""
        try:
            return read_json(self.folder + "/outcome")
        except (OSError, ValueError):
            pass
        try:
            said = parse(untrusted.read(self.verdict, WORDS), WORDS, dict)
        except (OSError, Invalid):
            return None
        return {"error": clean(str(said["error"]), WORDS) if said.get("error") else None}

    def forget(self, runner):
        runner.forget(self.unit())
        shutil.rmtree(self.folder, ignore_errors=True)


def attend(command, runner, clock, every, renew):
    """Waits until a command has ended -> its error as text, or None. Ends it after its time limit. `renew` is called each
    `every` seconds meanwhile."""
    due, until, told = clock.monotonic() + every, command.began + command.settings["timeout"], None
    while runs(command, runner):
        now = clock.monotonic()
        if told is None and clock.time() >= until:
            told = now
            runner.retire(command)
        if told is not None and now >= told + STOP_SECONDS:
            runner.kill(command)
        if now >= due:
            due = now + every
            renew()
        clock.sleep(0.1)
    said, soon = command.outcome(), clock.monotonic() + 1
    while runner.ended(command) is None or runner.members(command):
        if clock.monotonic() >= soon:  # Processes in the background do not outlive it.
            runner.kill(command)
        clock.sleep(0.05)
    if told is not None:
        return f"not done within {command.settings['timeout']} seconds (app.release_timeout)"
    if said is None and runner.ended(command) == TOLD:
        raise Interrupted("app.release was interrupted")
    return said["error"] if said else runner.ended(command)


def runs(command, runner):
    """Whether it has not ended yet. The end of a process whose parent is gone is known by its verdict, or by its absence."""
    if command.outcome() is not None:
        return False
    return runner.ended(command) is None or (command.adopted and bool(runner.members(command)))
