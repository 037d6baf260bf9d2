"""Keeps the agent's own threads running: a thread that ends is restarted, and the report says so.

A thread ends on an unexpected exception. The other threads must go on, and a person must learn of it.
"""

import threading
import time

from boot.aws import backoff

SHOWN_SECONDS = 600  # How long the report mentions it.
STEADY_SECONDS = 60  # A thread that ran this long is restarted at once.


class Supervisor:
    def __init__(self, clock=time):
        self.clock = clock
        self.ends = {}  # By name: (when, why)

    def start(self, name, work):
        """Runs work without end in a thread, and restarts it."""
        threading.Thread(target=self.keep, args=(name, work), daemon=True, name=name).start()

    def once(self, work, *args):
        """Runs work once, in a thread."""
        threading.Thread(target=self.attempt, args=(work.__name__, work, *args), daemon=True).start()

    def keep(self, name, work):
        failures = 0
        while True:
            begun = self.clock.monotonic()
            if not self.attempt(name, work):
                self.note(name, "it returned")
            failures = 0 if self.clock.monotonic() - begun > STEADY_SECONDS else failures + 1
            self.clock.sleep(backoff(failures, 0.2, 30))

    def attempt(self, name, work, *args):
        """Whether the work raised. SystemExit and the like count: they end a thread silently."""
        try:
            work(*args)
        except BaseException as problem:  # noqa: BLE001 (no exception may pass)
            self.note(name, f"{type(problem).__name__}: {problem}")
            return True
        return False

    def note(self, name, why):
        print(f"agent: {name} ended unexpectedly: {why!a:.500}", flush=True)
        self.ends[name] = self.clock.monotonic(), why

    def said(self):
        """The last thread that ended recently, for the report; None if none did."""
        now = self.clock.monotonic()
        lately = [(name, why) for name, (when, why) in list(self.ends.items()) if now - when < SHOWN_SECONDS]
        if not lately:
            return None
        name, why = lately[-1]
        return f"a part of the agent ended and was restarted: {name}: {why}"
