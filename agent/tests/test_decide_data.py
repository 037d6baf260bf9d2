"""The agent's decisions about the data volume: pure."""

from types import SimpleNamespace

from data.runner import Held
from data.volume import DataVolume
from orders import decide
from orders.decide import ABORT, HALT, Secrets, State, Target, Token, describe
from orders.orders import Orders
from orders.report import Phase
from processes.generations import HALT_SECONDS

PLAIN, KEEPS = "plain", "keeps"
ONE, TWO = "vol-0123456789abcdef0", "vol-0123456789abcdef1"
SERVES = Target(KEEPS, 1, volume=ONE)


def keeping(data=ONE, held=None, device=10, release=KEEPS, healthy=PLAIN, **more):
    """A machine that is told of a release with data, which is ready."""
    state = State(Orders(release, 1, data=data), {PLAIN, KEEPS}, healthy, Token(1, "x"), Secrets("none", {}), **more)
    state.references = dict.fromkeys((PLAIN, KEEPS), Secrets("none", {}))
    state.keeping, state.volume, state.device = {KEEPS}, held, device
    return state


def test_a_release_starts_only_with_its_volume_and_what_ran_before_serves_meanwhile():
    for data in (None, "none", ONE):
        state = keeping(data, device=None)
        assert decide.decide(state, 0, 0) == [("start", Target(PLAIN, 1))]
        assert describe(state, 0)[:2] == (Phase.DATA, None)
    state = keeping(serving=Target(PLAIN, 1))
    assert decide.decide(state, 0, 0) == [("mount", ONE)]
    state.under_way.add(("mount", ONE))
    assert decide.decide(state, 0, 0) == [] and describe(state, 0)[:2] == (Phase.DATA, None)
    state.volume = Held(ONE, 0, False)
    assert decide.decide(state, 0, 0) == [], "the mount is under way"
    state.volume = Held(ONE, 10, True)
    assert decide.decide(state, 0, 0) == [("start", SERVES)]
    state.starting = SERVES
    assert decide.decide(state, 0, 0) == [] and describe(state, 0).phase is Phase.STARTING


def test_its_commands_wait_for_the_volume_too():
    state = keeping(device=None)
    state.owing = {KEEPS}
    assert [step for step in decide.decide(state, 0, 0) if step[0] == "release"] == []
    state.volume = Held(ONE, 10, True)
    assert decide.decide(state, 0, 0)[0][:2] == ("release", KEEPS)


def test_another_order_ends_what_uses_the_volume_before_it_is_unmounted():
    for ordered in ("none", TWO):
        state = keeping(ordered, Held(ONE, 10, True), healthy=KEEPS, serving=SERVES)
        state.data_used = True
        assert decide.decide(state, 0, 0) == [HALT] and describe(state, 0).phase is Phase.DATA
        state.serving, state.starting = None, SERVES
        assert decide.decide(state, 0, 0) == [ABORT]
        state.starting = None
        assert decide.decide(state, 0, 0) == [], "its processes still end"
        state.data_used = False
        assert decide.decide(state, 0, 0) == [("unmount", ONE)]
        state.volume = None
        assert decide.decide(state, 0, 0) == ([("mount", TWO)] if ordered == TWO else [])


def test_a_volume_waits_for_the_end_of_commands():
    state = keeping("none", Held(ONE, 10, True), healthy=KEEPS)
    state.data_used = True
    state.under_way.add(("release", KEEPS, KEEPS))
    assert decide.decide(state, 0, 0) == []
    assert describe(state, 0)[:2] == (Phase.DATA, "app.release of keeps still runs")


def test_without_a_readable_order_the_volume_stays():
    state = keeping(None, Held(ONE, 10, True), healthy=KEEPS, serving=SERVES)
    assert decide.decide(state, 0, 0) == [] and describe(state, 0).phase is Phase.HEALTHY


def test_a_release_without_data_runs_without_the_volume():
    state = keeping("none", release=PLAIN)
    assert decide.decide(state, 0, 0) == [("start", Target(PLAIN, 1))]
    state = keeping(ONE, release=PLAIN)
    assert decide.decide(state, 0, 0) == [("start", Target(PLAIN, 1))], "nothing needs the volume"
    state = keeping(ONE, Held(ONE, 10, True), release=PLAIN, healthy=KEEPS, serving=SERVES)
    assert decide.decide(state, 0, 0) == [("start", Target(PLAIN, 1))], "the change is without a pause"
    state = keeping("none", Held(ONE, 10, True), release=PLAIN, serving=Target(PLAIN, 1))
    assert decide.decide(state, 0, 0) == [("unmount", ONE)] and describe(state, 0).phase is Phase.HEALTHY


def test_a_larger_volume_is_grown_while_it_serves():
    state = keeping(ONE, Held(ONE, 10, True), device=20, healthy=KEEPS, serving=SERVES)
    assert decide.decide(state, 0, 0) == [("grow", ONE)] and describe(state, 0).phase is Phase.HEALTHY
    decide.failed(state, ("grow", ONE), "resize2fs failed")
    assert state.volume_error() == "resize2fs failed" and describe(state, 0)[:2] == (Phase.HEALTHY, None)


def test_a_volume_that_is_taken_away_halts_the_app():
    state = keeping(ONE, Held(ONE, 10, False), device=None, healthy=KEEPS, serving=SERVES)
    assert decide.decide(state, 0, 0) == [HALT] and describe(state, 0).phase is Phase.DATA
    state.serving, state.device = None, 10
    assert decide.decide(state, 0, 0) == [("mount", ONE)]


class Runner:
    volumes = SimpleNamespace(held=lambda: Held(ONE, 10, True), device=lambda volume: None)

    def __init__(self):
        self.calls = []

    def retire(self, command):
        self.calls.append(("retire", command.what))

    def kill(self, command):
        self.calls.append(("kill", command.what))


def test_runs_of_schedules_are_ended_for_the_volume_and_commands_are_not():
    commands = [
        SimpleNamespace(what=what, volume=volume)
        for what, volume in (("release", ONE), ("schedule.nightly", ONE), ("schedule.plain", None))
    ]
    state, runner, clock = keeping("none", healthy=KEEPS), Runner(), SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    generations = SimpleNamespace(use_data=lambda: False, end_with_data=lambda: None)
    data = DataVolume(runner, state, generations, lambda: commands, clock)
    for clock.now in (0.0, 5.0, HALT_SECONDS):
        data.look()
        assert state.data_used and decide.decide(state, 0, 0) == []
    assert runner.calls == [("retire", "schedule.nightly"), ("kill", "schedule.nightly")]
    del commands[:2]
    data.look()
    assert decide.decide(state, 0, 0) == [("unmount", ONE)]
