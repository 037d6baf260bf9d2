"""Runs generations as child processes of the agent, on the sandbox's machines.

The agent holds the listening socket, a Unix socket in the machine's folder, and passes it to each gunicorn like systemd
does. The socket and the children survive the agent's exec of its successor.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import sys
import time

from boot.validate import integer, match, process_id
from data.runner import ProcessVolumes
from logs.publisher import File
from processes.generation import lines_of
from proxy.runner import ProcessProxy
from ssh.sshd import ProcessSshd
from system import untrusted
from system.kernel import inherited, open_files
from system.systemd import write
from system.updates import Updates
from workers.unavailable import turn_away

LISTEN_FD = 3  # The descriptor of an inherited listening socket.
LOG_LIMIT = 5 << 20


class ProcessRunner:
    outlived = False  # Generations are the agent's children.

    def __init__(self, paths):
        self.paths = paths
        self.listener = None  # Created with the first generation: before that, no request could be answered.
        self.proxy = ProcessProxy(paths)
        self.sshd = ProcessSshd(paths, bind)
        self.updates = Updates(paths.root)
        self.volumes = ProcessVolumes(paths)
        self.logs = {paths.log("app"), paths.log("release")}  # That the app's programs print.

    def record(self):
        """For the next agent, in this same process."""
        return {"listener": self.listener and self.listener.fileno(), "edge": self.proxy.pid}

    def before_exec(self):
        if self.listener:
            self.listener.set_inheritable(True)

    def take_over(self, record):
        """Only after an exec: otherwise the descriptors and pids belong to another process."""
        if not os.environ.pop("DEVOPSCTL_HANDOVER", None):
            return False
        listener = record.get("listener")
        self.proxy.pid = None if record.get("edge") is None else process_id(record["edge"])
        if listener is not None:
            os.set_inheritable(integer(listener, 3, 1 << 16), False)
            self.listener = socket.socket(fileno=listener)
        return True

    def start(self, generation):
        if not self.listener:
            self.listener = bind(self.paths.net, "app.sock")
        # gunicorn.conf.py adds LISTEN_PID.
        socket = (os.POSIX_SPAWN_DUP2, self.listener.fileno(), LISTEN_FD)
        self.spawn(generation, {"LISTEN_FDS": "1"}, [socket])

    def run(self, command):
        self.spawn(command, {}, [])

    def spawn(self, generation, environment, files):
        environment = {**generation.environment(), **inherited(), **environment}
        environment["DEVOPSCTL_RUNNER"] = "process"
        environment["STATE_DIRECTORY"] = self.paths.kept
        os.makedirs(self.paths.kept, 0o700, exist_ok=True)
        write(generation.folder + "/environment", lines_of(environment))  # For run.py.
        # As systemd does. The processes that the app starts inherit it.
        environment["INVOCATION_ID"] = invocation(generation)
        log = self.log_of(generation)
        self.logs.add(log)
        generation.log_start = untrusted.size(log)
        generation.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, generation.program()],
            environment,
            file_actions=[
                *files,
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT],
        )

    def log_of(self, generation):
        return self.paths.log(generation.log)

    def ended(self, generation):
        """How its first process ended, as words; None as long as it runs."""
        if generation.end is None and generation.pid is None:
            generation.end = "it could not be started"
        if generation.end is None:
            try:
                pid, status = os.waitpid(generation.pid, os.WNOHANG)
            except ChildProcessError:
                generation.end = "it is gone"
            else:
                code = os.waitstatus_to_exitcode(status) if pid else None
                if pid:
                    generation.end = f"exit code {code}" if code >= 0 else signal_name(-code)
        return generation.end

    def retire(self, generation):
        """Tells it to finish its requests and exit. Workers without a master are told directly."""
        members = self.workers(generation)
        self.signal([generation.pid] if generation.pid in members else members, signal.SIGTERM)

    def terminate(self, process):
        """Tells a process beside the web server to end, and with a shell also the programs that the shell started."""
        alone = process.pid and process.end is None and not process.has_shell()
        self.signal([process.pid] if alone else all_of(process), signal.SIGTERM)

    def kill(self, generation):
        self.signal(self.members(generation), signal.SIGKILL)

    def signal(self, pids, number):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def members(self, generation):
        """All its processes: gunicorn's, and those that the app started, also orphaned ones."""
        workers = self.workers(generation)
        if generation.end is None or workers:
            return workers
        return all_of(generation)

    def workers(self, generation):
        """gunicorn's processes. The pid of a worker may have been reused; the pid of our own child is not."""
        ours = [generation.pid] if generation.pid and generation.end is None else []
        return ours + [pid for pid in generation.workers() - set(ours) if is_of(generation, pid)]

    def listens(self, generation):
        """Whether any of its processes still holds the listening socket, so that it might accept requests."""
        if not os.path.isdir("/proc/self/fd"):
            return time.monotonic() < generation.since + 4  # As long as a worker may take; see workers/worker.py.
        inode = f"socket:[{os.fstat(self.listener.fileno()).st_ino}]"
        return any(inode in open_files(pid).values() for pid in self.workers(generation))

    def turn_away(self):
        """Answers requests that no generation accepts."""
        if self.listener:
            turn_away(self.listener)

    def output(self, generation):
        """The last lines that were printed since it started."""
        log = self.log_of(generation)
        try:
            size = untrusted.size(log)
            start = max(generation.log_start if generation.log_start <= size else 0, size - 16384)
            text = untrusted.read(log, 16384, start).decode(errors="replace")
        except OSError:
            return ""
        return text if start == generation.log_start else text.partition("\n")[2]

    def follow(self, log):
        """The lines of a log."""
        return File(self.paths.log({"access": "edge", "agent": "console"}.get(log, log)))

    def follow_command(self, command):
        """The lines that a command prints."""
        return File(self.log_of(command), command.log_start)

    def forget(self, unit):
        """Nothing is left of a process that has exited."""

    def settle(self, serving):
        """Nothing starts or retires."""

    def tidy(self):
        """Bounds the logs of the app. They are copied and truncated, because several processes append to the same file."""
        for log in self.logs:
            if untrusted.size(log) > LOG_LIMIT:
                try:
                    shutil.copyfile(log, log + ".1", follow_symlinks=False)
                except OSError:
                    pass  # If the disk is full, truncating is even more urgent.
                os.truncate(log, 0)


def signal_name(number):
    """The name of a signal. Real-time signals have only a number."""
    return next((each.name for each in signal.Signals if each == number), f"signal {number}")


def invocation(generation):
    """An id for the processes of one generation on one machine."""
    return hashlib.sha256(generation.verdict.encode()).hexdigest()[:32]


def all_of(generation):
    """The processes that have its id, wherever the system shows them."""
    if not os.path.isdir("/proc/self"):
        return []
    return [int(name) for name in os.listdir("/proc") if match("number", name) and is_of(generation, name)]


def is_of(generation, pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"INVOCATION_ID={invocation(generation)}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def bind(folder, name):
    """A Unix socket for this user only. It is bound from within its folder, because the whole path may be too long."""
    before = os.getcwd()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.chdir(folder)
        if os.path.exists(name):
            os.unlink(name)
        listener.bind(name)
        os.chmod(name, 0o600)
    finally:
        os.chdir(before)
    listener.listen(2048)
    # Not at LISTEN_FD: a descriptor that is duplicated onto itself would stay closed in the child.
    fd = fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
    listener.close()
    return socket.socket(fileno=fd)
