"""What the agent does next: a pure function of what it knows. No clock, no process, no call is touched here.

The agent observes (tags, token, processes, results of what it began), puts that into a `State`, asks `decide`, and does
what it says. Whatever happens in between is simply part of the next state: the newest wins, always.

Two clocks: `now` is the calendar's, for what others have named (the end of a grace period); `steady` only ever goes on,
so that a calendar that is put right does not make a retry wait for an hour.
"""

import random
from collections import namedtuple

# Not dataclasses: on the way to the first answer, what they import takes longer than all that is here.

FOREVER = float("inf")


class Wanted(namedtuple("Wanted", "release token attempt", defaults=(None, None, None))):
    """The instance's tags. `token` is a doorbell: the version that SSM should have by now."""

    __slots__ = ()


class Token(namedtuple("Token", "version current previous previous_until", defaults=(None, 0))):
    """What SSM holds. Never printed: `repr` leaves the secrets out."""

    __slots__ = ()

    def __repr__(self):
        return f"Token(version={self.version})"

    def in_grace(self, now):
        return bool(self.previous) and now < self.previous_until


class Target(namedtuple("Target", "release token grace", defaults=(False,))):
    """What one generation runs: it never changes, a new one takes its place."""

    __slots__ = ()


class Failure(namedtuple("Failure", "error tail count retry_at")):
    """Why something did not work, and when it may be tried again (on the steady clock)."""

    __slots__ = ()


class State:
    def __init__(self, wanted=None, ready=(), healthy=None, token=None, serving=None, starting=None):
        self.wanted = wanted or Wanted()
        self.ready = set(ready)  # Releases on disk.
        self.healthy = healthy  # The release that last proved itself.
        self.token, self.serving, self.starting = token, serving, starting
        self.grace_over = 0  # The token's version whose grace period has ended.
        self.retiring = False  # An old generation might still answer something new.
        self.under_way = set()  # Steps begun, their result not known yet.
        self.failures = {}  # By step.

    def heard(self, now):
        """The clock tells the time. A grace period that has ended does not begin again when the clock is put back."""
        if self.token and not self.token.in_grace(now):
            self.grace_over = self.token.version

    def in_grace(self, now):
        """Whether the token before this one counts as well."""
        return self.token.in_grace(now) and self.token.version != self.grace_over


# Steps, as tuples: ("token",), ("prepare", release), ("start", Target), ("abort",)
TOKEN, ABORT = ("token",), ("abort",)


def decide(state, now, steady):
    """The steps to begin now."""
    steps = []
    bell = state.wanted.token or 0
    if (state.token is None or state.token.version < bell) and due(state, TOKEN, steady):
        steps.append(TOKEN)
    goal = None
    for release in candidates(state):
        if release not in state.ready:
            if due(state, ("prepare", release), steady):
                steps.append(("prepare", release))
            continue  # Meanwhile what was healthy last serves, with the newest token.
        if state.token is None:
            break
        target = Target(release, state.token.version, state.in_grace(now))
        if target == state.serving or target == state.starting or due(state, ("start", target), steady):
            goal = target
            break
    if state.starting and state.starting != goal:
        steps.append(ABORT)
    elif goal and goal not in (state.serving, state.starting):
        steps.append(("start", goal))
    return steps


def candidates(state):
    """What may serve, the best first: what is wanted, else what was healthy last."""
    return list(dict.fromkeys(release for release in (state.wanted.release, state.healthy) if release))


def due(state, step, steady):
    """Whether a step may begin: not under way, and not failed so recently that it is too early to try again."""
    failure = state.failures.get(step)
    return step not in state.under_way and (failure is None or steady >= failure.retry_at)


def failed(state, step, error, tail="", steady=0.0, least=15.0, most=300.0, permanent=False):
    """Records that a step did not work."""
    before = state.failures.get(step)
    count = before.count + 1 if before else 1
    wait = min(most, least * 2 ** min(count - 1, 16)) * random.uniform(0.8, 1)
    state.failures[step] = Failure(one_line(error), tail, count, FOREVER if permanent else steady + wait)


def one_line(text, most=500):
    return " ".join(text.split())[:most]


def want(state, wanted):
    """The tags have changed: somebody wants something, so everything may be tried again at once."""
    if wanted != state.wanted:
        state.wanted = wanted
        state.failures.clear()


def describe(state, now):
    """How the way to what is wanted goes: (phase, error, tail)."""
    release, token = state.wanted.release, state.token
    if not release:
        return "booting", "the instance has no tag devopsctl:release", ""
    bell = state.wanted.token or 0
    fresh = token is not None and token.version >= bell
    target = token and Target(release, token.version, state.in_grace(now))
    if fresh and target == state.serving and not state.retiring:
        return "healthy", None, ""
    failure = state.failures.get(("prepare", release)) or state.failures.get(("start", target))
    settling = state.retiring or (state.starting and state.starting.release != release)
    if failure and not settling and (token is None or fresh):
        return "failed", failure.error, failure.tail
    if release not in state.ready:
        return "fetching", None, ""
    if not fresh:
        trouble = state.failures.get(TOKEN)
        return "token", trouble and trouble.error, ""
    return "starting", None, ""
