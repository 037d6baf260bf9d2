"""The health check of a generation before it serves: its first workers call the app in process, and write the result.

The verdict is a file of JSON lines, which the agent reads:
    {"worker": 71}                               the pid of a worker, when it starts
    {"proved": 71}                               a first worker passed the checks
    {"failed": "<one line>", "detail": "<more>"} a first worker failed them: the generation must not serve
Only the first workers of a generation count: a worker that replaces a dead one later must not end the generation because of a
temporary error.
"""

import contextlib
import html
import io
import json
import os
import re
import secrets
import sys
import traceback
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

# How many bytes of an unhealthy answer are read, and how many characters of its text are shown.
BODY_BYTES, WORDS = 4096, 200


class Failed(Exception):
    """The app must not serve."""


class Proof:
    def __init__(self, manifest, secrets_file, verdict, ready, address=None, gate=None):
        self.manifest, self.secrets_file, self.verdict, self.ready = manifest, secrets_file, verdict, ready
        self.gate = gate  # A folder in which the agent makes the file `open` before the generation may serve.
        self.origin = origin(manifest.get("edge"), address)
        self.proved = False
        self.call = call_wsgi  # How a worker calls its app; asgi.py sets another way.

    def variables(self):
        """The environment variables that hold the secrets and the token."""
        with open(self.secrets_file) as file:
            return json.load(file)

    def say(self, **line):
        with open(self.verdict, "a") as file:
            file.write(json.dumps(line) + "\n")

    def is_first(self, worker):
        return worker.age <= self.manifest["workers"]

    def born(self, worker):
        self.say(worker=worker.pid)

    def failed(self, worker, reason, traced=True):
        """Records the current exception, if the generation depends on this worker; without its traceback if not `traced`."""
        if self.is_first(worker) and not self.proved:
            self.say(failed=reason, detail=story(sys.exc_info()[1], worker) if traced else "")

    def prove(self, worker):
        if not self.is_first(worker):
            return
        try:
            health = self.check_health(worker.wsgi)
            self.check_guard(worker.wsgi, health)
        except Failed as problem:
            cause = problem.__cause__
            self.say(failed=str(problem), detail=story(cause, worker) if cause else "")
            sys.exit(3)  # gunicorn's exit code for a worker that cannot boot: its master exits, too.
        self.proved = True
        self.say(proved=worker.pid)

    def complete(self, worker):
        """Whether the generation may serve: all of its first workers passed the checks, and the agent lets it. If so, notifies
        systemd."""
        if self.gate and not os.path.exists(self.gate + "/open"):
            return False
        if not self.is_first(worker):
            return True
        if sum("proved" in line for line in self.lines()) < self.manifest["workers"]:
            return False
        self.ready()
        return True

    def full(self, pid, whether):
        """Records in a file, for the other workers and the agent, whether all threads of a worker are busy. Returns whether that
        succeeded."""
        try:
            if whether:
                open(f"{self.verdict}.full-{pid}", "w").close()
            else:
                os.remove(f"{self.verdict}.full-{pid}")
        except FileNotFoundError:
            return not whether
        except OSError:
            return False
        return True

    def all_full(self):
        """Whether the threads of all workers are busy."""
        folder, name = os.path.split(self.verdict)
        with contextlib.suppress(OSError):
            found = [each for each in os.listdir(folder) if each.startswith(name + ".full-")]
            return len(found) >= self.manifest["workers"]
        return True  # So that waiting requests are answered.

    def has_failed(self):
        """For the master, which no exception here may end."""
        try:
            return any("failed" in line for line in self.lines())
        except (OSError, ValueError, TypeError):  # There is no worker yet, or the app wrote to the file.
            return False

    def lines(self):
        with open(self.verdict) as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def ended(self, worker, lacked_memory):
        """In the master: a first worker that exited without a result (a signal, os._exit) failed, too."""
        self.full(worker.pid, False)
        if self.is_first(worker) and not any(line.get("proved") == worker.pid for line in self.lines()):
            why = ": it took more memory than there is" if lacked_memory else ""
            self.say(failed="a worker exited before it could answer the health request" + why, detail="")

    def check_health(self, app):
        path = self.manifest["health"]["path"]
        answer = self.ask(app, path, self.variables().get(self.manifest["token"]["env"]))
        if not 200 <= answer.status < 400:
            said = answer.text()
            begins = f"; its answer begins: {said}" if said else "; its answer has no text"
            asked = self.how_asked(answer.status)
            reason = f"the app answers {answer.status} at {path} with the token{asked}; healthy is 2xx or 3xx{begins}"
            raise Failed(reason) from answer.problem
        return answer

    def how_asked(self, status):
        """The part of the request that may be the reason for the status."""
        if status in (400, 421):
            return f" (asked for {self.origin[1]})"
        if status in (401, 403) and self.manifest["token"]["check"] == "app":
            return " (sent as `Authorization: Token <the token>`)"
        return ""

    def ask(self, app, path, token):
        """GET `path` of the app -> its answer."""
        request, answer = Request(path, token, *self.origin), Answer()
        try:
            self.call(app, request, answer)
        except Exception as problem:
            raise Failed(f"the app fails at {request.path}: {type(problem).__name__}: {problem}") from problem
        return answer

    def check_guard(self, app, health):
        """`health`: the app's answer at health.path with the token."""
        token, path = self.manifest["token"], self.manifest["token"]["path"]
        if token["check"] == "none":
            return
        right, own = health, self.variables().get(token["env"])
        if path != self.manifest["health"]["path"]:
            right = self.ask(app, path, own)
        # A redirect with a new location each time does not show whether the app knows the caller.
        strays = is_redirect(right) and leads_to(right, path) != leads_to(self.ask(app, path, own), path)
        for sent, how in ((None, "without a token"), (secrets.token_urlsafe(), "with a wrong token")):
            answer = self.ask(app, path, sent)
            if not is_guarded(answer, right, path) or (strays and is_redirect(answer)):
                raise Failed(open_because(path, answer.status, how, right.status))


def origin(edge, address):
    """(scheme, host) as clients use them: the domain, else the address, else localhost."""
    edge = edge or {"https": False, "port": 80, "domain": None}
    host = edge["domain"] or address or "localhost"
    if edge["https"]:
        return "https", host
    return "http", host if edge["port"] == 80 else f"{host}:{edge['port']}"


def is_guarded(answer, right, path):
    """Whether the app's answer without the token refuses the caller; `right` is its answer with the token. `probe.rs` has the same
    rule; `tests/guarded.json` tests both."""
    status = answer.status
    if status in (401, 403):
        return status != right.status
    if is_redirect(answer) and is_redirect(right):
        paths = leads_to(answer, path), leads_to(right, path)
        return None not in paths and paths[0] != paths[1]
    return 300 <= status < 500 and status not in (408, 429) and 200 <= right.status < 300


def is_redirect(answer):
    return 300 <= answer.status < 400


def leads_to(answer, path):
    """The path of a redirect's location, or None. Host and query do not count: other values may mean the same page."""
    try:
        location = answer.headers.get("location")
        return urlsplit(urljoin(path, location)).path or "/" if location else None
    except ValueError:
        return None


def open_because(path, status, how, right):
    if status in (401, 403):
        return f"the app answers {status} at {path} with the token too: it does not accept the token there"
    what = f"the app answers {status} at {path} {how}"
    if 200 <= status < 300:
        what += ", so it is open to everyone"
    elif status == right or (300 <= status < 400 and 300 <= right < 400):
        same = (
            "as it does with the token"
            if status == right
            else f"and {right} with the token, which does not lead elsewhere"
        )
        what += f", {same}, so it is open to everyone"
    else:
        what += f" and {right} with the token, which does not show that it refuses"
    return f"{what}: let it answer 401 or 403, or set `token.check` in deploy.yaml: `proxy` for a check in front of the app, `none` for a public app"


def story(problem, worker):
    """The traceback from the app's first frame on: gunicorn's frames do not help."""
    frame = problem.__traceback__
    while frame and not frame.tb_frame.f_code.co_filename.startswith(worker.cfg.chdir):
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(problem), problem, frame))


class Answer:
    """An app's answer; `problem` is the exception that it passed with it."""

    def __init__(self):
        self.status, self.headers, self.body, self.problem = None, {}, b"", None

    def add(self, chunk):
        self.body += chunk[: max(0, BODY_BYTES - len(self.body))]

    def text(self):
        """The beginning of its text, as one line; empty for other content."""
        kind = self.headers.get("content-type", "text/plain").lower()
        if not ("text/" in kind or "json" in kind) or "content-encoding" in self.headers:
            return ""
        text = self.body.decode(errors="replace")
        if "html" in kind:
            text = html.unescape(re.sub(r"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", text))
        text = " ".join(text.split())
        return text if len(text) <= WORDS else text[:WORDS] + "..."


class Request:
    """A request like that of a client through the proxy."""

    def __init__(self, path, token, scheme, host):
        self.path, _, self.query = path.partition("?")
        self.decoded, self.scheme = unquote_to_bytes(self.path), scheme
        self.name, _, port = host.partition(":")
        self.port = port or ("443" if scheme == "https" else "80")
        self.headers = [
            ("Host", host),
            ("User-Agent", "devopsctl"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Host", host),
            ("X-Forwarded-Proto", scheme),
        ]
        if token is not None:
            self.headers.append(("Authorization", f"Token {token}"))


def call_wsgi(app, request, answer):
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": request.decoded.decode("latin-1"),
        "QUERY_STRING": request.query,
        "SERVER_NAME": request.name,
        "SERVER_PORT": request.port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "",  # The request comes through a Unix socket.
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update((f"HTTP_{name.upper().replace('-', '_')}", value) for name, value in request.headers)

    def start_response(line, headers, exc_info=None):
        answer.status, answer.problem = int(line.split()[0]), exc_info and exc_info[1]
        answer.headers = {name.lower(): value for name, value in headers}
        return lambda data: None

    body = app(environ, start_response)
    try:
        for chunk in body:
            answer.add(chunk)
    finally:
        getattr(body, "close", lambda: None)()
