"""The check of the token in front of an app, without a machine."""

import asyncio
import base64

import pytest

from workers.guard import ADDRESSES, LONG, SECONDS_EACH, WRONG_AT_ONCE, Guard, network, token_in

TOKEN, BEFORE = "a-token-of-this-test", "the-token-before"
OPEN = ["/healthz", "/static/*"]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def guard_of(open_paths=(), preflight=False, previous=None, clock=None, token=TOKEN, check="proxy"):
    settings = {"env": "KEY", "check": check, "open": list(open_paths), "open_preflight": preflight}
    variables = {"KEY": token, **({"KEY_PREVIOUS": previous} if previous else {})}
    return Guard(settings, variables, clock or Clock())


def ask(guard, sent=None, path="/", method="GET", client="203.0.113.7", **headers):
    """(status, headers, body, what the app saw) of a request."""
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("200 OK", [])
        return [b"served"]

    said = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_X_FORWARDED_FOR": client, **headers}
    if sent is not None:
        environ["HTTP_AUTHORIZATION"] = sent
    body = guard.wsgi(app)(environ, lambda line, fields: said.extend((line, fields)))
    return int(said[0].split()[0]), said[1], b"".join(body), seen


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "sent",
    [
        f"Token {TOKEN}",
        f"token {TOKEN}",
        f"Bearer {TOKEN}",
        f"Bearer   {TOKEN}  ",
        basic("", TOKEN),
        basic("anyone", TOKEN),
        f"Token {BEFORE}",
    ],
)
def test_the_right_token_is_served_and_not_shown_to_the_app(sent):
    status, _, body, seen = ask(guard_of(previous=BEFORE), sent)
    assert (status, body) == (200, b"served")
    assert "HTTP_AUTHORIZATION" not in seen and TOKEN not in str(seen) and BEFORE not in str(seen)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Token",
        "Token ",
        TOKEN,
        f"Token {TOKEN}x",
        f"Token {TOKEN[:-1]}",
        f"Token {BEFORE}",
        f"Token {TOKEN},Token {TOKEN}",  # The header twice, as gunicorn passes it.
        f"Digest {TOKEN}",
        f"Token\t{TOKEN}",
        "Basic !!!",
        "Basic " + base64.b64encode(TOKEN.encode()).decode(),
        basic(TOKEN, ""),
        f"Token {TOKEN}\xff",
        "Token \u0119",
    ],
)
def test_anything_else_is_refused(sent):
    status, fields, body, seen = ask(guard_of(), sent)
    assert status == 401 and seen == {} and b"needs its token" in body
    assert [value.split()[0] for name, value in fields if name == "WWW-Authenticate"] == ["Basic", "Token"]


def test_a_refusal_of_head_has_no_body():
    assert ask(guard_of(), method="HEAD")[2] == b""


@pytest.mark.parametrize("path", ["/healthz", "/static/app.css", "/static/", "/static/a/b"])
def test_an_open_path_needs_no_token(path):
    status, _, _, seen = ask(guard_of(OPEN), path=path)
    assert status == 200 and seen["PATH_INFO"] == path
    # Also there the app never sees the token.
    assert "HTTP_AUTHORIZATION" not in ask(guard_of(OPEN), f"Token {TOKEN}", path=path)[3]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "/",
        "/static",
        "/staticx",
        "/healthz/",
        "/healthz/x",
        "/HEALTHZ",
        "//healthz",
        "/static//x",
        "/static/../secret",
        "/static/./../secret",
        "/static/..",
        "/static/%2e%2e/secret",  # Escaped twice.
        "/static/..\\secret",
        "/static\\..\\secret",
        "/static/x;/../../secret",
        "/static/\0",
        "http://example.com/healthz",
        "example.com/static/x",
    ],
)
def test_a_path_that_only_looks_open_needs_the_token(path):
    assert ask(guard_of(OPEN), path=path)[0] == 401


def test_only_a_preflight_passes_and_only_if_that_is_set():
    preflight = {"HTTP_ORIGIN": "https://example.com", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "PUT"}
    assert ask(guard_of(preflight=True), method="OPTIONS", **preflight)[0] == 200
    assert ask(guard_of(preflight=True), method="PUT", **preflight)[0] == 401
    assert ask(guard_of(preflight=True), method="OPTIONS", HTTP_ORIGIN="https://example.com")[0] == 401
    assert ask(guard_of(), method="OPTIONS", **preflight)[0] == 401
    for name in ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD", "HTTP_X_METHOD_OVERRIDE"):
        assert ask(guard_of(preflight=True), method="OPTIONS", **preflight, **{name: "PUT"})[0] == 401


def test_wrong_tokens_of_an_address_are_limited():
    clock = Clock()
    guard = guard_of(clock=clock)
    assert [ask(guard, "Token wrong")[0] for _ in range(WRONG_AT_ONCE + 1)] == [401] * WRONG_AT_ONCE + [429]
    status, fields, _, _ = ask(guard, "Token wrong")
    assert status == 429 and ("Retry-After", str(SECONDS_EACH)) in fields
    # A request without a token is no attempt, and the right token cannot be guessed.
    assert (ask(guard)[0], ask(guard, f"Token {TOKEN}")[0]) == (401, 200)
    assert ask(guard, "Token wrong", client="203.0.113.8")[0] == 401
    clock.now += SECONDS_EACH
    assert [ask(guard, "Token wrong")[0] for _ in range(2)] == [401, 429]


def test_a_short_token_is_refused_while_its_address_is_limited():
    """Or guessing would go on at full speed."""
    clock = Clock()
    guard = guard_of(clock=clock, token=TOKEN[: LONG - 1])
    right = f"Token {TOKEN[: LONG - 1]}"
    assert ask(guard, right)[0] == 200
    for _ in range(3 * WRONG_AT_ONCE):
        ask(guard, "Token wrong")
    assert (ask(guard, right)[0], ask(guard, right, client="203.0.113.8")[0]) == (429, 200)
    clock.now += SECONDS_EACH
    assert ask(guard, right)[0] == 200


def test_only_so_many_addresses_are_remembered():
    guard = guard_of()
    for number in range(ADDRESSES + 50):
        ask(guard, "Token wrong", client=f"198.51.{number // 256}.{number % 256}")
    assert len(guard.attempts.known) == ADDRESSES


def test_an_ipv6_network_counts_as_one_address():
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2::9") != network("2001:db8:1:3::9")
    assert network("203.0.113.7") != network("203.0.113.8")
    assert len(network("x" * 1000)) <= 64


def test_a_token_with_a_colon_is_the_whole_password():
    assert token_in(basic("user", "a:b:c")) == b"a:b:c"


def ask_asgi(guard, sent=(), kind="http", path="/", marked=False, **scope):
    """(what was sent, the scope that the app saw) of a request."""
    said, seen = [], {}

    async def app(scope, receive, send):
        seen.update(scope)
        await send({"type": "served"})

    async def send(message):
        said.append(message)

    headers = [(b"x-forwarded-for", b"203.0.113.7"), *((b"Authorization", each.encode("latin-1")) for each in sent)]
    headers += [(b"devopsctl-static", b"1")] if marked else []
    scope = {"type": kind, "path": path, "headers": headers, **scope}
    asyncio.run(guard.asgi(app)(scope, None, send))
    return said, seen


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_asgi_app_gets_the_request_without_the_token(kind):
    said, seen = ask_asgi(guard_of(), [f"Bearer {TOKEN}"], kind=kind)
    assert said == [{"type": "served"}] and seen["headers"] == [(b"x-forwarded-for", b"203.0.113.7")]
    assert ask_asgi(guard_of(OPEN), path="/static/x", kind=kind)[0] == [{"type": "served"}]


def test_an_asgi_app_has_its_lifespan():
    assert ask_asgi(guard_of(), kind="lifespan")[0] == [{"type": "served"}]


@pytest.mark.parametrize("sent", [[], ["Token wrong"], [f"Token {TOKEN}"] * 2])
def test_an_asgi_app_is_refused_requests_without_the_token(sent):
    said, seen = ask_asgi(guard_of(), sent, method="GET")
    assert seen == {} and [each["type"] for each in said] == ["http.response.start", "http.response.body"]
    assert said[0]["status"] == 401 and b"needs its token" in said[1]["body"]
    assert [name for name, _ in said[0]["headers"]].count(b"www-authenticate") == 2
    assert ask_asgi(guard_of(), sent, method="HEAD")[0][1]["body"] == b""


def test_a_web_socket_without_the_token_is_refused_before_it_is_accepted():
    said, seen = ask_asgi(guard_of(), kind="websocket", extensions={"websocket.http.response": {}})
    assert seen == {} and [each["type"] for each in said] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert ask_asgi(guard_of(), kind="websocket")[0] == [{"type": "websocket.close"}]


@pytest.mark.parametrize("check", ["proxy", "app"])
def test_a_question_about_a_static_file_never_reaches_the_app(check):
    guard = guard_of(OPEN, check=check)
    for sent, path, expected in (
        (None, "/css/a.css", (401, None)),
        ("Token wrong", "/css/a.css", (401, None)),
        (f"Token {TOKEN}", "/css/a.css", (204, "private")),
        (None, "/static/a.css", (204, "public")),
        (None, "/static/..\\a.css", (401, None)),
    ):
        status, fields, body, seen = ask(guard, sent, path, HTTP_DEVOPSCTL_STATIC="1")
        said, reached = ask_asgi(guard, [sent] if sent else [], path=path, method="GET", marked=True)
        assert seen == reached == {} and (status, body == b"") == (said[0]["status"], said[1]["body"] == b"")
        assert (status, dict(fields)["Cache-Control"] if status == 204 else None) == expected
        assert status != 204 or said[0]["headers"] == [(b"cache-control", expected[1].encode())]
    limited = [ask(guard, "Token wrong", HTTP_DEVOPSCTL_STATIC="1", client="c")[0] for _ in range(WRONG_AT_ONCE + 1)]
    assert limited[-1] == 429


def test_an_app_that_checks_the_token_gets_every_other_request_as_it_is():
    guard = guard_of(check="app")
    assert ask(guard)[0] == 200
    assert ask(guard, "Token wrong")[3]["HTTP_AUTHORIZATION"] == "Token wrong"
    for kind in ("http", "websocket"):
        said, seen = ask_asgi(guard, ["Token wrong"], kind=kind)
        assert said == [{"type": "served"}] and (b"Authorization", b"Token wrong") in seen["headers"]
