"""For which host a certificate is requested, and which files of Caddy outlive the machine."""

import base64
import json

import pytest
from proxied_machine import HTTP

from proxy import certificates, proxy, restore


class Metadata:
    def __init__(self, own=None):
        self.own = own

    def get(self, path):
        assert path == "meta-data/public-ipv4"
        return self.own


class Runner:
    def __init__(self, folder):
        self.store, self.log = str(folder / "store"), str(folder / "log")


class Clock:
    def monotonic(self):
        return 0.0


@pytest.fixture
def looker(tmp_path):
    class Aws:
        metadata = Metadata()

    return proxy.Proxy(None, Aws, Runner(tmp_path), None, None, Clock())


def look(looker, own, want=None, address=None):
    looker.aws.metadata = Metadata(own)
    looker.look({**HTTP, "https": True, **(want or {})}, address)
    return looker.host, looker.waits


def test_no_certificate_is_requested_before_the_address_leads_here(looker):
    assert look(looker, "198.51.100.1") == (None, "waiting for the address")
    host, waits = look(looker, "198.51.100.1", address="203.0.113.7")
    assert host is None and "203.0.113.7 does not lead here yet" in waits
    assert look(looker, "203.0.113.7", address="203.0.113.7") == ("203.0.113.7", None)


def test_the_instances_own_address_needs_no_wait(looker):
    assert look(looker, "198.51.100.1", {"address": "own"}) == ("198.51.100.1", None)


def test_a_domain_must_lead_here_and_the_missing_record_is_named(looker, monkeypatch):
    leads = []
    monkeypatch.setattr(proxy.socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (ip, 443)) for ip in leads])
    want = {"domain": "app.example.com"}
    host, waits = look(looker, "203.0.113.7", want, address="203.0.113.7")
    assert host is None and "app.example.com. A 203.0.113.7" in waits
    leads[:] = ["192.0.2.1"]
    assert "leads to 192.0.2.1" in look(looker, "203.0.113.7", want, address="203.0.113.7")[1]
    leads[:] = ["203.0.113.7", "2001:db8::1"]
    assert "2001:db8::1" in look(looker, "203.0.113.7", want, address="203.0.113.7")[1], "the authority prefers IPv6"
    leads[:] = ["203.0.113.7"]
    assert look(looker, "203.0.113.7", want, address="203.0.113.7") == ("app.example.com", None)


def test_the_authority_is_quoted_until_a_certificate_is_issued(looker):
    lines = [
        {"level": "info", "msg": "obtaining certificate"},
        {"level": "error", "msg": "will retry", "error": "[203.0.113.7] HTTP 429 rateLimited - too many"},
    ]
    log = looker.runner.log
    assert looker.refusal() is None
    with open(log, "w") as file:
        file.write("\n".join(map(json.dumps, lines)) + "\n{torn")
    assert "too many" in looker.refusal()
    with open(log, "a") as file:
        file.write("\n" + json.dumps({"level": "info", "msg": "certificate obtained successfully"}) + "\n")
    assert looker.refusal() is None


# Certificates outlive the machine


def test_stored_certificates_are_restored_and_nothing_else(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    for name in ("certificates/ca/host/host.key", "acme/ca/users/default/default.json", "locks/x", "last_clean.json"):
        (before / name).parent.mkdir(parents=True, exist_ok=True)
        (before / name).write_text(f"content of {name}")
    document = certificates.pack(str(before))
    assert sorted(document) == ["acme/ca/users/default/default.json", "certificates/ca/host/host.key"]
    after.mkdir()
    newer = after / "acme/ca/users/default/default.json"
    newer.parent.mkdir(parents=True)
    newer.write_text("newer")
    document["certificates/../../escaped"] = document["/etc/passwd"] = document["locks/x"] = base64.b64encode(
        b"x"
    ).decode()
    restore.unpack(document, str(after))
    key = after / "certificates/ca/host/host.key"
    assert key.read_text() == "content of certificates/ca/host/host.key" and key.stat().st_mode & 0o777 == 0o600
    assert newer.read_text() == "newer"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and "before" not in path.parts) == [
        "default.json",
        "host.key",
    ]
