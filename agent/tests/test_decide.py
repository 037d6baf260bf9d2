"""The agent's decisions: pure, so any history can be tested."""

from hypothesis import given, settings
from hypothesis import strategies as st

from orders import decide
from orders.decide import ABORT, TOKEN, State, Target, Token, describe
from orders.orders import Orders
from orders.report import Phase

GOOD, OTHER, BROKEN, TORN = "good", "other", "broken", "torn"
RELEASES = (GOOD, OTHER, BROKEN, TORN)


class Simulation:
    """Carries out the steps: with a clock, tokens, and releases of which some are broken."""

    def __init__(self):
        self.state, self.now = State(), 0.0
        self.ssm = 0  # The newest version; 0: there is none yet.
        self.served = []

    def step(self):
        """One turn of the agent, with all its steps completed."""
        self.now += 1
        for step in decide.decide(self.state, self.now, self.now):
            kind, *args = step
            if step == ABORT:
                self.state.starting = None
            elif step == TOKEN:
                self.token()
            elif kind == "prepare":
                self.prepare(step, *args)
            else:
                assert not self.state.starting
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

    def start(self, target):
        self.state.starting = None
        if target.release == BROKEN:
            decide.failed(self.state, ("start", target), "ImportError", "Traceback", self.now)
        else:
            self.state.serving = target
            self.state.healthy = target.release
            self.served.append(target.token)

    def crash(self):
        self.state.serving = None


events = st.one_of(
    st.tuples(st.just("release"), st.sampled_from(RELEASES)),
    st.tuples(st.just("token"), st.just(None)),
    st.tuples(st.just("crash"), st.just(None)),
    st.tuples(st.just("try"), st.text("abc", min_size=1, max_size=3)),
    st.tuples(st.just("run"), st.integers(1, 5)),
)


def play(history):
    simulation = Simulation()
    for what, value in history:
        wanted = simulation.state.orders
        if what == "release":
            decide.take_orders(simulation.state, Orders(value, wanted.token, wanted.attempt))
        elif what == "token":
            simulation.ssm += 1
            decide.take_orders(simulation.state, Orders(wanted.release, simulation.ssm, wanted.attempt))
        elif what == "try":
            decide.take_orders(simulation.state, Orders(wanted.release, wanted.token, value))
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
    for _ in range(1000):
        simulation.step()
    state = simulation.state
    phase, error, *_ = describe(state, simulation.now)
    wanted = state.orders.release
    if not wanted:
        assert phase == "booting" and error
    elif not simulation.ssm:
        assert state.serving is None and phase != "healthy"
    elif wanted in (GOOD, OTHER):
        assert (phase, error) == ("healthy", None)
        assert state.serving == Target(wanted, simulation.ssm)
    else:
        assert (phase, error) == ("failed", "another sha256" if wanted == TORN else "ImportError")
        healthy = [release for what, release in history if what == "release" and release in (GOOD, OTHER)]
        if state.serving or state.healthy:
            assert state.healthy in healthy
            assert state.serving == Target(state.healthy, simulation.ssm), (
                "the healthy release serves, with the newest token"
            )


@settings(max_examples=500, deadline=None)
@given(st.lists(events, max_size=40))
def test_a_revoked_token_never_returns(history):
    served = play(history).served
    assert served == sorted(served)


def test_a_clock_set_back_does_not_restart_a_grace_period():
    state = State(Orders(GOOD, 2), {GOOD}, GOOD, Token(2, "new", "old", 1000), Target(GOOD, 2, True))
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
    state = State(Orders(GOOD, 2), {GOOD}, GOOD, Token(2, "new", "old", 100))
    assert decide.decide(state, 50, 50) == [("start", Target(GOOD, 2, True))]
    state.serving = Target(GOOD, 2, True)
    assert decide.decide(state, 99, 99) == []
    assert decide.decide(state, 100, 100) == [("start", Target(GOOD, 2, False))]


def test_newer_orders_end_a_starting_generation():
    state = State(Orders(OTHER, 2), {GOOD, OTHER}, GOOD, Token(2, "new"), starting=Target(GOOD, 2))
    assert decide.decide(state, 0, 0) == [ABORT]


def test_a_token_is_never_shown():
    assert "secret" not in repr(Token(1, "secret", "secret"))
