"""When a schedule's run is due, whatever the clock does; and of which instance a run is."""

import json
import threading

import pytest
from fake_aws import FakeAws
from test_cron import CASES

from boot import aws as agents
from schedule import entry as entries
from schedule.record import Held, Record

HOURLY = next(case["times"] for case in CASES if case["cron"] == "@hourly")
HOUR, DAY = 3600, 86400
START = 1_790_002_800  # The start of an hour.


def entry(catch_up=False, settled=START):
    made = entries.Entry("nightly", None)
    made.take({"cron": "@hourly", "times": HOURLY, "timeout": 60, "catch_up": catch_up})
    made.settle(settled)
    return made


def seen(made, *times):
    """What is due at these times; each run ends at once."""
    found = []
    for now in times:
        due = made.due(now)
        if due is not None:
            made.settle(due)
        found.append(due)
    return found


def test_a_run_is_due_once_and_a_little_late_if_it_must():
    late = START + HOUR + entries.LATE_SECONDS
    assert seen(entry(), START + 1, START + HOUR - 0.1) == [None, None]
    assert seen(entry(), START + HOUR, START + HOUR + 1, late) == [START + HOUR, None, None]
    assert seen(entry(), late) == [START + HOUR]
    assert seen(entry(), late + 1, START + 2 * HOUR) == [None, START + 2 * HOUR]


def test_a_missed_run_is_caught_up_once_if_that_is_wanted():
    assert seen(entry(), START + DAY + 1800) == [None]
    made = entry(catch_up=True)
    assert seen(made, START + DAY + 1800, START + DAY + 1801, START + DAY + HOUR) == [
        START + DAY,
        None,
        START + DAY + HOUR,
    ]


def test_a_clock_that_is_put_back_repeats_no_run(capsys):
    made = entry()
    assert seen(made, START + HOUR, START + HOUR - 600, START + HOUR + 5) == [START + HOUR, None, None]
    # One that was wrong by days counts from now on: the schedule does not stop for as long.
    assert seen(made, START - DAY, START - DAY + HOUR) == [None, START - DAY + HOUR]
    assert "the clock was put back" in capsys.readouterr().out


def test_a_run_that_goes_on_makes_the_next_ones_skipped():
    made = entry()
    made.begin(START, run=object())
    assert seen(made, START + HOUR, START + 2 * HOUR) == [None, None] and made.said()["skipped"] == 2
    made.end(None, 0, None)
    assert seen(made, START + 2 * HOUR + 1, START + 3 * HOUR) == [None, START + 3 * HOUR]
    assert made.said() == {"last": START, "code": 0, "error": None, "next": START + 4 * HOUR, "skipped": 2}
    made.begin(START + 3 * HOUR)
    assert made.said()["skipped"] == 0


def test_a_run_that_ended_with_the_machine_is_not_repeated():
    made = entry()
    held = Held("@hourly", START + HOUR, "i-0123456789abcdef0", START + HOUR, START + 2 * HOUR, None, None, None, "e")
    made.opened(held, "i-0123456789abcdef0")
    assert seen(made, START + HOUR + 5) == [None] and made.said()["error"] == entries.LOST
    assert made.outcome == (None, None, entries.LOST), "other instances learn of it"
    other = entry()
    other.opened(held, "i-0123456789abcdef1")
    assert other.outcome is None and other.said()["error"] is None, "it goes on there"


@pytest.fixture
def bucket():
    made = []

    def of(instance=None):
        """The record as one instance sees it; all of them have the same bucket."""
        aws = FakeAws()
        if made:
            aws.objects, aws.written, aws.change = made[0].objects, made[0].written, made[0].change
        if instance:
            aws.instance = instance
        made.append(aws)
        metadata = agents.Metadata()
        metadata.base = aws.url + "/latest/"
        signed = agents.Aws(metadata)
        signed.endpoint = lambda service, bucket="": f"{aws.url}/{bucket}/"
        return aws, Record(signed, lambda: "shop", "nightly")

    yield of
    for aws in made:
        aws.close()


KEY = "shop/schedule/nightly.json"


def s3(aws):
    return [what for service, what in aws.calls if service == "s3"]


def test_a_schedule_begins_when_it_is_new_or_has_other_times(bucket):
    aws, record = bucket()
    assert record.open("@hourly", START).due == START
    assert Record(record.aws, record.name, "nightly").open("@hourly", START + DAY).due == START
    assert record.claim("@hourly", START + HOUR, START + HOUR, START + 2 * HOUR)
    record.end(START + 2 * HOUR, START + 2 * HOUR, 7, None)
    again = Record(record.aws, record.name, "nightly")
    held = again.open("@daily", START + DAY)
    assert (held.cron, held.due, held.began, held.code) == ("@daily", START + DAY, START + HOUR, 7)
    for damaged in (b"", b"[]", b'{"v": 1, "due": "x"}', b'{"due": -1}'):
        aws.objects[KEY] = damaged
        assert Record(record.aws, record.name, "nightly").open("@hourly", START).due == START


def test_a_run_takes_two_calls_and_time_without_runs_none(bucket):
    aws, record = bucket()
    record.open("@hourly", START)
    del aws.calls[:]
    for due in range(START + HOUR, START + 5 * HOUR, HOUR):
        assert record.claim("@hourly", due, due, due + 60)
        record.end(due, due + 5, 0, None)
    assert len(s3(aws)) == 8
    said = json.loads(aws.objects[KEY])
    assert (said["due"], said["ended"], said["code"], said["error"]) == (
        START + 4 * HOUR,
        START + 4 * HOUR + 5,
        0,
        None,
    )


def test_of_many_instances_one_has_the_run(bucket):
    records = [bucket(f"i-0123456789abcde{number:02x}")[1] for number in range(6)]
    for record in records:
        record.open("@hourly", START)
    due, found = START + HOUR, []
    threads = [
        threading.Thread(
            target=lambda record=record: found.append((record, record.claim("@hourly", due, due, due + 60)))
        )
        for record in records
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ours for _, ours in found].count(True) == 1 and len(found) == 6
    first = next(record for record, ours in found if ours)
    other = next(record for record, ours in found if not ours)
    # It goes on there, also when the next one is due; until its time limit, because that instance may be gone.
    assert not other.claim("@hourly", due + 30, due + 30, due + 90)
    assert other.claim("@hourly", due + 120, due + 120, due + 180)
    first.end(due, due + 130, 0, None)
    assert other.read()[1:3] == (due + 120, other.instance()), "a late end changes nothing"


def test_a_claim_whose_response_is_lost_counts(bucket):
    aws, record = bucket()
    record.open("@hourly", START)

    def lose(handler):
        """The write takes effect, and its response gets lost."""
        del aws.faults[KEY]
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        aws.objects[KEY] = body
        handler.answer(500, "<Error><Code>InternalError</Code></Error>")

    aws.faults[KEY] = lose
    with pytest.raises(agents.AwsError):
        record.claim("@hourly", START + HOUR, START + HOUR, START + 2 * HOUR)
    assert record.claim("@hourly", START + HOUR, START + HOUR + 1, START + 2 * HOUR)
    record.end(START + HOUR, START + HOUR + 5, 0, None)
    assert json.loads(aws.objects[KEY])["ended"] == START + HOUR + 5


def test_a_refused_call_claims_nothing(bucket):
    aws, record = bucket()
    record.open("@hourly", START)
    aws.faults[KEY] = 403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    with pytest.raises(agents.AwsError, match="AccessDenied"):
        record.claim("@hourly", START + HOUR, START + HOUR, START + 2 * HOUR)
    del aws.faults[KEY]
    del aws.objects[KEY]
    assert record.claim("@hourly", START + HOUR, START + HOUR, START + 2 * HOUR), "the bucket was emptied"
