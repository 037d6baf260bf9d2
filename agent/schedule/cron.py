"""When the runs of a schedule are due: pure functions of its times, which the manifest lists (`src/config/cron.rs`).

Times are UTC, in seconds since 1970, and a run is due at the start of a minute.
"""

import datetime
from collections import namedtuple

from boot.validate import Invalid, integer

MINUTE = 60  # Seconds.
DAY = 24 * 60  # Minutes.
DAYS = 41 * 366  # 29 February on a given weekday comes at least once in 40 years.
EPOCH = datetime.date(1970, 1, 1).toordinal()
# By field: its least and its highest value. Sunday is 0.
LIMITS = {"minutes": (0, 59), "hours": (0, 23), "days": (1, 31), "months": (1, 12), "weekdays": (0, 6)}


class Times(namedtuple("Times", "minutes hours days months weekdays either")):
    """`minutes`: of the day, in order. `either`: a day of the month or a weekday is enough, as in cron when both are restricted."""

    __slots__ = ()

    @classmethod
    def of(cls, listed):
        """The times as the manifest lists them; `Invalid` for anything else."""
        try:
            if not all(isinstance(listed[field], list) for field in LIMITS) or type(listed["either"]) is not bool:
                raise Invalid("not the times of a schedule")
            known = {field: {integer(value, *LIMITS[field]) for value in listed[field]} for field in LIMITS}
        except (KeyError, TypeError):
            raise Invalid("not the times of a schedule") from None
        known["minutes"] = sorted(hour * 60 + minute for hour in known["hours"] for minute in known["minutes"])
        return cls(**known, either=listed["either"])

    def on(self, day):
        """Whether it has runs on the day with this number."""
        date = datetime.date.fromordinal(EPOCH + day)
        of_month, of_week = date.day in self.days, date.isoweekday() % 7 in self.weekdays
        return date.month in self.months and (of_month or of_week if self.either else of_month and of_week)


def following(times, after):
    """The first due time after `after`; None if there is none."""
    minute = int(after // MINUTE) + 1
    first = minute // DAY
    for day in filter(times.on, range(first, first + DAYS)):
        found = next((each for each in times.minutes if day * DAY + each >= minute), None)
        if found is not None:
            return (day * DAY + found) * MINUTE
    return None


def latest(times, until):
    """The last due time that is not after `until`; None if there is none."""
    minute = int(until // MINUTE)
    last = minute // DAY
    for day in filter(times.on, range(last, max(last - DAYS, -1), -1)):
        found = next((each for each in reversed(times.minutes) if day * DAY + each <= minute), None)
        if found is not None:
            return (day * DAY + found) * MINUTE
    return None
