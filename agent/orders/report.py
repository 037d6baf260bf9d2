"""What the instance reports: one JSON document in SSM, which the command line reads (`src/resources/reports.rs`).

Agents and command lines of other releases read and write it as well, so a name or a value here never changes its meaning.
"""

import enum
import json
from collections import namedtuple


class Phase(str, enum.Enum):
    """How far the instance is with its orders."""

    BOOTING = "booting"
    FETCHING = "fetching"
    TOKEN = "token"
    DATA = "data"
    RELEASING = "releasing"
    STARTING = "starting"
    HEALTHY = "healthy"
    FAILED = "failed"


class ProxyPhase(str, enum.Enum):
    """`WAITING`: for what a certificate cannot be requested without. `CERTIFICATE`: for the certificate itself."""

    FETCHING = "fetching"
    WAITING = "waiting"
    CERTIFICATE = "certificate"
    SERVING = "serving"
    FAILED = "failed"


class ErrorCode(str, enum.Enum):
    """The errors that the command line acts on. Their text is for a person only."""

    BAD_RELEASE = "bad_release"  # The bucket holds something else under the release's key.
    NO_RELEASE = "no_release"  # The bucket does not give the release.
    BAD_PROXY = "bad_proxy"  # The bucket holds something else under Caddy's key.
    BAD_SECRET = "bad_secret"  # A secret cannot be a variable, or the instance may not read it.
    RELEASE_FAILED = "release_failed"  # A command of `app.release` failed.


def error_code(problem):
    """The code that an exception carries, if any."""
    return getattr(problem, "error_code", None)


class ProxyReport(
    namedtuple("ProxyReport", "https phase error code certificate release attempt", defaults=(None,) * 5)
):
    """`certificate`: the one that is served. `release`: whose settings the proxy has. `attempt`: as in `Orders`."""

    __slots__ = ()

    def document(self):
        names = ("https", "phase", "error", "error_code", "certificate", "release", "try")
        return dict(zip(names, self))


FIELDS = (
    "orders phase error code release token secrets references grace_until threads proxy ssh updates agent role schedule processes data "
    "log_tail"
)


class Report(namedtuple("Report", FIELDS, defaults=(None,) * 16 + ("",))):
    """`release`, `token`, `secrets` and `references` (fingerprints): what serves. `grace_until`: as long as the token before it counts
    as well. `role`: the app's role in AWS, if it has one. `processes`: those beside the web server, by name. `schedule`: by name, the
    last run and the next one (`schedule/entry.py`). `data`: the volume with the app's files. `agent`: which part of the agent ended
    unexpectedly. `log_tail`: what the app printed before it failed."""

    __slots__ = ()

    def document(self):
        return {
            "v": 1,
            "wanted": self.orders.answered(),
            "release": self.release,
            "token": self.token,
            "secrets": self.secrets,
            "references": self.references,
            "grace_until": self.grace_until,
            "phase": self.phase,
            "healthy": self.release is not None,
            "error": self.error,
            "error_code": self.code,
            "threads": self.threads,
            "edge": self.proxy and self.proxy.document(),
            "ssh": self.ssh,
            "updates": self.updates,
            "agent": self.agent,
            "role": self.role,
            "schedule": self.schedule,
            "processes": self.processes,
            "data": self.data,
            "log_tail": self.log_tail,
        }


def to_json(document):
    """The text of a document as SSM takes it: SSM refuses `{{`."""
    return json.dumps(document).replace("{{", "{\\u007b")


def publish(aws, name, text):
    """Writes the report of this instance of the deployment `name`."""
    place = f"/devopsctl/{name}/report/{aws.metadata.identity()['instanceId']}"
    aws.ssm("PutParameter", Name=place, Value=text, Type="String", Overwrite=True)
