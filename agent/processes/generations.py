"""The generations on this machine: one serves, one may be starting, old ones are leaving.

Every change is written at once (`running.json`), for the next agent.
"""

import os
import shutil
import subprocess

import bytecode
from app_role.credentials import NOTHING
from boot.validate import in_words, integer
from logs.masking import Mask, passwords, secrets_in
from orders import decide
from processes.background import Background
from processes.generation import Generation
from system.paths import read_json, write_json

DEAF_SECONDS = 10  # How long a retired generation may take to close the listening socket, before it is killed.
LEAVE_SECONDS = 40  # How long it may take to finish its requests: gunicorn's graceful_timeout, and some more.
HALT_SECONDS = 10  # The same when its data volume is wanted elsewhere: meanwhile nothing serves.
DISCARD_SECONDS = 2  # How long a generation that never served may take to leave.
HIDDEN_CHARACTERS = 64 << 10  # Of the secrets of two generations; see `MOST_BYTES`. More would need too much memory.
FULL_SECONDS = 5  # The report says that all threads are busy once they have been for this long.
GAP_SECONDS = 5  # How long requests wait for another generation after the serving one exited by itself.
STEADY_SECONDS = 60  # A generation that served this long and exits is restarted at once, without a failure.


class Generations:
    def __init__(self, paths, runner, state, clock, grant=lambda manifest: NOTHING):
        self.paths, self.runner, self.state, self.clock = paths, runner, state, clock
        self.serving = self.starting = None
        self.old = []
        self.fell_at = float("-inf")  # When the last serving generation exited by itself.
        self.looked_full, self.full = float("-inf"), None  # Since when the serving generation has no free thread.
        self.newest_token = 0  # The newest token version that ever served here.
        self.secrets = []  # That are masked, the newest first.
        self.hide(())
        self.background = Background(paths, runner, clock, grant, self.learn, self.remember)

    def adopt(self):
        """Takes over the generations that an earlier agent left running."""
        written = read_json(self.paths.running, {"generations": []})
        try:
            taken = self.runner.take_over(written)
        except (OSError, ValueError):  # The record is not one that an agent writes.
            taken = False
        if not taken:
            written = {"generations": []}
        self.newest_token = number_in(written, "token")
        self.background.adopt(read_json(self.paths.running, {}).get("processes"), taken)
        for record in records_in(written):
            try:
                generation = Generation.from_record(self.paths, record)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # Its release is gone, and so are its processes.
            generation.served = record["role"] != "starting"
            generation.since = self.clock.monotonic()
            if generation.served:
                self.newest_token = max(self.newest_token, generation.target.token)
            self.learn(generation)
            begun = generation.served or generation.lines() or not self.runner.ended(generation)
            if record["role"] == "old" or not begun:  # The agent was killed before it started it.
                self.old.append(generation)
            else:
                setattr(self, record["role"], generation)
        if self.serving:
            self.state.healthy = self.serving.target.release  # The agent may have been killed before it stored that.
        known = {str(each.number) for each in (self.serving, self.starting, *self.old) if each}
        for name in set(os.listdir(self.paths.generations)) - known:
            shutil.rmtree(f"{self.paths.generations}/{name}", ignore_errors=True)
        self.remember()

    def learn(self, generation):
        """Learns the generation's secrets, to mask them."""
        given = read_json(generation.variables, {}).values()
        settings = self.paths.manifest(generation.release)["env"]
        self.hide([*secrets_in(settings), *filter(None, given)])

    def hide(self, secrets):
        """Masks these from now on, and the passwords in those that are URLs. Masks the newest of the earlier ones as well."""
        secrets = list(dict.fromkeys(each for secret in secrets for each in (secret, *sorted(passwords(secret)))))
        left, known = HIDDEN_CHARACTERS, []
        for each in dict.fromkeys([*secrets, *self.secrets]):
            left -= len(each)
            if left >= 0 or each in secrets:
                known.append(each)
        if set(known) != set(self.secrets) or not known:
            self.masking = Mask(known)
        self.secrets = known

    def mask(self, text):
        return self.masking(text)

    def mask_lines(self, texts, before):
        """Masks lines of a log; see `Mask.lines`."""
        return self.masking.lines(texts, before)

    def remember(self):
        self.state.serving = self.serving and self.serving.target
        self.state.starting = self.starting and self.starting.target
        roles = [("serving", self.serving), ("starting", self.starting), *(("old", each) for each in self.old)]
        records = [{**generation.record(), "role": role} for role, generation in roles if generation]
        try:
            known = {"generations": records, "token": self.newest_token, "processes": self.background.record()}
            write_json(self.paths.running, {**known, **self.runner.record()})
        except OSError as problem:
            # The agent goes on: exiting would not help, and the app keeps serving.
            print(f"agent: cannot write what runs: {in_words(problem)}", flush=True)

    def start(self, target, token, secrets, address=None, grant=NOTHING):
        now = self.clock.monotonic()
        generation = self.starting = Generation.create(
            self.paths, target, token, secrets, now, grant, self.has_processes(target)
        )
        generation.address = address
        self.learn(generation)
        self.remember()  # Before the start: if this agent is killed now, the next one knows of the generation.
        try:
            self.runner.start(generation)
        except (OSError, subprocess.SubprocessError):
            self.starting = None
            self.old.append(generation)  # It may have started partly.
            generation.until = generation.since
            self.remember()
            raise
        print(f"agent: generation {generation.number} starts: {target}", flush=True)
        self.remember()

    def has_processes(self, target):
        """Whether processes beside the web server start or end with this target."""
        return bool(self.background.running or self.paths.manifest(target.release).get("processes"))

    def abort(self):
        """Discards the starting generation: the orders changed."""
        self.discard(self.starting)
        self.starting = None
        self.remember()

    def halt(self):
        """Ends the serving generation, which uses the data volume, because it is to be given up: requests get 503 from now on."""
        self.leave(self.serving, HALT_SECONDS)
        self.serving = None
        for generation in self.old:
            generation.until = min(generation.until, self.clock.monotonic() + HALT_SECONDS)
        self.remember()

    def end_with_data(self):
        """Ends the processes beside the web server that have the data volume."""
        if any(each.volume for each in self.background.running.values()):
            self.background.end_all()
            self.remember()

    def use_data(self):
        """Whether a generation, or a process beside it, has the data volume, also one that is leaving."""
        own = any(each.volume for each in (self.serving, self.starting, *self.old) if each)
        return own or self.background.use_data()

    def discard(self, generation):
        """For a generation that never served: its workers do not listen before all of them passed their checks."""
        self.leave(generation, DISCARD_SECONDS)

    def leave(self, generation, seconds):
        generation.since = self.clock.monotonic()
        generation.until = generation.since + seconds
        self.runner.retire(generation)
        self.old.append(generation)

    def look(self):
        """Checks all generations, and does what their state requires."""
        if self.starting:
            self.look_at_starting(self.starting)
        if self.serving:
            ended = self.runner.ended(self.serving)
            if ended:
                self.fell(self.serving, ended)
        if self.serving and not (self.starting and self.starting.proved()):
            self.background.want(self.serving)
        self.background.look()
        self.look_at_threads()
        for generation in list(self.old):
            self.look_at_old(generation)
        self.state.retiring = any(each.served and self.runner.listens(each) for each in self.old)

    def alone(self):
        """The serving generation, if no other starts or retires."""
        return None if self.starting or self.old else self.serving

    def admits(self):
        """Whether requests are let through to the app's socket: a generation accepts them, or most likely will in a moment."""
        return self.serving is not None or self.clock.monotonic() < self.fell_at + GAP_SECONDS

    def pause(self):
        """How many seconds until the next check: a small part of the time waited so far. So the checks delay a start of half a
        second little, and use little of the processor in one of ten seconds."""
        begun = max((each.since for each in (self.starting, *self.old) if each), default=0.0)
        return min(0.2, max(0.02, (self.clock.monotonic() - begun) / 30))

    def look_at_starting(self, generation):
        if bytecode.under_way(self.paths.release(generation.target.release)):  # Its workers wait for the compilers.
            generation.until = self.clock.monotonic() + generation.manifest["health"]["timeout"]
        failure = generation.failure()
        ended = self.runner.ended(generation)
        if not failure and not ended and generation.proved():
            if self.may_serve(generation):
                generation.let()
                self.promote(generation)
                return
            if not self.background.failure:
                return
            failure = self.background.failure
        if not failure and ended:
            failure = f"gunicorn exited before it was ready: {ended}", ""
        if not failure and self.clock.monotonic() > generation.until:
            seconds = generation.manifest["health"]["timeout"]
            failure = f"not healthy within {seconds} seconds: the app hangs, or needs a longer health.timeout", ""
        if failure:
            error, detail = failure
            print(f"agent: generation {generation.number} failed", flush=True)
            # Another try would end the processes that run, so it waits until something is ordered.
            permanent = failure is self.background.failure and self.serving is not None
            self.broke(generation, error, detail or self.runner.output(generation), permanent=permanent)
            self.starting = None
            self.discard(generation)
            if not self.serving:
                self.background.end_all()
            self.remember()

    def may_serve(self, generation):
        """Whether a generation that passed its checks may serve: its processes beside the web server are healthy. Those of a release
        that was healthy before do not hold up its web server, if it replaces nothing, or if the processes were not healthy before
        either."""
        background = self.background
        if generation.waits is None:
            changes = background.changes(generation) and self.serving and background.are_healthy()
            generation.waits = bool(generation.release != self.state.healthy or changes)
        background.want(generation)
        return generation.is_let() or not generation.waits or background.are_healthy()

    def promote(self, generation):
        """The starting generation passed its checks, and its workers listen: from now on it alone serves."""
        print(f"agent: generation {generation.number} serves", flush=True)
        before, self.serving, self.starting = self.serving, generation, None
        generation.served, generation.since, self.full = True, self.clock.monotonic(), None
        self.newest_token = max(self.newest_token, generation.target.token)
        self.state.healthy = generation.target.release
        self.state.retiring = before is not None
        if before:
            self.leave(before, LEAVE_SECONDS)
        self.remember()

    def fell(self, generation, ended):
        """The serving generation is gone. Its workers may still be finishing requests."""
        print(f"agent: generation {generation.number} exited by itself: {ended}", flush=True)
        if self.clock.monotonic() - generation.since < STEADY_SECONDS:
            error = f"gunicorn exited by itself after it had become healthy: {ended}"
            self.broke(generation, error, self.runner.output(generation), least=1, most=60)
        else:
            self.state.failures.pop(("start", generation.target), None)
        self.serving, self.fell_at = None, self.clock.monotonic()
        self.leave(generation, LEAVE_SECONDS)
        self.remember()

    def broke(self, generation, error, tail, **waiting):
        """Records a failure. Masks the text before it is cut: part of a secret would not be recognized."""
        step = "start", generation.target
        decide.failed(self.state, step, self.mask(error), self.mask(tail), self.clock.monotonic(), **waiting)

    def look_at_threads(self):
        """Once a second, because it reads a folder."""
        now = self.clock.monotonic()
        if now >= self.looked_full + 1:
            full = self.serving is not None and self.serving.full()
            self.full = (self.full or (now, int(self.clock.time()))) if full else None
            self.looked_full = now

    def busy_threads(self):
        """The number of threads that serve, if all have been busy for some time; else None."""
        if not self.serving or not self.full or self.clock.monotonic() < self.full[0] + FULL_SECONDS:
            return None
        manifest = self.serving.manifest
        return {"busy": manifest["workers"] * manifest["threads"], "since": self.full[1]}

    def look_at_old(self, generation):
        ended = self.runner.ended(generation)
        members = set(self.runner.members(generation))
        if ended and not members:
            self.old.remove(generation)
            generation.forget()
            self.remember()
            return
        now = self.clock.monotonic()
        stubborn = generation.served and now > generation.since + DEAF_SECONDS and self.runner.listens(generation)
        idle = ended and not members & generation.workers()  # Processes that the app started do not answer requests.
        if stubborn or idle or now > generation.until:
            self.runner.kill(generation)

    def grants(self):
        """What the generations have of the app's role."""
        own = [each.grant for each in (self.serving, self.starting, *self.old) if each and each.grant.port]
        return own + self.background.grants()

    def releases(self):
        own = {each.target.release for each in (self.serving, self.starting, *self.old) if each}
        return own | self.background.releases()

    def end(self, seconds):
        """The machine stops: all generations finish their requests, for `seconds` at most."""
        for generation in filter(None, (self.serving, self.starting)):
            self.leave(generation, seconds)
        self.serving = self.starting = None
        self.background.end_all(seconds)
        while self.old or self.background.leaving:
            self.look()
            self.clock.sleep(0.02)


def number_in(written, key):
    try:
        return integer(written.get(key, 0))
    except ValueError:
        return 0


def records_in(written):
    """The records of generations in `running.json`, whatever it contains."""
    records = written.get("generations")
    return [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []
