"""One schedule: its times, the run that goes on, how the last one ended. It decides when the next one is due."""

from boot.validate import Invalid, clean, integer, match
from schedule.cron import Times, following, latest
from schedule.record import TEXT, running

LATE_SECONDS = 300  # A run that could not begin at its time may begin this much later. After that it is missed.
BACK_SECONDS = 3 * 3600  # A clock that is put back further than this was wrong before.
LONGEST = 86400  # Seconds that a run may take.
LOST = "interrupted: the machine or its agent stopped"


class Entry:
    """`record` is its record in the bucket."""

    def __init__(self, name, record):
        self.name, self.record = name, record
        self.wanted = False  # Whether the serving release has it.
        self.cron = self.times = None
        self.catch_up, self.timeout = False, LONGEST
        self.settled = None  # Due times up to this one need no run. None: the record was not read yet.
        self.next = float("inf")
        self.busy = False  # Whether a thread uses the record.
        self.retry_at, self.failures, self.trouble = 0.0, 0, None  # On the steady clock, and why nothing can start.
        self.run = None  # The command that runs.
        self.outcome = None  # (command, code, error) of a run whose end is not recorded yet.
        self.began = self.code = self.error = None  # Of the last run.
        self.skipped = 0  # How many due times came while it ran.

    def take(self, settings):
        """Takes the settings of the serving release's manifest. With other times it begins anew."""
        times = Times.of(settings["times"])
        self.catch_up, self.timeout = settings["catch_up"] is True, integer(settings["timeout"], 1, LONGEST)
        self.wanted = True
        if times != self.times:
            self.cron, self.times, self.settled = clean(settings["cron"], TEXT), times, None

    def settle(self, due):
        self.settled = due
        self.next = following(self.times, due) or float("inf")

    def opened(self, held, instance):
        """Takes what the record says. A run of this instance that is not known here any more has ended with it."""
        self.settle(held.due)
        if self.run or held.began is None:
            return
        self.began, self.code, self.error = held.began, held.code, held.error
        if running(held) and held.instance == instance:
            self.error, self.outcome = LOST, (None, None, LOST)

    def due(self, now):
        """The due time whose run is to begin now, if there is one. Time that is put back does not make it due again."""
        if self.settled > now + BACK_SECONDS:
            print(f"agent: the clock was put back, so {self.name} begins anew", flush=True)
            self.settle(int(now))
        if now < self.next:
            return None
        due = latest(self.times, now)
        if due is None or due <= self.settled:
            return None
        if self.run:
            self.skipped += 1
            print(f"agent: {self.name} is due, and skipped: the run before it goes on", flush=True)
            self.settle(due)
            return None
        if due < now - LATE_SECONDS and not self.catch_up:
            print(f"agent: {self.name} was missed", flush=True)
            self.settle(due)
            return None
        return due

    def begin(self, began, run=None):
        self.run, self.began, self.skipped = run, began, 0
        self.code = self.error = self.trouble = None

    def end(self, command, code, error):
        """`error` is for an end without an exit code."""
        self.run, self.code, self.error = None, code, error
        self.outcome = command, code, error

    def works(self):
        return self.run or self.busy or self.outcome

    def said(self):
        """Its part of the report."""
        known = {"last": self.began, "code": self.code, "error": self.trouble or self.error}
        return {**known, "next": int(self.next) if self.next < float("inf") else None, "skipped": self.skipped}


def entries_in(manifest):
    """The schedules in a manifest: (name, settings). `Invalid` for what no command line writes."""
    for name, settings in (manifest.get("schedule") or {}).items():
        if not match("source", name) or not isinstance(settings, dict) or not isinstance(settings.get("cron"), str):
            raise Invalid("the manifest has a schedule that devopsctl does not write")
        yield name, settings
