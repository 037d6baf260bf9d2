"""The generations on this machine: one serves, one may be starting, old ones are on their way out.

Every change is written down at once (`running.json`), for the agent that comes after this one.
"""

import os
import shutil
import time

import decide
from generation import Generation
from places import read_json, write_json

DEAF_SECONDS = 10  # What a retired generation may take to close the listening socket, before it is killed.
LEAVE_SECONDS = 40  # What it may take to finish what it has begun: gunicorn's graceful_timeout, and some.
DISCARD_SECONDS = 2  # What one that never served may take to leave.
STEADY_SECONDS = 60  # One that has run so long is started again at once when it dies, as if for the first time.


class Fleet:
    def __init__(self, places, runner, state):
        self.places, self.runner, self.state = places, runner, state
        self.serving = self.starting = None
        self.old = []
        self.secrets = set()

    def adopt(self):
        """Takes over what an agent before this one has left running."""
        written = read_json(self.places.running, {"generations": []})
        for record in written["generations"] if self.runner.take_over(written) else []:
            try:
                generation = Generation.from_record(self.places, record)
            except (OSError, ValueError, KeyError):
                continue  # Its release is gone, and so is whatever ran it.
            generation.served = record["role"] != "starting"
            self.learn(generation)
            if record["role"] == "old":
                self.old.append(generation)
            else:
                setattr(self, record["role"], generation)
        known = {str(each.number) for each in (self.serving, self.starting, *self.old) if each}
        for name in set(os.listdir(self.places.generations)) - known:
            shutil.rmtree(f"{self.places.generations}/{name}", ignore_errors=True)
        self.remember()

    def learn(self, generation):
        """What must never be shown."""
        self.secrets.update(generation.manifest["env"].values())
        self.secrets.update(read_json(generation.secrets, {}).values())

    def remember(self):
        self.state.serving = self.serving and self.serving.target
        self.state.starting = self.starting and self.starting.target
        roles = [("serving", self.serving), ("starting", self.starting), *(("old", each) for each in self.old)]
        records = [{**generation.record(), "role": role} for role, generation in roles if generation]
        write_json(self.places.running, {"generations": records, **self.runner.record()})

    def start(self, target, token):
        generation = Generation.create(self.places, target, token)
        self.learn(generation)
        try:
            self.runner.start(generation)
        except OSError:
            generation.forget()
            raise
        self.starting = generation
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
        generation.since, generation.until = time.monotonic(), time.monotonic() + seconds
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
        for generation in list(self.old):
            self.look_at_old(generation)
        self.state.retiring = any(each.served and self.runner.listens(each) for each in self.old)
        if self.serving and not self.starting and not self.old:
            self.runner.settle(self.serving)

    def look_at_starting(self, generation):
        failure = generation.failure()
        ended = self.runner.ended(generation)
        if not failure and not ended and generation.proved():
            self.promote(generation)
            return
        if not failure and ended:
            failure = f"gunicorn ended before it was ready: {ended}", ""
        if not failure and time.monotonic() > generation.until:
            seconds = generation.manifest["health"]["timeout"]
            failure = f"not healthy within {seconds} seconds: the app hangs, or needs a longer health.timeout", ""
        if failure:
            error, detail = failure
            print(f"agent: generation {generation.number} failed", flush=True)
            tail = detail or self.runner.output(generation)
            decide.failed(self.state, ("start", generation.target), error, tail, time.time())
            self.starting = None
            self.discard(generation)
            self.remember()

    def promote(self, generation):
        """It has proved itself, and its workers listen: from now on it serves, and nobody else."""
        print(f"agent: generation {generation.number} serves", flush=True)
        before, self.serving, self.starting = self.serving, generation, None
        generation.served, generation.since = True, time.monotonic()
        self.state.failures.pop(("start", generation.target), None)
        self.state.healthy = generation.target.release
        self.state.retiring = before is not None
        if before:
            self.leave(before, LEAVE_SECONDS)
        self.remember()

    def fell(self, generation, ended):
        """The one that served is gone. Its workers may still be finishing what they had begun."""
        print(f"agent: generation {generation.number} ended by itself: {ended}", flush=True)
        if time.monotonic() - generation.since < STEADY_SECONDS:
            error = f"gunicorn ended by itself after it had become healthy: {ended}"
            tail = self.runner.output(generation)
            decide.failed(self.state, ("start", generation.target), error, tail, time.time(), least=1, most=60)
        self.serving = None
        self.leave(generation, LEAVE_SECONDS)
        self.remember()

    def look_at_old(self, generation):
        if self.runner.ended(generation) and not self.runner.members(generation):
            self.old.remove(generation)
            generation.forget()
            self.remember()
            return
        now = time.monotonic()
        stubborn = generation.served and now > generation.since + DEAF_SECONDS and self.runner.listens(generation)
        if stubborn or now > generation.until:
            self.runner.kill(generation)

    def releases(self):
        return {each.target.release for each in (self.serving, self.starting, *self.old) if each}

    def newest_token(self):
        """The newest version of the token that serves, or did so last."""
        return max((each.target.token for each in (self.serving, *self.old) if each and each.served), default=0)

    def end(self, seconds):
        """The machine stops: everyone finishes, within reason."""
        for generation in filter(None, (self.serving, self.starting)):
            self.leave(generation, seconds)
        self.serving = self.starting = None
        while self.old:
            self.look()
            time.sleep(0.02)
