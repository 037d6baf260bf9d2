"""Apps of ASGI frameworks on a machine, as their users write them."""

import pytest
from machine import release
from running_machine import bring_up
from test_asgi import FAST, WebSocket

QUART = """
from quart import Quart, websocket

app = Quart(__name__)

@app.get("/")
async def index():
    return "ok"

@app.websocket("/ws")
async def echo():
    while True:
        await websocket.send(await websocket.receive() + "!")
"""
LITESTAR = """
from litestar import Litestar, get
from litestar.handlers import websocket_listener

@get("/")
async def index() -> str:
    return "ok"

@websocket_listener("/ws")
async def echo(data: str) -> str:
    return data + "!"

app = Litestar([index, echo])
"""


@pytest.mark.parametrize(
    ("source", "package"),
    [pytest.param(QUART, "quart==0.22.0", id="quart"), pytest.param(LITESTAR, "litestar==2.25.0", id="litestar")],
)
def test_frameworks_serve_requests_and_websockets(aws, machine, source, package):
    token = {"env": "APP_SECRET_TOKEN", "check": "none", "open": [], "open_preflight": False, "path": "/"}
    bring_up(aws, machine, release(app=source, packages=(*FAST, package), token=token))
    assert machine.get() == (200, "ok")
    websocket = WebSocket(machine)
    websocket.send("hello")
    assert websocket.frame() == (1, b"hello!")
    assert "Traceback" not in machine.app_log(), machine.app_log()
