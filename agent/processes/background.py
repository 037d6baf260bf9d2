"""The processes of the app beside its web server: those of one release, with one set of secrets.

Another release, or other secrets, need other processes. The earlier ones have ended before the first of the next ones starts, so two
versions never run at the same time. A process that ends by itself is started again, after a growing pause.
"""

import contextlib
import subprocess

from boot.validate import in_words
from orders.decide import Target, one_line
from processes.process import WORDS, Process
from system.paths import read_json

ALIVE_SECONDS = 10  # A process that has run for this long counts as healthy.
STEADY_SECONDS = 60  # After a run of this length, the next pause is the shortest one again.
LEAST_SECONDS, MOST_SECONDS = 1, 60  # The pause before another start.


def target_of(generation):
    """What the processes of a generation run; None if it has none. Those of an app behind `check: proxy` do not get the token, so
    another token does not concern them."""
    manifest, target = generation.manifest, generation.target
    if not manifest.get("processes"):
        return None
    return target._replace(token=0, grace=False) if manifest["token"]["check"] == "proxy" else target


class Background:
    """`grant(manifest)`: what a process gets of the app's role, or None as long as it must wait for that. `hide(process)`: masks its
    secrets from now on. `remember()` writes the records."""

    def __init__(self, paths, runner, clock, grant, hide, remember):
        self.paths, self.runner, self.clock, self.grant = paths, runner, clock, grant
        self.hide, self.remember = hide, remember
        self.target = None  # What the processes run; None: there are none.
        self.source = None  # A generation with that target: its processes get what it has.
        self.running = {}  # By name.
        self.leaving = []
        self.failure = None  # (error, output) of a process that did not live long enough.

    def adopt(self, written, taken):
        """Takes over the processes that an earlier agent left running. `taken`: whether they are still children of this agent."""
        try:
            records = [Process.from_record(self.paths, each, self.clock.monotonic()) for each in written["all"]]
            target = written["target"] and Target(**written["target"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # The record is not one that an agent writes.
        self.target = target
        for each in records:
            with contextlib.suppress(OSError, ValueError, KeyError):  # Its release may be gone.
                self.hide(each)
            if not taken:
                each.adopted, each.pid = True, None
            if each.until is None:
                if each.began is not None and not each.lived and self.is_gone(each):
                    each.began = None  # The agent was killed before it started it.
                self.running[each.name] = each
            else:
                self.leaving.append(each)

    def record(self):
        all_of_them = [*self.running.values(), *self.leaving]
        return {"target": self.target and self.target._asdict(), "all": [each.record() for each in all_of_them]}

    def want(self, generation):
        """From now on these are to be the processes of this generation."""
        if generation is not self.source:
            self.source, self.failure = generation, None
        if not self.changes(generation):
            return
        self.end_all()
        self.target = target = target_of(generation)
        if target:
            settings = generation.manifest["processes"]
            made = [Process(self.paths, name, target.release, settings[name], target.volume) for name in settings]
            self.running = {each.name: each for each in made}
        self.remember()

    def changes(self, generation):
        """Whether other processes than these belong to a generation."""
        return target_of(generation) != self.target

    def end_all(self, most=None):
        """Tells all of them to end, and kills each after its own time limit, at most `most` seconds."""
        now = self.clock.monotonic()
        for each in self.running.values():
            if each.began is not None:
                each.until = now + min(each.stop_seconds, most or each.stop_seconds)
                self.leaving.append(each)
                self.runner.terminate(each)
        self.running, self.target, self.failure = {}, None, None

    def use_data(self):
        """Whether one of them has the data volume, also one that is leaving."""
        return any(each.volume for each in [*self.running.values(), *self.leaving])

    def look(self):
        """Checks all processes, and does what their state requires."""
        for each in list(self.leaving):
            if self.is_gone(each):
                self.leaving.remove(each)
                each.forget(self.runner)
                self.remember()
            elif self.clock.monotonic() > each.until:
                self.runner.kill(each)
        if not self.leaving:
            for each in self.running.values():
                self.look_at(each)

    def look_at(self, each):
        now = self.clock.monotonic()
        if each.began is None:
            if now >= each.due:
                self.start(each)
        elif self.is_gone(each):
            self.ended(each, self.runner.ended(each))
        elif now >= each.began + ALIVE_SECONDS and not each.lived:
            each.lived = True
            self.remember()
        elif now >= each.began + STEADY_SECONDS:
            each.failures, each.error = 0, None

    def is_gone(self, each):
        """Whether nothing of it runs any more. Programs that it started do not outlive it."""
        if each.adopted:
            return self.runner.ended(each) is not None and not self.runner.members(each)
        if self.runner.ended(each) is None:
            return False
        if self.runner.members(each):
            self.runner.kill(each)
            return False
        return True

    def start(self, each):
        manifest = self.source.manifest
        grant = self.grant(manifest)
        if grant is None:  # The first credentials of the app's role are on their way.
            return
        try:
            each.create(read_json(self.source.variables), grant)
            self.hide(each)
            each.began, each.since = self.clock.monotonic(), int(self.clock.time())
            self.remember()  # Before the start: if this agent is killed now, the next one knows of it.
            self.runner.run(each)
        except (OSError, ValueError, subprocess.SubprocessError) as problem:
            each.began = each.began or self.clock.monotonic()
            self.ended(each, in_words(problem))
            return
        print(f"agent: the process {each.name} starts", flush=True)
        self.remember()

    def ended(self, each, how):
        """One of them has ended, or did not start."""
        now = self.clock.monotonic()
        print(f"agent: the process {each.name} ended by itself: {how}", flush=True)
        if not each.lived and self.failure is None:
            error = f"the process {each.name} did not live for {ALIVE_SECONDS} seconds: {how}"
            self.failure = error, self.runner.output(each)
        each.failures = 1 if now >= each.began + STEADY_SECONDS else each.failures + 1
        each.due = now + min(MOST_SECONDS, LEAST_SECONDS * 2 ** min(each.failures - 1, 16))
        each.restarts, each.error, each.began = each.restarts + 1, one_line(how, WORDS), None
        self.remember()

    def are_healthy(self):
        """Whether all of them run, and have lived for long enough."""
        return not self.leaving and all(each.lived and each.began is not None for each in self.running.values())

    def names(self):
        return list(self.running)

    def releases(self):
        return {each.release for each in [*self.running.values(), *self.leaving]}

    def grants(self):
        alive = [each for each in [*self.running.values(), *self.leaving] if each.began is not None]
        return [each.grant for each in alive if each.grant.port]

    def said(self):
        """The part of the report; None if the app has no processes beside its web server."""
        return {name: each.said() for name, each in self.running.items()} or None
