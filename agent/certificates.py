"""What of the edge outlives the machine: certificates, their keys and the ACME account, as one JSON document.

As a program it puts such a document where Caddy looks, as Caddy's own user: `certificates.py DOCUMENT FOLDER`.
"""

import base64
import calendar
import json
import os
import ssl
import sys
import time

KEPT = ("certificates", "acme")


def files(folder):
    """What of Caddy's store is kept, in order."""
    kept = (os.walk(os.path.join(folder, kind)) for kind in KEPT)
    return sorted(os.path.join(top, name) for walk in kept for top, _, names in walk for name in names)


def pack(folder):
    """The files as {name: content}, in base64."""
    found = {}
    for path in files(folder):
        with open(path, "rb") as file:
            found[os.path.relpath(path, folder)] = base64.b64encode(file.read()).decode()
    return found


def unpack(document, folder):
    """Nothing that is there is written again: it is as new, or newer."""
    for name, content in document.items():
        path = os.path.normpath(os.path.join(folder, name))
        if name.split("/")[0] in KEPT and path.startswith(folder + "/") and not os.path.exists(path):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(base64.b64decode(content))


def marks(folder):
    """What changes when a file does."""
    return [(path, os.stat(path).st_mtime_ns) for path in files(folder)]


def find(folder, host):
    """The newest certificate for a name or address that has not ended: who gave it, for which names, until when."""
    best = None
    try:
        authorities = os.listdir(folder + "/certificates")
    except OSError:
        return None
    for authority in authorities:
        path = f"{folder}/certificates/{authority}/{host}/{host}.crt"
        try:
            # Nothing in the standard library reads a certificate but this.
            read = ssl._ssl._test_decode_cert(path)
            until = calendar.timegm(time.strptime(read["notAfter"], "%b %d %H:%M:%S %Y GMT"))
        except (OSError, ValueError, KeyError):
            continue
        issuer = {key: value for part in read.get("issuer", ()) for key, value in part}
        if until > time.time() and (not best or until > best["until"]):
            best = {
                "names": [name for _, name in read.get("subjectAltName", ())],
                "issuer": issuer.get("organizationName") or issuer.get("commonName") or "",
                "until": until,
            }
    return best


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        unpack(json.load(file), os.path.realpath(sys.argv[2]))
