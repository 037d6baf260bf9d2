"""Sends the report whenever it changes, and at least every five minutes, so that a reader notices an agent that has stopped.

A report is small (SSM takes 4096 bytes), holds no secret, and never blocks the agent: `Reporter.run` has its own thread.
"""

import threading
import time

from boot.aws import backoff
from orders.report import to_json

LIMIT = 4096
PAUSE = 1.0  # The minimum between two writes.
EVERY = 300  # The maximum between two writes.


def encode(report):
    """The report as text. If it is too long for SSM, the oldest lines of the log are left out."""
    report = dict(report)
    while True:
        text = to_json(report)
        over = len(text.encode()) - LIMIT
        if over <= 0:
            return text
        tail = report["log_tail"]
        if not tail and not report["error"]:
            return text  # SSM's refusal says what is wrong.
        if tail:
            # JSON escapes a character as six at most: cutting `over / 6` characters never cuts too much.
            tail = tail[max(1, over // 6) :]
            report["log_tail"] = tail.partition("\n")[2] or tail[-200:] if len(tail) > 200 else ""
        else:
            report["error"] = report["error"][: len(report["error"]) * 3 // 4]


class Reporter:
    """Sends the newest report: a changed one at most once in `PAUSE` seconds, an unchanged one once in `every`."""

    def __init__(self, send, clock=time, every=EVERY):
        self.send, self.clock, self.every = send, clock, every
        self.change = threading.Condition()
        self.newest = self.sent = None

    def say(self, report):
        with self.change:
            if report != self.newest:
                self.newest = report
                self.change.notify()

    def idle(self):
        with self.change:
            return self.newest == self.sent

    def run(self):
        failures, due = 0, 0
        while True:
            with self.change:
                # In short waits, because a wait stops while a computer sleeps.
                self.change.wait_for(lambda: self.newest != self.sent, min(self.every, 10))
                report, changed = self.newest, self.newest != self.sent
            now = int(self.clock.time())
            if report is None or (not changed and due - self.every <= now < due):
                continue
            try:
                self.send(encode({**report, "at": now, "next_at": now + self.every}))
                failures, due = 0, now + self.every
                with self.change:
                    self.sent = report
                self.clock.sleep(PAUSE)
            except Exception as problem:  # noqa: BLE001 (reports must go on after any error)
                print(f"agent: cannot report: {problem}", flush=True)
                due = 0
                self.clock.sleep(backoff(failures, PAUSE * 2, 60))
                failures += 1
