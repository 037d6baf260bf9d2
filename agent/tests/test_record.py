"""The record of a release's commands: pure rules, and S3's conditional writes between several instances."""

import itertools
import json
import threading

import pytest

from boot.aws import Aws, AwsError, Metadata
from boot.validate import Invalid
from orders.record import STALE_SECONDS, Held, Record, State, Verdict, judge

RELEASE = "a" * 64
KEY = f"shop/released/{RELEASE}.json"
ORDERS, OTHERS = {"release": RELEASE, "token": 1}, {"release": RELEASE, "token": 2}
OURS, THEIRS = "i-0123456789abcdef0", "i-0123456789abcdef1"


def test_every_record_has_one_consequence():
    """All combinations: done is final, a live claim of another instance is waited for, and a failure lasts as long as its orders."""
    ages, waits = (0, STALE_SECONDS - 1, STALE_SECONDS, 10**6), (False, True)
    for state, instance, orders, age, waited in itertools.product(State, (OURS, THEIRS), (ORDERS, OTHERS), ages, waits):
        verdict = judge(Held(state, instance, orders, "", "", age), OURS, ORDERS, waited)
        if state is State.DONE:
            expected = Verdict.DONE
        elif state is State.RUNNING:
            expected = Verdict.WAIT if instance == THEIRS and age < STALE_SECONDS else Verdict.CLAIM
        else:
            expected = Verdict.FAILED if orders == ORDERS and (instance == OURS or waited) else Verdict.CLAIM
        assert verdict is expected, (state, instance, orders, age, waited)


class Clock:
    """Each pause is an event of the test."""

    def __init__(self, *events):
        self.events = list(events)

    def sleep(self, _seconds):
        self.events.pop(0)()


@pytest.fixture
def record(aws):
    def make(instance=OURS, orders=ORDERS):
        metadata = Metadata("a-session", {})
        metadata.base = aws.url + "/latest/"
        made = Aws(metadata)
        made.endpoint = lambda service, bucket="": f"{aws.url}/{bucket}/"
        record = Record(made, "shop", RELEASE, orders)
        record.instance = instance
        return record

    return make


def claim(record, *events, wanted=True):
    return record.claim(lambda: wanted, Clock(*events))


def test_of_many_instances_one_claims_it(record):
    records = [record(f"i-{number:017x}") for number in range(8)]
    claims = []

    def compete(each):
        if claim(each, wanted=False) is None:
            claims.append(each.instance)

    threads = [threading.Thread(target=compete, args=(each,)) for each in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 1


def test_it_waits_for_another_instance_and_shares_its_result(aws, record):
    ours, theirs = record(), record(THEIRS)
    assert claim(theirs) is None
    held = claim(ours, theirs.renew, lambda: theirs.end(None))
    assert held.state is State.DONE and held.instance == THEIRS
    assert claim(record()).state is State.DONE, "an instance that comes later"

    del aws.objects[KEY]
    assert claim(theirs) is None
    held = claim(ours, lambda: theirs.end("exit code 1"))
    assert (held.state, held.error) == (State.FAILED, "exit code 1")
    assert claim(record()) is None, "an instance that comes later tries again"


def test_a_claim_that_is_not_renewed_is_taken_over(aws, record):
    ours, theirs = record(), record(THEIRS)
    assert claim(theirs) is None

    def later():
        aws.written[KEY] -= STALE_SECONDS

    assert claim(ours, later) is None
    # The other instance was only slow: it changes nothing any more.
    theirs.renew()
    theirs.end(None)
    assert ours.read()[:2] == (State.RUNNING, OURS)
    ours.end(None)
    assert ours.read()[:2] == (State.DONE, OURS)


def test_a_failure_is_final_until_something_is_ordered(record):
    ours = record()
    assert claim(ours) is None
    ours.end("exit code 1")
    assert claim(record()).state is State.FAILED, "the agent starts again with the same orders"
    assert claim(record(orders=OTHERS)) is None


def test_it_stops_waiting_when_the_release_is_not_wanted_any_more(record):
    assert claim(record(THEIRS)) is None
    assert claim(record(), wanted=False).state is State.RUNNING


def test_a_lost_response_changes_nothing(record):
    """The write has happened, and its response did not arrive."""
    ours = record()
    assert claim(ours) is None
    ours.etag = '"lost"'
    ours.renew()
    ours.etag = '"lost"'
    ours.end(None)
    assert ours.read().state is State.DONE
    ours.etag = '"lost"'
    ours.end("a later one")
    assert ours.read().state is State.DONE, "done is final"
    again = record()
    assert claim(again).state is State.DONE


def test_a_refused_call_and_a_damaged_record_are_errors(aws, record):
    aws.faults["s3"] = (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
    with pytest.raises(AwsError, match="AccessDenied"):
        claim(record())
    aws.faults.clear()
    documents = [{}, {"state": "running"}, {"state": "x", "instance": OURS}, {"state": "done", "instance": "../x"}]
    for damaged in [b"", b"[]", b"{", *(json.dumps(document).encode() for document in documents)]:
        aws.objects[KEY] = damaged
        with pytest.raises(Invalid):
            claim(record())
