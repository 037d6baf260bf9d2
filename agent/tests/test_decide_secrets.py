"""The agent's decisions about secrets, and about those that are kept elsewhere."""

from test_decide import GOOD, NONE, ONE, OTHER, TWO, machine

from orders import decide
from orders.decide import ABORT, Secrets, State, Target, Token, describe
from orders.orders import Orders
from orders.report import ErrorCode, Phase

READ_TWO = "secrets", TWO, None


def changing(**more):
    """A machine that serves, and is told of other secrets."""
    serving = Target(GOOD, 1, False, ONE)
    known = {"token": Token(1, "x"), "secrets": Secrets(ONE, {}), "serving": serving, **more}
    return machine(Orders(GOOD, 1, secrets=TWO), {GOOD, OTHER}, GOOD, **known)


def test_nothing_starts_before_the_secrets_were_read():
    state = machine(Orders(GOOD, 1), {GOOD}, GOOD, Token(1, "x"))
    assert decide.decide(state, 0, 0) == [("secrets", None, None)]
    assert describe(state, 0).phase is Phase.STARTING
    state.secrets = NONE
    assert decide.decide(state, 0, 0) == [("start", Target(GOOD, 1))]


def test_ordered_secrets_are_read_and_get_a_generation_of_their_own():
    state = changing()
    assert decide.decide(state, 0, 0) == [READ_TWO]
    assert describe(state, 0).phase is Phase.STARTING
    state.secrets = Secrets(TWO, {})
    assert decide.decide(state, 0, 0) == [("start", Target(GOOD, 1, False, TWO))]
    state.serving = Target(GOOD, 1, False, TWO)
    assert (decide.decide(state, 0, 0), describe(state, 0).phase) == ([], Phase.HEALTHY)


def test_an_order_that_ssm_does_not_confirm_is_answered_once():
    """Secrets were stored without an order, or the tag was forged."""
    state = changing(secrets=Secrets(ONE, {}, True))
    assert (decide.decide(state, 0, 0), describe(state, 0).phase) == ([], Phase.HEALTHY)
    # They may have been removed since. Others count with the next start only.
    assert decide.decide(state, 0, decide.AGAIN_SECONDS) == [READ_TWO]
    decide.take_secrets(state, READ_TWO, Secrets("3" * 16, {}), 100)
    assert state.secrets.fingerprint == ONE and decide.decide(state, 0, 100) == []
    decide.take_secrets(state, READ_TWO, Secrets(TWO, {}), 200)
    assert decide.decide(state, 0, 200) == [("start", Target(GOOD, 1, False, TWO))]
    # Another attempt asks at once.
    state.secrets = Secrets(ONE, {}, True)
    decide.take_orders(state, state.orders._replace(attempt="2"))
    assert decide.decide(state, 0, 200) == [("secrets", TWO, "2")]
    decide.take_orders(state, state.orders._replace(secrets=None))
    assert (decide.decide(state, 0, 0), describe(state, 0).phase) == ([], Phase.HEALTHY)


def test_a_new_release_waits_for_the_ordered_secrets():
    state = changing()
    state.orders = state.orders._replace(release=OTHER)
    assert decide.decide(state, 0, 0) == [READ_TWO]
    state.under_way.add(READ_TWO)
    assert decide.decide(state, 0, 0) == []
    state.starting = Target(OTHER, 1, False, ONE)
    assert decide.decide(state, 0, 0) == [ABORT], "it was started before the secrets changed"
    state.starting = None
    # The generation that serves may be restarted meanwhile.
    state.serving = None
    assert decide.decide(state, 0, 0) == [("start", Target(GOOD, 1, False, ONE))]


def test_a_new_release_starts_if_the_secrets_cannot_be_read():
    state = changing()
    state.orders = state.orders._replace(release=OTHER)
    decide.failed(state, READ_TWO, "AccessDenied", steady=0)
    assert decide.decide(state, 0, 0) == [("start", Target(OTHER, 1, False, ONE))]
    assert describe(state, 0)[:2] == (Phase.STARTING, "AccessDenied")


def test_a_secret_that_no_variable_can_hold_is_a_failure():
    state = changing()
    decide.failed(state, READ_TWO, "the parameter x", code=ErrorCode.BAD_SECRET)
    assert describe(state, 0)[:3] == (Phase.FAILED, "the parameter x", ErrorCode.BAD_SECRET)
    assert decide.decide(state, 0, 1e9) == [READ_TWO], "it is read again"


def test_a_failed_look_for_the_ordered_secrets_is_no_failure_of_a_start():
    state = changing(secrets=Secrets(ONE, {}, True), serving=None, starting=Target(GOOD, 1, False, ONE))
    decide.failed(state, READ_TWO, "the parameter x", code=ErrorCode.BAD_SECRET)
    assert describe(state, 0)[:2] == (Phase.STARTING, None)


def test_a_read_for_earlier_orders_does_not_answer_for_new_ones():
    state = changing()
    state.under_way.add(("secrets", ONE, None))
    decide.failed(state, ("secrets", ONE, None), "the parameter x", code=ErrorCode.BAD_SECRET)
    assert decide.decide(state, 0, 0) == [READ_TWO]
    assert describe(state, 0)[:2] == (Phase.STARTING, None)
    decide.take_secrets(state, ("secrets", ONE, None), Secrets("3" * 16, {}), 0)
    assert state.secrets.fingerprint == ONE


def test_a_failure_with_the_former_secrets_does_not_answer_the_new_ones():
    state = changing(serving=None)
    decide.failed(state, ("start", Target(GOOD, 1, False, ONE)), "KeyError: 'NEW'")
    assert describe(state, 0)[:2] == (Phase.STARTING, None)


READ_REFERENCES = "references", GOOD, TWO, None


def referring(**more):
    """A machine whose release refers to secrets, and which is told of another version."""
    serving = Target(GOOD, 1, False, "none", ONE)
    known = {"token": Token(1, "x"), "secrets": NONE, "serving": serving, **more}
    state = State(Orders(GOOD, 1, references=TWO), {GOOD, OTHER}, GOOD, **known)
    state.references = {GOOD: Secrets(ONE, {"A": "one"})}
    return state


def test_ordered_versions_are_read_and_get_a_generation_of_their_own():
    state = referring()
    assert decide.decide(state, 0, 0) == [READ_REFERENCES]
    assert describe(state, 0).phase is Phase.STARTING
    decide.take_references(state, READ_REFERENCES, Secrets(TWO, {"A": "two"}, True))
    assert decide.decide(state, 0, 0) == [("start", Target(GOOD, 1, False, "none", TWO))]
    assert state.given(GOOD).values == {"A": "two"}
    state.serving = Target(GOOD, 1, False, "none", TWO)
    assert (decide.decide(state, 0, 0), describe(state, 0).phase) == ([], Phase.HEALTHY)
    # Later versions count with the next order only, and none is asked for.
    assert decide.decide(state, 0, 1e9) == []


def test_versions_that_aws_does_not_confirm_are_answered_once():
    state = referring()
    decide.take_references(state, READ_REFERENCES, Secrets(ONE, {}, True))
    assert (decide.decide(state, 0, 1e9), describe(state, 0).phase) == ([], Phase.HEALTHY)
    decide.take_orders(state, state.orders._replace(secrets="none"))
    assert decide.decide(state, 0, 1e9) == [], "an order of stored secrets is about those"
    decide.take_orders(state, state.orders._replace(attempt="2"))
    assert decide.decide(state, 0, 1e9) == [("references", GOOD, TWO, "2")]


def test_a_release_with_other_references_waits_for_them_while_the_old_one_serves():
    state = referring()
    state.references[GOOD] = Secrets(ONE, {}, True)
    decide.take_orders(state, state.orders._replace(release=OTHER))
    read = "references", OTHER, TWO, None
    assert decide.decide(state, 0, 0) == [read]
    assert describe(state, 0).phase is Phase.STARTING
    # The old one may be restarted meanwhile, with what it had.
    state.serving = None
    assert decide.decide(state, 0, 0) == [read, ("start", Target(GOOD, 1, False, "none", ONE))]
    state.serving = Target(GOOD, 1, False, "none", ONE)
    decide.failed(state, read, "B (ssm:/b): denied", code=ErrorCode.BAD_SECRET)
    assert decide.decide(state, 0, 0) == []
    assert describe(state, 0)[:3] == (Phase.FAILED, "B (ssm:/b): denied", ErrorCode.BAD_SECRET)
    decide.take_references(state, read, Secrets(TWO, {"B": "b"}, True))
    assert decide.decide(state, 0, 0) == [("start", Target(OTHER, 1, False, "none", TWO))]
    assert set(state.references) == {GOOD, OTHER}
    # A rollback expects no version.
    state.serving, state.healthy = Target(OTHER, 1, False, "none", TWO), OTHER
    decide.take_orders(state, state.orders._replace(release=GOOD, references="none"))
    assert decide.decide(state, 0, 0) == [("start", Target(GOOD, 1, False, "none", ONE))]


def test_references_that_cannot_be_read_keep_what_serves():
    state = referring()
    decide.failed(state, READ_REFERENCES, "A (ssm:/a): denied", code=ErrorCode.BAD_SECRET)
    assert decide.decide(state, 0, 0) == []
    assert describe(state, 0)[:2] == (Phase.FAILED, "A (ssm:/a): denied")
    # A new agent knows none yet.
    state.references = {}
    assert decide.decide(state, 0, 0) == []


def test_a_read_for_an_earlier_order_of_references_does_not_answer_a_new_one():
    state = referring()
    state.references = {}
    decide.take_references(state, ("references", GOOD, ONE, None), Secrets(ONE, {}, True))
    assert decide.decide(state, 0, 0) == [READ_REFERENCES]
    decide.take_references(state, ("references", GOOD, ONE, None), Secrets("3" * 16, {}, True))
    assert state.references[GOOD].fingerprint == ONE
