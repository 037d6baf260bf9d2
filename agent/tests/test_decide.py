"""The agent's mind: pure, so that every history can be played through."""

import decide
from decide import ABORT, TOKEN, State, Target, Token, Wanted, describe
from hypothesis import given, settings
from hypothesis import strategies as st

GOOD, OTHER, BROKEN, TORN = "good", "other", "broken", "torn"
RELEASES = (GOOD, OTHER, BROKEN, TORN)


class World:
    """What the agent's hands would do: a clock, releases of which some are broken, tokens."""

    def __init__(self):
        self.state, self.now = State(), 0.0
        self.ssm = 0  # The newest version; 0: there is none yet.
        self.served = []

    def step(self):
        """One turn of the agent, and whatever it began comes to its end."""
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
    world = World()
    for what, value in history:
        wanted = world.state.wanted
        if what == "release":
            decide.want(world.state, Wanted(value, wanted.token, wanted.attempt))
        elif what == "token":
            world.ssm += 1
            decide.want(world.state, Wanted(wanted.release, world.ssm, wanted.attempt))
        elif what == "try":
            decide.want(world.state, Wanted(wanted.release, wanted.token, value))
        elif what == "crash":
            world.crash()
        else:
            for _ in range(value):
                world.step()
    return world


@settings(max_examples=500, deadline=None)
@given(st.lists(events, max_size=30))
def test_any_history_ends_where_the_last_tags_say_or_in_what_was_healthy_with_a_reason(history):
    world = play(history)
    for _ in range(1000):
        world.step()
    state = world.state
    phase, error, _ = describe(state, world.now)
    wanted = state.wanted.release
    if not wanted:
        assert phase == "booting" and error
    elif not world.ssm:
        assert state.serving is None and phase != "healthy"
    elif wanted in (GOOD, OTHER):
        assert (phase, error) == ("healthy", None)
        assert state.serving == Target(wanted, world.ssm)
    else:
        assert (phase, error) == ("failed", "another sha256" if wanted == TORN else "ImportError")
        healthy = [release for what, release in history if what == "release" and release in (GOOD, OTHER)]
        if state.serving or state.healthy:
            assert state.healthy in healthy
            assert state.serving == Target(state.healthy, world.ssm), "what was healthy serves, with the newest token"


@settings(max_examples=500, deadline=None)
@given(st.lists(events, max_size=40))
def test_a_token_that_was_taken_back_never_comes_again(history):
    served = play(history).served
    assert served == sorted(served)


def test_a_clock_that_is_put_back_does_not_begin_a_grace_period_again():
    state = State(Wanted(GOOD, 2), {GOOD}, GOOD, Token(2, "new", "old", 1000), Target(GOOD, 2, True))
    state.heard(1001)
    assert decide.decide(state, 1001, 0) == [("start", Target(GOOD, 2, False))]
    state.serving = Target(GOOD, 2, False)
    state.heard(1001 - 86400)
    assert decide.decide(state, 1001 - 86400, 0) == []
    assert describe(state, 1001 - 86400)[0] == "healthy"
    state.token = Token(3, "newer", "new", 2000)
    state.heard(1500)
    assert decide.decide(state, 1500, 0) == [("start", Target(GOOD, 3, True))]


def test_the_grace_period_ends_with_a_generation_of_its_own():
    state = State(Wanted(GOOD, 2), {GOOD}, GOOD, Token(2, "new", "old", 100))
    assert decide.decide(state, 50, 50) == [("start", Target(GOOD, 2, True))]
    state.serving = Target(GOOD, 2, True)
    assert decide.decide(state, 99, 99) == []
    assert decide.decide(state, 100, 100) == [("start", Target(GOOD, 2, False))]


def test_what_is_newer_ends_what_is_starting():
    state = State(Wanted(OTHER, 2), {GOOD, OTHER}, GOOD, Token(2, "new"), starting=Target(GOOD, 2))
    assert decide.decide(state, 0, 0) == [ABORT]


def test_a_token_is_never_shown():
    assert "secret" not in repr(Token(1, "secret", "secret"))
