"""Caddy's routes for static files: they answer before the app, and pass a request on if there is no such file.

The trees are made by static_files.py. If the files need the token, Caddy first asks the app's own process, by a request with the
header `Devopsctl-Static`, which no client can send (workers/guard.py): Caddy has no secret. A file that is open to everyone may be
stored by any cache, another one by the client's own only.
"""

from proxy.static_files import ETAG, NONE, OPEN, ROLES

ASKS = "Devopsctl-Static"
# The release whose files answer, and which of them. A page that was loaded before a change still finds its files with a hash.
TREES = (("serving", "plain"), ("serving", "hashed"), ("starting", "hashed"), ("previous", "hashed"))
RELEASES = "^" + " ".join([f"([0-9a-f]{{64}}|{NONE})"] * len(ROLES)) + "$"
FRESHNESS = {"plain": "no-cache", "hashed": "max-age=31536000, immutable"}
PATH = "{http.request.uri.path}"
# Go knows few types, and the instance may have no list of its own.
TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".ico": "image/x-icon",
    ".map": "application/json",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
ENCODINGS = {"zstd": {}, "gzip": {}}


def routes(static, folder, before, proxy):
    """`static`: the manifest's `edge.static`. `folder`: the trees, as Caddy sees them. `before`: the handler of each request's
    headers. `proxy`: the handler that passes a request to the app."""
    if not static:
        return []
    match = {
        "method": ["GET", "HEAD"],
        "path": [prefix.rstrip("/") + "/*" for prefix in static["prefixes"]],
        "not": [{"path": ["*" + ETAG]}],
    }
    asks = [question(proxy)] if static["guarded"] else []
    who = "{http.reverse_proxy.header.Cache-Control}" if static["guarded"] else "public"
    trees = [route(f"{folder}/{{static.{role}}}/{kind}", kind, who, [before, *asks]) for role, kind in TREES]
    handlers = [*releases(folder, "" if static["guarded"] else OPEN), {"handler": "subroute", "routes": trees}]
    return [{"match": [match], "handle": handlers}]


def releases(folder, kind):
    """Sets the release of each role, for this request."""
    roles = {
        "handler": "map",
        "source": "{http.vars.static_roles}",
        "destinations": [f"{{static.{role}}}" for role in ROLES],
        "mappings": [{"input_regexp": RELEASES, "outputs": [f"${{{n + 1}}}" for n in range(len(ROLES))]}],
        "defaults": [NONE] * len(ROLES),
    }
    return [{"handler": "vars", "static_roles": f"{{file.{folder}/roles{kind}}}"}, roles]


def route(root, kind, who, first):
    plain = kind == "plain"
    files = {
        "handler": "file_server",
        "root": root,
        "index_names": ["index.html"] if plain else [],
        "etag_file_extensions": [ETAG],
        "precompressed": {"br": {}, **ENCODINGS},
        "precompressed_order": ["br", "zstd", "gzip"],
    }
    match = {"file": {"root": root, "try_files": [PATH, PATH + "/index.html"] if plain else [PATH]}}
    handlers = [*first, *headers(f"{who}, {FRESHNESS[kind]}"), {"handler": "encode", "encodings": ENCODINGS}, files]
    return {"match": [match], "handle": handlers, "terminal": True}


def question(proxy):
    """Asks whether the request may have the file: 204, or else the response for the client."""
    asked = {**proxy["headers"]["request"]["set"], ASKS: ["1"]}
    return {
        **proxy,
        "headers": {"request": {"set": asked}},
        "rewrite": {"method": "GET"},
        "handle_response": [{"match": {"status_code": [204]}, "routes": []}],
    }


def headers(cache_control):
    kinds = [{"input": ending, "outputs": [kind]} for ending, kind in TYPES.items()]
    kind = {
        "handler": "map",
        "source": PATH[:-1] + ".file.ext}",
        "destinations": ["{static.type}"],
        "mappings": kinds,
        "defaults": [""],
    }
    named = {"handler": "headers", "response": {"set": {"Content-Type": ["{static.type}"]}}}
    # Only the ETag depends on the content: after a rollback, files are older than those that a client has.
    undated = {
        "handler": "headers",
        "request": {"delete": ["If-Modified-Since", "If-Unmodified-Since"]},
        "response": {
            "require": {"status_code": [2, 304]},
            "set": {"Cache-Control": [cache_control]},
            "delete": ["Last-Modified"],
        },
    }
    return [kind, named, undated]
