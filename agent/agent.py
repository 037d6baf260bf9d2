"""The agent: keeps the machine at what its tags ask for.

A loop that never waits for anybody: it hears what has happened, looks at its generations, lets `decide` say what to do,
begins it, and tells. What takes time (the network, compiling) is done in threads, which put their result in the inbox.
"""

import os
import queue
import signal
import subprocess
import sys
import time

import bytecode
import decide
import renewal
import tasks
from bootstrap import BadRelease
from decide import State, Wanted
from edge import Edge
from fleet import Fleet
from logs import Logs
from places import Places, read_json, write_json
from processes import no_core_dumps, not_dumpable
from report import Reporter
from ssh import PREFIX, Ssh
from supervisor import Supervisor
from validate import in_words, match, number

from aws import Aws, AwsError, Metadata, backoff, since_boot

# The tags that say what is to run, in the order of `Wanted`: the form of their value, and what it is to a person.
FORMS = {
    "release": ("release", "the id of a release (64 hexadecimal digits)"),
    "token": ("number", "a version's number"),
    "try": ("attempt", "a word"),
}
HEARD = (*FORMS, "logs", "address")  # The tags that are read, beside those of `ssh.py`.
PATIENCE = 1.0  # A phase on the way is reported when it has lasted this long.
TAG_SECONDS = 1  # Between two looks at the tags.
ADDRESS_SECONDS = 60  # What a start waits, after a boot, for an address that is on its way.
STOP_SECONDS = 10  # What requests may take to end when the machine stops.
REST_SECONDS = 30  # All of a release is compiled once it has served for this long: many are replaced earlier.


class Agent:
    """`clock` is the module `time`, or what stands for it in a test."""

    def __init__(self, places, aws, runner, clock=time):
        self.places, self.aws, self.metadata, self.runner, self.clock = places, aws, aws.metadata, runner, clock
        self.inbox = queue.SimpleQueue()
        self.supervisor = Supervisor(clock)
        kept = read_json(places.state, {})
        self.kept = {key: kept[key] for key in ("agent", "healthy", "previous") if match("release", kept.get(key))}
        self.refused = {}  # Tags whose value is not of its form: why.
        self.state = State(ready=tasks.on_disk(places), healthy=self.kept.get("healthy"))
        self.fleet = Fleet(places, runner, self.state, clock)
        self.renewal = renewal.Renewal(self)
        self.edged = None, None  # Of which release that was read, and what it says.
        self.edge = Edge(places, aws, runner.edge, self.name, self.wanted_edge, clock)
        self.logs = Logs(aws, runner, self.log_key, self.fleet.mask_lines, clock)
        self.ssh = Ssh(runner.sshd, clock)
        self.completed = set()  # Releases that are compiled to the end, or about to be.
        self.said, self.said_at = None, 0.0
        self.addresses = {"static": None, "own": None}  # As the manifest's `edge` names them.
        self.looked = False  # Whether that is what the tags and the metadata service say, and not only the beginning.
        self.begun = clock.monotonic()
        self.leaving = False

    def run(self):
        self.fleet.adopt()
        self.reporter = Reporter(self.send_report, self.clock)
        signal.signal(signal.SIGTERM, lambda *_: self.inbox.put((self.leave,)))
        self.supervisor.start("the sender of reports", self.reporter.run)
        self.supervisor.start("the reader of tags", self.watch_tags)
        self.supervisor.start("the keeper of the proxy", self.edge.run)
        self.supervisor.start("the sender of logs", self.logs.run)
        self.supervisor.start("the keeper of updates", self.runner.updates.run)
        self.in_thread(not_dumpable)
        self.clear()
        self.guarded(self.act)  # The token can be asked for before there are any tags.
        failures = 0
        while not self.leaving:
            if self.guarded(self.turn):
                failures = 0
            else:
                failures += 1
                self.clock.sleep(backoff(failures, 0.1, 5))
        if not self.runner.outlived:
            self.fleet.end(STOP_SECONDS)
            self.runner.edge.stop()

    def turn(self):
        self.hear()
        self.act()

    def guarded(self, work):
        """Whether it ended well. An agent that ends over what it did not expect would most likely do so again."""
        try:
            work()
        except Exception as problem:  # noqa: BLE001 (what served goes on, and the report says what is wrong)
            self.supervisor.note("the main loop", f"{type(problem).__name__}: {problem}")
            self.supervisor.attempt("the report", self.tell)
            return False
        return True

    def act(self):
        # First, so that nothing that fails below keeps requests from what serves; and again when that may have changed.
        self.admit()
        self.fleet.look()
        self.keep()
        self.settle()
        self.state.heard(self.clock.time())
        for step in decide.decide(self.state, self.clock.time(), self.clock.monotonic()):
            self.begin(step)
        self.admit()
        self.tell()
        self.renewal.consider()
        self.runner.tidy()

    def admit(self):
        """Lets requests through to the app where it takes them; else the proxy, and here the agent, answer that it does not."""
        admits = self.fleet.admits()
        self.runner.edge.admit(admits)
        if not admits:
            self.runner.turn_away()

    def in_thread(self, work, *args):
        self.supervisor.once(work, *args)

    def leave(self):
        self.leaving = True

    # What happens

    def hear(self):
        """Takes in what has happened; waits for it, but not longer than processes may go unseen."""
        seconds = self.fleet.pause()
        try:
            while True:
                handle, *args = self.inbox.get(timeout=seconds)
                handle(*args)
                seconds = 0
        except queue.Empty:
            pass

    def watch_tags(self):
        """For ever. The metadata service may be away for a while: then nothing new is wanted."""
        while True:
            try:
                self.read_tags()
            except Exception as problem:  # noqa: BLE001 (an agent that hears nothing any more must not live on)
                print(f"agent: can't read the tags: {in_words(problem)}", flush=True)
            self.clock.sleep(TAG_SECONDS)

    def read_tags(self):
        """A tag that can't be read, or means nothing, costs that tag alone."""
        known, refused = {}, {}
        for name in self.metadata.tag_names():
            if name in HEARD or (name.startswith(PREFIX) and match("lease", name[len(PREFIX) :])):
                try:
                    known[name] = self.metadata.tag(name)
                except ValueError:
                    refused[name] = f"the tag devopsctl:{name} is no text"
        values = {name: self.understood(name, known.get(name), refused) for name in FORMS}
        self.refused = refused
        wanted, own = Wanted(*values.values()), self.addresses["own"]
        if wanted != self.state.wanted or not self.looked:
            own = self.metadata.get("meta-data/public-ipv4")
        # Before that which they are for.
        self.addresses, self.looked = {"static": known.get("address"), "own": own}, True
        self.inbox.put((decide.want, self.state, wanted))
        asking = {name[len(PREFIX) :]: value for name, value in known.items() if name.startswith(PREFIX) and value}
        self.supervisor.attempt("a request for a log", self.logs.heard, known.get("logs"))
        self.supervisor.attempt("a request for SSH", self.ssh.heard, asking)

    def understood(self, name, value, refused):
        """What a tag says; None where it says nothing, or nothing that can be meant."""
        form, what = FORMS[name]
        if value and not match(form, value):
            refused[name] = f"the tag devopsctl:{name} is not {what}: {ascii(value)[:80]}"
        elif value:
            return number(value) if form == "number" else value
        return None

    # What is done about it

    def begin(self, step):
        kind, *args = step
        if kind == "start":
            try:
                address, waits = self.address(args[0].release)
                if not waits:
                    self.fleet.start(*args, self.state.token, address)
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as problem:
                self.state.ready &= tasks.on_disk(self.places)  # What has gone from there is fetched again.
                self.failed(step, problem)
        elif kind == "abort":
            self.fleet.abort()
        else:
            self.state.under_way.add(step)
            self.in_thread(self.do, step, *args)

    def address(self, release):
        """The address at which clients reach this release, if it is known; whether a start waits for it."""
        edge = self.places.manifest(release).get("edge")
        address = edge and self.edge.address(self.addresses.get(edge["address"]))
        # After a reboot what was healthy last may start before the first look at the tags.
        needed = edge and not edge["domain"] and (edge["address"] == "static" or not self.looked)
        return address, needed and not address and self.clock.monotonic() < self.begun + ADDRESS_SECONDS

    def do(self, step, *args):
        """In a thread: a step's work, then its result into the inbox."""
        try:
            result = getattr(self, "do_" + step[0])(*args)
            self.inbox.put((self.done, step, result))
        except Exception as problem:  # noqa: BLE001 (a thread must not end without a word)
            self.inbox.put((self.failed, step, problem))

    def do_token(self):
        return tasks.read_token(self.aws, self.name())

    def do_prepare(self, release):
        def wanted():
            return release in decide.candidates(self.state)

        tasks.prepare(self.aws, self.name(), release, self.places, wanted, self.clock)

    def done(self, step, result):
        self.state.under_way.discard(step)
        if step == decide.TOKEN:
            self.got_token(result)
        else:
            self.state.failures.pop(step, None)
            self.state.ready.add(step[1])

    def got_token(self, token):
        """Never one older than what is known or serves already: nobody may bring a revoked token back."""
        known = max(self.state.token.version if self.state.token else 0, self.fleet.newest_token)
        bell = self.state.wanted.token or 0
        if token.version < known:
            error = f"SSM has version {token.version} of the token, older than version {known}, which is known here"
            decide.failed(self.state, decide.TOKEN, error, steady=self.clock.monotonic(), least=1, most=60)
            return
        self.state.token = token
        self.fleet.hide(filter(None, (token.current, token.previous)))
        if token.version < bell:
            error = f"SSM has version {token.version} of the token, the tag devopsctl:token names {bell}"
            decide.failed(self.state, decide.TOKEN, error, steady=self.clock.monotonic(), least=0.3, most=30)
        else:
            self.state.failures.pop(decide.TOKEN, None)

    def failed(self, step, problem):
        self.state.under_way.discard(step)
        error = decide.one_line(self.fleet.mask(in_words(problem)))
        print(f"agent: {step[0]}: {error}", flush=True)
        early = isinstance(problem, AwsError) and problem.status in (400, 403, 404) and problem.may_pass()
        if step == decide.TOKEN:
            missing = getattr(problem, "code", "") == "ParameterNotFound"
            least, most = (0.5, 2) if early or missing else (1, 60)
        else:
            least, most = 15, 300
        permanent = isinstance(problem, BadRelease)
        decide.failed(self.state, step, error, "", self.clock.monotonic(), least, most, permanent)

    def settle(self):
        """Does the work that would delay a start, once nothing starts or retires: the last of it is compiling the whole release."""
        serving = self.fleet.alone()
        if serving and self.edge.settled():
            self.runner.settle(serving)
            due = self.clock.monotonic() >= serving.since + REST_SECONDS
            if due and serving.target.release not in self.completed:
                self.completed.add(serving.target.release)
                self.in_thread(bytecode.rest, self.places.release(serving.target.release))

    def keep(self):
        """What must survive a reboot, and what need not stay."""
        release, before = self.state.healthy, self.kept.get("healthy")
        if release == before:
            return
        self.kept = {"agent": release, **self.kept, "healthy": release, "previous": before}
        self.store()
        keep = {*self.kept.values(), self.state.wanted.release, *self.fleet.releases()}
        self.state.ready -= tasks.prune(self.places, keep)
        self.in_thread(tasks.sweep, self.places)

    def clear(self):
        """What the agent before left in the middle, or the power."""
        try:
            stayed = tasks.disown(self.places)
        except OSError as problem:
            stayed = {"the folder of releases": problem}
        for name, problem in stayed.items():
            print(f"agent: can't clear up {ascii(name)[:100]}: {in_words(problem)}", flush=True)
        self.in_thread(tasks.sweep, self.places)

    def store(self):
        try:
            write_json(self.places.state, self.kept)
        except OSError as problem:
            print(f"agent: can't write down what must survive a reboot: {in_words(problem)}", flush=True)

    def wanted_edge(self):
        """What the release that serves says of the network; before one does, what the one says that is to. And which try."""
        release = self.state.serving.release if self.state.serving else self.state.wanted.release
        if release and release != self.edged[0]:
            try:
                self.edged = release, self.places.manifest(release).get("edge")
            except (OSError, ValueError):
                pass  # It is not here yet.
        return (*self.edged, self.state.wanted.attempt)

    # What is said about it

    def tell(self):
        phase, error, tail = decide.describe(self.state, self.clock.time())
        ended = self.supervisor.said()
        if "release" in self.refused:
            phase, error = "failed", self.refused["release"]
        error = error or next(iter(self.refused.values()), None) or ended
        if error and "disk is full" not in error and self.places.are_full():
            error = f"the disk is full: {error}"
        wanted, serving, token = self.state.wanted, self.state.serving, self.state.token
        both = serving and serving.grace and token and token.version == serving.token
        report = {
            "v": 1,
            "wanted": {"release": wanted.release, "token": wanted.token, "try": wanted.attempt},
            "release": serving and serving.release,
            "token": serving and serving.token,
            "grace_until": int(token.previous_until) if both else None,
            "phase": phase,
            "healthy": serving is not None,
            "error": error and self.fleet.mask(self.places.shorten(error)),
            "threads": self.fleet.busy_threads(),
            "edge": self.masked(self.edge.said),
            "ssh": self.masked(self.ssh.said),
            "updates": self.masked(self.runner.updates.said),
            "agent": ended and self.fleet.mask(decide.one_line(ended)),
            "log_tail": self.fleet.mask(self.places.shorten(tail)),
        }
        now = self.clock.monotonic()
        if report != self.said:
            self.said, self.said_at = report, now
        if phase in ("healthy", "failed") or now - self.said_at >= PATIENCE:
            self.reporter.say(report)

    def masked(self, said):
        """A part of the report, its error without secrets."""
        return said and {**said, "error": said.get("error") and self.fleet.mask(said["error"])}

    def send_report(self, text):
        place = f"/devopsctl/{self.name()}/report/{self.metadata.identity()['instanceId']}"
        self.aws.ssm("PutParameter", Name=place, Value=text, Type="String", Overwrite=True)

    def log_key(self, source):
        return f"{self.name()}/logs/{self.metadata.identity()['instanceId']}/{source}.json"

    def name(self):
        name = self.metadata.name()
        if not name:
            raise AwsError("NoTags", "the instance has no tag devopsctl:name", 404)
        return name


# What the boot program, which may be an older one, knows of the metadata service already: as `Metadata` takes it.
known = ()


def make():
    since_boot()
    no_core_dumps()
    os.umask(0o022)
    root = os.environ.get("DEVOPSCTL_ROOT", "")
    places = Places(root)
    places.prepare()
    if os.environ.get("DEVOPSCTL_RUNNER") == "process":
        from runner_process import ProcessRunner as Runner
    else:
        from runner_systemd import SystemdRunner as Runner
    return Agent(places, Aws(Metadata(*known)), Runner(places))


def main():
    agent = make()
    if "--check" in sys.argv:  # By the agent before this one: may it hand over?
        agent.metadata.get("meta-data/instance-id")
        return
    os.chdir(agent.places.root or "/")
    agent.run()


if __name__ == "__main__":
    main()
