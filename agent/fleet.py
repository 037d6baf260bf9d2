"""The generations on this machine: one serves, one may be starting, old ones are on their way out.

Every change is written down at once (`running.json`), for the agent that comes after this one.
"""

import os
import shutil
import subprocess

import bytecode
import decide
from generation import Generation
from masking import Mask, secrets_in
from places import read_json, write_json
from validate import in_words, integer

DEAF_SECONDS = 10  # What a retired generation may take to close the listening socket, before it is killed.
LEAVE_SECONDS = 40  # What it may take to finish what it has begun: gunicorn's graceful_timeout, and some.
DISCARD_SECONDS = 2  # What one that never served may take to leave.
FULL_SECONDS = 5  # All threads of the app are reported as busy when they have been for this long.
GAP_SECONDS = 5  # How long requests wait for another generation when the one that served has ended by itself.
STEADY_SECONDS = 60  # One that has run so long is started again at once when it dies, as if for the first time.


class Fleet:
    def __init__(self, places, runner, state, clock):
        self.places, self.runner, self.state, self.clock = places, runner, state, clock
        self.serving = self.starting = None
        self.old = []
        self.fell_at = float("-inf")  # When what served last ended by itself.
        self.looked_full, self.full = float("-inf"), None  # What serves has no free thread: since when.
        self.newest_token = 0  # The newest version of the token that ever served here.
        self.secrets = set()
        self.hide(())

    def adopt(self):
        """Takes over what an agent before this one has left running."""
        written = read_json(self.places.running, {"generations": []})
        try:
            taken = self.runner.take_over(written)
        except (OSError, ValueError):  # What stands there is not what an agent writes.
            taken = False
        if not taken:
            written = {"generations": []}
        self.newest_token = number_in(written, "token")
        for record in records_in(written):
            try:
                generation = Generation.from_record(self.places, record)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # Its release is gone, and so is whatever ran it.
            generation.served = record["role"] != "starting"
            generation.since = self.clock.monotonic()
            if generation.served:
                self.newest_token = max(self.newest_token, generation.target.token)
            self.learn(generation)
            begun = generation.served or generation.lines() or not self.runner.ended(generation)
            if record["role"] == "old" or not begun:  # The agent was killed as it was about to start it.
                self.old.append(generation)
            else:
                setattr(self, record["role"], generation)
        if self.serving:
            self.state.healthy = self.serving.target.release  # Whether or not there was time to write that down.
        known = {str(each.number) for each in (self.serving, self.starting, *self.old) if each}
        for name in set(os.listdir(self.places.generations)) - known:
            shutil.rmtree(f"{self.places.generations}/{name}", ignore_errors=True)
        self.remember()

    def learn(self, generation):
        """What must never be shown."""
        self.hide(secrets_in(generation.manifest["env"]))
        self.hide(filter(None, read_json(generation.secrets, {}).values()))

    def hide(self, secrets):
        """From now on these are masked."""
        known = self.secrets | set(secrets)
        if known != self.secrets or not known:
            self.secrets, self.masking = known, Mask(known)

    def mask(self, text):
        return self.masking(text)

    def mask_lines(self, texts, before):
        """Lines of a log; see `Mask.lines`."""
        return self.masking.lines(texts, before)

    def remember(self):
        self.state.serving = self.serving and self.serving.target
        self.state.starting = self.starting and self.starting.target
        roles = [("serving", self.serving), ("starting", self.starting), *(("old", each) for each in self.old)]
        records = [{**generation.record(), "role": role} for role, generation in roles if generation]
        try:
            write_json(
                self.places.running, {"generations": records, "token": self.newest_token, **self.runner.record()}
            )
        except OSError as problem:
            # What runs goes on: an agent that has ended over this could write no better.
            print(f"agent: can't write down what runs: {in_words(problem)}", flush=True)

    def start(self, target, token, address=None):
        generation = self.starting = Generation.create(self.places, target, token, self.clock.monotonic())
        generation.address = address
        self.learn(generation)
        self.remember()  # Beforehand: whatever ends us now, the agent after this one knows of it.
        try:
            self.runner.start(generation)
        except (OSError, subprocess.SubprocessError):
            self.starting = None
            self.old.append(generation)  # Nobody knows how far that got.
            generation.until = generation.since
            self.remember()
            raise
        print(f"agent: generation {generation.number} starts: {target}", flush=True)
        self.remember()

    def abort(self):
        """Something newer is wanted."""
        self.discard(self.starting)
        self.starting = None
        self.remember()

    def discard(self, generation):
        """One that never served: its workers do not listen before all of them have proved themselves."""
        self.leave(generation, DISCARD_SECONDS)

    def leave(self, generation, seconds):
        generation.since = self.clock.monotonic()
        generation.until = generation.since + seconds
        self.runner.retire(generation)
        self.old.append(generation)

    def look(self):
        """Sees what has become of each, and draws the consequences that leave no choice."""
        if self.starting:
            self.look_at_starting(self.starting)
        if self.serving:
            ended = self.runner.ended(self.serving)
            if ended:
                self.fell(self.serving, ended)
        self.look_at_threads()
        for generation in list(self.old):
            self.look_at_old(generation)
        self.state.retiring = any(each.served and self.runner.listens(each) for each in self.old)

    def alone(self):
        """The generation that serves, if nothing starts or retires."""
        return None if self.starting or self.old else self.serving

    def admits(self):
        """Whether requests are let through to the app's socket: a generation takes them, or most likely will at once."""
        return self.serving is not None or self.clock.monotonic() < self.fell_at + GAP_SECONDS

    def pause(self):
        """How many seconds nobody need look: a small part of what was waited for already, so that it costs neither much time
        where a start takes half a second, nor much of the processor where it takes ten."""
        begun = max((each.since for each in (self.starting, *self.old) if each), default=0.0)
        return min(0.2, max(0.02, (self.clock.monotonic() - begun) / 30))

    def look_at_starting(self, generation):
        if bytecode.under_way(self.places.release(generation.target.release)):  # Its workers wait for us.
            generation.until = self.clock.monotonic() + generation.manifest["health"]["timeout"]
        failure = generation.failure()
        ended = self.runner.ended(generation)
        if not failure and not ended and generation.proved():
            self.promote(generation)
            return
        if not failure and ended:
            failure = f"gunicorn ended before it was ready: {ended}", ""
        if not failure and self.clock.monotonic() > generation.until:
            seconds = generation.manifest["health"]["timeout"]
            failure = f"not healthy within {seconds} seconds: the app hangs, or needs a longer health.timeout", ""
        if failure:
            error, detail = failure
            print(f"agent: generation {generation.number} failed", flush=True)
            self.broke(generation, error, detail or self.runner.output(generation))
            self.starting = None
            self.discard(generation)
            self.remember()

    def promote(self, generation):
        """It has proved itself, and its workers listen: from now on it serves, and nobody else."""
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
        """The one that served is gone. Its workers may still be finishing what they had begun."""
        print(f"agent: generation {generation.number} ended by itself: {ended}", flush=True)
        if self.clock.monotonic() - generation.since < STEADY_SECONDS:
            error = f"gunicorn ended by itself after it had become healthy: {ended}"
            self.broke(generation, error, self.runner.output(generation), least=1, most=60)
        else:
            self.state.failures.pop(("start", generation.target), None)
        self.serving, self.fell_at = None, self.clock.monotonic()
        self.leave(generation, LEAVE_SECONDS)
        self.remember()

    def broke(self, generation, error, tail, **waiting):
        """Masked before it is cut: half a secret would be recognized by nobody but who looks for it."""
        step = "start", generation.target
        decide.failed(self.state, step, self.mask(error), self.mask(tail), self.clock.monotonic(), **waiting)

    def look_at_threads(self):
        """Once a second, as it means to read a folder."""
        now = self.clock.monotonic()
        if now >= self.looked_full + 1:
            full = self.serving is not None and self.serving.full()
            self.full = (self.full or (now, int(self.clock.time()))) if full else None
            self.looked_full = now

    def busy_threads(self):
        """All threads of what serves, where they have all been taken for some time; else None."""
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
        idle = ended and not members & generation.workers()  # What the app has started itself answers nobody.
        if stubborn or idle or now > generation.until:
            self.runner.kill(generation)

    def releases(self):
        return {each.target.release for each in (self.serving, self.starting, *self.old) if each}

    def end(self, seconds):
        """The machine stops: everyone finishes, within reason."""
        for generation in filter(None, (self.serving, self.starting)):
            self.leave(generation, seconds)
        self.serving = self.starting = None
        while self.old:
            self.look()
            self.clock.sleep(0.02)


def number_in(written, key):
    try:
        return integer(written.get(key, 0))
    except ValueError:
        return 0


def records_in(written):
    """The records of generations that an agent left, whatever stands there."""
    records = written.get("generations")
    return [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []
