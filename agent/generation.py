"""One generation of the app: a gunicorn that runs one release with one token, from its start to its end."""

import os
import shutil

import untrusted
from decide import Target
from places import write_json
from validate import Invalid, check, clean, integer, match, parse, process_id

ROLES = ("serving", "starting", "old")
VERDICT_BYTES, ENTRIES, WORDS = 1 << 18, 1000, 1 << 15


class Generation:
    """`number` names it; `pid` is its gunicorn's master, where the runner started it itself."""

    def __init__(self, places, number, target, pid=None, until=0.0):
        self.places, self.number, self.target, self.pid = places, number, target, pid
        self.folder = os.path.join(places.generations, str(number))
        self.secrets = self.folder + "/token"
        self.verdict = places.verdict(number)
        self.manifest = places.manifest(target.release)
        self.until = until  # By when it must be healthy, or gone; on the steady clock, as `since`.
        self.since = 0.0
        self.served = False  # Whether it ever answered anybody.
        self.end = None  # How its gunicorn ended, as words.
        self.log_start = 0
        self.address = None  # At which clients reach it, if that is known.

    @classmethod
    def create(cls, places, target, token, steady):
        """The next one, with all that it needs except its processes."""
        number = (
            max((int(name) for name in os.listdir(places.generations) if match("unit number", name)), default=0) + 1
        )
        while os.path.lexists(os.path.dirname(places.verdict(number))):
            number += 1  # What one of that number has said is still there, and would be taken for this one's word.
        self = cls(places, number, target)
        self.since, self.until = steady, steady + self.manifest["health"]["timeout"]
        name = self.manifest["token"]["env"]
        variables = {name: token.current}
        if target.grace:
            variables[name + "_PREVIOUS"] = token.previous
        try:
            os.mkdir(self.folder, 0o700)
            write_json(self.secrets, variables)
        except OSError:
            self.forget()
            raise
        return self

    def record(self):
        """What another agent needs to take it over."""
        return {"number": self.number, "target": self.target._asdict(), "pid": self.pid, "until": self.until}

    @classmethod
    def from_record(cls, places, record):
        """The record of a generation, as `record` made it; `Invalid` for anything else."""
        number, target, until = integer(record["number"], 1, 10**9), record["target"], record["until"]
        check("release", target["release"])
        integer(target["token"], 1)
        if record["role"] not in ROLES or type(until) not in (int, float) or type(target["grace"]) is not bool:
            raise Invalid("not a record of a generation")
        own = None if record["pid"] is None else process_id(record["pid"])
        return cls(places, number, Target(target["release"], target["token"], target["grace"]), own, until)

    def environment(self):
        """The environment of its gunicorn. The token is not in it, and nothing of the machine's own."""
        release = self.places.release(self.target.release)
        return {
            "DEVOPSCTL_ADDRESS": self.address or "",
            "DEVOPSCTL_RELEASE": release,
            "DEVOPSCTL_SECRETS": self.secrets,
            "DEVOPSCTL_VERDICT": self.verdict,
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def program(self):
        return self.places.release(self.target.release) + "/agent/serve.py"

    def lines(self):
        """What its workers have said. The file is the app's own: what is not as proof.py writes it counts for nothing."""
        try:
            text = untrusted.read(self.verdict, VERDICT_BYTES)
        except OSError:
            return []
        return list(filter(None, map(entry, text.split(b"\n")[:-1][:ENTRIES])))

    def proved(self):
        return len({line["proved"] for line in self.lines() if "proved" in line}) >= self.manifest["workers"]

    def failure(self):
        """(reason, detail) of the first worker that could not prove itself."""
        for line in self.lines():
            if "failed" in line:
                return line["failed"], line["detail"]
        return None

    def workers(self):
        """The pids of its workers, the late ones included."""
        return {line["worker"] for line in self.lines() if "worker" in line}

    def full(self):
        """Whether all of its workers say that all of their threads are taken: each by a file of this name."""
        name = os.path.basename(self.verdict) + ".full-"
        found = [each for each in untrusted.names(os.path.dirname(self.verdict)) if each.startswith(name)]
        return len(found) >= self.manifest["workers"]

    def forget(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def entry(line):
    """One line of a verdict, with what is known of its form; None for anything else."""
    try:
        found = parse(line, VERDICT_BYTES, dict)
        if "failed" in found:
            return {
                "failed": clean(str(found["failed"]), WORDS),
                "detail": clean(str(found.get("detail") or ""), WORDS),
            }
        return {key: process_id(found[key]) for key in ("worker", "proved") if key in found} or None
    except ValueError:
        return None
