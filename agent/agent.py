"""The agent keeps the instance at what its orders say.

Its main loop never blocks: it takes results from the inbox, checks the generations, asks `decide` for the next steps, starts
them and reports. Slow work (the network, compiling) runs in threads, which put their result into the inbox.

Agents of other releases and boot programs start this file by its path: see `src/release/agent.rs`.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time

import bytecode
from app_role.credentials import AppRole
from boot import self_update
from boot.aws import Aws, AwsError, Metadata, backoff, since_boot
from boot.validate import in_words, match
from data.volume import DataVolume
from logs.publisher import Logs
from logs.sources import sources
from orders import decide, tasks
from orders.decide import State
from orders.orders import read_orders
from orders.report import Phase, Report, publish
from orders.reporter import Reporter
from orders.steps import Steps
from processes import one_off
from processes.generations import Generations
from processes.release_commands import ReleaseCommands
from processes.supervisor import Supervisor
from proxy.proxy import Proxy
from proxy.static_files import StaticFiles
from schedule.schedule import Schedule
from ssh.keys import Ssh
from system.kernel import no_core_dumps, not_dumpable
from system.paths import Paths, read_json, write_json

PATIENCE = 1.0  # An intermediate phase is reported once it has lasted this long.
TAG_SECONDS = 1  # Between two reads of the tags.
ADDRESS_SECONDS = 60  # How long a start after a boot waits for the address.
STOP_SECONDS = 10  # How long requests may take to finish when the machine stops.
REST_SECONDS = 30  # The whole release is compiled once it has served for this long: many are replaced earlier.


class Agent:
    """`clock` is the module `time`, or a test's replacement for it."""

    def __init__(self, paths, aws, runner, clock=time):
        self.paths, self.aws, self.metadata, self.runner, self.clock = paths, aws, aws.metadata, runner, clock
        self.inbox = queue.SimpleQueue()
        self.supervisor = Supervisor(clock)
        kept = read_json(paths.state, {})
        self.kept = {key: kept[key] for key in ("agent", "healthy", "previous") if match("release", kept.get(key))}
        self.refused = {}  # By tag: why its value does not count.
        self.state = State(ready=tasks.on_disk(paths), healthy=self.kept.get("healthy"))
        self.app_role = AppRole(aws, self.name, self.supervisor.start, clock)
        self.generations = Generations(paths, runner, self.state, clock, self.app_role.grant)
        self.self_update = self_update.SelfUpdate(self)
        self.proxy_settings = None, None  # A release, and the settings that its manifest has.
        self.proxy = Proxy(paths, aws, runner.proxy, self.name, self.proxy_orders, clock)
        self.static_files = StaticFiles(paths)
        self.logs = Logs(aws, runner, self.log_key, self.generations.mask_lines, self.log_sources, clock)
        self.release_commands = ReleaseCommands(paths, aws, runner, self.logs, clock)
        self.schedule = Schedule(self)
        self.data = DataVolume(runner, self.state, self.generations, self.release_commands.running, clock)
        self.steps = Steps(self)
        self.steps.owe(self.state.ready)
        self.ssh = Ssh(runner.sshd, clock)
        self.completed = set()  # Releases that are compiled completely, or are being compiled.
        self.said, self.said_at = None, 0.0
        self.addresses = {"static": None, "own": None}  # By the names that the manifest's `edge` uses.
        self.looked = False  # Whether the tags were read yet.
        self.begun = clock.monotonic()
        self.leaving = False

    def run(self):
        self.generations.adopt()
        self.generations.hide(self.release_commands.secrets())
        self.release_commands.adopt()
        self.reporter = Reporter(self.send_report, self.clock)
        self.guarded(self.schedule.adopt)
        signal.signal(signal.SIGTERM, lambda *_: self.inbox.put((self.leave,)))
        self.supervisor.start("reports", self.reporter.run)
        self.supervisor.start("tags", self.watch_tags)
        self.supervisor.start("proxy", self.proxy.run)
        self.supervisor.start("logs", self.logs.run)
        self.supervisor.start("updates", self.runner.updates.run)
        self.in_thread(not_dumpable)
        self.clear()
        self.app_role.admit(self.grants())  # Before a start could take another port.
        self.guarded(self.act)  # The token can be read before there are any tags.
        failures = 0
        while not self.leaving:
            if self.guarded(self.turn):
                failures = 0
            else:
                failures += 1
                self.clock.sleep(backoff(failures, 0.1, 5))
        if not self.runner.outlived:
            self.release_commands.end()
            self.generations.end(STOP_SECONDS)
            self.runner.proxy.stop()

    def turn(self):
        self.hear()
        self.act()

    def guarded(self, work):
        """Whether the work succeeded. An agent that exited on an unexpected error would most likely do so again."""
        try:
            work()
        except Exception as problem:  # noqa: BLE001 (the app keeps serving, and the report has the error)
            self.supervisor.note("main loop", f"{type(problem).__name__}: {problem}")
            self.supervisor.attempt("report", self.tell)
            return False
        return True

    def act(self):
        # First, so that no failure below keeps requests from the app; and again after the steps, which may change it.
        self.admit()
        self.generations.look()
        self.data.look()
        self.keep()
        self.settle()
        self.state.tick(self.clock.time())
        self.refer()
        for step in decide.decide(self.state, self.clock.time(), self.clock.monotonic()):
            self.begin(step)
        self.schedule.turn()
        self.admit()
        self.app_role.admit(self.grants())
        self.publish()
        self.tell()
        self.self_update.consider()
        self.runner.tidy()

    def refer(self):
        """A release without references needs no read, so none delays its start."""
        for release in decide.candidates(self.state):
            if release in self.state.ready and release not in self.state.references:
                with contextlib.suppress(OSError, ValueError):  # Its start reports that.
                    if not self.paths.manifest(release).get("references"):
                        self.state.references[release] = decide.Secrets(decide.NO_SECRETS, {})

    def admit(self):
        """Lets requests through while a generation accepts them; otherwise the proxy and the agent answer with 503."""
        admits = self.generations.admits()
        self.runner.proxy.admit(admits)
        if not admits:
            self.runner.turn_away()

    def grants(self):
        """What the programs of the app have of its role."""
        commands = self.release_commands.grants.copy().values()
        return [*self.generations.grants(), *self.schedule.grants(), *commands, *one_off.grants(self.paths)]

    def running(self):
        """The releases of the app's processes."""
        return {*self.generations.releases(), *self.schedule.releases(), *one_off.releases(self.paths)}

    def publish(self):
        """A release that never became healthy has only the role `starting`."""
        starting = self.state.starting and self.state.starting.release
        healthy, previous = self.state.healthy, self.kept.get("previous")
        self.static_files.publish(self.in_thread, serving=healthy, starting=starting, previous=previous)

    def in_thread(self, work, *args):
        self.supervisor.once(work, *args)

    def leave(self):
        self.leaving = True

    # Events

    def hear(self):
        """Handles the messages of the inbox. Waits for one, but no longer than the generations may go unchecked."""
        seconds = self.generations.pause()
        try:
            while True:
                handle, *args = self.inbox.get(timeout=seconds)
                handle(*args)
                seconds = 0
        except queue.Empty:
            pass

    def watch_tags(self):
        """Runs forever. While the metadata service does not answer, the orders stay as they are."""
        while True:
            try:
                self.read_tags()
            except Exception as problem:  # noqa: BLE001 (an agent that reads no tags any more is useless)
                print(f"agent: cannot read the tags: {in_words(problem)}", flush=True)
            self.clock.sleep(TAG_SECONDS)

    def read_tags(self):
        orders, self.refused = read_orders(self.metadata)
        own = self.addresses["own"]
        if orders.answered() != self.state.orders.answered() or not self.looked:
            own = self.metadata.get("meta-data/public-ipv4")
        # Set before the orders that need them.
        self.addresses, self.looked = {"static": orders.address, "own": own}, True
        self.inbox.put((decide.take_orders, self.state, orders))
        self.supervisor.attempt("log request", self.logs.heard, orders.log)
        self.supervisor.attempt("SSH request", self.ssh.heard, orders.leases)

    # Steps

    def begin(self, step):
        kind, *args = step
        if kind == "abort":
            self.generations.abort()
            return
        if kind == "halt":
            self.generations.halt()
            return
        try:
            if kind == "start":
                self.start(*args)
                return
            if kind == "release":
                grant = self.app_role.grant(self.paths.manifest(args[0]))
                if not grant:
                    return
                self.release_commands.allow(grant)
                self.generations.hide(grant.variables.values())
                args.insert(0, grant)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as problem:
            self.state.ready &= tasks.on_disk(self.paths)  # A release that is gone from the disk is fetched again.
            self.steps.failed(step, problem)
            return
        self.state.under_way.add(step)
        self.in_thread(self.steps.do, step, *args)

    def start(self, target):
        address, waits = self.address(target.release)
        grant = self.app_role.grant(self.paths.manifest(target.release))
        if not waits and grant:
            given = self.state.given(target.release)
            self.generations.start(target, self.state.token, given, address, grant)

    def address(self, release):
        """(address, wait): the address at which clients reach this release, if it is known; whether a start waits for it."""
        edge = self.paths.manifest(release).get("edge")
        address = edge and self.proxy.address(self.addresses.get(edge["address"]))
        # After a reboot, the last healthy release may start before the tags are read.
        needed = edge and not edge["domain"] and (edge["address"] == "static" or not self.looked)
        return address, needed and not address and self.clock.monotonic() < self.begun + ADDRESS_SECONDS

    def settle(self):
        """Once nothing starts or retires, does the work that would delay a start. Compiling the whole release comes last."""
        serving = self.generations.alone()
        if serving and self.proxy.settled():
            self.runner.settle(serving)
            due = self.clock.monotonic() >= serving.since + REST_SECONDS
            if due and serving.target.release not in self.completed:
                self.completed.add(serving.target.release)
                self.in_thread(bytecode.rest, self.paths.release(serving.target.release))

    def keep(self):
        """Stores what must survive a reboot, and removes old releases."""
        release, before = self.state.healthy, self.kept.get("healthy")
        if release == before:
            return
        self.kept = {"agent": release, **self.kept, "healthy": release, "previous": before}
        self.store()
        self.state.ready -= tasks.prune(self.paths, {*self.kept.values(), self.state.orders.release, *self.running()})
        self.in_thread(tasks.sweep, self.paths)

    def clear(self):
        """Removes what an earlier agent, or a power failure, left unfinished."""
        tasks.disown(self.paths)
        self.in_thread(tasks.sweep, self.paths)

    def store(self):
        try:
            write_json(self.paths.state, self.kept)
        except OSError as problem:
            print(f"agent: cannot write the state that must survive a reboot: {in_words(problem)}", flush=True)

    def proxy_orders(self):
        """The release that serves, or else the one that is to; its settings for the proxy; what the tags say for it."""
        release = self.state.serving.release if self.state.serving else self.state.orders.release
        if release and release != self.proxy_settings[0]:
            try:
                self.proxy_settings = release, self.paths.manifest(release).get("edge")
            except (OSError, ValueError):
                pass  # The release is not fetched yet.
        settings = self.proxy_settings
        if settings[1] and settings[1]["https"] and not self.looked:
            # Without the address, a Caddy that serves would be told to stop serving HTTPS.
            settings = settings[0], None
        return (*settings, self.state.orders.attempt, self.addresses["static"])

    # Reporting

    def tell(self):
        progress = decide.describe(self.state, self.clock.time())
        ended = self.supervisor.said()
        if "release" in self.refused:
            progress = decide.Progress(Phase.FAILED, self.refused["release"], None, progress.tail)
        error = progress.error or next(iter(self.refused.values()), None) or ended
        if error and "disk is full" not in error and self.paths.are_full():
            error = f"the disk is full: {error}"
        serving, token, proxy = self.state.serving, self.state.token, self.proxy.said
        both = serving and serving.grace and token and token.version == serving.token
        report = Report(
            self.state.orders,
            progress.phase,
            error and self.generations.mask(self.paths.shorten(error)),
            progress.code,
            release=serving and serving.release,
            token=serving and serving.token,
            secrets=serving and serving.secrets,
            references=serving and serving.references,
            grace_until=int(token.previous_until) if both else None,
            threads=self.generations.busy_threads(),
            proxy=proxy and proxy._replace(error=proxy.error and self.generations.mask(proxy.error)),
            ssh=self.masked(self.ssh.said),
            updates=self.masked(self.runner.updates.said),
            role=self.app_role.said() if self.generations.serving and self.generations.serving.grant.port else None,
            schedule=self.schedule.said(),
            agent=ended and self.generations.mask(decide.one_line(ended)),
            processes=self.generations.background.said(),
            data=self.masked(self.data.said()),
            log_tail=self.generations.mask(self.paths.shorten(progress.tail)),
        ).document()
        now = self.clock.monotonic()
        if report != self.said:
            self.said, self.said_at = report, now
        if progress.phase in (Phase.HEALTHY, Phase.FAILED, Phase.RELEASING) or now - self.said_at >= PATIENCE:
            self.reporter.say(report)

    def masked(self, said):
        """A part of the report, without secrets in its error."""
        return said and {**said, "error": said.get("error") and self.generations.mask(said["error"])}

    def send_report(self, text):
        publish(self.aws, self.name(), text)

    def log_sources(self):
        """The logs of the release that serves, and of one that starts; see `logs.sources`."""
        found = sources({})
        for generation in (self.generations.serving, self.generations.starting):
            found.update(sources(generation.manifest) if generation else {})
        return found

    def log_key(self, source):
        return f"{self.name()}/logs/{self.metadata.identity()['instanceId']}/{source}.json"

    def name(self):
        name = self.metadata.name()
        if not name:
            raise AwsError("NoTags", "the instance has no tag devopsctl:name", 404)
        return name


# What the boot program, which may be older, already knows of the metadata service: the arguments of `Metadata`.
known = ()


def make():
    since_boot()
    no_core_dumps()
    os.umask(0o022)
    root = os.environ.get("DEVOPSCTL_ROOT", "")
    paths = Paths(root)
    paths.prepare()
    if os.environ.get("DEVOPSCTL_RUNNER") == "process":
        from processes.runner_process import ProcessRunner as Runner
    else:
        from processes.runner_systemd import SystemdRunner as Runner
    return Agent(paths, Aws(Metadata(*known)), Runner(paths))


def main():
    agent = make()
    if "--check" in sys.argv:  # The earlier agent asks whether it can hand over.
        agent.metadata.get("meta-data/instance-id")
        return
    os.chdir(agent.paths.root or "/")
    agent.run()


if __name__ == "__main__":
    main()
