"""The record of a release's commands (`app.release`), which run once for a release: one object in the bucket.

    <name>/released/<release>.json    {"v": 1, "state": "running", "instance": ..., "orders": {...}, "error": null, "write": ...}

An instance claims it before it runs the commands, and writes it again every `RENEW_SECONDS` meanwhile. Of several instances one
runs them, because each write is conditional; the others wait. A claim that was not renewed for `STALE_SECONDS`, by S3's clock,
belongs to an instance that is gone. "done" is final. `write` differs each time, so that no two writes have the same ETag.
"""

import email.utils
import enum
import io
import json
import os
from collections import namedtuple

from boot.aws import AwsError
from boot.validate import Invalid, check, clean, parse

RENEW_SECONDS = 20
STALE_SECONDS = 120
ERROR = 1000  # Characters of a recorded error.


class State(str, enum.Enum):
    """What a record says of the commands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Verdict(enum.Enum):
    """What an instance that is to run the commands does."""

    CLAIM = "claim"
    WAIT = "wait"
    DONE = "done"
    FAILED = "failed"


class Held(namedtuple("Held", "state instance orders error etag age")):
    """A record as S3 has it. `age`: the seconds since it was written."""

    __slots__ = ()


def judge(held, instance, orders, waited):
    """What to do with a record of another run. `waited`: this instance waited for that run, so it shares its failure."""
    if held.state is State.DONE:
        return Verdict.DONE
    if held.state is State.RUNNING:
        return Verdict.WAIT if held.instance != instance and held.age < STALE_SECONDS else Verdict.CLAIM
    # A failure is final until something else is ordered.
    final = held.orders == orders and (held.instance == instance or waited)
    return Verdict.FAILED if final else Verdict.CLAIM


class Record:
    """One release's record, for this instance and its orders."""

    def __init__(self, aws, name, release, orders):
        self.aws, self.key = aws, f"{check('name', name)}/released/{check('release', release)}.json"
        self.instance, self.orders = aws.metadata.identity()["instanceId"], orders
        self.etag = None  # Of what this instance wrote last.

    def claim(self, wanted, clock):
        """Claims the record, waiting for another instance's run if necessary -> the record that decided it: None after a claim.
        `wanted` says whether the commands are still to run here."""
        waited = False
        while not self.write(State.RUNNING, condition={"If-None-Match": "*"}):
            held = self.read()
            verdict = judge(held, self.instance, self.orders, waited)
            if verdict in (Verdict.DONE, Verdict.FAILED):
                return held
            if verdict is Verdict.CLAIM and self.write(State.RUNNING, condition={"If-Match": held.etag}):
                return None
            waited = waited or verdict is Verdict.WAIT
            if not wanted():
                return held
            clock.sleep(2)
        return None

    def renew(self):
        """Shows other instances that this one still runs the commands."""
        self.rewrite(State.RUNNING)

    def end(self, error):
        """Records how the commands ended."""
        self.rewrite(State.FAILED if error else State.DONE, error)

    def rewrite(self, state, error=None):
        """Writes the record if the claim is still this instance's. The response to an earlier write may have been lost."""
        if not self.write(state, error, {"If-Match": self.etag}):
            held = self.read()
            if held.state is State.RUNNING and held.instance == self.instance:
                self.write(state, error, {"If-Match": held.etag})
            else:
                print(f"agent: {self.key} belongs to {held.instance} now", flush=True)

    def write(self, state, error=None, condition=None):
        """Whether the condition held, and the record was written."""
        document = {"v": 1, "state": state, "instance": self.instance, "orders": self.orders}
        body = json.dumps({**document, "error": error and error[:ERROR], "write": os.urandom(8).hex()}).encode()
        try:
            self.aws.upload(self.key, body, "application/json", condition, self.heard)
        except AwsError as problem:
            if problem.status in (409, 412):  # 409: another instance writes it at this moment.
                return False
            raise
        return True

    def heard(self, headers):
        self.etag = headers["ETag"]

    def read(self):
        """The record as S3 has it."""
        file, headers = io.BytesIO(), []
        self.aws.download(self.key, file, headers.append)
        said = headers[0]
        found = parse(file.getvalue(), kind=dict)
        try:
            ages = [email.utils.parsedate_to_datetime(said[name]) for name in ("Last-Modified", "Date")]
            state, instance = State(found["state"]), check("instance", found["instance"])
            error = clean(str(found.get("error") or ""), ERROR)
            return Held(state, instance, found.get("orders"), error, said["ETag"], (ages[1] - ages[0]).total_seconds())
        except (KeyError, TypeError, ValueError) as problem:
            raise Invalid(f"the object {self.key} does not have the form that devopsctl writes") from problem
