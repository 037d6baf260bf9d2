"""Time in the emulator: what changes by itself after a while, and the lock under which everything changes.

moto's calls run in threads and share their memory; real AWS orders them. So every call that the rules look at runs under
one lock, and what is due by then has happened before the call sees it.
"""

import datetime
import threading
import time

LOCK = threading.RLock()
_due = []


def after(seconds, change):
    """Has `change()` happen when `seconds` have passed, or now if there is nothing to wait for."""
    if seconds <= 0:
        change()
        return
    _due.append((time.monotonic() + seconds, change))
    _due.sort(key=lambda entry: entry[0])


def forget():
    """Nothing is due any more."""
    _due.clear()


def pending():
    """Whether anything is due later."""
    return bool(_due)


def settle():
    """Lets everything happen that is due. Returns the seconds until the next change, or None."""
    while _due and _due[0][0] <= time.monotonic():
        _due.pop(0)[1]()
    return max(0.0, _due[0][0] - time.monotonic()) if _due else None


def iso():
    """Now, as AWS writes it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
