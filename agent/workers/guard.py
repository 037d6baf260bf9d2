"""The check of the token in front of the app, with `token.check: proxy` in deploy.yaml, and for static files.

It runs in the app's own process, before the app hears of a request, so that a rotation changes the token and the app together. The
token is the value of the header Authorization, as `Token <it>` or `Bearer <it>`, or the password of `Basic` with any user name, which
browsers ask for. The app sees neither that header nor the token.

For a static file, the proxy first asks with the header `Devopsctl-Static`, which it removes from the requests of clients. The response
says whether the client may have the file; the app does not hear of it. With `token.check: app`, only these requests are checked here.
"""

import base64
import binascii
import collections
import hmac
import ipaddress
import time

REALM = "the token of this app"
CHALLENGES = [f'Basic realm="{REALM}", charset="UTF-8"', f'Token realm="{REALM}"']
REFUSED = {
    401: "This app needs its token: as the password in a browser, or in the header `Authorization: Token <the token>`.\n",
    429: "Too many wrong tokens came from this address. Try again in a minute.\n",
}
REASONS = {204: "No Content", 401: "Unauthorized", 429: "Too Many Requests"}

ASKED = "devopsctl-static"  # The header of the proxy's question about a static file.
# In these, apps may accept another method than the request's. A browser's preflight request has none of them.
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")

WRONG_AT_ONCE = 10  # Wrong tokens of one client address that each process answers with 401.
SECONDS_EACH = 6  # After this long, the address may send one more.
ADDRESSES = 4096  # The number of addresses that are remembered.
LONG = 12  # A token of this length cannot be guessed, so the right one is accepted also while its address is limited.


class Guard:
    """Decides about requests. `token`: the manifest's; `variables`: with the valid tokens."""

    def __init__(self, token, variables, clock=time.monotonic):
        valid = (variables.get(token["env"] + end) for end in ("", "_PREVIOUS"))
        self.tokens = [each.encode() for each in valid if each]
        self.folders = tuple(path[:-1] for path in token["open"] if path.endswith("/*"))
        self.paths = {path for path in token["open"] if not path.endswith("/*")}
        self.open_preflight = token["open_preflight"]
        self.before_app = token["check"] == "proxy"
        self.attempts = Attempts(clock)

    def refuses(self, method, path, headers):
        """The status of a refusal, or None. `headers`: a function from a lower-case name to that header's values."""
        if self.is_open(path) or (self.open_preflight and is_preflight(method, headers)):
            return None
        sent = headers("authorization")
        if not sent:
            return 401
        token = token_in(sent[0]) if len(sent) == 1 else None
        right = token is not None and self.is_right(token)
        if right and len(token) >= LONG:
            return None
        return self.attempts.judge("".join(headers("x-forwarded-for")), right)

    def response(self, method, path, headers):
        """(status, body, headers) of the response, or None: the app gets the request. The arguments are those of `refuses`."""
        asked = bool(headers(ASKED))
        if not asked and not self.before_app:
            return None
        status = self.refuses(method, path, headers)
        if status is not None:
            return (status, *answer(status))
        # Which caches may store the file.
        return (204, b"", [("Cache-Control", "public" if self.is_open(path) else "private")]) if asked else None

    def is_open(self, path):
        """Whether a decoded path needs no token. One that the app might read as another path does."""
        if path not in self.paths and not path.startswith(self.folders):
            return False
        if not path.startswith("/") or "//" in path or any(each in path for each in "\\%;\0"):
            return False
        return not any(part in (".", "..") for part in path.split("/"))

    def is_right(self, token):
        """In a time that shows neither which character is wrong nor which token is meant."""
        same = [hmac.compare_digest(token, each) for each in self.tokens]
        return any(same)

    def wsgi(self, app):
        """A WSGI app behind the check."""

        def guarded(environ, start_response):
            def headers(name):
                value = environ.get("HTTP_" + name.upper().replace("-", "_"))
                return [] if value is None else [value]

            path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
            found = self.response(environ["REQUEST_METHOD"], path, headers)
            if found is None:
                if self.before_app:
                    environ.pop("HTTP_AUTHORIZATION", None)
                return app(environ, start_response)
            status, body, fields = found
            start_response(f"{status} {REASONS[status]}", fields)
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

        return guarded

    def asgi(self, app):
        """An ASGI app behind the check."""

        async def guarded(scope, receive, send):
            if scope["type"] not in ("http", "websocket"):
                await app(scope, receive, send)
                return

            sent = {}
            for name, value in scope["headers"]:
                sent.setdefault(name.lower(), []).append(value)

            def headers(name):
                return [value.decode("latin-1") for value in sent.get(name.encode(), ())]

            found = self.response(scope.get("method", "GET"), scope["path"], headers)
            if found is None:
                if self.before_app and b"authorization" in sent:
                    kept = [pair for pair in scope["headers"] if pair[0].lower() != b"authorization"]
                    scope = {**scope, "headers": kept}
                await app(scope, receive, send)
                return
            status, body, fields = found
            kind = "http.response"
            if scope["type"] == "websocket":
                kind = "websocket.http.response"
                if kind not in scope.get("extensions", {}):
                    await send({"type": "websocket.close"})  # The server answers 403.
                    return
            fields = [(name.lower().encode(), value.encode()) for name, value in fields]
            await send({"type": kind + ".start", "status": status, "headers": fields})
            await send({"type": kind + ".body", "body": b"" if scope.get("method") == "HEAD" else body})

        return guarded


class Attempts:
    """The wrong tokens of each client address. Each process counts for itself."""

    def __init__(self, clock):
        self.clock = clock
        # By address: until when its wrong tokens count. The address heard of last is the last entry.
        self.known = collections.OrderedDict()

    def judge(self, client, right):
        """The status of a refusal, or None. Requests of several threads may overlap: then one attempt may not be counted."""
        now, place = self.clock(), network(client)
        until = self.known.pop(place, 0)
        limited = until > now + (WRONG_AT_ONCE - 1) * SECONDS_EACH
        self.known[place] = until if right or limited else max(until, now) + SECONDS_EACH
        while len(self.known) > ADDRESSES:
            self.known.popitem(last=False)
        if limited:
            return 429
        return None if right else 401


def network(client):
    """What counts as one address: of IPv6, the network that one household or server has."""
    try:
        address = ipaddress.ip_address(client.strip())
    except ValueError:
        return client[:64]
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def is_preflight(method, headers):
    """Whether it is a browser's CORS preflight request: <https://fetch.spec.whatwg.org/#cors-preflight-request>"""
    names = ("origin", "access-control-request-method")
    return method == "OPTIONS" and all(map(headers, names)) and not any(map(headers, OVERRIDES))


def token_in(header):
    """The token in a value of the header Authorization, as bytes, or None."""
    scheme, _, rest = header.partition(" ")
    scheme, rest = scheme.lower(), rest.strip().encode("latin-1", "replace")
    if scheme in ("token", "bearer"):
        return rest
    if scheme != "basic":
        return None
    try:
        return base64.b64decode(rest, validate=True).partition(b":")[2]
    except binascii.Error:
        return None


def answer(status):
    """(body, headers) of a refusal."""
    body = REFUSED[status].encode()
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    if status == 401:
        fields += [("WWW-Authenticate", challenge) for challenge in CHALLENGES]
    else:
        fields.append(("Retry-After", str(SECONDS_EACH)))
    return body, fields
