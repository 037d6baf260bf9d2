"""Keeps Caddy, the proxy before the app, at the settings of the release that serves, with its certificate.

It has a thread of its own, because its work takes time and does not concern the app: an error is reported and retried while the
app goes on.
"""

import contextlib
import json
import os
import socket

from boot.aws import AwsError, backoff
from boot.bootstrap import fetch_tool
from boot.validate import check, clean, in_words, match, parse
from orders.decide import one_line
from orders.report import ProxyPhase, ProxyReport, error_code
from proxy import caddy, certificates
from system import untrusted

LOG_BYTES = 1 << 20  # How much of the end of the certificate log is read.
CALM = 30  # Seconds between two checks of what seldom changes.
PAUSE = 2  # Seconds between two checks once the proxy serves.


class Proxy:
    """`name()`: the deployment's name. `wanted()`: the release that serves, or is to; its manifest's `edge`; the attempt and the
    address of the orders. `runner`: how Caddy runs on this machine.
    """

    def __init__(self, paths, aws, runner, name, wanted, clock):
        self.paths, self.aws, self.runner, self.clock = paths, aws, runner, clock
        self.name, self.wanted = name, wanted
        self.attempt, self.forgotten = None, 0  # How much of Caddy's log is about earlier attempts.
        self.said = None
        self.seen = None  # The settings at the last check.
        self.restored = self.saved = None
        # The host that is to have a certificate; the host that has one or may request it; why they differ.
        self.aim = self.host = self.waits = None
        self.looked = float("-inf")

    def run(self):
        failures, seen, until = 0, None, 0.0
        while True:
            wanted, now = self.wanted(), self.clock.monotonic()
            # A change takes effect at once; everything else is checked regularly.
            if wanted != seen or now > until:
                try:
                    self.turn(*wanted)
                    failures = 0
                except Exception as problem:  # noqa: BLE001 (without this thread the app may be unreachable)
                    failures += 1
                    self.failed(problem, *wanted)
                seen, until = wanted, now + backoff(failures, 0.3, 5)
                if not failures and (not wanted[1] or self.said.phase is ProxyPhase.SERVING):
                    until = now + PAUSE
            self.clock.sleep(0.2)

    def settled(self):
        """Whether it needs no time of the processor: Caddy runs, is not available now, or is not needed."""
        return not self.wanted()[1] or bool(self.said and self.said.phase is not ProxyPhase.FETCHING)

    def failed(self, problem, release, want, attempt, address):
        error = one_line(in_words(problem))
        print(f"agent: proxy: {error}", flush=True)
        said = self.said or ProxyReport(want["https"], ProxyPhase.FETCHING)
        # As long as no Caddy was here yet, `up` is most likely still uploading it.
        first = said.phase is ProxyPhase.FETCHING
        phase = ProxyPhase.FAILED
        if isinstance(problem, AwsError) and problem.absent() and (first or problem.may_pass()):
            phase, error = ProxyPhase.FETCHING, None if problem.may_pass() else error
        code = error_code(problem)
        self.said = said._replace(phase=phase, error=error, code=code, release=release, attempt=attempt)

    def turn(self, release, want, attempt, address):
        if not want:
            return
        if not self.said:
            self.said = ProxyReport(want["https"], ProxyPhase.FETCHING)
        program = self.program(want["caddy"])
        if not want["https"]:
            self.keep(program, want, None)
        else:
            self.restore()
            self.look(want, address)
            # An earlier machine's certificate is there once Caddy runs: then it is found at once.
            if self.keep(program, want, self.host) and not self.host:
                self.look(want, address)
                self.keep(program, want, self.host)
        if attempt != self.attempt:
            if self.said.error:  # Caddy would wait longer after each failure.
                size = self.log_size()
                self.runner.reload(program)
                self.forgotten = size
            self.attempt = attempt
        self.say(release, want, self.host if want["https"] else None)
        if want["https"]:
            self.save()

    def keep(self, program, want, host):
        """Runs Caddy with this configuration; returns whether that changed anything."""
        size, config = self.log_size(), json.dumps(caddy.config(want, host, self.runner.where), indent=1)
        changed = self.runner.keep(program, config, want["acme"]["root"])
        if changed:
            self.forgotten = size  # Earlier failures are another configuration's.
        return changed

    def say(self, release, want, host):
        found = certificates.find(self.runner.store, host) if host else None
        phase, error = ProxyPhase.SERVING, None
        if want["https"]:
            error = self.waits or self.refusal()
            if host != self.aim or not found:
                phase = ProxyPhase.WAITING if self.waits else ProxyPhase.CERTIFICATE
        self.said = ProxyReport(want["https"], phase, error, None, found, release, self.attempt)

    # Caddy itself

    def program(self, sha384):
        """The path of the Caddy with this hash."""
        path = f"{self.paths.tools}/caddy-{check('sha384', sha384)}"
        if not os.path.exists(path):
            fetch_tool(self.aws, sha384, self.paths.tools)
            for other in os.listdir(self.paths.tools):
                if other.startswith("caddy-") and other != os.path.basename(path):
                    os.remove(f"{self.paths.tools}/{other}")  # If it still runs, its file lives on without a name.
        return path

    # The host of the certificate

    def look(self, want, address):
        """Sets `host` once a certificate for the wanted host can be requested; until then it stays as it is."""
        now = self.clock.monotonic()
        if want == self.seen and not self.waits and now < self.looked + CALM:
            return
        self.seen, self.looked = want, now
        own = self.address(self.aws.metadata.get("meta-data/public-ipv4"))
        address = address if want["address"] == "static" else own
        self.aim = want["domain"] and check("host", want["domain"]) or address
        self.waits = None
        if not self.aim:
            self.waits = "waiting for the address"
        elif certificates.find(self.runner.store, self.aim):
            pass  # Also before the address leads here: this machine may be about to replace another one.
        elif address and own != address:
            self.waits = f"the address {address} does not lead here yet"
        elif want["domain"]:
            self.waits = leads_elsewhere(want["domain"], own)
        if not self.waits:
            self.host = self.aim

    @staticmethod
    def address(text):
        """The text, if it is an IPv4 address: it becomes part of paths and of Caddy's configuration."""
        return text if match("address", text) else None

    def refusal(self):
        """The certificate authority's error, if the last attempt to get or renew a certificate failed."""
        size = self.log_size()
        if size < self.forgotten:
            self.forgotten = 0  # The log was rotated.
        try:
            text = untrusted.read(self.runner.log, LOG_BYTES, max(self.forgotten, size - LOG_BYTES))
        except OSError:
            return None
        return last_refusal(text)

    def log_size(self):
        return untrusted.size(self.runner.log)

    # Certificates outlive the machine

    def key(self):
        return f"{self.name()}/certificates.json"

    def restore(self):
        """Before Caddy requests anything: Let's Encrypt issues at most five certificates a week for the same names."""
        if self.restored:
            return
        if not certificates.marks(self.runner.store):
            path = f"{self.paths.run}/certificates.fetched"
            try:
                with open(path, "w+b") as file:
                    self.aws.download(self.key(), file)
                    file.seek(0)
                    self.runner.restore(certificates.checked(file.read(2 * certificates.ALL_BYTES + 1)))
            except AwsError as problem:
                # S3 says 403 for a missing object to a caller that may not list the bucket. The role itself works: the release
                # was downloaded with it.
                if problem.status not in (403, 404):
                    raise
            except ValueError:
                print("agent: proxy: the stored certificates are damaged; a new one is requested", flush=True)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)
        self.restored = True

    def save(self):
        marks = certificates.marks(self.runner.store)
        if marks and marks != self.saved and self.said.certificate:
            document = json.dumps(certificates.pack(self.runner.store)).encode()
            self.aws.upload(self.key(), document, "application/json")
            self.saved = marks


def last_refusal(text):
    """The last error in Caddy's log that no success follows. The proxy's user can write anything there."""
    error = None
    for line in text.splitlines():
        try:
            entry = parse(line, kind=dict)
        except ValueError:
            continue
        if entry.get("level") == "error" and entry.get("error"):
            error = clean(str(entry["error"]), 2000)
        elif entry.get("msg") in ("certificate obtained successfully", "certificate renewed successfully"):
            error = None
    return one_line(error) if error else None


def leads_elsewhere(domain, own):
    """Why no certificate can be issued for that name yet; None if it leads here."""
    try:
        found = sorted({info[4][0] for info in socket.getaddrinfo(domain, 443, type=socket.SOCK_STREAM)})
    except OSError:
        found = []
    if own in found and len(found) == 1:
        return None
    where = f"leads to {', '.join(found)}" if found else "leads nowhere yet"
    return f"{domain} {where}; it needs the record: {domain}. A {own}"
