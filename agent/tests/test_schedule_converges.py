"""Two instances with one schedule, whatever happens: agents and machines are killed at any point, S3 fails, responses get lost.

Time, threads, programs and the bucket are simulated. The schedule itself, its record and its rules are real.
"""

import collections
import itertools
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from test_cron import CASES

from app_role import credentials
from boot.aws import AwsError
from schedule import schedule as schedules

MINUTELY = next(case["times"] for case in CASES if case["cron"] == "* * * * *")
MANIFEST = {"schedule": {"tick": {"cron": "* * * * *", "times": MINUTELY, "timeout": 600, "catch_up": False}}}
START = 1_790_002_800


class Bucket:
    """One object, with conditional writes. `faults`: how the next calls fail."""

    def __init__(self):
        self.body, self.etag, self.numbers, self.faults = None, None, itertools.count(), collections.deque()

    def upload(self, key, body, kind, condition, heard):
        fault = self.faults.popleft() if self.faults else None
        if fault == "before":
            raise AwsError("SlowDown", "later", 503)
        if condition != ({"If-Match": self.etag} if self.etag else {"If-None-Match": "*"}):
            raise AwsError("PreconditionFailed", "it differs", 412)
        self.body, self.etag = body, f"e{next(self.numbers)}"
        if fault == "after":
            raise AwsError("Network", "the response is lost")
        heard({"ETag": self.etag})

    def download(self, key, file, heard):
        if self.faults and self.faults.popleft():
            raise AwsError("SlowDown", "later", 503)
        if self.body is None:
            raise AwsError("AccessDenied", "it is absent", 403)
        heard({"ETag": self.etag})
        file.write(self.body)


class Simulated(schedules.Schedule):
    """Its runs are programs of the simulation."""

    def adopt(self):
        for command in self.agent.machine.runs:
            entry = self.entry("tick")
            entry.take(command.settings)
            entry.wanted = False
            entry.begin(command.began, command)
            self.agent.in_thread(self.attend, entry, command)

    def start(self, entry, serving, began, grant):
        command = SimpleNamespace(settings=MANIFEST["schedule"]["tick"], began=began, grant=grant, ended=False)
        command.forget = lambda runner: self.agent.machine.runs.remove(command)
        self.agent.world.begin(entry.settled, self.agent.machine)
        self.agent.machine.runs.append(command)
        return command

    def attend(self, entry, command):
        if command.ended:
            self.agent.inbox.put((self.ended, entry, command, 0, None))
        else:
            self.agent.in_thread(self.attend, entry, command)


class Agent:
    def __init__(self, world, machine):
        self.world, self.machine, self.clock, self.paths, self.runner = world, machine, world, None, None
        self.aws = SimpleNamespace(
            upload=world.bucket.upload,
            download=world.bucket.download,
            skew=0,
            metadata=SimpleNamespace(identity=lambda: {"instanceId": machine.name}),
        )
        self.name = lambda: "shop"
        self.threads, self.messages = collections.deque(), []
        self.inbox = SimpleNamespace(put=lambda message: self.messages.append(message))
        target = SimpleNamespace(release="a" * 64)
        serving = SimpleNamespace(target=target, manifest=MANIFEST)
        self.generations = SimpleNamespace(serving=serving, mask=str)
        self.app_role = SimpleNamespace(grant=lambda manifest: credentials.NOTHING)
        self.schedule = Simulated(self)
        self.schedule.adopt()

    def in_thread(self, work, *args):
        self.threads.append((work, args))

    def turn(self):
        messages, self.messages = self.messages, []
        for handle, *args in messages:
            handle(*args)
        self.schedule.turn()


class Machine:
    def __init__(self, world, name):
        self.world, self.name, self.runs = world, name, []
        self.agent = Agent(world, self)

    def turn(self):
        self.agent.turn()

    def work(self):
        """The oldest thread goes on."""
        if self.agent.threads:
            work, args = self.agent.threads.popleft()
            work(*args)

    def finish(self):
        for run in self.runs:
            run.ended = True

    def kill_agent(self):
        self.agent = Agent(self.world, self)

    def fail(self):
        """A power failure."""
        self.runs = []
        self.agent = Agent(self.world, self)


class World:
    """It is also the clock."""

    def __init__(self):
        self.now, self.bucket, self.begun = START, Bucket(), []
        self.machines = [Machine(self, f"i-0123456789abcdef{number}") for number in range(2)]

    def time(self):
        return self.now

    def monotonic(self):
        return self.now - START

    def begin(self, due, machine):
        assert due not in self.begun, "a run for the same time"
        assert due <= self.now
        running = [run for each in self.machines for run in each.runs if not run.ended]
        assert not [run for run in running if self.now < run.began + 600], "another one goes on"
        self.begun.append(due)


steps = st.one_of(
    st.tuples(st.sampled_from(["turn", "work", "finish", "kill_agent", "fail"]), st.integers(0, 1)),
    st.tuples(st.sampled_from(["turn", "work"]), st.integers(0, 1)),
    st.tuples(st.just("pass"), st.integers(1, 200)),
    st.tuples(st.just("fault"), st.sampled_from(["before", "after", None])),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=120))
def test_no_due_time_has_two_runs_and_runs_go_on_after_any_trouble(history):
    world = World()
    for what, which in history:
        if what == "pass":
            world.now += which
        elif what == "fault":
            world.bucket.faults.append(which)
        else:
            getattr(world.machines[which], what)()
    world.bucket.faults.clear()
    known = len(world.begun)
    world.now += 1000  # The time limit of any run that is left in the record.
    for _ in range(40):
        world.now += 10
        for machine in world.machines:
            machine.finish()
            machine.turn()
            for _ in range(len(machine.agent.threads)):
                machine.work()
    assert len(world.begun) >= known + 3
