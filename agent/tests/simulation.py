"""A simulation of the agent's environment in which nothing takes time: clock, processes, threads and AWS are simulated.

The agent itself, its generations, its decisions and its work on files (fetching, unpacking, writing) are real. The simulated
processes outlive the agent, like systemd's units.
"""

import contextlib
import json
import os
import queue
import shutil
import tempfile
from unittest import mock

from fake_aws import Parameters
from simulated_processes import PASSWORD, RELEASES, Runner, secret

import agent
import bytecode
from boot import aws
from orders import decide, reporter
from system.paths import Paths, write_json

INSTANCE = "i-0123456789abcdef0"


class Crash(BaseException):
    """The agent is killed at this point."""


class Clock:
    """Like the module `time`. `ahead` is the difference of the calendar to the monotonic clock."""

    def __init__(self):
        self.now, self.ahead = 1000.0, 1.7e9

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + self.ahead

    def sleep(self, seconds):
        self.now += seconds


class Inbox:
    """Never blocks: time passes between the turns."""

    def __init__(self):
        self.messages = []
        self.aside = None  # Where delayed results go.

    def put(self, message):
        (self.messages if self.aside is None else self.aside).append(message)

    def get(self, timeout):
        if self.messages:
            return self.messages.pop(0)
        raise queue.Empty


class Aws:
    """The instance's tags, S3 and SSM."""

    def __init__(self, simulation):
        self.simulation, self.metadata = simulation, self
        self.tags = {"name": "shop"}
        self.versions = []  # (value of the parameter), the first is version 1
        self.troubles = {"imds": 0, "s3": 0, "ssm": 0}  # How many calls still fail.
        self.asked = 0  # How often SSM was called.
        self.stale = 0  # How many responses of SSM will still have the first version.
        self.secrets = Parameters(2)

    def fails(self, service):
        if self.troubles[service]:
            self.troubles[service] -= 1
            raise aws.AwsError("Network", f"{service}: timed out")

    def tag(self, key):
        self.fails("imds")
        return self.tags.get(key)

    def tag_names(self):
        self.fails("imds")
        return list(self.tags)

    def get(self, path):
        """Other values of the metadata service: there is no public address."""
        self.fails("imds")

    def name(self):
        return self.tags["name"]

    def identity(self):
        return {"instanceId": INSTANCE}

    def ssm(self, action, **request):
        self.asked += 1
        self.fails("ssm")
        if action == "GetParametersByPath":
            assert request["Path"] == "/devopsctl/shop/secrets"
            return self.secrets.page(request)
        assert (action, request["Name"]) == ("GetParameter", "/devopsctl/shop/token")
        version = len(self.versions)
        if self.stale:
            self.stale -= 1
            version = min(version, 1) if self.simulation.knows else version
        if not version:
            raise aws.AwsError("ParameterNotFound", "ssm:GetParameter was refused: ParameterNotFound", 400)
        return {"Parameter": {"Version": version, "Value": self.versions[version - 1]}}

    def download(self, key, file, heard=None):
        self.fails("s3")
        release = RELEASES[key.rpartition("/")[2][: -len(".tar.gz")]]
        if isinstance(release.fetch, OSError):
            raise release.fetch
        file.write(b"torn" if release.fetch else release.archive)


class Reporter:
    """Searches each report for secrets."""

    def __init__(self, simulation):
        self.simulation, self.last, self.read = simulation, None, None

    def say(self, said):
        self.last = said
        secrets = [*map(secret, range(1, len(self.simulation.aws.versions) + 1)), *self.simulation.secrets]
        if self.read == (said, len(secrets)):
            return  # Most turns repeat a report.
        self.read = said, len(secrets)
        text = reporter.encode(said)
        assert len(text.encode()) <= reporter.LIMIT and "{{" not in text
        shown = json.loads(text)
        for value in [PASSWORD, *secrets]:
            for spelling in (value, json.dumps(value)[1:-1], repr(value)[1:-1]):
                assert spelling not in text and spelling not in json.dumps(shown) + repr(shown) + str(shown["log_tail"])

    def idle(self):
        return True


class Simulation:
    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="simulation-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.paths = Paths(self.root)
        self.clock = Clock()
        self.stride = 0.2
        self.runner, self.aws = Runner(self), Aws(self)
        self.crash_in = None
        self.turns = 0
        self.pace = True, 0  # Whether the work of threads is done at once, and after how many turns its result arrives.
        self.healthy = None  # The release that served last.
        self.served = []  # Every target that ever served, in order.
        self.knows = False  # Whether the machine must know its last token; not after a power failure.
        self.up = False  # Whether a generation serves, and so must keep serving.
        self.secrets = []  # Every value that a secret ever had.
        self.wanted = [None, None]  # The releases that were ordered last.
        self.born()

    # Starting and killing the agent

    def born(self):
        """An agent starts, with the files of the earlier one."""
        self.pending = []  # (turn, work)
        self.agent = None
        self.paths.prepare()
        self.agent = agent.Agent(self.paths, self.aws, self.runner, self.clock)
        self.agent.inbox = Inbox()
        self.agent.in_thread = self.in_thread
        self.agent.reporter = self.reporter = Reporter(self)
        self.agent.generations.adopt()

    def survive(self, work):
        """Does the work; if the agent is killed meanwhile, another one starts."""
        while True:
            try:
                return work()
            except Crash:
                work = self.born

    def perhaps_crash(self):
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise Crash

    def in_thread(self, work, *args):
        early, turns = self.pace
        then, inbox = [], self.agent.inbox

        def run():
            inbox.aside = then
            try:
                work(*args)
            finally:
                inbox.aside = None

        if early:
            run()
            self.pending.append((self.turns + turns, lambda: inbox.messages.extend(then)))
        else:
            self.pending.append((self.turns + turns, lambda: (run(), inbox.messages.extend(then))))

    # Time

    def turn(self):
        self.turns += 1
        self.survive(self.one_turn)
        self.check()

    def one_turn(self):
        self.clock.sleep(self.stride)
        self.runner.live()
        due = [each for each in self.pending if each[0] < self.turns]
        self.pending = [each for each in self.pending if each[0] >= self.turns]
        for _, happens in due:
            happens()
        with contextlib.suppress(aws.AwsError):
            self.agent.read_tags()
        self.agent.turn()
        serving = self.agent.generations.serving
        assert self.runner.admits or not serving, "requests reach what serves"
        assert serving or self.knows or not self.runner.admits, "requests wait for what has never served"

    def run(self, seconds, stride):
        end, self.stride = self.clock.now + seconds, stride
        while self.clock.now < end:
            self.turn()

    # Invariants

    def check(self):
        generations, wanted = self.agent.generations, self.agent.state.orders.release
        if wanted and wanted != self.wanted[-1]:  # A new agent has read no orders yet.
            self.wanted.append(wanted)
        self.runner.live()  # Workers that were let through listen now.
        alive = self.runner.alive()
        assert set(alive) <= {
            each.number for each in (generations.serving, generations.starting, *generations.old) if each
        }, "a generation is left over"
        undisturbed = {number: process for number, process in alive.items() if not process.told}
        assert len(undisturbed) <= 2, "one serves, one may be starting"
        assert sum(process.listens for process in undisturbed.values()) <= 1 + bool(generations.starting)
        if generations.serving and (not self.served or self.served[-1] != generations.serving.target):
            target = generations.serving.target
            assert all(target.token >= each.token for each in self.served), "a revoked token serves"
            assert target.release in (self.healthy, *self.wanted[-2:]), (
                "it is not ordered, and a newer release was healthy"
            )
            if generations.serving.waits and RELEASES[target.release].worker:
                workers = [each.release.name for each in self.runner.alive_workers()]
                assert workers == [target.release], "it serves without its worker"
            self.served.append(target)
            self.knows = True
            self.healthy = target.release
        serves = any(process.listens for process in undisturbed.values())
        assert serves or not self.up or self.halts(), "the serving generation is gone without a reason"
        self.up = serves
        mounted = self.runner.volumes.mounted
        for process in alive.values():
            assert process.target.volume == (mounted.volume if process.release.data else None), "it has its volume"

    def halts(self):
        """Whether the orders take the volume from what served."""
        held = self.runner.volumes.mounted
        # A new agent has read no orders yet.
        ordered = {self.agent.state.orders.data, self.aws.tags.get("data")}
        return not held or bool(ordered - {None, held.volume})

    def check_start(self, target):
        """A new release gets the ordered secrets, unless they cannot be read."""
        state = self.agent.state
        if target.release != state.healthy:
            assert not state.are_secrets_old() or decide.read_secrets(state) in state.failures
        assert RELEASES[target.release].needs in (None, *state.secrets.values), "it lacks a secret"

    # Events

    def want(self, **tags):
        self.aws.tags.update(tags)

    def new_token(self, grace=0, ring=True):
        version = len(self.aws.versions) + 1
        previous = secret(version - 1) if version > 1 and grace else None
        until = self.clock.time() + grace if grace else None
        value = {"current": secret(version), "previous": previous, "previous_until": until}
        self.aws.versions.append(json.dumps(value))
        if ring:
            self.ring()

    def ring(self):
        self.want(token=str(len(self.aws.versions)))

    def attach(self, volume, gib):
        """AWS attaches a volume, or changes its size; 0: it is detached, which waits until it is unmounted."""
        volumes = self.runner.volumes
        if gib:
            volumes.attached[volume] = max(gib, volumes.attached.get(volume, 0))
        elif not volumes.mounted or volumes.mounted.volume != volume:
            volumes.attached.pop(volume, None)

    def volume_of(self, release):
        """The volume that a release gets."""
        ordered = self.aws.tags.get("data")
        return ordered if release.data and ordered in self.runner.volumes.attached else None

    def set_secret(self, name, ring=True):
        value = f'{name}-"{len(self.secrets)}"\tof {{{{ours}}}}'
        self.secrets.append(value)
        self.aws.secrets.put(name, value)
        if ring:
            self.ring_secrets()

    def unset_secret(self, name, ring=True):
        self.aws.secrets.delete(name)
        if ring:
            self.ring_secrets()

    def ring_secrets(self):
        self.want(secrets=self.aws.secrets.fingerprint())

    def kill(self, role):
        """The kernel kills a generation's processes, as when memory runs out."""
        for process in self.runner.alive().values():
            if (role == "serving") == process.listens:
                process.end, process.listens = "SIGKILL", False
                self.up = False

    def kill_worker(self):
        for worker in self.runner.alive_workers():
            worker.end = "SIGKILL"

    def power_failure(self):
        self.up = self.knows = False
        self.runner.processes.clear()
        self.runner.workers.clear()
        self.runner.volumes.mounted = None
        self.runner.admits = None
        shutil.rmtree(self.paths.run)
        self.survive(self.born)
        self.healthy = self.agent.state.healthy  # The state that was written before.


@contextlib.contextmanager
def simulated():
    """A simulation without this machine's clock, compiler and disk."""
    made = None

    def write(path, content):
        made and made.perhaps_crash()
        write_json(path, content)
        made and made.perhaps_crash()

    with contextlib.ExitStack() as stack:
        for what in (
            mock.patch.dict(os.environ, {"DEVOPSCTL_ROOT": "/nowhere"}),
            mock.patch("os.fsync", lambda fd: None),
            mock.patch("boot.aws.since_boot", lambda: 1000),
            mock.patch("bytecode.begin", lambda folder: None),
            mock.patch("bytecode.rest", bytecode.mark),
            mock.patch("boot.self_update.digest", lambda folder: "the only one"),
            mock.patch("builtins.print", lambda *args, **kwargs: None),
            *(
                mock.patch(f"{module}.write_json", write)
                for module in ("agent", "processes.generations", "processes.generation", "processes.process")
            ),
        ):
            stack.enter_context(what)
        made = Simulation()
        try:
            yield made
        finally:
            shutil.rmtree(made.root, ignore_errors=True)
