"""WebSockets and server-sent events through the real Caddy."""

import struct
import time

import pytest
from machine import agent_file, until
from proxied_machine import HTTP, TOKEN, put, serves
from test_asgi import FAST, WebSocket, app, streamed

CONF = {"workers/gunicorn.conf.py": agent_file("workers/gunicorn.conf.py", graceful_timeout=9)}
# A change of a limit makes Caddy load another configuration.
LIMITS = {**HTTP["limits"], "body_mb": 2}


@pytest.mark.parametrize(
    ("limits", "codes"),
    [pytest.param(HTTP["limits"], {1012}, id="code"), pytest.param(LIMITS, {1001, 1012}, id="configuration")],
)
def test_streams_outlive_the_limits_of_requests_and_end_with_their_release(aws, machine, limits, codes):
    put(aws, app(), CONF, FAST)
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), 60, "the proxy")
    websocket, events = WebSocket(machine, "80.sock"), streamed(machine, "/events", TOKEN, "80.sock")
    end = time.monotonic() + 1.2 * max(seconds for name, seconds in HTTP["limits"].items() if name != "body_mb")
    while time.monotonic() < end:
        assert events.readline()
    websocket.send("still")
    assert websocket.frame() == (1, b"still!")
    other = put(aws, app() + "# other code", CONF, FAST, limits=limits)
    assert websocket.frame() in [(8, struct.pack("!H", code)) for code in codes] and websocket.frame() is None
    aws.wait_report(lambda each: each["release"] == other and each["phase"] == "healthy")
    assert events.readline(), "the change did not wait for it"
    again = WebSocket(machine, "80.sock")
    again.send("again")
    assert again.frame() == (1, b"again!")
    assert events.read().endswith(b"data: x\n\n"), "its client connects again after an orderly end"
