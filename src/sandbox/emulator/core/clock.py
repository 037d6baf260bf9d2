"""Time in the emulator: delayed changes, and the lock that orders all calls.

moto's calls run in threads and share their memory. So every call with a rule runs under one lock, after all changes that are
due.
"""

import datetime
import threading
import time

LOCK = threading.RLock()
_due = []


def after(seconds, change):
    """Calls `change()` after `seconds`, or at once if there is no delay."""
    if seconds <= 0:
        change()
        return
    _due.append((time.monotonic() + seconds, change))
    _due.sort(key=lambda entry: entry[0])


def forget():
    """Drops all pending changes."""
    _due.clear()


def pending():
    """Whether changes are pending."""
    return bool(_due)


def settle():
    """Applies all changes that are due. Returns the seconds until the next one, or None."""
    while _due and _due[0][0] <= time.monotonic():
        _due.pop(0)[1]()
    return max(0.0, _due[0][0] - time.monotonic()) if _due else None


def hurry():
    """Applies all pending changes now, but not those that they cause."""
    due, _due[:] = list(_due), []
    for _, change in due:
        change()


def iso():
    """The current time in AWS's format."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
