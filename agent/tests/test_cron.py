"""When a schedule is due: the cases that the Rust side reads as well, and any times against a search minute by minute."""

import datetime
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boot.validate import Invalid
from schedule.cron import LIMITS, Times, following, latest

# Made with cronsim, which follows Debian's cron.
CASES = json.loads((pathlib.Path(__file__).parents[2] / "tests/schedule/cron.json").read_text())
ALWAYS = next(case["times"] for case in CASES if case["cron"] == "* * * * *")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["cron"])
def test_the_due_times_are_those_of_debians_cron(case):
    times = Times.of(case["times"])
    for after, *due in case["due"]:
        found = [after]
        while len(found) <= len(due):
            found.append(following(times, found[-1]))
        assert found[1:] == due
        for each in due:
            assert latest(times, each) == latest(times, each + 59) == each
        assert latest(times, due[1] - 1) == due[0] and latest(times, due[0] - 1) <= after


def fields(least, most):
    return st.sets(st.integers(least, most), min_size=1).map(sorted) | st.just(list(range(least, most + 1)))


some_times = st.fixed_dictionaries(
    {**{field: fields(*limits) for field, limits in LIMITS.items()}, "either": st.booleans()}
)


def matches(listed, at):
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    of_month, of_week = moment.day in listed["days"], moment.isoweekday() % 7 in listed["weekdays"]
    day = of_month or of_week if listed["either"] else of_month and of_week
    return day and (
        moment.minute in listed["minutes"] and moment.hour in listed["hours"] and moment.month in listed["months"]
    )


@given(some_times, st.integers(0, 4_102_444_800))
def test_no_due_time_is_passed_over(listed, at):
    times = Times.of(listed)
    after, before = following(times, at), latest(times, at)
    around = range(at // 60 * 60 - 1500 * 60, at // 60 * 60 + 1500 * 60, 60)
    known = {minute for minute in around if matches(listed, minute)}
    assert after is None or (after > at and matches(listed, after))
    assert before is None or (before <= at and matches(listed, before))
    assert [each for each in known if at < each < (after or float("inf"))] == []
    assert [each for each in known if (before or 0) < each <= at] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": [60]},
        {"hours": [-1]},
        {"days": [0]},
        {"weekdays": [7]},
        {"months": "1"},
        {"either": 1},
        {"days": [[]]},
    ],
)
def test_other_times_are_refused(wrong):
    with pytest.raises(Invalid):
        Times.of({**ALWAYS, **wrong})
    with pytest.raises(Invalid):
        Times.of({key: value for key, value in ALWAYS.items() if key not in wrong})
