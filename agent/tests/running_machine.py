"""A machine with a release and a token, and its processes."""

import pathlib
import subprocess
import sys
import threading
import time

from machine import CLIENT_PAUSE, release

TOKEN = "first-token"


def healthy(name, version):
    def is_so(report):
        return report["phase"] == "healthy" and report["release"] == name and report["token"] == version

    return is_so


def bring_up(aws, machine, archive=None, token=TOKEN):
    """Boots a machine with a token until it is healthy -> the release and the token's version."""
    name = aws.put_release(archive or release())
    aws.tags["devopsctl:release"] = name
    version = aws.put_token(token)
    machine.boot()
    aws.wait_report(healthy(name, version), 60)
    return name, version


def state(machine):
    """A shared machine's fake AWS, release, token version and token."""
    version, token = machine.aws.token()
    return machine.aws, machine.aws.tags["devopsctl:release"], version, token


def start_run(machine, *words, **more):
    """Starts a command of `devopsctl run`, as a session of sshd does."""
    name = machine.running()[0]["target"]["release"]
    program = machine.root / f"opt/devopsctl/releases/{name}/agent/run.py"
    environment = {"DEVOPSCTL_ROOT": str(machine.root), "PATH": "/usr/bin:/bin", "TERM": "xterm"}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([sys.executable, "-I", program, *words], env=environment, encoding="utf-8", **streams)


def children(pid):
    return [int(each) for each in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Load:
    """Clients that send requests continuously, each with its own token; and their responses."""

    def __init__(self, machine, *tokens):
        self.machine, self.seen, self.broken, self.going = machine, {token: [] for token in tokens}, [], True
        self.threads = [threading.Thread(target=self.ask, args=(token,)) for token in tokens]
        for thread in self.threads:
            thread.start()

    def ask(self, token):
        while self.going:
            began = time.monotonic()
            try:
                self.seen[token].append((began, self.machine.get(token)[0]))
            except OSError as problem:
                self.broken.append(repr(problem))
            time.sleep(CLIENT_PAUSE)

    def count(self):
        return sum(map(len, self.seen.values()))

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()
        assert not self.broken, self.broken[:5]
