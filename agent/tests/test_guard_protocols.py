"""The check of the token behind the real Caddy, over HTTP/1.1, HTTP/2 and HTTP/3, for a WSGI and an ASGI app."""

import functools
import itertools
from dataclasses import dataclass

import pytest
from guard_requests import FRAMES, LIE, LINES, REQUESTS, RIGHT, WEBSOCKETS, WRONG, Request
from http_clients import over_http1, over_http2, over_http3, send_http1, send_http2, send_http3
from machine import agent_file, release, until
from proxied_machine import HTTP, TOKEN
from test_asgi import FAST
from test_proxy_tls import secured_app

from workers.guard import WRONG_AT_ONCE

# Each app logs the row of the table that it heard of, and answers with all that it was told.
WSGI = """
import json

def app(environ, start_response):
    print("heard of", environ.get("HTTP_X_ROW"), flush=True)
    start_response("200 OK", [])
    return [json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()]
"""
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    print("heard of", dict(scope["headers"]).get(b"x-row", b"None").decode(), flush=True)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(scope).encode()})
"""
APPS = {"WSGI": (WSGI, ()), "ASGI": (ASGI, FAST)}
TOKEN_OF_APP = {
    "env": "APP_SECRET_TOKEN",
    "check": "proxy",
    "open": ["/healthz", "/static/*"],
    "open_preflight": True,
    "path": "/",
}
# No second attempt while the test runs.
AGENT = {"workers/guard.py": agent_file("workers/guard.py", SECONDS_EACH=3600)}
GOES_ON = Request(200, "the last one", headers=(RIGHT,))


@pytest.fixture(scope="module", params=APPS)
def guarded(request):
    """(the kind of the app, the proxy before it)"""
    source, packages = APPS[request.param]
    # Each process counts wrong tokens for itself.
    archive = release(app=source, packages=packages, agent=AGENT, token=TOKEN_OF_APP, workers=1)
    with secured_app(archive) as secured:
        yield request.param, secured


@dataclass(frozen=True)
class Case:
    """`status`: one, or a tuple of those that are possible; `send`: a function of the proxy and the number of the row."""

    what: str
    status: object
    send: object

    def is_served(self):
        return self.status in (200, 101)

    def allows(self, status):
        return status in (self.status if isinstance(self.status, tuple) else (self.status,))


def as_lines(line, headers, body, method, proxy, row):
    text = "\r\n".join([line, f"X-Row: {row}", *headers, "", body])
    return send_http1(proxy, text.encode("latin-1"), method)


def as_frame(send, fields, proxy, row):
    is_open = ":protocol" in dict(fields) or (":method", "CONNECT") in fields
    return send(proxy, [*fields, ("x-row", str(row))], ends=not is_open)


FRAMED = {"HTTP/2": send_http2, "HTTP/3": send_http3}


def over_all(request):
    """The cases of a request that all protocols can express."""
    line, headers = f"{request.method} {request.path} HTTP/1.1", [f"{name}: {text}" for name, text in request.headers]
    lines = functools.partial(as_lines, line, [f"Host: {request.host}", *headers], "", request.method)
    yield Case(f"HTTP/1.1: {request.what}", request.status, lines)
    pseudo = {":method": request.method, ":scheme": "https", ":authority": request.host, ":path": request.path}
    for name, send in FRAMED.items():
        frame = functools.partial(as_frame, send, [*pseudo.items(), *request.headers])
        yield Case(f"{name}: {request.what}", request.status, frame)


def cases(kind):
    yield from itertools.chain.from_iterable(map(over_all, REQUESTS))
    websockets = [(status[list(APPS).index(kind)], *row) for status, *row in WEBSOCKETS]
    for status, line, headers, *body in [*LINES, *websockets]:
        send = functools.partial(as_lines, line, headers, "".join(body), None)
        yield Case(f"{line!r} with {headers}", status, send)
    for *statuses, fields in FRAMES:
        for status, (name, send) in zip(statuses, FRAMED.items()):
            yield Case(f"{name}: {fields}", status, functools.partial(as_frame, send, fields))


def test_each_request_gets_its_response_and_the_app_hears_only_of_the_served(guarded):
    kind, proxy = guarded
    wrong, served = {}, []
    for row, case in enumerate(cases(kind)):
        # The wrong tokens of one address are limited.
        status, _, body = case.send(proxy.seen_from(f"127.1.{row // 200}.{1 + row % 200}"), row)
        if not case.allows(status) or TOKEN.encode() in body or LIE.encode() in body:
            wrong[case.what] = f"{status} instead of {case.status}", body[:2000]
        if case.is_served():
            served.append(f"heard of {row}")
    (last, *_) = over_all(GOES_ON)
    assert last.send(proxy, "last")[0] == 200
    log = until(lambda: "heard of last\n" in proxy.machine.app_log() and proxy.machine.app_log(), what="the log")
    assert wrong == {}
    assert [line for line in log.splitlines() if line.startswith("heard of ") and line[9:].isdigit()] == served


def test_wrong_tokens_are_counted_by_the_address_of_the_connection(guarded):
    """The protocols count together, and headers about the client count nothing."""
    _, proxy = guarded
    attacker, other, number = proxy.seen_from("127.2.0.1"), proxy.seen_from("127.2.0.2"), itertools.count()

    def guess(proxy, protocol, token=WRONG):
        names = ("x-forwarded-for", "forwarded", "x-real-ip", "x_forwarded_for")
        lies = [(name, f"198.51.100.{next(number)}") for name in names]
        case = list(over_all(Request(None, "a guess", headers=(token, *lies))))[protocol]
        return case.send(proxy, None)[0]

    found = [guess(attacker, turn % 3) for turn in range(WRONG_AT_ONCE + 3)]
    assert found == [401] * WRONG_AT_ONCE + [429] * 3
    assert [guess(other, protocol) for protocol in range(3)] == [401] * 3
    assert [guess(attacker, protocol, RIGHT) for protocol in range(3)] == [200] * 3


def test_an_upload_that_is_refused_gets_its_response(guarded):
    """Not 502, although the refusal needs nothing of the request's body."""
    _, proxy = guarded
    upload = bytes(HTTP["limits"]["body_mb"] << 20)
    for ask in (over_http1, over_http2, over_http3):
        assert [ask(proxy, "POST", headers={}, body=upload)[0] for _ in range(8)] == [401] * 8
