"""The agent's next steps: a pure function of its state, without clock, process or call.

The agent observes (orders, token, processes, results of steps), updates a `State`, asks `decide`, and does the steps. A change
in between is part of the next state: the newest orders always win.

There are two clocks. `now` is the calendar, for the end of a grace period. `steady` is monotonic, so that a correction of the
calendar does not delay a retry by an hour.
"""

import random
from collections import namedtuple

from orders.orders import Orders
from orders.report import Phase

# Not dataclasses: their import takes longer than all of this module, before the first answer.

FOREVER = float("inf")


class Token(namedtuple("Token", "version current previous previous_until", defaults=(None, 0))):
    """The token as SSM has it. `repr` leaves the secrets out."""

    __slots__ = ()

    def __repr__(self):
        return f"Token(version={self.version})"

    def in_grace(self, now):
        return bool(self.previous) and now < self.previous_until


class Target(namedtuple("Target", "release token grace", defaults=(False,))):
    """What one generation runs. It never changes: another target is another generation."""

    __slots__ = ()


class Failure(namedtuple("Failure", "error code tail count retry_at")):
    """Why a step failed, and when it may be tried again (on the steady clock). `code`: what a report says of it."""

    __slots__ = ()


class State:
    def __init__(self, orders=None, ready=(), healthy=None, token=None, serving=None, starting=None):
        self.orders = orders or Orders()
        self.ready = set(ready)  # Releases on disk.
        self.healthy = healthy  # The last release that passed its health check.
        self.token, self.serving, self.starting = token, serving, starting
        self.grace_over = 0  # The token version whose grace period has ended.
        self.retiring = False  # An old generation might still accept requests.
        self.under_way = set()  # Steps without a result yet.
        self.failures = {}  # By step.

    def tick(self, now):
        """A grace period that has ended does not begin again when the clock is put back."""
        if self.token and not self.token.in_grace(now):
            self.grace_over = self.token.version

    def in_grace(self, now):
        """Whether the previous token counts as well."""
        return self.token.in_grace(now) and self.token.version != self.grace_over


# Steps, as tuples: ("token",), ("prepare", release), ("start", Target), ("abort",)
TOKEN, ABORT = ("token",), ("abort",)


def decide(state, now, steady):
    """The steps to start now."""
    steps = []
    ordered = state.orders.token or 0
    if (state.token is None or state.token.version < ordered) and due(state, TOKEN, steady):
        steps.append(TOKEN)
    goal = None
    for release in candidates(state):
        if release not in state.ready:
            if due(state, ("prepare", release), steady):
                steps.append(("prepare", release))
            continue  # Meanwhile the last healthy release serves, with the newest token.
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
    """The releases that may serve, best first: the ordered one, else the last healthy one."""
    return list(dict.fromkeys(release for release in (state.orders.release, state.healthy) if release))


def due(state, step, steady):
    """Whether a step may start: it is not under way, and any failure is long enough ago to retry."""
    failure = state.failures.get(step)
    return step not in state.under_way and (failure is None or steady >= failure.retry_at)


def failed(state, step, error, tail="", steady=0.0, least=15.0, most=300.0, permanent=False, code=None):
    """Records that a step failed."""
    before = state.failures.get(step)
    count = before.count + 1 if before else 1
    wait = min(most, least * 2 ** min(count - 1, 16)) * random.uniform(0.8, 1)
    state.failures[step] = Failure(one_line(error), code, tail, count, FOREVER if permanent else steady + wait)


def one_line(text, most=500):
    return " ".join(text.split())[:most]


def take_orders(state, orders):
    """Takes in the orders as they are now. If what a report answers has changed, everything may be tried again at once."""
    if orders.answered() != state.orders.answered():
        state.failures.clear()
    state.orders = orders


class Progress(namedtuple("Progress", "phase error code tail", defaults=(None, None, ""))):
    """How far the instance is with its orders."""

    __slots__ = ()


def describe(state, now):
    """The progress to report."""
    release, token = state.orders.release, state.token
    if not release:
        return Progress(Phase.BOOTING, "the instance has no tag devopsctl:release")
    ordered = state.orders.token or 0
    fresh = token is not None and token.version >= ordered
    target = token and Target(release, token.version, state.in_grace(now))
    if fresh and target == state.serving and not state.retiring:
        return Progress(Phase.HEALTHY)
    failure = state.failures.get(("prepare", release)) or state.failures.get(("start", target))
    settling = state.retiring or (state.starting and state.starting.release != release)
    if failure and not settling and (token is None or fresh):
        return Progress(Phase.FAILED, failure.error, failure.code, failure.tail)
    if release not in state.ready:
        return Progress(Phase.FETCHING)
    if not fresh:
        trouble = state.failures.get(TOKEN)
        return Progress(Phase.TOKEN, trouble and trouble.error)
    return Progress(Phase.STARTING)
