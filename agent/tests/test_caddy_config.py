"""Caddy's configuration, without Caddy."""

import json
import re

import pytest
from proxied_machine import HTTP

from proxy import caddy
from proxy.runner import SystemdProxy


def secure(host="203.0.113.7", **settings):
    return caddy.config({**HTTP, "https": True, **settings}, host, SystemdProxy.where)


def test_without_a_certificate_nothing_is_served_over_plain_http():
    text = json.dumps(secure(host=None))
    assert "reverse_proxy" not in text and ":443" not in text and "503" in text
    servers = secure()["apps"]["http"]["servers"]
    assert "reverse_proxy" not in json.dumps(servers["plain"]) and "308" in json.dumps(servers["plain"])
    assert servers["secure"]["tls_connection_policies"][0]["default_sni"] == "203.0.113.7"


def test_certificates_are_checked_often_whatever_the_first_configuration_is():
    for whole in (secure(), secure(host=None), secure(host=None, https=False)):
        assert whole["apps"]["tls"]["automation"]["renew_interval"] == "20s"


def test_only_addresses_at_lets_encrypt_use_the_short_lived_profile():
    def issuer(**settings):
        return secure(**settings)["apps"]["tls"]["automation"]["policies"][0]["issuers"][0]

    assert issuer()["profile"] == "shortlived" and issuer()["ca"] == caddy.LETS_ENCRYPT
    assert "profile" not in issuer(domain="app.example.com")
    own = issuer(acme={"directory": "https://ca.example.com/dir", "root": "PEM"})
    assert "profile" not in own and own["trusted_roots_pem_files"] == [SystemdProxy.where.root]


@pytest.mark.parametrize("limit", [1, 9, 10, 99, 1048576, 10 << 20, 5000 << 20])
def test_the_pattern_matches_numbers_above_the_limit(limit):
    pattern = re.compile(caddy.more_than(limit))
    near = range(max(0, limit - 1200), limit + 1200)
    far = (limit * 9, limit * 10, limit * 10 + 9, limit * 123, limit // 10, limit // 123, 10**18)
    for number in (*near, *far):
        for written in (f"{number}", f"00{number}"):
            assert bool(pattern.search(written)) == (number > limit), written
    for other in ("", "+99999999999", "99999999999 ", "0x99999999999", "1e12"):
        assert not pattern.search(other)


def test_only_a_domain_gets_strict_transport_security():
    assert "Strict-Transport-Security" not in json.dumps(secure())
    assert "Strict-Transport-Security" in json.dumps(secure(host="a.example.com", domain="a.example.com"))
