"""The real Caddy that serves static files."""

import gzip
import threading
import time

import pytest
from http_clients import RIGHT, over_http1, over_http2
from machine import CLIENT_PAUSE, Machine, release, until
from proxied_machine import ECHO, TOKEN, pid_of_proxy, put, serves
from test_proxy_tls import Secured

from proxy.static_files import ETAG

HASHED = "/static/site.0123456789ab.css"
STYLE = b"body { color: black }\n" * 100
FILES = {
    "files/site.css": STYLE,
    "files/site.0123456789ab.css": STYLE,
    "files/font.woff2": b"font",
    "files/notes.txt": b"notes",
    "files/odd name [é].css": b"odd",
    "files/docs/index.html": b"<p>docs",
    "files/ready.js": b"let plain = 1\n" * 50,
    "files/ready.js.br": b"not really brotli",
    "files/open/logo.svg": b"<svg/>",
    "files/.env": b"hidden",
    "files/.git/config": b"hidden",
}
STATIC = {"prefixes": ["/static"], "guarded": True}
TOKENS = {"env": "APP_SECRET_TOKEN", "check": "app", "open": ["/static/open/*"], "open_preflight": False, "path": "/"}

# Fails once it is told to.
FAILING = """
import os, time
while not os.path.exists(os.environ["TMPDIR"] + "/fail"):
    time.sleep(0.01)
raise SystemExit("broken")
"""


def order(aws, files=FILES, static=STATIC, tokens=TOKENS, app=ECHO):
    return put(aws, app, more={"files": files, "static": {"/static": "files"}, "token": tokens}, static=static)


def begin(aws, machine):
    order(aws)
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: serves(machine), 60, "the proxy")


@pytest.fixture
def served(serving):
    order(serving.aws)
    is_there(serving, "/static/site.css")
    return serving


def ask(machine, path, headers=RIGHT, method="GET"):
    """(status, headers, body) of a request through the proxy."""
    connection = machine.connect(socket="80.sock")
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def is_there(machine, path):
    def answers():
        status, headers, _ = ask(machine, path)
        return status == 200 and "etag" in headers

    until(answers, 60, f"{path} is served")


def test_files_are_served_with_the_token_and_the_right_headers(served):
    before = served.app_log()
    status, headers, body = ask(served, "/static/site.css")
    assert (status, body, headers["content-type"]) == (200, STYLE, "text/css; charset=utf-8")
    assert (headers["cache-control"], headers["vary"]) == ("private, no-cache", "Accept-Encoding")
    assert "last-modified" not in headers and "server" not in headers and "devopsctl" not in str(headers).lower()
    assert ask(served, HASHED)[1]["cache-control"] == "private, max-age=31536000, immutable"
    # The same content has the same ETag.
    assert ask(served, HASHED)[1]["etag"] == headers["etag"]
    fresh = {**RIGHT, "If-None-Match": headers["etag"]}
    status, again, body = ask(served, "/static/site.css", fresh)
    assert (status, body, again["etag"], again["cache-control"]) == (304, b"", headers["etag"], "private, no-cache")
    status, part, body = ask(served, "/static/site.css", {**RIGHT, "Range": "bytes=0-3"})
    assert (status, body, part["content-range"]) == (206, b"body", f"bytes 0-3/{len(STYLE)}")
    status, part, _ = ask(served, "/static/site.css", {**RIGHT, "Range": "bytes=99999-"})
    assert status == 416 and "immutable" not in part.get("cache-control", "")
    status, head, body = ask(served, "/static/site.css", method="HEAD")
    assert (status, body, head["content-length"], head["etag"]) == (200, b"", str(len(STYLE)), headers["etag"])
    old = {**RIGHT, "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    assert ask(served, "/static/site.css", old)[0] == 200
    for path, kind in (("/static/font.woff2", "font/woff2"), ("/static/notes.txt", "text/plain; charset=utf-8")):
        assert ask(served, path)[1]["content-type"] == kind
    assert ask(served, "/static/odd%20name%20%5B%C3%A9%5D.css")[2] == b"odd"
    assert ask(served, "/static/docs/")[2] == b"<p>docs"
    status, headers, _ = ask(served, "/static/docs")
    assert (status, headers["location"]) == (308, "/static/docs/")
    assert served.app_log() == before, "the app gets none of these requests"


def test_the_token_guards_files_unless_their_path_is_open(served):
    for path in ("/static/site.css", HASHED):
        for sent in ({}, {"Authorization": "Token wrong"}, {"Devopsctl-Static": "1"}, {"devopsctl_static": "1"}):
            for method in ("GET", "HEAD"):
                status, headers, body = ask(served, path, sent, method)
                assert status == 401 and STYLE not in body and "immutable" not in headers["cache-control"]
        assert "realm" in ask(served, path, {})[1]["www-authenticate"]
    status, headers, body = ask(served, "/static/open/logo.svg", {})
    assert (status, body, headers["cache-control"]) == (200, b"<svg/>", "public, no-cache")
    # The app checks the token of its own requests, and never sees the proxy's header.
    assert ask(served, "/other", {})[0] == 401
    status, _, body = ask(served, "/other", {**RIGHT, "Devopsctl-Static": "1", "Devopsctl_Static": "1"})
    assert status == 200 and b"DEVOPSCTL_STATIC" not in body and TOKEN.encode() in body
    # Wrong tokens are limited, in each of the two processes.
    statuses = [ask(served, "/static/site.css", {"Authorization": f"Token {n}"})[0] for n in range(40)]
    assert set(statuses) == {401, 429} and ask(served, "/static/site.css")[0] == 200


def test_other_requests_reach_the_app(served):
    before = served.app_log()
    for method, path in (
        ("GET", "/static/missing.css"),
        ("GET", "/static/"),
        ("GET", "/static"),
        ("GET", f"/static/site.css{ETAG}"),
        ("GET", "/STATIC/site.css"),
        ("POST", "/static/site.css"),
        ("OPTIONS", "/static/site.css"),
    ):
        status, headers, body = ask(served, path, method=method)
        assert (status, "etag" in headers) == (200, False) and b"environ" in body, path
    assert served.app_log().count("asked for") - before.count("asked for") == 7


def test_nothing_outside_of_the_folder_is_served(served):
    """What is not in the tree reaches the app, or is refused: a file's content is in no response."""
    names = (
        ".env",
        ".git/config",
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "..%5capp.py",
        "..\\app.py",
        "%00",
        "site.css%00",
    )
    more = (
        "%252e%252e/app.py",
        "..;/app.py",
        "....//app.py",
        "{env.HOME}",
        "*",
        "si?e.css",
        "[s]ite.css",
        "%2fetc/passwd",
        "./site.css/..",
    )
    for name in (*names, *more):
        for start in ("/static/", "//static/", "/static//", "/x/../static/"):
            connection = served.connect(socket="80.sock")
            connection.putrequest("GET", start + name, skip_accept_encoding=True)
            connection.putheader("Authorization", f"Token {TOKEN}")
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            assert answer.status in (200, 400), (start + name, answer.status)
            assert answer.status == 400 or b'"environ"' in body, (start + name, body[:200])
            assert answer.headers["ETag"] is None
            assert b"hidden" not in body and b"def app" not in body and b"root:" not in body


def test_compression(served):
    status, headers, body = ask(served, "/static/site.css", {**RIGHT, "Accept-Encoding": "gzip"})
    plain = ask(served, "/static/site.css")[1]["etag"]
    assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", STYLE) and len(body) < len(STYLE)
    assert headers["etag"] == plain[:-1] + '-gzip"', "each form has its own"
    fresh = {**RIGHT, "Accept-Encoding": "gzip", "If-None-Match": headers["etag"]}
    assert ask(served, "/static/site.css", fresh)[0] == 304
    assert ask(served, "/static/site.css", {**RIGHT, "Accept-Encoding": "zstd, gzip"})[1]["content-encoding"] == "zstd"
    status, headers, body = ask(served, "/static/ready.js", {**RIGHT, "Accept-Encoding": "gzip, br"})
    assert (headers["content-encoding"], body) == ("br", FILES["files/ready.js.br"])
    assert headers["content-type"].startswith("text/javascript")
    assert headers["etag"] not in (ask(served, "/static/ready.js")[1]["etag"], None)
    assert ask(served, "/static/ready.js", {**RIGHT, "Accept-Encoding": "gzip"})[1]["content-encoding"] == "gzip"


class Readers:
    """Clients that ask for one file continuously: what they got."""

    def __init__(self, machine, *paths):
        self.machine, self.going, self.seen = machine, True, {path: [] for path in paths}
        self.threads = [threading.Thread(target=self.read, args=(path,), daemon=True) for path in paths]
        for thread in self.threads:
            thread.start()

    def read(self, path):
        while self.going:
            try:
                status, headers, body = ask(self.machine, path)
                self.seen[path].append((status, headers.get("etag"), body))
            except OSError as problem:
                self.seen[path].append(repr(problem))
            time.sleep(CLIENT_PAUSE)

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()
        return {path: set(seen) for path, seen in self.seen.items()}


def test_a_change_of_the_release_serves_the_files_of_both(served):
    """Under load, with contents of the same size. A release that fails serves only names with a hash, and only while it starts."""
    config = served.root / "run/devopsctl/edge/caddy.json"
    pid, written = pid_of_proxy(served), config.stat().st_mtime_ns
    before = ask(served, "/static/site.css")[1]["etag"]
    readers = Readers(served, "/static/site.css", HASHED)
    other = STYLE.replace(b"black", b"white")
    newer = {"files/site.css": other, "files/site.ba9876543210.css": other, "files/font.woff2": b"tnof"}
    failing = {**newer, "files/site.css": b"never", "files/site.fedcba987654.css": b"early"}
    broken = order(served.aws, failing, app=FAILING)
    is_there(served, "/static/site.fedcba987654.css")
    assert ask(served, "/static/site.css")[1]["etag"] == before
    (served.root / "tmp/fail").touch()
    served.aws.wait_report(lambda said: said["phase"] == "failed" and said["wanted"]["release"] == broken, 60)
    until(lambda: b"environ" in ask(served, "/static/site.fedcba987654.css")[2], what="its files are gone")
    order(served.aws, newer)
    is_there(served, "/static/site.ba9876543210.css")
    until(lambda: ask(served, "/static/site.css")[2] == other, 60, "the new file")
    seen = readers.end()
    assert seen[HASHED] == {(200, before, STYLE)}
    after = ask(served, "/static/site.css")[1]["etag"]
    assert seen["/static/site.css"] <= {(200, before, STYLE), (200, after, other)} and after != before
    # An unchanged file keeps its ETag; one that the new release does not have is gone, unless its name has a hash.
    assert ask(served, "/static/site.css", {**RIGHT, "If-None-Match": before})[0] == 200
    assert b"environ" in ask(served, "/static/notes.txt")[2]
    assert (ask(served, HASHED)[2], ask(served, "/static/font.woff2")[2]) == (STYLE, b"tnof")
    # Back again, and after a boot.
    order(served.aws)
    until(lambda: ask(served, "/static/site.css")[1].get("etag") == before, 60, "the earlier file")
    assert ask(served, "/static/site.ba9876543210.css")[2] == other
    assert (pid_of_proxy(served), config.stat().st_mtime_ns) == (pid, written), "Caddy was not touched"
    served.stop()
    served.boot()
    until(lambda: serves(served), 60, "the proxy")
    assert ask(served, "/static/site.css")[1]["etag"] == before
    assert ask(served, "/static/site.ba9876543210.css")[2] == other


def test_an_app_that_answers_everywhere_gets_what_the_folder_does_not_have(served):
    """A single-page app at `/`, of a public deployment."""
    public = {**TOKENS, "check": "none", "open": []}
    files = {"build/index.html": b"<p>start", "build/main.8f3a1b2c.js": b"run()"}
    more = {"files": files, "static": {"/": "build"}, "token": public}
    put(served.aws, more=more, static={"prefixes": ["/"], "guarded": False})
    until(lambda: ask(served, "/", {})[2] == b"<p>start", 60, "the page")
    assert ask(served, "/main.8f3a1b2c.js", {})[1]["cache-control"] == "public, max-age=31536000, immutable"
    assert ask(served, "/", {})[1]["cache-control"] == "public, no-cache"
    assert ask(served, "/api")[0] == 200 and b"environ" in ask(served, "/api")[2]


def test_over_tls_and_http2(aws):
    """With the configuration of EC2, and an ASGI app behind the check."""
    app = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        names = b" ".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"app " + names})
"""
    machine = Machine(aws)
    try:
        tokens = {**TOKENS, "check": "proxy"}
        packed = release(app=app, packages=("uvicorn",), files=FILES, static={"/static": "files"}, token=tokens)
        aws.tags["devopsctl:release"] = aws.put_release(packed)
        aws.put_token(TOKEN)
        machine.boot()
        aws.wait_report(lambda report: report["healthy"], 60)
        with Secured(machine, static=STATIC).running() as secured:
            for get in (over_http1, over_http2):
                status, headers, body = get(secured, path="/static/site.css")
                assert (status, body, headers["cache-control"]) == (200, STYLE, "private, no-cache")
                status, headers, body = get(secured, "HEAD", path=HASHED)
                assert (status, body, headers["content-length"]) == (200, b"", str(len(STYLE)))
                assert get(secured, path="/static/site.css", headers={})[0] == 401
                assert get(secured, path="/static/open/logo.svg", headers={})[1]["cache-control"] == "public, no-cache"
                assert get(secured, path="/static/%2e%2e/app.py")[0] == 400
                status, _, body = get(secured, path="/static/none", headers={**RIGHT, "devopsctl-static": "1"})
                assert status == 200 and body.startswith(b"app ") and b"static" not in body
                fresh = {**RIGHT, "if-none-match": get(secured, path=HASHED)[1]["etag"]}
                assert get(secured, path=HASHED, headers=fresh)[0] == 304
    finally:
        machine.destroy()
