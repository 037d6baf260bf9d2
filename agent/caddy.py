"""Caddy's configuration: a function of what deploy.yaml says of the network and of where things lie on this machine.

Neither the release nor the token is in it, so that neither ever touches it.
"""

import ipaddress

import unavailable

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
# Headers by which a proxy tells what it knows of a client: from outside they are anybody's invention.
HEARSAY = ["Forwarded", "X-Forwarded-*", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "X-Scheme", "X-Url-Scheme"]
CLIMBS = r"(^|[/\\])\.\.([/\\]|$)"
HEADER_BYTES = 16384
# So long a client may take nothing of its answer: what it leaves lying, beyond some 400 KB, waits on the disk (outgoing.py). It
# counts while something is there to be taken. Not less: a socket takes more only when a good part of it is empty, and that
# may be a megabyte where a fast client has become slow.
TAKE_SECONDS = 60
ERROR = "{http.error.status_code} {http.error.status_text}\n"
# Nobody need know what stands here.
NAMELESS = {"handle": [{"handler": "headers", "response": {"deferred": True, "delete": ["Server", "Via"]}}]}


def config(want, host, places):
    """`want`: the manifest's `edge`. `host`: the name or address to have a certificate for, once that can be; None before.

    `places`: where things lie on this machine (edge_runner.py).
    """
    if want["https"]:
        servers = {"plain": server(want, ["h1"], places.plain(80), to_https(host))}
    else:
        servers = {"plain": server(want, ["h1"], places.plain(want["port"]), app(want, places))}
    whole = {
        "admin": {"listen": f"unix/{places.admin}|0200", "config": {"persist": False}},
        "storage": {"module": "file_system", "root": places.store},
        "logging": {"logs": logs(places)},
        "apps": {
            "http": {"servers": servers, "grace_period": "30s"},
        },
    }
    if want["https"] and host:
        servers["secure"] = secure(want, host, places)
        whole["apps"]["tls"] = certificates(want, host, places)
        if not is_public(host):
            # Caddy makes an authority of its own then, and would have the machine trust it.
            whole["apps"]["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    return whole


def is_public(host):
    """Whether Caddy takes it for a name or an address that the world knows (certmagic's `SubjectQualifiesForPublicCert`)."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return not host.endswith((".localhost", ".local", ".internal", ".home.arpa"))


def server(want, protocols, listen, routes):
    limits = want["limits"]
    return {
        "listen": [listen],
        "protocols": protocols,
        # What is encrypted, and how, is said here and not guessed from names.
        "automatic_https": {"disable": True},
        "read_header_timeout": f"{limits['header_seconds']}s",
        "read_timeout": f"{limits['body_seconds']}s",
        "idle_timeout": f"{limits['idle_seconds']}s",
        "write_idle_timeout": f"{TAKE_SECONDS}s",
        "max_header_bytes": HEADER_BYTES,
        "logs": {"default_logger_name": "access"},
        "routes": [
            NAMELESS,
            *routes,
        ],
        "errors": {"routes": [NAMELESS, respond("{http.error.status_code}", body=ERROR, close=True)]},
    }


def secure(want, host, places):
    headers = {"Strict-Transport-Security": ["max-age=31536000"]} if want["domain"] else {}
    routes = [refuse({"not": [{"host": [host]}]}, 421), *app(want, places, headers)]
    # Who connects to an address names no server, and it is not one of this machine's own.
    policy = {"default_sni": host, "fallback_sni": host, "protocol_min": "tls1.2"}
    return {**server(want, places.protocols, places.secure, routes), "tls_connection_policies": [policy]}


def respond(status, **how):
    return {"handle": [{"handler": "static_response", "status_code": status, **how}], "terminal": True}


def not_available(match):
    """Where nothing takes the request: an answer with a text. A client may try again soon."""
    headers = {name: [value] for name, value in unavailable.HEADERS.items()}
    answer = {"headers": headers, "body": unavailable.NOT_RUNNING}
    # Without `close`, Go wants the request's whole body first; over HTTP/2 and HTTP/3 it does not, and the header is forbidden.
    return [
        {"match": [{**match, "protocol": "http/1.1"}], **respond(503, **answer, close=True)},
        {"match": [match], **respond(503, **answer)},
    ]


def refuse(match, status):
    return {"match": [match], **respond(status)}


def more_than(limit):
    """A pattern of the numbers above `limit`. To compare them as numbers, Caddy would make an interpreter at each start."""
    digits = str(limit)
    found = [f"[1-9][0-9]{{{len(digits)},}}"]
    for at, digit in enumerate(digits):
        if digit != "9":
            found.append(f"{digits[:at]}[{int(digit) + 1}-9][0-9]{{{len(digits) - at - 1}}}")
    return f"^0*({'|'.join(found)})$"


def to_https(host):
    """The app is never served in clear, also while there is no certificate yet."""
    if not host:
        return not_available({})
    return [respond(308, headers={"Location": ["https://" + host + "{http.request.uri}"]})]


def app(want, places, headers=None):
    body = want["limits"]["body_mb"] << 20
    # The client itself is told by Caddy; on a Unix socket it does not know one, and would not even say how it was asked.
    hearsay = {"handler": "headers", "request": {"delete": HEARSAY}}
    if headers:
        hearsay["response"] = {"set": headers}
    proxy = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"unix/{places.app}"}],
        # Each request comes on a connection of its own, so to the generation that listens at that moment: one kept open
        # to an older one could be closed just as it is used.
        "transport": {"protocol": "http", "keep_alive": {"enabled": False}},
        "headers": {"request": {"set": {"X-Forwarded-Proto": ["{http.request.scheme}"]}}},
        # A body has to be here before one of the app's few threads is kept busy with it.
        "request_buffers": body,
        # Only where nobody listens: there is no request yet that could be sent twice.
        "load_balancing": {"try_duration": "5s", "try_interval": "50ms"},
    }
    return [
        refuse({"vars_regexp": {"{http.request.orig_uri.path}": {"pattern": CLIMBS}}}, 400),
        # Said beforehand, it is refused before the app hears of it. What comes in pieces is cut off: the app sees it begin,
        # and reading it fails. Caddy could read it first (`{http.request.body}`), but overlooks that it ended too early.
        refuse({"header_regexp": {"Content-Length": {"pattern": more_than(body)}}}, 413),
        # Without a generation that serves, a request would wait in the app's socket for as long as its client does. Caddy
        # looks for the file at each request, so that neither its configuration nor a connection changes with it.
        *not_available({"not": [{"file": {"root": places.folder, "try_files": ["/" + places.admits]}}]}),
        {"handle": [hearsay, {"handler": "request_body", "max_size": body}, proxy]},
    ]


def logs(places):
    """What it says and who asked what go to the journal; what became of certificates, to a file that the agent reads."""
    # Host and Transfer-Encoding hold whatever the client wrote there.
    fields = ("request>headers", "request>host", "request>tls", "request>transfer_encoding", "resp_headers")
    hidden = {field: {"filter": "delete"} for field in fields}
    discreet = {"format": "filter", "wrap": {"format": "json"}, "fields": hidden}
    return {
        # Its socket for our settings warns at each start that any host's name will do there: so it should.
        "default": {"level": "WARN", "exclude": ["http.log.access", "admin"], "encoder": discreet},
        "access": {"include": ["http.log.access.access"], "encoder": discreet},
        "certificates": {
            "include": ["tls.obtain", "tls.renew"],
            "encoder": {"format": "json"},
            "writer": {"output": "file", "filename": places.log, "roll_size_mb": 1, "roll_keep": 1, "mode": "0600"},
        },
    }


def certificates(want, host, places):
    """How the certificate comes: by ACME, from Let's Encrypt unless another authority is named."""
    acme = want["acme"]
    issuer = {"module": "acme", "ca": acme["directory"] or LETS_ENCRYPT, "challenges": places.challenges}
    if not acme["directory"] and not want["domain"]:
        issuer["profile"] = "shortlived"  # The only one in which Let's Encrypt gives certificates for addresses.
    if acme["root"]:
        issuer["trusted_roots_pem_files"] = [places.root]
    return {
        "certificates": {"automate": [host]},
        # Of the last third of a short life, little should be lost by not looking.
        "automation": {"policies": [{"subjects": [host], "issuers": [issuer]}], "renew_interval": "20s"},
    }
