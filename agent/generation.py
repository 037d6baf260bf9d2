"""One generation of the app: a gunicorn that runs one release with one token, from its start to its end."""

import json
import os
import shutil
import stat

from decide import Target
from places import write_json


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

    @classmethod
    def create(cls, places, target, token, steady):
        """The next one, with all that it needs except its processes."""
        number = max((int(name) for name in os.listdir(places.generations) if name.isdigit()), default=0) + 1
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
        return cls(places, record["number"], Target(**record["target"]), record["pid"], record["until"])

    def environment(self):
        """The environment of its gunicorn. The token is not in it, and nothing of the machine's own."""
        release = self.places.release(self.target.release)
        return {
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
        """What its workers have said. The file is the app's own, so it is read with care."""
        try:
            fd = os.open(self.verdict, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return []
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return []
            text = file.read(1 << 20).decode(errors="replace")
        found = []
        for line in text.split("\n")[:-1]:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                found.append(entry)
        return found

    def proved(self):
        return len({str(line["proved"]) for line in self.lines() if "proved" in line}) >= self.manifest["workers"]

    def failure(self):
        """(reason, detail) of the first worker that could not prove itself."""
        for line in self.lines():
            if "failed" in line:
                return str(line["failed"]), str(line.get("detail") or "")
        return None

    def workers(self):
        """The pids of its workers, the late ones included."""
        return {line["worker"] for line in self.lines() if isinstance(line.get("worker"), int)}

    def forget(self):
        shutil.rmtree(self.folder, ignore_errors=True)
