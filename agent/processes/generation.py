"""One generation of the app: a gunicorn that runs one release with one token and one set of secrets, from its start to its end."""

import os
import shutil

from app_role import credentials
from boot.validate import Invalid, check, clean, integer, match, optional, parse, process_id
from orders.decide import NO_SECRETS, Target
from orders.secrets import MOST_BYTES
from system import untrusted
from system.paths import write_json

ROLES = ("serving", "starting", "old")
VERDICT_BYTES, ENTRIES, WORDS = 1 << 18, 1000, 1 << 15


class Generation:
    """`number` names it; `pid` is its gunicorn's master, where the runner started it itself."""

    log = "app"

    def __init__(self, paths, number, target, pid=None, until=0.0):
        self.paths, self.number, self.target, self.pid = paths, number, target, pid
        self.release, self.volume = target.release, target.volume
        self.folder = os.path.join(paths.generations, str(number))
        self.variables = self.folder + "/token"
        self.verdict = paths.verdict(number)
        self.manifest = paths.manifest(target.release)
        self.until = until  # The deadline to be healthy, or gone; on the monotonic clock, like `since`.
        self.since = 0.0
        self.served = False  # Whether it ever served.
        self.end = None  # How its gunicorn exited, as text.
        self.log_start = 0
        self.waits = None  # Whether it waits for its processes beside the web server; None before that is decided.
        self.address = None  # The address at which clients reach it, if that is known.
        self.grant = credentials.NOTHING  # What it has of the app's role.

    @classmethod
    def create(cls, paths, target, token, secrets, steady, grant=credentials.NOTHING, waits=False):
        """Creates the next generation, with everything but its processes. `waits`: it serves only once it is let."""
        number = max((int(name) for name in os.listdir(paths.generations) if match("unit number", name)), default=0) + 1
        while os.path.lexists(os.path.dirname(paths.verdict(number))):
            number += 1  # The verdict of an earlier generation with that number still exists.
        self = cls(paths, number, target)
        self.grant = grant
        self.since, self.until = steady, steady + self.manifest["health"]["timeout"]
        given = variables(self.manifest, token, target.grace, secrets, grant.variables)
        try:
            paths.keep_instance(target.release)
            os.mkdir(self.folder, 0o700)
            if waits:
                os.mkdir(self.gate, 0o755)
            write_json(self.variables, given)
        except OSError:
            self.forget()
            raise
        return self

    def record(self):
        """The record from which another agent takes it over."""
        record = {"number": self.number, "target": self.target._asdict(), "pid": self.pid, "until": self.until}
        record["waits"] = self.waits
        return {**record, "port": self.grant.port} if self.grant.port else record

    @classmethod
    def from_record(cls, paths, record, folder=None):
        """The generation of a record that `record` made; `Invalid` for anything else. `folder`: another one with its files."""
        number, target, until = integer(record["number"], 1, 10**9), record["target"], record["until"]
        check("release", target["release"])
        integer(target["token"], 1)
        # Agents before it had secrets, or references, did not write them.
        known = [check("fingerprint", target.get(name, NO_SECRETS)) for name in ("secrets", "references")]
        if record["role"] not in ROLES or type(until) not in (int, float) or type(target["grace"]) is not bool:
            raise Invalid("not a record of a generation")
        own = None if record["pid"] is None else process_id(record["pid"])
        self = cls(
            paths,
            number,
            Target(target["release"], target["token"], target["grace"], *known, optional("volume", target)),
            own,
            until,
        )
        self.waits = {True: True, False: False}.get(record.get("waits"))
        if folder:
            self.folder, self.variables = folder, folder + "/token"
        self.grant = credentials.kept(record.get("port"), self.variables)
        return self

    def environment(self):
        """The environment of its gunicorn. It holds neither the token, nor secrets, nor any variable of the machine but the address
        of AWS."""
        given = environment(self)
        if os.path.isdir(self.gate):
            given["DEVOPSCTL_GATE"] = self.gate
        return {**self.grant.environment, "DEVOPSCTL_ADDRESS": self.address or "", **given}

    @property
    def gate(self):
        """It waits there after its checks, if there is such a folder."""
        return self.folder + "/gate"

    def program(self):
        return self.paths.release(self.target.release) + "/agent/serve.py"

    def unit(self):
        """Its unit under systemd."""
        return f"app@{check('unit number', str(self.number))}.service"

    def lines(self):
        """The lines of its verdict. The app can write that file: a line that proof.py would not write does not count."""
        try:
            text = untrusted.read(self.verdict, VERDICT_BYTES)
        except OSError:
            return []
        return list(filter(None, map(entry, text.split(b"\n")[:-1][:ENTRIES])))

    def proved(self):
        return len({line["proved"] for line in self.lines() if "proved" in line}) >= self.manifest["workers"]

    def let(self):
        """Lets it serve: from now on its workers listen."""
        if not self.is_let():
            with open(self.gate + "/open", "w"):
                pass

    def is_let(self):
        """Whether its workers listen once all of them have passed their checks."""
        return not os.path.isdir(self.gate) or os.path.exists(self.gate + "/open")

    def failure(self):
        """(reason, detail) of the first worker that failed its checks."""
        for line in self.lines():
            if "failed" in line:
                return line["failed"], line["detail"]
        return None

    def workers(self):
        """The pids of its workers, also of those started later."""
        return {line["worker"] for line in self.lines() if "worker" in line}

    def full(self):
        """Whether all workers report that all their threads are busy: each with a file of this name."""
        name = os.path.basename(self.verdict) + ".full-"
        found = [each for each in untrusted.names(os.path.dirname(self.verdict)) if each.startswith(name)]
        return len(found) >= self.manifest["workers"]

    def forget(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def environment(program):
    """The environment of a program that starts in a release: a generation, a process beside it, or a command."""
    paths, volume, data = program.paths, program.volume, {}
    if volume:
        data["DATA_DIR"] = paths.data_folder(volume, paths.manifest(program.release)["data"]["path"])
    return {
        **data,
        "DEVOPSCTL_RELEASE": paths.release(program.release),
        "DEVOPSCTL_SECRETS": program.variables,
        "DEVOPSCTL_VERDICT": program.verdict,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def lines_of(environment):
    """An environment as the lines of a file, as systemd reads them."""
    return "".join(f"{name}={value}\n" for name, value in environment.items())


def variables(manifest, token, grace, secrets, more=None):
    """The variables with the secrets and the token, and others. `grace`: whether the previous token counts as well."""
    require(manifest.get("secrets", ()), secrets.values)
    name = manifest["token"]["env"]
    # A secret with the name of the previous token would make the app accept it.
    names = {name: token.current, name + "_PREVIOUS": token.previous if grace else None}
    return {name: value for name, value in {**secrets.values, **names, **(more or {})}.items() if value is not None}


def require(names, values):
    """Refuses a start without a secret that the app needs: it would fail in words of its own, or not until a request needs it."""
    if sum(len(value.encode()) for value in values.values()) > MOST_BYTES:
        raise Invalid(f"the secrets have more than {MOST_BYTES >> 10} KiB in all, with those that are kept elsewhere")
    missing = " ".join(name for name in names if name not in values)
    if missing:
        what = f"the secrets {missing} are" if " " in missing else f"the secret {missing} is"
        raise Invalid(f"{what} not set: devopsctl secrets set {missing}")


def entry(line):
    """A line of a verdict with its known parts; None for anything else."""
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
