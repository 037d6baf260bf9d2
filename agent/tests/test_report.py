"""Reports: small, without secrets, and never more than one a second."""

import base64
import json
import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boot.aws import AwsError
from logs.masking import Mask
from orders.reporter import LIMIT, Reporter, encode

AWKWARD = 'pa"ss\\wörd/+ %&\u2028\n'


def said(**more):
    report = {"v": 1, "wanted": {"release": "a" * 64, "token": 1, "try": None}, "release": None, "token": None}
    return {**report, "phase": "failed", "healthy": False, "error": None, "log_tail": "", **more}


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(str, id="as it is"),
        pytest.param(json.dumps, id="JSON"),
        pytest.param(lambda text: json.dumps(text, ensure_ascii=False), id="JSON in UTF-8"),
        pytest.param(repr, id="repr"),
        pytest.param(lambda text: repr(text.encode()), id="repr of bytes"),
        pytest.param(urllib.parse.quote, id="a path"),
        pytest.param(urllib.parse.quote_plus, id="a form"),
        pytest.param(lambda text: base64.b64encode(text.encode()).decode(), id="base64"),
        pytest.param(lambda text: base64.urlsafe_b64encode(text.encode()).decode(), id="base64 for URLs"),
        pytest.param(lambda text: "\n".join(["-----", *text.splitlines()]), id="its lines"),
    ],
)
@pytest.mark.parametrize("secret", [AWKWARD, "a-plain-token"])
def test_a_secret_is_masked_in_every_spelling(spelled, secret):
    text = f"before {spelled(secret)} after"
    masked = Mask({secret})(text)
    assert spelled(secret) not in masked and secret.strip() not in masked
    assert masked.startswith("before ") and masked.endswith(" after") and "***" in masked


def test_the_longer_secret_goes_first():
    assert Mask({"token", "token-and-more"})("token-and-more token") == "*** ***"


def test_a_text_too_short_for_a_secret_stays():
    assert Mask({"1", "on", ""})("id 1, on") == "id 1, on"


texts = st.text(max_size=9000) | st.text('{\n"\\ü\U0001f600', max_size=9000)


@settings(max_examples=150, deadline=None)
@given(st.none() | texts, texts)
@example("\U0001f600" * 500, "{{" * 8000)
@example(None, "\n" * 9000)
@example("x" * 5000, "")
def test_a_report_fits_and_keeps_its_content(error, tail):
    text = encode(said(error=error, log_tail=tail))
    assert len(text.encode()) <= LIMIT and "{{" not in text
    shown = json.loads(text)
    assert tail.endswith(shown["log_tail"]), "the newest lines are kept"
    assert shown["error"] == error or error.startswith(shown["error"])
    if len(json.dumps(said(error=error, log_tail=tail)).replace("{{", "{\\u007b")) <= LIMIT:
        assert shown == said(error=error, log_tail=tail)


def test_very_long_orders_end_nothing():
    encode(said(wanted={"release": "\U0001f600" * 256, "token": 1, "try": "\U0001f600" * 256}))


class Over(BaseException):
    """Ends the test."""


class Clock:
    """While the reporter sleeps, time goes on: there is a new report each tenth of a second."""

    def __init__(self):
        self.now, self.writes, self.reporter, self.said = 0.0, [], None, 0

    def time(self):
        return 1.7e9 + self.now

    def sleep(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            self.said += 1
            self.reporter.say(said(token=self.said))
        if self.now > 100:
            raise Over


@pytest.mark.parametrize("fails", [False, True], ids=["SSM answers", "SSM fails now and then"])
def test_never_more_than_one_write_a_second_and_the_newest_wins(fails):
    clock = Clock()

    def send(text):
        clock.writes.append((clock.now, json.loads(text)["token"]))
        assert clock.writes[-1][1] == clock.said
        if fails and len(clock.writes) % 3:
            raise [AwsError("Throttled", "slow down"), KeyError("instanceId")][len(clock.writes) % 2]

    clock.reporter = Reporter(send, clock)
    clock.reporter.say(said(token=0))
    with pytest.raises(Over):
        clock.reporter.run()
    times = [when for when, _ in clock.writes]
    assert all(later - earlier >= 0.999 for earlier, later in zip(times, times[1:]))
    assert len(times) > (10 if fails else 90)


def test_an_unchanged_report_is_repeated():
    """A reader can tell a healthy machine from one whose agent stopped."""
    writes, clock = [], Clock()

    def send(text):
        writes.append(json.loads(text))
        if len(writes) == 3:
            raise Over

    def sleep(seconds):
        clock.now += seconds

    clock.sleep = sleep
    reporter = Reporter(send, clock)
    reporter.say(said(token=7))
    reporter.change.wait_for = lambda condition, seconds: condition() or clock.sleep(seconds)
    with pytest.raises(Over):
        reporter.run()
    assert [write["token"] for write in writes] == [7] * 3
    assert all(write["next_at"] == write["at"] + 300 for write in writes)
    pauses = [later["at"] - write["at"] for write, later in zip(writes, writes[1:])]
    assert all(290 <= pause <= 320 for pause in pauses)


def test_a_failed_repetition_is_retried_soon():
    clock = Clock()
    reporter = Reporter(None, clock)
    reporter.say(said(token=7))
    writes = []

    def send(text):
        writes.append(clock.now)
        if len(writes) == 2:
            raise AwsError("Throttled", "slow down")
        if len(writes) == 3:
            raise Over

    def sleep(seconds):
        clock.now += seconds

    # Each wait takes its full time, and the report does not change.
    reporter.send, clock.sleep = send, sleep
    reporter.change.wait_for = lambda condition, seconds: condition() or sleep(seconds)
    with pytest.raises(Over):
        reporter.run()
    first, second, third = writes
    assert 290 <= second - first <= 320 and third - second <= 20
