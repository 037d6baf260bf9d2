"""The agent's next steps: a pure function of its state, without clock, process or call.

The agent observes (orders, token, secrets, processes, results of steps), updates a `State`, asks `decide`, and does the steps. A change
in between is part of the next state: the newest orders always win.

There are two clocks. `now` is the calendar, for the end of a grace period. `steady` is monotonic, so that a correction of the
calendar does not delay a retry by an hour.
"""

import random
from collections import namedtuple

from orders.orders import Orders
from orders.report import ErrorCode, Phase

# Not dataclasses: their import takes longer than all of this module, before the first answer.

FOREVER = float("inf")
NO_SECRETS = "none"  # The fingerprint of no secrets.
NO_VOLUME = "none"  # The order to give up the data volume.
AGAIN_SECONDS = 20  # Between two reads of secrets that are not the ordered ones.


class Token(namedtuple("Token", "version current previous previous_until", defaults=(None, 0))):
    """The token as SSM has it. `repr` leaves the secrets out."""

    __slots__ = ()

    def __repr__(self):
        return f"Token(version={self.version})"

    def in_grace(self, now):
        return bool(self.previous) and now < self.previous_until


class Secrets(namedtuple("Secrets", "fingerprint values answered", defaults=(False,))):
    """The secrets as SSM has them. `values`: by name. `answered`: they were read for these orders, so they count although others
    are ordered. `repr` leaves the values out."""

    __slots__ = ()

    def __repr__(self):
        return f"Secrets(fingerprint={self.fingerprint})"


FIELDS = "release token grace secrets references volume"


class Target(namedtuple("Target", FIELDS, defaults=(False, NO_SECRETS, NO_SECRETS, None))):
    """What one generation runs: `secrets` and `references` are fingerprints; `volume`: the one with its data. It never changes: another
    target is another generation."""

    __slots__ = ()


class Failure(namedtuple("Failure", "error code tail count retry_at")):
    """Why a step failed, and when it may be tried again (on the steady clock). `code`: what a report says of it."""

    __slots__ = ()


class State:
    def __init__(self, orders=None, ready=(), healthy=None, token=None, secrets=None, serving=None, starting=None):
        self.orders = orders or Orders()
        self.ready = set(ready)  # Releases on disk.
        self.owing = set()  # Those whose commands (`app.release`) have not ended well yet, as far as this disk tells.
        self.healthy = healthy  # The last release that passed its health check.
        self.token, self.secrets, self.serving, self.starting = token, secrets, serving, starting
        self.references = {}  # By release: the secrets that are kept elsewhere, as it refers to them.
        self.secrets_read_at = 0.0  # On the steady clock.
        self.grace_over = 0  # The token version whose grace period has ended.
        self.retiring = False  # An old generation might still accept requests.
        self.keeping = set()  # Releases on disk whose manifest has `data`.
        self.volume = None  # The data volume that this machine holds (`data.runner.Held`).
        self.device = None  # The size of the ordered volume in GiB; None while it is not attached.
        self.data_used = False  # Whether a process may still have the volume, once it is to be given up.
        self.under_way = set()  # Steps without a result yet.
        self.failures = {}  # By step.

    def tick(self, now):
        """A grace period that has ended does not begin again when the clock is put back."""
        if self.token and not self.token.in_grace(now):
            self.grace_over = self.token.version

    def in_grace(self, now):
        """Whether the previous token counts as well."""
        return self.token.in_grace(now) and self.token.version != self.grace_over

    def is_token_old(self):
        return self.token is None or self.token.version < (self.orders.token or 0)

    def are_secrets_old(self):
        """Whether they must be read: there was no read yet, or others are ordered."""
        return self.secrets is None or (self.are_others_ordered() and not self.secrets.answered)

    def are_others_ordered(self):
        return self.orders.secrets not in (None, self.secrets.fingerprint)

    def is_look_due(self, steady):
        """Whether it is time to look for the ordered secrets again. The orders do not tell: a secret that was stored without an
        order, and then removed, leaves them as they were."""
        return self.secrets is not None and self.are_others_ordered() and steady >= self.secrets_read_at + AGAIN_SECONDS

    def are_references_old(self, release):
        """Whether those of the release must be read: there was no read yet, or others are ordered."""
        known = self.references.get(release)
        if known is None or release != self.orders.release or known.answered:
            return known is None
        return self.orders.references not in (None, NO_SECRETS, known.fingerprint)

    def target(self, release, now):
        """What a generation of that release runs; None while that is not known."""
        referred = self.references.get(release)
        if self.token is None or self.secrets is None or referred is None:
            return None
        known = self.token.version, self.in_grace(now), self.secrets.fingerprint, referred.fingerprint
        return Target(release, *known, self.volume_of(release))

    def gives_up_volume(self):
        """Whether this machine holds a volume and another order counts. Without an order it stays: tags that cannot be read change
        nothing."""
        return self.volume is not None and self.orders.data not in (None, self.volume.volume)

    def volume_of(self, release):
        """The volume of a release with `data`, if it may be used."""
        usable = self.volume and self.volume.mounted and not self.gives_up_volume()
        return self.volume.volume if usable and release in self.keeping else None

    def lacks_volume(self, release):
        return release in self.keeping and self.volume_of(release) is None

    def wants_volume(self):
        """Whether a volume is ordered, and a release that may serve has `data`."""
        return self.orders.data not in (None, NO_VOLUME) and any(map(self.keeping.__contains__, candidates(self)))

    def volume_error(self):
        """Why the data volume cannot be mounted, grown or given up."""
        found = [self.failures[step] for step in volume_steps(self) if step in self.failures]
        return found[0].error if found else None

    def given(self, release):
        """All secrets of a generation of that release. A reference of deploy.yaml wins over a stored secret."""
        return self.secrets._replace(values={**self.secrets.values, **self.references[release].values})


# Steps, as tuples: ("token",), ("secrets", fingerprint, attempt), ("references", release, fingerprint, attempt),
# ("prepare", release), ("release", release, orders...), ("start", Target), ("abort",), ("halt",): ends what uses the data volume,
# ("mount", volume), ("grow", volume), ("unmount", volume)
TOKEN, ABORT, HALT = ("token",), ("abort",), ("halt",)


def read_secrets(state):
    """The step that reads the secrets: another one for each order, so that a read which began before a change does not answer
    it."""
    return "secrets", state.orders.secrets, state.orders.attempt


def read_references(state, release):
    """The step that reads the secrets to which a release refers. An order is about the ordered release."""
    return (
        "references",
        release,
        state.orders.references if release == state.orders.release else None,
        state.orders.attempt,
    )


def run_commands(state, release):
    """The step that runs a release's commands: another one for each order, so that commands which failed are tried again only
    when something was ordered."""
    return ("release", release, *state.orders.answered().values())


def release_that_runs(state):
    """The release whose commands run now, if any."""
    return next((step[1] for step in state.under_way if step[0] == "release"), None)


def volume_steps(state):
    """What is to be done with the data volume."""
    held, ordered = state.volume, state.orders.data
    if state.gives_up_volume():
        return [] if state.data_used else [("unmount", held.volume)]
    if state.device is None or not state.wants_volume():
        return []
    if not held or not held.mounted:
        return [("mount", ordered)]
    return [("grow", ordered)] if state.device > held.gib else []


def decide(state, now, steady):
    """The steps to start now."""
    read = read_secrets(state)
    reads = (TOKEN, state.is_token_old()), (read, state.are_secrets_old() or state.is_look_due(steady))
    steps = [step for step, needed in reads if needed and due(state, step, steady)]
    steps += [step for step in volume_steps(state) if due(state, step, steady)]
    # A new release may need a secret that was set for it. If that cannot be read, its start says what it lacks.
    waits = state.are_secrets_old() and read not in state.failures
    goal = None
    for release in candidates(state):
        if release not in state.ready:
            if due(state, ("prepare", release), steady):
                steps.append(("prepare", release))
            continue  # Meanwhile the last healthy release serves, with the newest token and secrets.
        read, old = read_references(state, release), state.are_references_old(release)
        if old and due(state, read, steady):
            steps.append(read)
        target = state.target(release, now)
        if target is None:
            continue
        if (waits or (old and read not in state.failures)) and release != state.healthy:
            continue
        if state.lacks_volume(release):
            continue
        if release in state.owing:
            # Commands run to their end, also if another release is ordered meanwhile: a migration that is killed may leave a
            # database that neither release can use. So the commands of another release wait.
            step = run_commands(state, release)
            if not release_that_runs(state) and due(state, step, steady):
                steps.append(step)
            continue  # Meanwhile the last healthy release serves.
        if target == state.serving or target == state.starting or due(state, ("start", target), steady):
            goal = target
            break
    if state.serving and state.serving.volume and state.lacks_volume(state.serving.release):
        steps.append(HALT)
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
        state.secrets = state.secrets and state.secrets._replace(answered=False)
    if referred(orders) != referred(state.orders):
        state.references = {release: known._replace(answered=False) for release, known in state.references.items()}
    state.orders = orders


def referred(orders):
    """The orders for which references are read again."""
    return orders.release, orders.references, orders.attempt


def take_secrets(state, step, found, steady):
    """Takes in what `step` read. A read for earlier orders may end after a newer one. Once these orders are answered, only the
    ordered secrets count: others were stored for the next start."""
    state.failures.pop(step, None)
    if state.secrets is None:
        state.secrets = found
    elif step == read_secrets(state):
        state.secrets_read_at = steady
        if not state.secrets.answered or found.fingerprint == state.orders.secrets:
            state.secrets = found


def take_references(state, step, found):
    """Takes in what `step` read, and forgets those of releases that are not needed any more."""
    state.failures.pop(step, None)
    release = step[1]
    if step == read_references(state, release):
        state.references[release] = found
    else:
        state.references.setdefault(release, found._replace(answered=False))
    needed = {*candidates(state), *(target.release for target in (state.serving, state.starting) if target)}
    state.references = {release: known for release, known in state.references.items() if release in needed}


class Progress(namedtuple("Progress", "phase error code tail", defaults=(None, None, ""))):
    """How far the instance is with its orders."""

    __slots__ = ()


def describe(state, now):
    """The progress to report."""
    release = state.orders.release
    if not release:
        return Progress(Phase.BOOTING, "the instance has no tag devopsctl:release")
    if release in state.ready and state.lacks_volume(release):
        return Progress(Phase.DATA, state.volume_error() or user_of_volume(state))
    target = state.target(release, now)
    old_token, old_secrets, old_references = (
        state.is_token_old(),
        state.are_secrets_old(),
        state.are_references_old(release),
    )
    old = old_token or old_secrets or old_references
    if not old and target == state.serving and not state.retiring:
        return Progress(Phase.HEALTHY)
    failure = state.failures.get(("prepare", release)) or state.failures.get(("start", target))
    commands = state.failures.get(run_commands(state, release))
    if commands and commands.retry_at == FOREVER:
        failure = commands
    settling = state.retiring or (state.starting and state.starting.release != release)
    if failure and not settling and (target is None or not old):
        return Progress(Phase.FAILED, failure.error, failure.code, failure.tail)
    if release not in state.ready:
        return Progress(Phase.FETCHING)
    if old_token:
        trouble = state.failures.get(TOKEN)
        return Progress(Phase.TOKEN, trouble and trouble.error)
    trouble = old_secrets and state.failures.get(read_secrets(state))
    trouble = trouble or (old_references and state.failures.get(read_references(state, release)))
    if release in state.owing and (trouble or not (old_secrets or old_references)):
        return Progress(Phase.RELEASING, commands.error if commands else before(state, release))
    if not trouble:
        return Progress(Phase.STARTING)
    phase = Phase.FAILED if trouble.code is ErrorCode.BAD_SECRET else Phase.STARTING
    return Progress(phase, trouble.error, trouble.code)


def user_of_volume(state):
    """The commands for whose end a volume waits that is to be given up."""
    runs = release_that_runs(state)
    waits = state.gives_up_volume() and runs in state.keeping
    return f"app.release of {runs[:12]} still runs" if waits else None


def before(state, release):
    """What a release's commands wait for; None while they run."""
    runs = release_that_runs(state)
    return f"app.release of {runs[:12]} still runs" if runs not in (None, release) else None
