"""Self-update: each release contains an agent. When a new release is healthy and its agent differs, it replaces this agent.

It does so by exec, which keeps the child processes and the listening socket. The new agent must pass a check first, so that a
broken one cannot take the machine down. Only its entry point is known: it may be older, after a rollback.
"""

import hashlib
import os
import subprocess
import sys

AGENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHECK_SECONDS = 20
HANDOVER = "DEVOPSCTL_HANDOVER"


class SelfUpdate:
    def __init__(self, agent):
        self.agent = agent
        self.own = None  # The digest of this agent, once it is needed.
        self.seen = None  # The release whose agent was examined.
        self.successor = None
        self.since = 0.0

    def consider(self):
        state = self.agent.state
        serving = state.serving
        if (
            state.starting
            or state.retiring
            or state.under_way
            or self.agent.schedule.is_claiming()
            or not serving
            or serving.release != state.orders.release
        ):
            return
        if self.successor == serving.release:
            if self.agent.reporter.idle() or self.agent.clock.monotonic() > self.since + 5:
                self.become(serving.release)
        elif self.seen != serving.release:
            self.seen = serving.release
            self.agent.in_thread(self.examine, serving.release)

    def examine(self, release):
        """In a thread: whether the release's agent differs from this one, and passes its check."""
        folder = self.agent.paths.release(release) + "/agent"
        self.own = self.own or digest(AGENT)
        if digest(folder) == self.own:
            self.agent.inbox.put((self.settle, release))
            return
        try:
            check = [sys.executable, folder + "/agent.py", "--check"]
            subprocess.run(check, check=True, timeout=CHECK_SECONDS, stdin=subprocess.DEVNULL, stdout=sys.stdout)
        except (OSError, subprocess.SubprocessError) as problem:
            print(
                f"agent: the agent of release {release[:12]} fails its check, this agent stays: {problem}", flush=True
            )
            return
        self.agent.inbox.put((self.elect, release))

    def elect(self, release):
        self.successor, self.since = release, self.agent.clock.monotonic()

    def settle(self, release):
        """From now on, also after a reboot, the agent is the one of this release."""
        if self.agent.kept.get("agent") != release:
            self.agent.kept["agent"] = release
            self.agent.store()

    def become(self, release):
        self.successor = None
        self.settle(release)
        self.agent.generations.remember()
        print(f"agent: the agent of release {release[:12]} takes over", flush=True)
        program = self.agent.paths.release(release) + "/agent/agent.py"
        self.agent.runner.before_exec()
        self.agent.app_role.before_exec()
        os.execve(sys.executable, [sys.executable, program], {**os.environ, HANDOVER: "1"})


def digest(folder):
    """A hash of all files of an agent."""
    total = hashlib.sha256()
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for path in (os.path.join(top, name) for name in sorted(names)):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
            total.update(f"{path[len(folder) :]} {content}\n".encode())
    return total.hexdigest()
