"""The agent comes with the release: when a new one is healthy and brings another agent, it takes this one's place.

By exec, so that the processes and the listening socket stay ours. The release has proved itself by then, and the new
agent must pass a check first, so that a broken one can't take the machine down.
"""

import hashlib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CHECK_SECONDS = 20
HANDOVER = "DEVOPSCTL_HANDOVER"


class Renewal:
    def __init__(self, agent):
        self.agent = agent
        self.own = None  # What we are made of, once somebody asks.
        self.seen = None  # The release whose agent has been looked at.
        self.successor = None
        self.since = 0.0

    def consider(self):
        state = self.agent.state
        serving = state.serving
        if (
            state.starting
            or state.retiring
            or state.under_way
            or not serving
            or serving.release != state.wanted.release
        ):
            return
        if self.successor == serving.release:
            if self.agent.reporter.idle() or self.agent.clock.monotonic() > self.since + 5:
                self.become(serving.release)
        elif self.seen != serving.release:
            self.seen = serving.release
            self.agent.in_thread(self.examine, serving.release)

    def examine(self, release):
        """In a thread: is it another one, and does it run?"""
        folder = self.agent.places.release(release) + "/agent"
        self.own = self.own or digest(HERE)
        if digest(folder) == self.own:
            self.agent.inbox.put((self.settle, release))
            return
        try:
            check = [sys.executable, folder + "/agent.py", "--check"]
            subprocess.run(check, check=True, timeout=CHECK_SECONDS, stdin=subprocess.DEVNULL, stdout=sys.stdout)
        except (OSError, subprocess.SubprocessError) as problem:
            print(f"agent: the agent of release {release[:12]} is not fit, this one stays: {problem}", flush=True)
            return
        self.agent.inbox.put((self.elect, release))

    def elect(self, release):
        self.successor, self.since = release, self.agent.clock.monotonic()

    def settle(self, release):
        """From now on, and after a reboot, the agent is this release's."""
        if self.agent.kept.get("agent") != release:
            self.agent.kept["agent"] = release
            self.agent.store()

    def become(self, release):
        self.successor = None
        self.settle(release)
        self.agent.fleet.remember()
        print(f"agent: the agent of release {release[:12]} takes over", flush=True)
        program = self.agent.places.release(release) + "/agent/agent.py"
        self.agent.runner.before_exec()
        os.execve(sys.executable, [sys.executable, program], {**os.environ, HANDOVER: "1"})


def digest(folder):
    """What an agent is made of."""
    total = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
            total.update(f"{name} {content}\n".encode())
    return total.hexdigest()
