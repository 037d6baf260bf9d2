"""Caddy's configuration: a function of the network section of deploy.yaml and of the paths on this machine.

It contains neither the release nor the token, so a change of either does not touch the proxy.
"""

import ipaddress

from proxy import static_routes
from workers import unavailable

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
# Headers in which a proxy describes the client: a client can send them with any content.
HEARSAY = ["Forwarded", "X-Forwarded-*", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "X-Scheme", "X-Url-Scheme"]
CLIMBS = r"(^|[/\\])\.\.([/\\]|$)"
HEADER_BYTES = 16384
# How long a client may read nothing of a response that is waiting; beyond some 400 KB it waits on the disk
# (workers/response_spool.py). Not less: a socket accepts more data only when a large part of it is empty, up to a megabyte if a
# fast client became slow.
TAKE_SECONDS = 60
# Between two checks of the certificate: a short-lived one is renewed in the last third of its life.
RENEW_INTERVAL = "20s"
ERROR = "{http.error.status_code} {http.error.status_text}\n"
# Clients need not know which server this is.
NAMELESS = {"handle": [{"handler": "headers", "response": {"deferred": True, "delete": ["Server", "Via"]}}]}


def config(want, host, paths):
    """`want`: the manifest's `edge`. `host`: the name or address of the certificate, once it can be requested; None before.

    `paths`: the paths on this machine (runner.py).
    """
    if want["https"]:
        servers = {"plain": server(want, ["h1"], paths.plain(80), to_https(host))}
    else:
        servers = {"plain": server(want, ["h1"], paths.plain(want["port"]), app(want, paths))}
    whole = {
        "admin": {"listen": f"unix/{paths.admin}|0200", "config": {"persist": False}},
        "storage": {"module": "file_system", "root": paths.store},
        "logging": {"logs": logs(paths)},
        "apps": {
            "http": {"servers": servers, "grace_period": "30s"},
            # Caddy keeps the interval of the first configuration that it gets: without one, it checks every ten minutes.
            "tls": {"automation": {"renew_interval": RENEW_INTERVAL}},
        },
    }
    if want["https"] and host:
        servers["secure"] = secure(want, host, paths)
        whole["apps"]["tls"] = certificates(want, host, paths)
        if not is_public(host):
            # Caddy then uses an authority of its own, and would make the machine trust it.
            whole["apps"]["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    return whole


def is_public(host):
    """Whether Caddy treats the host as public (certmagic's `SubjectQualifiesForPublicCert`)."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return not host.endswith((".localhost", ".local", ".internal", ".home.arpa"))


def server(want, protocols, listen, routes):
    limits = want["limits"]
    return {
        "listen": [listen],
        "protocols": protocols,
        # HTTPS is configured here, and not derived from host names.
        "automatic_https": {"disable": True},
        "read_header_timeout": f"{limits['header_seconds']}s",
        "read_timeout": f"{limits['body_seconds']}s",
        "idle_timeout": f"{limits['idle_seconds']}s",
        "write_idle_timeout": f"{TAKE_SECONDS}s",
        "max_header_bytes": HEADER_BYTES,
        "logs": {"default_logger_name": "access"},
        "routes": [
            NAMELESS,
            # It asks for a tunnel. Over HTTP/3 also for a WebSocket, which Caddy would end after `read_timeout`.
            refuse({"method": ["CONNECT"]}, 501),
            # A target such as `*` or `x:a://b/../c`, whose path Caddy does not see, but the app's server may.
            refuse({"vars_regexp": {"{http.request.uri}": {"pattern": "^[^/]"}}}, 400),
            *routes,
        ],
        "errors": {"routes": [NAMELESS, respond("{http.error.status_code}", body=ERROR, close=True)]},
    }


def secure(want, host, paths):
    headers = {"Strict-Transport-Security": ["max-age=31536000"]} if want["domain"] else {}
    routes = [refuse({"not": [{"host": [host]}]}, 421), *app(want, paths, headers)]
    # A client that connects to an address sends no server name, and the address is not one of this machine's interfaces.
    policy = {"default_sni": host, "fallback_sni": host, "protocol_min": "tls1.2"}
    return {**server(want, paths.protocols, paths.secure, routes), "tls_connection_policies": [policy]}


def respond(status, **how):
    return {"handle": [{"handler": "static_response", "status_code": status, **how}], "terminal": True}


def not_available(match):
    """The response to a request that no generation accepts: 503, and when to retry."""
    headers = {name: [value] for name, value in unavailable.HEADERS.items()}
    answer = {"headers": headers, "body": unavailable.NOT_RUNNING}
    # Without `close`, Go first reads the whole body. Over HTTP/2 and HTTP/3 it does not, and the header is forbidden.
    closes = {"match": [{"protocol": "http/1.1"}], **respond(503, **answer, close=True)}
    # One route: the match is evaluated for each request.
    routes = {"handler": "subroute", "routes": [closes, respond(503, **answer)]}
    return {"match": [match], "handle": [routes], "terminal": True}


def refuse(match, status):
    return {"match": [match], **respond(status)}


def more_than(limit):
    """A pattern for numbers above `limit`. A numeric comparison would make Caddy set up an interpreter at each start."""
    digits = str(limit)
    found = [f"[1-9][0-9]{{{len(digits)},}}"]
    for at, digit in enumerate(digits):
        if digit != "9":
            found.append(f"{digits[:at]}[{int(digit) + 1}-9][0-9]{{{len(digits) - at - 1}}}")
    return f"^0*({'|'.join(found)})$"


def to_https(host):
    """Redirects HTTP to HTTPS. Without a certificate yet, the app is not served at all."""
    if not host:
        return [not_available({})]
    return [respond(308, headers={"Location": ["https://" + host + "{http.request.uri}"]})]


def app(want, paths, headers=None):
    body = want["limits"]["body_mb"] << 20
    # Caddy sets these headers itself, but on a Unix socket it knows no client, and would not set the protocol.
    hearsay = {"handler": "headers", "request": {"delete": [*HEARSAY, static_routes.ASKS]}}
    if headers:
        hearsay["response"] = {"set": headers}
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"unix/{paths.app}"}],
        # Each request has its own connection, so it reaches the generation that listens now. A kept connection to an older
        # generation could be closed just when it is used.
        "transport": {"protocol": "http", "keep_alive": {"enabled": False}},
        "headers": {"request": {"set": {"X-Forwarded-Proto": ["{http.request.scheme}"]}}},
        # The body is read completely before one of the app's few threads handles the request; with a byte more than is allowed,
        # also the end of the longest.
        "request_buffers": body + 1,
        # Only when the connection is refused: then no request can be sent twice.
        "load_balancing": {"try_duration": "5s", "try_interval": "50ms"},
    }
    return [
        refuse({"vars_regexp": {"{http.request.orig_uri.path}": {"pattern": CLIMBS}}}, 400),
        # A declared length is refused before the app sees the request. A chunked body is cut off: the app sees its beginning, and
        # reading it fails. Caddy could read it first (`{http.request.body}`), but does not notice a truncated body.
        refuse({"header_regexp": {"Content-Length": {"pattern": more_than(body)}}}, 413),
        # Without a serving generation, a request would wait in the app's socket until its client gives up. Caddy checks the file
        # at each request, so that neither its configuration nor a connection changes.
        not_available({"not": [{"file": {"root": paths.folder, "try_files": ["/" + paths.admits]}}]}),
        *static_routes.routes(want.get("static"), paths.static, hearsay, proxy),
        {"handle": [hearsay, {"handler": "request_body", "max_size": body}, proxy]},
    ]


def logs(paths):
    """Caddy's own log and the access log go to the journal, the log of certificates to a file that the agent reads."""
    # A client can write anything into Host and Transfer-Encoding.
    fields = ("request>headers", "request>host", "request>tls", "request>transfer_encoding", "resp_headers")
    hidden = {field: {"filter": "delete"} for field in fields}
    discreet = {"format": "filter", "wrap": {"format": "json"}, "fields": hidden}
    return {
        # The admin socket warns at each start that it accepts any host name, which is intended.
        "default": {"level": "WARN", "exclude": ["http.log.access", "admin"], "encoder": discreet},
        "access": {"include": ["http.log.access.access"], "encoder": discreet},
        "certificates": {
            "include": ["tls.obtain", "tls.renew"],
            "encoder": {"format": "json"},
            "writer": {"output": "file", "filename": paths.log, "roll_size_mb": 1, "roll_keep": 1, "mode": "0600"},
        },
    }


def certificates(want, host, paths):
    """Certificates are requested by ACME, from Let's Encrypt unless another authority is configured."""
    acme = want["acme"]
    issuer = {"module": "acme", "ca": acme["directory"] or LETS_ENCRYPT, "challenges": paths.challenges}
    if not acme["directory"] and not want["domain"]:
        issuer["profile"] = "shortlived"  # The only profile in which Let's Encrypt issues certificates for addresses.
    if acme["root"]:
        issuer["trusted_roots_pem_files"] = [paths.root]
    return {
        "certificates": {"automate": [host]},
        "automation": {"policies": [{"subjects": [host], "issuers": [issuer]}], "renew_interval": RENEW_INTERVAL},
    }
