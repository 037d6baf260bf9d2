"""The credentials of the app's role: the agent gets them from STS and serves them to the app (server.py).

The app never gets those of the instance's role, which can read the token and the releases. A generation that needs credentials
gets a token of its own for the server, which ends with it.
"""

import calendar
import os
import re
import secrets
import socket
import threading
import time
import urllib.parse
from collections import namedtuple

from app_role import server
from boot.aws import AwsError, backoff
from boot.validate import check, in_words, integer
from orders.decide import one_line
from system.paths import read_json

LASTING = 3600  # Seconds: AWS's limit for the session of a session.
REFRESH_SECONDS = 600  # An SDK asks for new ones a quarter of an hour before their end.
FIRST_SECONDS = 30  # How long a start waits for the first credentials. IAM takes seconds to know a new role.
BRIEF_SECONDS = 60  # A shorter trouble is not reported while there are valid credentials.
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
LISTENER = (
    "DEVOPSCTL_CREDENTIALS_LISTENER"  # The descriptor of the server's socket, for the next agent in this process.
)
# The fields that SDKs expect, and their names in the answer of STS.
FIELDS = {"AccessKeyId": "AccessKeyId", "SecretAccessKey": "SecretAccessKey", "Token": "SessionToken"}
MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", re.ASCII)

# What a generation gets: `variables` with the secret for its workers, `environment` for its gunicorn, the server's `port`.
Grant = namedtuple("Grant", "variables environment port")
NOTHING = Grant({}, {}, None)


def kept(port, variables):
    """The grant of a program that an earlier agent started. `variables`: the file with its secrets."""
    if port is None:
        return NOTHING
    return Grant({TOKEN: read_json(variables, {}).get(TOKEN)}, {}, integer(port, 1024, 65535))


class Credentials(namedtuple("Credentials", "document until")):
    """`document`: as SDKs read it. `until`: seconds since 1970. `repr` leaves the secrets out."""

    __slots__ = ()

    def __repr__(self):
        return f"Credentials(until={self.until})"


class AppRole:
    """`start(name, work)` runs work without end in a thread."""

    def __init__(self, aws, name, start, clock=time):
        self.aws, self.name, self.start, self.clock = aws, name, start, clock
        self.held = None  # The newest credentials.
        self.error, self.failed_at = None, 0.0  # Why there are no newer ones, and since when.
        self.since = None  # Since when they are needed.
        self.tokens = frozenset()
        self.listener = None
        self.inherited = os.environ.pop(LISTENER, None)
        self.change = threading.Event()

    # For the agent's main loop

    def grant(self, manifest):
        """What a generation of this release gets; None while its start waits for the first credentials."""
        if not manifest.get("permissions"):
            return NOTHING
        self.need()
        if not self.held and self.clock.monotonic() < self.since + FIRST_SECONDS:
            return None
        port, region = self.listener.getsockname()[1], self.aws.metadata.identity()["region"]
        environment = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{server.HOST}:{port}{server.PATH}",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
        }
        # As every AWS tool, the app calls another endpoint if the machine does.
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        environment.update({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})
        return Grant({TOKEN: secrets.token_urlsafe(32)}, environment, port)

    def admit(self, grants):
        """From now on, the generations that live are those with these grants. An earlier agent may have made them."""
        ports = {grant.variables[TOKEN]: grant.port for grant in grants if grant.variables[TOKEN]}
        ended, self.tokens = self.tokens and not ports, frozenset(ports)
        if ports:
            try:
                self.need(next(iter(ports.values())))
            except OSError as problem:  # Another process has the port. It is tried again with the next turn.
                self.fail(problem)
        elif ended:
            self.held = self.since = self.error = None
        self.take_over(None)  # The listener of an earlier agent that no generation needs.

    def need(self, port=None):
        """Listens, and keeps credentials from now on."""
        if not self.listener:
            self.listener = self.take_over(port) or server.listen(port)
            self.start("credentials server", server.Server(self.listener, self.answer).run)
            self.start("credentials", self.refresh)
        if self.since is None:
            self.since = self.clock.monotonic()
            self.change.set()

    def said(self):
        """The part of the report for an app that needs the role."""
        brief = self.valid() and self.clock.monotonic() < self.failed_at + BRIEF_SECONDS
        return {"error": None if brief else self.error}

    # Between the agents of two releases

    def before_exec(self):
        """The listener stays open for the next agent, so that no request is refused meanwhile."""
        if self.listener:
            self.listener.set_inheritable(True)
            os.environ[LISTENER] = str(self.listener.fileno())

    def take_over(self, port):
        """The listener of the earlier agent in this process, if it is the one at that port; otherwise it is closed."""
        given, self.inherited = self.inherited, None
        try:
            listener = given and socket.socket(fileno=integer(int(given), 3, 1 << 16))
        except (OSError, ValueError):
            return None
        if listener and listener.getsockname() != (server.HOST, port):
            listener.close()
            return None
        listener and listener.set_inheritable(False)
        return listener

    # In threads

    def refresh(self):
        """Runs forever. Without newer credentials the last ones count until they end."""
        failures = 0
        while True:
            pause = None
            if self.since is not None:
                try:
                    self.held, self.error = assume(self.aws, self.name()), None
                    failures, pause = 0, REFRESH_SECONDS
                except (AwsError, ValueError) as problem:
                    failures, pause = failures + 1, backoff(failures, 0.5, 60)
                    self.fail(problem)
            self.change.wait(pause)
            self.change.clear()

    def fail(self, problem):
        error = one_line(in_words(problem))
        if error != self.error:
            print(f"agent: no credentials for the app: {error}", flush=True)
        self.failed_at = self.failed_at if self.error else self.clock.monotonic()
        self.error = error

    def valid(self):
        """The credentials, as long as AWS accepts them."""
        held = self.held
        return held if held and self.clock.time() + self.aws.skew < held.until else None

    def answer(self, token):
        """(status, document) for a request with this token; None until the first credentials were requested, as after a restart of
        the agent."""
        # All of them are compared, so that the time tells nothing.
        known = [secrets.compare_digest(token.encode(), each.encode()) for each in self.tokens]
        if not any(known):
            return 401, server.error("Unauthorized", "the authorization token is missing or wrong")
        held, error = self.valid(), self.error
        if held:
            return 200, held.document
        return (503, server.error("NoCredentials", error)) if error or self.held else None


def assume(aws, name):
    """A new session of the app's role."""
    identity = aws.metadata.identity()
    partition = check("partition", aws.metadata.fact("meta-data/services/partition") or "aws")
    role = f"devopsctl-{check('name', name)}-{identity['region']}-app"
    form = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": f"arn:{partition}:iam::{identity['accountId']}:role/{role}",
        "RoleSessionName": identity["instanceId"],
        "DurationSeconds": str(LASTING),
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    body = urllib.parse.urlencode(form).encode()
    answer = aws.call("sts:AssumeRole", "sts", "POST", aws.endpoint("sts"), headers, body)
    return credentials_in(answer.decode(errors="replace"))


def credentials_in(text):
    """The credentials in an answer of STS."""
    found = {field: re.search(f"<{name}>([!-;=?-~]{{1,8192}})</{name}>", text) for field, name in FIELDS.items()}
    ends = re.search("<Expiration>([^<]{1,40})</Expiration>", text)
    moment = ends and MOMENT.fullmatch(ends[1])
    if not all(found.values()) or not moment:
        # Without the answer, which could show a part of them.
        raise AwsError("BadAnswer", "sts:AssumeRole: the answer does not have the expected form")
    until = calendar.timegm(time.strptime(moment[1], "%Y-%m-%dT%H:%M:%S"))
    return Credentials({**{field: value[1] for field, value in found.items()}, "Expiration": moment[1] + "Z"}, until)
