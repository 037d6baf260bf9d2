"""What the machine says about itself: one small JSON document in SSM, rewritten whenever it changes, and at
least every five minutes, so that a reader can tell an agent that has stopped.

A report is small (SSM takes 4096 bytes), holds no secret, and never stops the agent: a thread of its own runs `Reporter.run`.
"""

import json
import threading
import time

from aws import backoff

LIMIT = 4096
PAUSE = 1.0  # Between two writes, at least.
EVERY = 300  # Between two writes, at most.


def encode(report):
    """The JSON text that SSM takes: `{{` is escaped, and what is too long loses the oldest lines of the log."""
    report = dict(report)
    while True:
        text = json.dumps(report).replace("{{", "{\\u007b")
        over = len(text.encode()) - LIMIT
        if over <= 0:
            return text
        tail = report["log_tail"]
        if not tail and not report["error"]:
            return text  # Let SSM say what is wrong with it.
        if tail:
            # JSON's escapes make text longer, never shorter: to cut `over / 6` characters never cuts too much.
            tail = tail[max(1, over // 6) :]
            report["log_tail"] = tail.partition("\n")[2] or tail[-200:] if len(tail) > 200 else ""
        else:
            report["error"] = report["error"][: len(report["error"]) * 3 // 4]


class Reporter:
    """Sends the newest report: if it says something new, at most once in `PAUSE` seconds; if not, once in `every`."""

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
                # In short waits: while a computer sleeps, they do not go on.
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
            except Exception as problem:  # noqa: BLE001 (a machine that tells nothing any more is a dead one)
                print(f"agent: can't report: {problem}", flush=True)
                due = 0
                self.clock.sleep(backoff(failures, PAUSE * 2, 60))
                failures += 1
