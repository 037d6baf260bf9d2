"""One command in the environment of the serving generation, for `devopsctl run`: in the app's sandbox, with this process's terminal,
or else its input and outputs.

The generation may end meanwhile, so the command has copies of what it needs, in a folder of its own. Its program is
`workers/one_off.py` of the release. The folder ends with this process; what a killed one left is removed by the next.
"""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys

from boot.validate import in_words, match
from processes.generation import Generation
from processes.generations import records_in
from system.paths import SEEN, Paths, read_json, write_json
from system.systemd import systemctl, text_of

COULD_NOT = 125  # The exit code if the command could not be started, as of `env` and `timeout`.
STOP_SECONDS = 10  # How long the command may take to end once the client is gone.
ATTEMPTS = 3  # A generation can end while its files are copied. The next one serves by then.
COPIED = ("environment", "token")  # Files of a generation.
PROGRAM = "/agent/workers/one_off.py"
UNIT = "devopsctl-run-{}.service"
LOCK, GENERATION, DATA = "/lock", "/generation", "/data"


class Refused(Exception):
    """No command can be run."""


def main(root, words):
    """Runs the command -> its exit code."""
    os.umask(0o077)
    # As the command's own: a terminal sends it Ctrl-C.
    signal.signal(signal.SIGINT, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    paths = Paths(root)
    try:
        with folder_in(paths.runs) as folder:
            release = prepare(paths, folder, words)
            return (Confined if root else Unit)(folder, release).run()
    except (Refused, OSError, ValueError) as problem:
        print(f"devopsctl: {in_words(problem)}", file=sys.stderr)
        return COULD_NOT


@contextlib.contextmanager
def folder_in(runs):
    """A folder of this process's own. Removes those that killed processes left: they are not locked."""
    folder = f"{runs}/{os.urandom(4).hex()}"
    with open(runs + ".lock", "w") as all_of_them:
        fcntl.flock(all_of_them, fcntl.LOCK_EX)
        for name in set(os.listdir(runs)) - set(alive(runs)):
            shutil.rmtree(f"{runs}/{name}", ignore_errors=True)
        os.mkdir(folder, 0o700)
        lock = open(folder + LOCK, "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def alive(runs):
    """The names of the folders whose process lives."""
    for name in os.listdir(runs):
        try:
            with open(f"{runs}/{name}{LOCK}") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield name
        except OSError:
            pass


def generations(paths):
    """For the agent: the generations whose environment a running command has. They may have ended."""
    for name in alive(paths.runs):
        folder = f"{paths.runs}/{name}"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # It has just begun, or just ended.
            yield Generation.from_record(paths, read_json(folder + GENERATION), folder)


def grants(paths):
    """What running commands have of the app's role."""
    return [each.grant for each in generations(paths) if each.grant.port]


def releases(paths):
    """The releases that running commands use."""
    return {each.release for each in generations(paths)}


def end(paths):
    """For the agent on EC2: ends the commands that have the data volume, because it is to be given up."""
    for name in os.listdir(paths.runs):
        if match("run", name) and os.path.lexists(f"{paths.runs}/{name}{DATA}"):
            systemctl("stop", UNIT.format(name), check=False)


def prepare(paths, folder, words):
    """Writes what the command needs -> the folder of the serving release."""
    write_json(folder + "/command", {"words": words})
    for _ in range(ATTEMPTS):
        serving = [each for each in records_in(read_json(paths.running, {})) if each.get("role") == "serving"]
        if not serving:
            raise Refused("no release is serving: see `devopsctl status`")
        try:
            generation = Generation.from_record(paths, serving[0])
            for name in COPIED:
                shutil.copyfile(f"{generation.folder}/{name}", f"{folder}/{name}")
        except FileNotFoundError:
            continue
        write_json(folder + GENERATION, serving[0])
        if generation.volume:
            os.symlink(paths.volume(generation.volume), folder + DATA)
        release = paths.release(generation.release)
        if not os.path.exists(release + PROGRAM):
            raise Refused("the serving release is from an older devopsctl, which has no `run`: deploy it with `up`")
        return release
    raise Refused("the release that serves is being replaced: run the same command again")


class Child:
    """The process that runs the command."""

    def __init__(self, folder, release):
        self.folder, self.release = folder, release

    def run(self):
        ended, held = os.pipe()
        child = subprocess.Popen(self.arguments(), env=self.environment(), pass_fds=[held])
        os.close(held)
        try:
            if not stays(ended):
                return 128 + signal.SIGHUP
            code = child.wait()
            return code if code >= 0 else 128 - code
        finally:
            if child.poll() is None:
                self.stop(child)
                child.wait()


class Unit(Child):
    """In a unit of its own, with the rules of all the app's units. A template could not have the terminal of this process."""

    def arguments(self):
        self.unit = UNIT.format(os.path.basename(self.folder))
        own = [
            f"EnvironmentFile={self.folder}/environment",
            f"LoadCredential=token:{self.folder}/token",
            f"LoadCredential=command:{self.folder}/command",
            f"BindReadOnlyPaths={self.release}:{SEEN}",
        ]
        if os.path.lexists(self.folder + DATA):
            own.append(f"BindPaths={os.path.realpath(self.folder + DATA)}:{variables_of(self.folder)['DATA_DIR']}")
        rules = [*rules_in(text_of("units/sandbox.conf")), *rules_in(text_of("units/run.conf")), *own]
        way = "--pty" if all(map(os.isatty, (0, 1, 2))) else "--pipe"
        options = ["--quiet", "--wait", "--collect", way, "--unit=" + self.unit]
        properties = [f"--property={rule}" for rule in rules]
        return ["systemd-run", *options, *properties, "--", "/usr/bin/python3", SEEN + PROGRAM]

    def environment(self):
        # New versions of systemd-run would color the terminal's background and change its title.
        return {**os.environ, "SYSTEMD_TINT_BACKGROUND": "0", "SYSTEMD_ADJUST_TERMINAL_TITLE": "0"}

    def stop(self, child):
        systemctl("stop", self.unit, check=False)
        child.kill()


class Confined(Child):
    """As a process, on the sandbox's process machines."""

    def arguments(self):
        return [sys.executable, self.release + PROGRAM]

    def environment(self):
        given = variables_of(self.folder)
        terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
        return {**given, **terminal, "CREDENTIALS_DIRECTORY": self.folder}

    def stop(self, child):
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        child.kill()


def variables_of(folder):
    """The environment of the generation."""
    with open(folder + "/environment") as file:
        return dict(line.rstrip("\n").split("=", 1) for line in file)


def rules_in(text):
    """The rules of a unit, in their order: some add to those before."""
    return [line for line in text.splitlines() if "=" in line and line[0] not in "#["]


def stays(ended):
    """Waits for the end of `ended`, a pipe. False: before that, nothing reads the outputs any more, because the client is gone."""
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    for output in (1, 2):
        poll.register(output, 0)
    return ended in dict(poll.poll())
