"""Keeps Caddy before the app: at what the release that serves says of the network, with its certificate.

In a thread of its own, because all of it takes time and none of it is the app's concern: whatever fails here is told, and
tried again, while the app goes on.
"""

import contextlib
import json
import os
import socket

import caddy
import certificates
import untrusted
from bootstrap import fetch_tool
from decide import one_line
from validate import check, clean, in_words, match, parse

from aws import AwsError, backoff

LOG_BYTES = 1 << 20  # Of the log about certificates, the last part is read.
CALM = 30  # Seconds between two looks at what seldom changes.
PAUSE = 2  # Seconds between two looks at what is as it should be.


class Edge:
    """`name()`: the deployment's. `wanted()`: the release that serves, or is to; its manifest's `edge`; the tag that has what failed tried again.

    `runner`: how Caddy is run here.
    """

    def __init__(self, places, aws, runner, name, wanted, clock):
        self.places, self.aws, self.runner, self.clock = places, aws, runner, clock
        self.name, self.wanted = name, wanted
        self.attempt, self.forgotten = None, 0  # How much of Caddy's log is about earlier tries.
        self.said = None
        self.seen = None  # The settings at the last look.
        self.restored = self.saved = None
        # What is to have a certificate; what has one or may ask for it; why the one is not the other.
        self.aim = self.host = self.waits = None
        self.looked = float("-inf")

    def run(self):
        failures, seen, until = 0, None, 0.0
        while True:
            wanted, now = self.wanted(), self.clock.monotonic()
            # Something new is wanted at once; all else is looked at now and then.
            if wanted != seen or now > until:
                try:
                    self.turn(*wanted)
                    failures = 0
                except Exception as problem:  # noqa: BLE001 (who ends in silence leaves the app unreachable)
                    failures += 1
                    self.failed(problem, *wanted)
                seen, until = wanted, now + backoff(failures, 0.3, 5)
                if not failures and (not wanted[1] or self.said["phase"] == "serving"):
                    until = now + PAUSE
            self.clock.sleep(0.2)

    def settled(self):
        """Whether it does without what takes time and the processor: Caddy runs, can't be had for now, or is not asked for."""
        return not self.wanted()[1] or bool(self.said and self.said["phase"] != "fetching")

    def failed(self, problem, release, want, attempt):
        error = one_line(in_words(problem))
        print(f"agent: edge: {error}", flush=True)
        known = {"https": want["https"], "certificate": None, **(self.said or {}), "release": release, "try": attempt}
        # It is on its way there, most likely, however long `up` takes to upload it: as long as no Caddy was ever here.
        first = not self.said or self.said["phase"] == "fetching"
        if isinstance(problem, AwsError) and problem.absent() and (first or problem.may_pass()):
            self.said = {**known, "phase": "fetching", "error": None if problem.may_pass() else error}
        else:
            self.said = {**known, "phase": "failed", "error": error}

    def turn(self, release, want, attempt):
        if not want:
            return
        if not self.said:
            self.said = {"https": want["https"], "phase": "fetching", "error": None, "certificate": None}
        program = self.program(want["caddy"])
        if not want["https"]:
            self.keep(program, want, None)
        else:
            self.restore()
            self.look(want)
            # What an earlier machine had is there once Caddy runs: then it is seen at once whose certificate that is.
            if self.keep(program, want, self.host) and not self.host:
                self.look(want)
                self.keep(program, want, self.host)
        if attempt != self.attempt:
            if self.said["error"]:  # Caddy would wait longer and longer.
                size = self.log_size()
                self.runner.reload(program)
                self.forgotten = size
            self.attempt = attempt
        self.say(release, want, self.host if want["https"] else None)
        if want["https"]:
            self.save()

    def keep(self, program, want, host):
        """Whether Caddy did not run, or not with this configuration."""
        size, config = self.log_size(), json.dumps(caddy.config(want, host, self.runner.where), indent=1)
        changed = self.runner.keep(program, config, want["acme"]["root"])
        if changed:
            self.forgotten = size  # What failed was asked for by another configuration.
        return changed

    def say(self, release, want, host):
        found = certificates.find(self.runner.store, host) if host else None
        said = {"https": want["https"], "phase": "serving", "error": None, "certificate": found}
        said.update({"release": release, "try": self.attempt})
        if want["https"]:
            said["error"] = self.waits or self.refusal()
            if host != self.aim or not found:
                said["phase"] = "waiting" if self.waits else "certificate"
        self.said = said

    # Caddy itself

    def program(self, sha384):
        """Where Caddy lies, of just these bytes."""
        path = f"{self.places.tools}/caddy-{check('sha384', sha384)}"
        if not os.path.exists(path):
            fetch_tool(self.aws, sha384, self.places.tools)
            for other in os.listdir(self.places.tools):
                if other.startswith("caddy-") and other != os.path.basename(path):
                    os.remove(f"{self.places.tools}/{other}")  # Where it runs still, its file lives on without a name.
        return path

    # Whom the certificate is for

    def look(self, want):
        """Sets `host` to what it should be once a certificate can be had for that; what is served until then stays."""
        now = self.clock.monotonic()
        if want == self.seen and not self.waits and now < self.looked + CALM:
            return
        self.seen, self.looked = want, now
        own = self.address(self.aws.metadata.get("meta-data/public-ipv4"))
        address = self.address(self.aws.metadata.tag("address")) if want["address"] == "static" else own
        self.aim = want["domain"] and check("host", want["domain"]) or address
        self.waits = None
        if not self.aim:
            self.waits = "the address is on its way"
        elif certificates.find(self.runner.store, self.aim):
            pass  # Also before the address leads here: this machine may be about to take over from another.
        elif address and own != address:
            self.waits = f"the address {address} does not lead here yet"
        elif want["domain"]:
            self.waits = leads_elsewhere(want["domain"], own)
        if not self.waits:
            self.host = self.aim

    @staticmethod
    def address(text):
        """What leads somewhere is an IPv4 address; it becomes part of paths and of Caddy's configuration."""
        return text if match("address", text) else None

    def refusal(self):
        """The authority's own words, if the last attempt to get or renew a certificate failed."""
        size = self.log_size()
        if size < self.forgotten:
            self.forgotten = 0  # Another file has begun.
        try:
            text = untrusted.read(self.runner.log, LOG_BYTES, max(self.forgotten, size - LOG_BYTES))
        except OSError:
            return None
        return last_refusal(text)

    def log_size(self):
        return untrusted.size(self.runner.log)

    # What outlives the machine

    def key(self):
        return f"{self.name()}/certificates.json"

    def restore(self):
        """Before Caddy asks for anything: Let's Encrypt gives five certificates a week for the same names, and no more."""
        if self.restored:
            return
        if not certificates.marks(self.runner.store):
            path = f"{self.places.run}/certificates.fetched"
            try:
                with open(path, "w+b") as file:
                    self.aws.download(self.key(), file)
                    file.seek(0)
                    self.runner.restore(certificates.checked(file.read(2 * certificates.ALL_BYTES + 1)))
            except AwsError as problem:
                # Who may not list a bucket is not told that nothing is there, but that it is forbidden. That our role works
                # is known by then: the release has come the same way.
                if problem.status not in (403, 404):
                    raise
            except ValueError:
                print("agent: edge: what was kept of certificates is torn; a new one is asked for", flush=True)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)
        self.restored = True

    def save(self):
        marks = certificates.marks(self.runner.store)
        if marks and marks != self.saved and self.said["certificate"]:
            document = json.dumps(certificates.pack(self.runner.store)).encode()
            self.aws.upload(self.key(), document, "application/json")
            self.saved = marks


def last_refusal(text):
    """The last error in Caddy's log that no success followed. The proxy's user can write anything there."""
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
    """Why no certificate can be had for that name yet; None when it leads here."""
    try:
        found = sorted({info[4][0] for info in socket.getaddrinfo(domain, 443, type=socket.SOCK_STREAM)})
    except OSError:
        found = []
    if own in found and len(found) == 1:
        return None
    where = f"leads to {', '.join(found)}" if found else "leads nowhere yet"
    return f"{domain} {where}; it needs the record: {domain}. A {own}"
