"""The agent's decisions: pure, so any history can be tested."""

from hypothesis import given, settings
from hypothesis import strategies as st

from orders import decide
from orders.decide import ABORT, TOKEN, Secrets, State, Target, Token, describe
from orders.orders import Orders
from orders.report import ErrorCode, Phase

GOOD, OTHER, BROKEN, TORN = "good", "other", "broken", "torn"
MIGRATES, STUCK = "migrates", "stuck"  # Their commands end well, or fail.
BRIEF = "brief"  # Its web server is healthy, but a process beside it ends at once.
RELEASES = (GOOD, OTHER, BROKEN, TORN, MIGRATES, STUCK, BRIEF)
FINGERPRINTS = _, ONE, TWO = ("none", "1" * 16, "2" * 16)


class Simulation:
    """Carries out the steps: with a clock, tokens, secrets, and releases of which some are broken."""

    def __init__(self):
        self.state, self.now = State(), 0.0
        self.ssm = 0  # The newest version of the token; 0: there is none yet.
        self.secrets = "none"  # The fingerprint that SSM has.
        self.references = "none"  # That of the secrets that are kept elsewhere.
        self.served = []
        self.ran = []  # The releases whose commands ran, in order.
        self.ended = 0  # How often the processes of what serves were ended for others that failed.

    def step(self):
        """One turn of the agent, with all its steps completed."""
        self.now += 1
        for step in decide.decide(self.state, self.now, self.now):
            kind, *args = step
            if step == ABORT:
                self.state.starting = None
            elif step == TOKEN:
                self.token()
            elif kind == "secrets":
                known = self.state.secrets
                waited = known is not None and not known.answered and step[1] is not None
                decide.take_secrets(self.state, step, Secrets(self.secrets, {}, waited), self.now)
            elif kind == "references":
                decide.take_references(self.state, step, Secrets(self.references, {}, True))
            elif kind == "prepare":
                self.prepare(step, *args)
            elif kind == "release":
                self.commands(step, args[0])
            else:
                assert not self.state.starting and args[0].release not in self.state.owing
                self.state.starting = args[0]
        if self.state.starting:
            self.start(self.state.starting)

    def token(self):
        if not self.ssm:
            decide.failed(self.state, TOKEN, "ParameterNotFound", steady=self.now, least=1, most=2)
        else:
            self.state.failures.pop(TOKEN, None)
            known = self.state.token.version if self.state.token else 0
            assert self.ssm >= known
            self.state.token = Token(self.ssm, f"token-{self.ssm}")

    def prepare(self, step, release):
        if release == TORN:
            decide.failed(self.state, step, "another sha256", steady=self.now, permanent=True)
        else:
            self.state.ready.add(release)
            if release in (MIGRATES, STUCK):
                self.state.owing.add(release)

    def commands(self, step, release):
        assert release in self.state.owing and self.state.token and self.state.secrets
        self.ran.append(release)
        if release == STUCK:
            decide.failed(self.state, step, "exit code 1", "no table", permanent=True, code=ErrorCode.RELEASE_FAILED)
        else:
            self.state.owing.discard(release)

    def start(self, target):
        self.state.starting = None
        if target.release == BROKEN:
            decide.failed(self.state, ("start", target), "ImportError", "Traceback", self.now)
        elif target.release == BRIEF:
            # As processes/generations.py does it.
            serves = self.state.serving is not None
            self.ended += serves
            decide.failed(self.state, ("start", target), "did not live", "", self.now, permanent=serves)
        else:
            self.state.serving = target
            self.state.healthy = target.release
            self.served.append(target.token)

    def tell_secrets(self):
        decide.take_orders(self.state, self.state.orders._replace(secrets=self.secrets))

    def tell_references(self):
        decide.take_orders(self.state, self.state.orders._replace(references=self.references))

    def crash(self):
        self.state.serving = None


events = st.one_of(
    st.tuples(st.just("release"), st.sampled_from(RELEASES)),
    st.tuples(st.just("token"), st.just(None)),
    st.tuples(st.just("secrets"), st.tuples(st.sampled_from(FINGERPRINTS), st.booleans())),
    st.tuples(st.just("references"), st.tuples(st.sampled_from(FINGERPRINTS), st.booleans())),
    st.tuples(st.just("forged secrets tag"), st.sampled_from(FINGERPRINTS)),
    st.tuples(st.just("crash"), st.just(None)),
    st.tuples(st.just("try"), st.text("abc", min_size=1, max_size=3)),
    st.tuples(st.just("run"), st.integers(1, 5)),
)


def play(history):
    simulation = Simulation()
    for what, value in history:
        wanted = simulation.state.orders
        if what == "release":
            decide.take_orders(simulation.state, wanted._replace(release=value))
        elif what == "token":
            simulation.ssm += 1
            decide.take_orders(simulation.state, wanted._replace(token=simulation.ssm))
        elif what == "secrets":
            simulation.secrets, told = value
            if told:
                simulation.tell_secrets()
        elif what == "references":
            simulation.references, told = value
            if told:
                simulation.tell_references()
        elif what == "forged secrets tag":
            decide.take_orders(simulation.state, wanted._replace(secrets=value))
        elif what == "try":
            decide.take_orders(simulation.state, wanted._replace(attempt=value))
        elif what == "crash":
            simulation.crash()
        else:
            for _ in range(value):
                simulation.step()
    return simulation


@settings(max_examples=500, deadline=None)
@given(st.lists(events, max_size=30))
def test_any_history_ends_with_the_last_orders_or_the_last_healthy_release(history):
    simulation = play(history)
    # The last command tells what SSM and the others have.
    simulation.tell_secrets()
    simulation.tell_references()
    for _ in range(1000):
        simulation.step()
    state = simulation.state
    phase, error, *_ = describe(state, simulation.now)
    wanted = state.orders.release
    if not wanted:
        assert phase == "booting" and error
    elif not simulation.ssm:
        assert state.serving is None and phase != "healthy"
    elif wanted in (GOOD, OTHER, MIGRATES):
        assert (phase, error) == ("healthy", None)
        assert state.serving[:4] == Target(wanted, simulation.ssm, False, simulation.secrets)[:4]
        # Without versions that are expected, those that were read first count.
        assert simulation.references in ("none", state.serving.references)
    else:
        errors = {TORN: "another sha256", STUCK: "exit code 1", BROKEN: "ImportError", BRIEF: "did not live"}
        assert (phase, error) == ("failed", errors[wanted])
        healthy = [release for what, release in history if what == "release" and release in (GOOD, OTHER, MIGRATES)]
        if state.serving or state.healthy:
            assert state.healthy in healthy
            assert state.serving[:4] == Target(state.healthy, simulation.ssm, False, simulation.secrets)[:4], (
                "the healthy release serves, with the newest token and secrets"
            )


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=40))
def test_commands_end_well_once_and_fail_once_for_each_order(history):
    simulation = play(history)
    assert simulation.ran.count(MIGRATES) <= 1
    orders = sum(what not in ("crash", "run") for what, _ in history)
    assert simulation.ran.count(STUCK) <= orders
    before = len(simulation.ran)
    simulation.tell_secrets()
    for _ in range(1000):
        simulation.step()
    assert len(simulation.ran) <= before + 1, "no failure is repeated without an order"


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=40))
def test_processes_that_run_are_ended_for_others_that_fail_at_most_once_for_each_order(history):
    simulation = play(history)
    simulation.tell_secrets()
    simulation.tell_references()
    for _ in range(20):
        simulation.step()
    before = simulation.ended
    for _ in range(1000):
        simulation.step()
    assert simulation.ended <= before + 1, "a retry that waited until something served"


NONE = Secrets("none", {})


def machine(*known, **more):
    """A state in which the releases refer to no secrets."""
    state = State(*known, **more)
    state.references = dict.fromkeys(RELEASES, NONE)
    return state


@settings(max_examples=500, deadline=None)
@given(st.lists(events, max_size=40))
def test_a_revoked_token_never_returns(history):
    served = play(history).served
    assert served == sorted(served)


def test_a_clock_set_back_does_not_restart_a_grace_period():
    state = machine(Orders(GOOD, 2), {GOOD}, GOOD, Token(2, "new", "old", 1000), NONE, Target(GOOD, 2, True))
    state.tick(1001)
    assert decide.decide(state, 1001, 0) == [("start", Target(GOOD, 2, False))]
    state.serving = Target(GOOD, 2, False)
    state.tick(1001 - 86400)
    assert decide.decide(state, 1001 - 86400, 0) == []
    assert describe(state, 1001 - 86400).phase is Phase.HEALTHY
    state.token = Token(3, "newer", "new", 2000)
    state.tick(1500)
    assert decide.decide(state, 1500, 0) == [("start", Target(GOOD, 3, True))]


def test_the_grace_period_ends_with_a_generation_of_its_own():
    state = machine(Orders(GOOD, 2), {GOOD}, GOOD, Token(2, "new", "old", 100), NONE)
    assert decide.decide(state, 50, 50) == [("start", Target(GOOD, 2, True))]
    state.serving = Target(GOOD, 2, True)
    assert decide.decide(state, 99, 99) == []
    assert decide.decide(state, 100, 100) == [("start", Target(GOOD, 2, False))]


def test_newer_orders_end_a_starting_generation():
    state = machine(Orders(OTHER, 2), {GOOD, OTHER}, GOOD, Token(2, "new"), NONE, starting=Target(GOOD, 2))
    assert decide.decide(state, 0, 0) == [ABORT]


COMMANDS = ("release", MIGRATES, MIGRATES, 1, None, None, None, None)


def migrating(**more):
    """A machine that serves, and is told of a release with commands, which is ready."""
    serving = Target(GOOD, 1)
    known = {"token": Token(1, "x"), "secrets": NONE, "serving": serving, **more}
    state = machine(Orders(MIGRATES, 1), {GOOD, OTHER, MIGRATES, STUCK}, GOOD, **known)
    state.owing |= {MIGRATES, STUCK}
    return state


def test_commands_run_before_the_release_starts():
    state = migrating()
    assert decide.decide(state, 0, 0) == [COMMANDS]
    state.under_way.add(COMMANDS)
    assert decide.decide(state, 0, 0) == [] and describe(state, 0)[:2] == (Phase.RELEASING, None)
    state.under_way.clear()
    state.owing.clear()
    assert decide.decide(state, 0, 0) == [("start", Target(MIGRATES, 1))]


def test_a_failed_command_keeps_what_serves_until_something_is_ordered():
    state = migrating()
    decide.failed(state, COMMANDS, "exit code 1", "no table", permanent=True, code=ErrorCode.RELEASE_FAILED)
    assert describe(state, 0) == (Phase.FAILED, "exit code 1", ErrorCode.RELEASE_FAILED, "no table")
    assert decide.decide(state, 0, 1e9) == []
    state.serving = None
    assert decide.decide(state, 0, 1e9) == [("start", Target(GOOD, 1))]
    decide.take_orders(state, state.orders._replace(attempt="2"))
    assert decide.decide(state, 0, 1e9)[0] == (*COMMANDS[:4], "2", None, None, None)


def test_a_call_that_fails_is_no_failure_of_a_command():
    state = migrating()
    decide.failed(state, COMMANDS, "s3: timed out", steady=0)
    assert describe(state, 0)[:2] == (Phase.RELEASING, "s3: timed out")
    assert decide.decide(state, 0, 1e9) == [COMMANDS]


def test_running_commands_are_not_ended_and_those_of_another_release_wait():
    state = migrating()
    state.under_way.add(COMMANDS)
    state.orders = Orders(STUCK, 1)
    assert decide.decide(state, 0, 0) == []
    assert describe(state, 0)[:2] == (Phase.RELEASING, f"app.release of {MIGRATES} still runs")
    # They fail with the earlier orders: with the new ones they run again.
    state.orders = Orders(MIGRATES, 1, attempt="2")
    assert decide.decide(state, 0, 0) == []
    state.under_way.clear()
    decide.failed(state, COMMANDS, "exit code 1", permanent=True)
    assert decide.decide(state, 0, 0) == [(*COMMANDS[:4], "2", None, None, None)]
    # A release without commands does not wait.
    state.under_way.add(COMMANDS)
    state.orders = Orders(OTHER, 1)
    assert decide.decide(state, 0, 0) == [("start", Target(OTHER, 1))]


def test_commands_wait_for_the_ordered_secrets():
    state = migrating()
    state.orders = state.orders._replace(secrets=ONE)
    assert decide.decide(state, 0, 0) == [("secrets", ONE, None)]
    assert describe(state, 0).phase is Phase.STARTING


def test_secrets_are_never_shown():
    assert "secret" not in repr(Token(1, "secret", "secret"))
    assert "value" not in repr(Secrets("none", {"NAME": "value"}))
