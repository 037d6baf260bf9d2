"""The checks of an app before it serves, without a machine."""

import json
import os
from pathlib import Path

import pytest
from fake_aws import FakeAws

import agent as agents
from system.paths import Paths, write_json
from workers.proof import Failed, Proof, origin

EDGE = {"https": True, "port": 80, "domain": None, "address": "static"}
TOKEN = "a-token-of-this-test"
OTHER = "a-secret-of-this-test"


def proof_of(folder, token=None, **edge):
    manifest = {
        "health": {"path": "/healthz"},
        "token": {"env": "KEY", "check": "app", "path": "/", **(token or {})},
        "edge": {**EDGE, **edge},
    }
    secrets = folder / "secrets"
    secrets.write_text(json.dumps({"AA_FIRST": OTHER, "KEY": TOKEN, "ZZ_LAST": OTHER}))
    return Proof(manifest, str(secrets), str(folder / "verdict"), lambda: None, "203.0.113.7")


def app(right, other, seen=None):
    """An app with one answer with the token and another without: a status, or a status and a location."""

    def answer(environ, start_response):
        if seen is not None:
            seen.append(environ)
        said = right if environ.get("HTTP_AUTHORIZATION") == f"Token {TOKEN}" else other
        status, location = (said, None) if isinstance(said, str) else said
        start_response(status, [("Location", location)] if location else [])
        return []

    return answer


def check(proof, app):
    proof.check_guard(app, proof.check_health(app))


def test_an_app_that_redirects_each_caller_elsewhere_is_open(tmp_path):
    rooms = (f"/room/{number}" for number in range(99))

    def lobby(environ, start_response):
        start_response("302 Found", [("Location", next(rooms))])
        return []

    with pytest.raises(Failed, match="302"):
        proof_of(tmp_path).check_guard(lobby, proof_of(tmp_path).check_health(lobby))


def test_no_other_secret_is_sent_as_the_token(tmp_path):
    seen = []
    check(proof_of(tmp_path), app("200 OK", "401 Unauthorized", seen))
    sent = [environ.get("HTTP_AUTHORIZATION") for environ in seen]
    assert f"Token {TOKEN}" in sent and None in sent
    assert not [environ for environ in seen if OTHER in str(environ)]


CASES = json.loads((Path(__file__).parents[2] / "tests/guarded.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_app_is_guarded_if_only_other_tokens_get_that_answer(tmp_path, case):
    with_token, without = ((f"{status} X", location) for status, location in (case["with"], case["without"]))
    proof = proof_of(tmp_path, token={"path": "/shop/?page=2"})
    try:
        proof.check_guard(app(with_token, without), None)
        guarded = True
    except Failed:
        guarded = False
    assert guarded == case["guarded"]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ("200 200", "answers 200 at / without a token, so it is open to everyone"),
        ("302 302", "answers 302 at / without a token, as it does with the token, so it is open to everyone"),
        (
            "302 303",
            "answers 303 at / without a token, and 302 with the token, which does not lead elsewhere, so it is open",
        ),
        ("404 303", "answers 303 at / without a token and 404 with the token, which does not show that it refuses"),
        ("404 404", "answers 404 at / without a token, as it does with the token"),
        ("200 429", "answers 429 at / without a token and 200 with the token"),
        ("200 500", "answers 500 at / without a token and 200 with the token"),
        ("401 401", "answers 401 at / with the token too: it does not accept the token there"),
    ],
)
def test_any_other_answer_without_the_token_does_not_refuse(tmp_path, answers, why):
    right, other = (f"{status} X" for status in answers.split())
    with pytest.raises(Failed, match=why):
        proof_of(tmp_path).check_guard(app(right, other), None)


def test_the_health_path_is_requested_once(tmp_path):
    seen = []
    check(proof_of(tmp_path, token={"path": "/healthz"}), app("200 OK", "401 No", seen))
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("edge", "scheme", "host", "port"),
    [
        ({"domain": "app.example.com"}, "https", "app.example.com", "443"),
        ({}, "https", "203.0.113.7", "443"),
        ({"https": False}, "http", "203.0.113.7", "80"),
        ({"https": False, "port": 8080, "domain": "app.example.com"}, "http", "app.example.com:8080", "8080"),
    ],
)
def test_the_health_request_has_the_host_of_clients(tmp_path, edge, scheme, host, port):
    seen = []
    check(proof_of(tmp_path, **edge), app("200 OK", "401 No", seen))
    assert len(seen) == 4
    for environ in seen:
        assert environ["HTTP_HOST"] == environ["HTTP_X_FORWARDED_HOST"] == host
        assert environ["HTTP_X_FORWARDED_PROTO"] == environ["wsgi.url_scheme"] == scheme
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (host.partition(":")[0], port)


def test_a_refused_host_is_named(tmp_path):
    with pytest.raises(Failed, match=r"answers 400 at /healthz with the token \(asked for app.example.com\)"):
        proof_of(tmp_path, domain="app.example.com").check_health(app("400 Bad Request", "400 Bad Request"))


@pytest.mark.parametrize("status", [401, 403])
def test_an_app_that_refuses_the_token_is_told_how_it_was_sent(tmp_path, status):
    refusal = f"{status} No"
    with pytest.raises(Failed, match="with the token .sent as `Authorization: Token <the token>`.; healthy is"):
        proof_of(tmp_path).check_health(app(refusal, refusal))
    with pytest.raises(Failed, match="with the token; healthy is"):  # The app does not get that header.
        proof_of(tmp_path, token={"check": "proxy"}).check_health(app(refusal, refusal))


def test_without_an_address_it_names_localhost():
    assert origin(None, None) == ("http", "localhost")
    assert origin({**EDGE, "https": False}, None) == ("http", "localhost")


RELEASE = "a" * 64


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(
    ("edge", "found"),
    [
        ({"domain": "app.example.com"}, (None, False)),
        ({"address": "own"}, ("198.51.100.1", False)),
        ({}, (None, True)),
    ],
)
def test_a_start_waits_for_the_address_for_a_limited_time(tmp_path, edge, found):
    """Until then the instance has a temporary address."""
    aws, clock, paths = FakeAws(), Clock(), Paths(str(tmp_path))
    try:
        paths.prepare()
        os.mkdir(paths.release(RELEASE))
        write_json(paths.release(RELEASE) + "/manifest.json", {"edge": {**EDGE, **edge}})
        metadata = agents.Metadata()
        metadata.base = aws.url + "/latest/"
        runner = type("Runner", (), {"proxy": None, "sshd": None, "volumes": None})()
        made = agents.Agent(paths, type("Aws", (), {"metadata": metadata})(), runner, clock)
        aws.public, aws.tags["devopsctl:release"] = "198.51.100.1", RELEASE
        # After a reboot, a release starts only after the tags are read, unless clients use a domain.
        address, waits = made.address(RELEASE)
        assert (address, bool(waits)) == (None, "domain" not in edge)
        # Nor does the proxy change: an agent that starts beside a Caddy that serves HTTPS must not make it stop.
        made.state.orders = made.state.orders._replace(release=RELEASE)
        assert made.proxy_orders()[:2] == (RELEASE, None)
        made.read_tags()
        assert made.proxy_orders()[1]["https"]
        address, waits = made.address(RELEASE)
        assert (address, bool(waits)) == found
        aws.tags["devopsctl:address"] = "203.0.113.7"
        if waits:
            clock.now += agents.ADDRESS_SECONDS
            assert not made.address(RELEASE)[1]
            made.read_tags()
            assert made.address(RELEASE) == ("203.0.113.7", False)
    finally:
        aws.close()
