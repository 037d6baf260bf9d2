"""The record of a schedule's runs: one object in the bucket, so that of several instances one does each run.

    <name>/schedule/<schedule>.json    {"v": 1, "cron": text, "due": ..., "instance": ..., "began": ..., "until": ..., "ended": ...,
                                        "code": ..., "error": ..., "write": ...}

An instance claims a due time before it starts the run, and each write is conditional, so no due time is run twice. Due times up to
`due` need no run any more. A run without `ended` holds the schedule until its time limit (`until`). `write` differs each time, so
that no two writes have the same ETag.
"""

import io
import json
import os
from collections import namedtuple

from boot.aws import AwsError
from boot.validate import Invalid, check, clean, integer, parse

ATTEMPTS = 5  # Each one that fails is another instance's write.
ERROR = 120  # Characters of an error, which the report has as well.
TEXT = 200  # Characters of a cron expression.


class Held(namedtuple("Held", "cron due instance began until ended code error etag")):
    """A record as S3 has it. `began`: None before the first run. `code`: how its program exited, if it exited by itself."""

    __slots__ = ()


class Record:
    """One schedule's record. `name` returns the deployment's name. Only one thread at a time uses it."""

    def __init__(self, aws, name, schedule):
        self.aws, self.name, self.schedule = aws, name, check("source", schedule)
        self.held = None  # As this instance read or wrote it last.

    def key(self):
        return f"{self.name()}/schedule/{self.schedule}.json"

    def instance(self):
        return self.aws.metadata.identity()["instanceId"]

    def open(self, cron, now):
        """The record. A schedule that is new, or whose times changed, begins now."""
        held = self.read()
        if held is None:
            held = Held(None, 0, self.instance(), None, None, None, None, None, None)
        if held.cron != cron and not self.write(held._replace(cron=cron, due=int(now))):
            self.read()  # Another instance opened it.
        if self.held is None:
            raise AwsError("NoRecord", f"s3:GetObject of {self.key()} was refused, although it exists")
        return self.held

    def claim(self, cron, due, now, until):
        """Whether the run at this due time is this instance's."""
        known = self.held is None or self.held.instance == self.instance()  # Another instance's may have changed since.
        for _ in range(ATTEMPTS):
            etag = self.held and self.held.etag
            if known and self.write(Held(cron, due, self.instance(), int(now), int(until), None, None, None, etag)):
                return True
            held, known = self.read(), True
            ours = held is not None and held.instance == self.instance()
            if ours and held.due == due:
                return True  # The response to an earlier write was lost.
            if held and (held.due >= due or (not ours and running(held) and now + self.aws.skew < held.until)):
                return False
        raise AwsError("Conflict", f"{self.key()} is written by other instances all the time")

    def end(self, settled, now, code, error):
        """Records how this instance's run ended. `settled`: due times up to this one need no run."""
        ended = self.held._replace(due=max(settled, self.held.due), ended=int(now), code=code, error=error)
        if not self.write(ended) and self.read() and self.held.instance != self.instance():
            print(f"agent: {self.key()} belongs to {self.held.instance} now", flush=True)

    def write(self, held):
        """Whether the record was still the one that `held` is based on, and was written."""
        said = {"v": 1, **held._asdict(), "write": os.urandom(8).hex()}
        condition = {"If-Match": said.pop("etag")} if held.etag else {"If-None-Match": "*"}
        heard = []
        try:
            self.aws.upload(self.key(), json.dumps(said).encode(), "application/json", condition, heard.append)
        except AwsError as problem:
            # 404: it was deleted. 409: another instance writes it at this moment.
            if problem.status in (404, 409, 412):
                return False
            raise
        self.held = held._replace(etag=heard[0]["ETag"])
        return True

    def read(self):
        """The record as S3 has it; None if there is none."""
        file, heard = io.BytesIO(), []
        self.held = None
        try:
            self.aws.download(self.key(), file, heard.append)
        except AwsError as problem:
            if not problem.absent():
                raise
        else:
            self.held = understood(file.getvalue(), heard[0]["ETag"])
        return self.held


def running(held):
    return held.began is not None and held.ended is None


def understood(data, etag):
    """A record from S3. One that no agent wrote is replaced with the next write."""
    try:
        said = parse(data, kind=dict)
        numbers = [None if said[key] is None else integer(said[key]) for key in ("began", "until", "ended")]
        code = None if said["code"] is None else integer(said["code"], -64, 255)
        error = None if said["error"] is None else clean(str(said["error"]), ERROR)
        cron = clean(str(said["cron"]), TEXT)
        if running_without_limit(*numbers):
            raise Invalid("a run without a time limit")
        return Held(cron, integer(said["due"]), check("instance", said["instance"]), *numbers, code, error, etag)
    except (KeyError, ValueError):
        return Held(None, 0, "", None, None, None, None, None, etag)


def running_without_limit(began, until, ended):
    return began is not None and until is None and ended is None
