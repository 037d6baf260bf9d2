"""One program in the environment of a release, such as the release's own commands: with its code, its settings, its secrets and
the app's sandbox, but without a socket. The runners start it like a generation.

`/agent/command.py` of the release is the program. A later agent finds a command by the files in its folder.
"""

import os
import shutil

from app_role import credentials
from boot.validate import Invalid, check, clean, integer, optional, parse
from processes.generation import environment
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
    """`what`: where the manifest has its shell commands: `release`, or `schedule.` and the name of a schedule, which has one run at a
    time. `began` is the calendar's time of its start."""

    def __init__(self, paths, what, release, run, began, grant=credentials.NOTHING, volume=None):
        self.paths, self.release, self.run, self.began = paths, check("release", release), check("run", run), began
        self.what, self.grant, self.volume = check("command", what), grant, volume
        kind, _, name = what.partition(".")
        self.log = f"{kind}-{name}" if name else kind
        self.name = self.log if name else f"{kind}-{release[:12]}"
        self.folder = f"{paths.commands}/{self.name}"
        self.variables = self.folder + "/token"
        self.verdict = paths.command_verdict(self.name, run)
        settings = paths.manifest(release)[kind]
        self.settings = settings[name] if name else settings
        self.key = what if name else f"app.{what}"  # In deploy.yaml.
        self.pid = self.end = None  # As of a generation.
        self.log_start = 0
        self.adopted = False  # Whether an earlier agent started it.

    @classmethod
    def create(cls, paths, what, release, given, began, grant=credentials.NOTHING, volume=None):
        """Creates it with everything but its process. `given`: the secrets and the token, as `variables` has them. `grant`: what it
        has of the app's role. `volume`: the one with its data."""
        self = cls(paths, what, release, os.urandom(4).hex(), began, grant, volume)
        paths.keep_instance(release)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder, 0o700)
        write_json(self.variables, given)
        kept = {"what": what, "release": release, "run": self.run, "began": began, "port": grant.port, "volume": volume}
        write_json(self.folder + "/command", kept)
        return self

    @classmethod
    def left(cls, paths, kind=""):
        """The commands that an earlier agent started since the boot, and whose end it did not record. `kind`: of these only."""
        found = []
        for name in os.listdir(paths.commands):
            try:
                said = read_json(f"{paths.commands}/{name}/command")
                self = cls(paths, said["what"], said["release"], said["run"], integer(said["began"]))
                self.adopted, self.end = True, "it was killed"
                self.grant = credentials.kept(said.get("port"), self.variables)
                self.volume = optional("volume", said)
                found.append(self)
            except (OSError, ValueError, KeyError, TypeError):
                shutil.rmtree(f"{paths.commands}/{name}", ignore_errors=True)  # It was not started yet.
        return [each for each in found if each.what.startswith(kind)]

    def environment(self):
        """The environment of its program. It holds neither the token, nor secrets, nor any variable of the machine."""
        return {**self.grant.environment, **environment(self), "DEVOPSCTL_COMMAND": self.what}

    def program(self):
        return self.paths.release(self.release) + "/agent/command.py"

    def unit(self):
        """Its unit under systemd. The template of a schedule gives each one a log of its own."""
        return f"{'command' if self.log == 'release' else 'schedule'}@{self.name}.service"

    def limit(self):
        """The key of its time limit."""
        return f"{self.key}.timeout" if "." in self.what else f"{self.key}_timeout"

    def workers(self):
        """The runners know its processes by its unit, or by what they inherit."""
        return set()

    def settle(self, error, code=None):
        """Keeps how it ended, until that is recorded."""
        write_json(self.folder + "/outcome", {"error": error, "code": code})

    def outcome(self):
        """How it ended: {"error": text or None, "code": number or None}. None before. The app could write the file of its program,
        too."""
        try:
            return read_json(self.folder + "/outcome")
        except (OSError, ValueError):
            pass
        try:
            said = parse(untrusted.read(self.verdict, WORDS), WORDS, dict)
        except (OSError, Invalid):
            return None
        code = said.get("code")
        known = type(code) is int and -64 <= code <= 255
        return {
            "error": clean(str(said["error"]), WORDS) if said.get("error") else None,
            "code": code if known else None,
        }

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
        return f"not done within {command.settings['timeout']} seconds ({command.limit()})"
    if said is None and runner.ended(command) == TOLD:
        raise Interrupted(f"{command.key} was interrupted")
    return said["error"] if said else runner.ended(command)


def runs(command, runner):
    """Whether it has not ended yet. The end of a process whose parent is gone is known by its verdict, or by its absence."""
    if command.outcome() is not None:
        return False
    return runner.ended(command) is None or (command.adopted and bool(runner.members(command)))
