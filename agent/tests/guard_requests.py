"""Requests that try to get past the check of the token, and the response to each.

`/healthz` and `/static/*` are open, and preflight requests are.
"""

import base64
from dataclasses import dataclass

from http_clients import HOST
from proxied_machine import TOKEN

RIGHT = ("authorization", f"Token {TOKEN}")
WRONG = ("authorization", "Token wrong")
PREFLIGHT = (("origin", "https://example.com"), ("access-control-request-method", "PUT"))
LIE = "a-lie"


@dataclass(frozen=True)
class Request:
    """A request that all protocols can express."""

    status: int
    what: str
    path: str = "/private"
    headers: tuple = ()
    method: str = "GET"
    host: str = HOST


def with_headers(status, *rows):
    return [Request(status, what, headers=headers) for what, *headers in rows]


def with_paths(status, *paths):
    return [Request(status, path, path) for path in paths]


def basic(text):
    return "authorization", "Basic " + base64.b64encode(text.encode()).decode()


REQUESTS = [
    *with_headers(
        200,
        ("Token", RIGHT),
        ("Bearer in capitals", ("authorization", f"BEARER {TOKEN}")),
        ("Basic", basic(f"any:{TOKEN}")),
        ("beside another header", RIGHT, ("proxy-authorization", WRONG[1])),
        ("the proxy's question about a static file", RIGHT, ("devopsctl-static", "1")),
    ),
    *with_paths(
        200,
        "/healthz",
        "/healthz?x=/../private",
        "/%68ealth%7A",
        "/static/",
        "/static/%61",
        "/static%2Fa",
        "/static/%C3%A9",
        "/static/%ff",
        "/static/%3F",
    ),
    Request(200, "a wrong token on an open path", "/static/a", (WRONG,)),
    Request(200, "another method on an open path", "/healthz", method="DELETE"),
    Request(200, "HEAD on an open path", "/healthz", method="HEAD"),
    Request(200, "a preflight", headers=PREFLIGHT, method="OPTIONS"),
    *with_headers(
        401,
        ("no token",),
        ("a wrong token", WRONG),
        ("an empty header", ("authorization", "")),
        ("only a scheme", ("authorization", "Token ")),
        ("another scheme", ("authorization", f"Digest {TOKEN}")),
        ("no scheme", ("authorization", TOKEN)),
        ("the right one twice", RIGHT, RIGHT),
        ("a wrong one after it", RIGHT, WRONG),
        ("a wrong one before it", WRONG, RIGHT),
        ("an empty one before it", ("authorization", ""), RIGHT),
        ("two in one value", ("authorization", f"Token wrong, Token {TOKEN}")),
        ("as the user of Basic", basic(f"{TOKEN}:")),
        ("in Proxy-Authorization", ("proxy-authorization", RIGHT[1])),
        ("in X-Authorization", ("x-authorization", RIGHT[1])),
        ("in X-Forwarded-Authorization", ("x-forwarded-authorization", RIGHT[1])),
        ("in HTTP_AUTHORIZATION", ("http_authorization", RIGHT[1])),
        ("in a cookie", ("cookie", f"authorization={RIGHT[1]}")),
        ("a path in X-Original-URL", ("x-original-url", "/healthz")),
        ("a path in X-Rewrite-URL", ("x-rewrite-url", "/healthz")),
        ("a path in X-Forwarded-URI", ("x-forwarded-uri", "/healthz")),
        ("a path in PATH_INFO", ("path_info", "/healthz")),
        ("the proxy's question about a static file", ("devopsctl-static", "1")),
        ("a method in a header", *PREFLIGHT, ("x-http-method-override", "OPTIONS")),
    ),
    Request(401, "SCRIPT_NAME", "/private/healthz", (("script_name", "/private"),)),
    Request(401, "OPTIONS", method="OPTIONS"),
    Request(401, "half a preflight", headers=PREFLIGHT[:1], method="OPTIONS"),
    *(
        Request(401, f"a preflight with {name}", headers=(*PREFLIGHT, (name, "DELETE")), method="OPTIONS")
        for name in ("x-http-method-override", "x-http-method", "x-method-override")
    ),
    *with_paths(
        401,
        f"/?authorization=Token%20{TOKEN}",
        "/healthz/",
        "/healthz/x",
        "/HEALTHZ",
        "//healthz",
        "///healthz",
        "/./healthz",
        "/%2e/healthz",
        "/healthz%20",
        "/healthz%00",
        "/healthz%0a",
        "/healthz%3Fx",
        "/healthz;x",
        "/private?/healthz",
        "/private#/healthz",
        "/private%23/healthz",
        "/static",
        "/static%2e/a",
        "/static//a",
        "/static/%2Fa",
        "/static/./a",
        "/static/a;b",
        "/static/a%3Bb",
        "/static/a\\b",
        "/static/a%5Cb",
        "/static/%00",
        "/static/%252e%252e/private",
        "/private/..;/healthz",
    ),
    *with_paths(
        400,
        "/static/../private",
        "/static/..",
        "/static/%2e%2e/private",
        "/static/.%2E/private",
        "/static/..%2Fprivate",
        "/static/..\\private",
        "/static/%2e%2e%5Cprivate",
        "/private/../healthz",
    ),
    *(Request(421, f"to {host}", "/healthz", host=host) for host in ("example.com", f"{HOST}.", f"{HOST},example.com")),
]

TO = f"Host: {HOST}"
SENT = f"Authorization: {RIGHT[1]}"
CHUNKED = "Transfer-Encoding: chunked"
H2C = (TO, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
# Over HTTP/1.1: the status, the request line, the headers, and the body if there is one.
LINES = [
    # Targets that are no path.
    (200, f"GET https://{HOST}/healthz HTTP/1.1", [TO]),
    (200, f"GET https://{HOST}/healthz HTTP/1.1", ["Host: example.com"]),
    (421, "GET https://example.com/healthz HTTP/1.1", [TO]),
    (401, f"GET https://{HOST}/private HTTP/1.1", [TO]),
    (401, f"GET https://{HOST}//healthz HTTP/1.1", [TO]),
    (401, f"GET https://{HOST} HTTP/1.1", [TO]),
    (401, f"GET https://any:{TOKEN}@{HOST}/private HTTP/1.1", [TO]),
    (400, f"GET https://{HOST}/static/../private HTTP/1.1", [TO]),
    (400, "GET x:/static/../private HTTP/1.1", [TO]),
    (400, "GET x:a://b/healthz HTTP/1.1", [TO]),
    (400, "GET x:a://b/private/../healthz HTTP/1.1", [TO, SENT]),
    (400, "GET https:healthz HTTP/1.1", [TO]),
    (400, "GET healthz HTTP/1.1", [TO]),
    (400, "GET * HTTP/1.1", [TO, SENT]),
    (501, f"CONNECT {HOST}:443 HTTP/1.1", [TO, SENT]),
    (501, "CONNECT /healthz HTTP/1.1", [TO]),
    # Request lines.
    (200, "GET /healthz HTTP/1.0", [TO]),
    (401, "GET /private HTTP/1.0", [TO]),
    (505, "GET /healthz HTTP/2.0", [TO]),
    (400, "GET /healthz", []),
    (400, "get /healthz HTTP/1.1", [TO]),
    (400, "GET  /healthz HTTP/1.1", [TO]),
    (400, "GET\t/healthz HTTP/1.1", [TO]),
    (400, "GET /healthz  HTTP/1.1", [TO]),
    (400, "GET /healthz?x y HTTP/1.1", [TO]),
    (400, "GET /static/\0 HTTP/1.1", [TO]),
    (400, "GET /static/\r HTTP/1.1", [TO]),
    (400, "GET /static/% HTTP/1.1", [TO]),
    (400, "GET /static/%zz HTTP/1.1", [TO]),
    # Headers.
    (400, "GET /healthz HTTP/1.1", []),
    (400, "GET /healthz HTTP/1.1", [TO, TO]),
    (400, "GET /healthz HTTP/1.1", [f"Host: x@{HOST}"]),
    (400, "GET /private HTTP/1.1", [TO, f"Authorization : {RIGHT[1]}"]),
    (400, "GET /private HTTP/1.1", [TO, f"Authorization\0: {RIGHT[1]}"]),
    (400, "GET /private HTTP/1.1", [TO, f"X: x\r{SENT}"]),
    (401, "GET /private HTTP/1.1", [TO, SENT, "Connection: authorization"]),
    (200, "GET /private HTTP/1.1", [TO, SENT, "Connection: x-forwarded-for", f"X-Forwarded-For: {LIE}"]),
    (401, "GET /private HTTP/1.1", H2C),
    (200, "GET /healthz HTTP/1.1", H2C),
    # Bodies and trailers.
    (401, "POST /private HTTP/1.1", [TO, "Expect: 100-continue", "Content-Length: 1"], "x"),
    (401, "POST /private HTTP/1.1", [TO, CHUNKED], f"1\r\nx\r\n0\r\n{SENT}\r\n\r\n"),
    (401, "POST /private HTTP/1.1", [TO, CHUNKED, "Trailer: Authorization"], f"1\r\nx\r\n0\r\n{SENT}\r\n\r\n"),
    (200, "POST /private HTTP/1.1", [TO, SENT, CHUNKED], f"1\r\nx\r\n0\r\nX-Forwarded-For: {LIE}\r\n\r\n"),
    (501, "POST /healthz HTTP/1.1", [TO, "Transfer-Encoding: identity", "Content-Length: 1"], "x"),
    (501, "POST /healthz HTTP/1.1", [TO, "Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"),
    (501, "POST /healthz HTTP/1.1", [TO, "Transfer-Encoding: chunked, chunked"], "0\r\n\r\n"),
    (400, "POST /healthz HTTP/1.1", [TO, "Transfer-Encoding:\x0bchunked"], "0\r\n\r\n"),
    (400, "POST /healthz HTTP/1.1", [TO, "Content-Length: 1, 1"], "x"),
]
UPGRADE = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
WEBSOCKET = [TO, *UPGRADE, "Sec-WebSocket-Version: 13"]
# The same for WebSockets, but with the status of a WSGI app and that of an ASGI app.
WEBSOCKETS = [
    ((401, 401), "GET /private HTTP/1.1", WEBSOCKET),
    ((401, 401), "GET /private HTTP/1.1", [*WEBSOCKET, "Authorization: Token wrong"]),
    ((401, 401), "GET //healthz HTTP/1.1", WEBSOCKET),
    ((200, 101), "GET /private HTTP/1.1", [*WEBSOCKET, SENT]),
    ((200, 101), "GET /static/a HTTP/1.1", WEBSOCKET),
    ((401, 405), "POST /private HTTP/1.1", WEBSOCKET),
    ((501, 501), "CONNECT /private HTTP/1.1", WEBSOCKET),
]


def frame(*fields, path="/healthz", method="GET", scheme="https", authority=HOST):
    pseudo = ((":method", method), (":scheme", scheme), (":authority", authority), (":path", path))
    return [*((name, value) for name, value in pseudo if value is not None), *fields]


PRIVATE = {"path": "/private"}
OPENS = {"method": "CONNECT", **PRIVATE}
# The status over HTTP/2 and over HTTP/3, or several that are possible, and the fields. None: the stream or the connection is closed.
FRAMES = [
    # Targets that are no path.
    (None, None, frame(path="healthz")),
    (None, None, frame(path="")),
    (None, None, frame(path=None)),
    (None, None, frame(path=f"https://{HOST}/healthz")),
    (None, None, frame(RIGHT, path="x:a://b/private/../healthz")),
    (400, None, frame(RIGHT, path="*")),
    # Control characters and spaces.
    (None, None, frame(path="/healthz\r\nx: x")),
    (None, None, frame(path="/healthz\0")),
    (None, None, frame(path="/healthz\t")),
    (401, 401, frame(path="/private HTTP/1.1")),
    (400, 400, frame(path="/healthz?x HTTP/1.1")),
    (200, 200, frame(path=b"/static/\xff")),
    ((502, None), None, frame(RIGHT, method="GET /healthz HTTP/1.1", path="/private")),
    (None, None, frame(method="GET\r\nx: x")),
    (None, None, frame(method="")),
    (400, 400, frame(method="get")),
    # Pseudo-headers that are missing, repeated, unknown or contradict each other.
    (None, None, frame(method=None)),
    (421, None, frame(authority=None)),
    (None, None, frame((":path", "/private"))),
    (None, None, [(":path", "/private"), *frame()]),
    (None, None, frame((":method", "GET"))),
    (None, None, frame((":authority", HOST))),
    (None, None, frame((":status", "200"))),
    (None, None, frame((":unknown", "x"))),
    (None, None, [("x", "x"), *frame()]),
    (None, None, frame(("host", "example.com"))),
    (None, None, frame(("host", HOST), authority="example.com")),
    (None, None, frame(authority=f"x@{HOST}")),
    (200, 200, frame(("host", HOST), authority=None)),
    (200, 200, frame(scheme="http")),
    (None, 401, frame(scheme=f"https://{HOST}/healthz?", **PRIVATE)),
    # Headers.
    (None, None, frame(("Authorization", RIGHT[1]), **PRIVATE)),
    (None, None, frame(("author ization", RIGHT[1]), **PRIVATE)),
    (None, None, frame(("authorization ", RIGHT[1]), **PRIVATE)),
    (None, None, frame(("authorization:", RIGHT[1]), **PRIVATE)),
    (None, None, frame(("x", f"x\r\n{SENT}"), **PRIVATE)),
    (None, None, frame((f"x: x\r\n{RIGHT[0]}", RIGHT[1]), **PRIVATE)),
    (None, None, frame(("authorization", RIGHT[1] + "\0"), **PRIVATE)),
    (None, None, frame(("authorization", RIGHT[1] + "\r\n"), **PRIVATE)),
    (400, None, frame(RIGHT, ("connection", "x-forwarded-for"), **PRIVATE)),
    (400, None, frame(RIGHT, ("transfer-encoding", "chunked"), **PRIVATE)),
    (400, None, frame(RIGHT, ("te", "gzip"), **PRIVATE)),
    (400, None, frame(("upgrade", "websocket"), **PRIVATE)),
    (401, 401, frame(("trailer", "authorization"), **PRIVATE)),
    # Tunnels and WebSockets (RFC 8441, RFC 9220).
    (501, 501, frame(RIGHT, method="CONNECT", scheme=None, path=None)),
    (None, None, frame(RIGHT, **OPENS)),
    (None, 501, frame((":protocol", "websocket"), RIGHT, **OPENS)),
    (None, 501, frame((":protocol", "websocket"), method="CONNECT")),
    (None, 501, frame((":protocol", "connect-udp"), method="CONNECT")),
    (None, None, frame((":protocol", "websocket"))),
]
