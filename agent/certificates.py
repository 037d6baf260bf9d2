"""What of the proxy outlives the machine: certificates, their keys and the ACME account, as one JSON document.

The files belong to the proxy's user, and root reads them: only by way of untrusted.py.
"""

import base64
import calendar
import ssl
import tempfile
import time

import untrusted
from restore import KEPT
from validate import Invalid, clean, match, parse

FILE_BYTES, ALL_BYTES = 1 << 18, 4 << 20
NAMES = 20  # Of one certificate, at most so many names are reported.


def files(folder):
    """What of Caddy's store is kept, in order: (name, state, file)."""
    for name, state, file in untrusted.walk(folder, KEPT, FILE_BYTES):
        if all(match("stored name", part) for part in name.split("/")):
            yield name, state, file


def pack(folder):
    """The files as {name: content}, in base64."""
    found, total = {}, 0
    for name, _, file in files(folder):
        content = file.read(FILE_BYTES)
        total += len(content)
        if total > ALL_BYTES:
            raise OSError(f"the store of certificates holds more than {ALL_BYTES} bytes")
        found[name] = base64.b64encode(content).decode()
    return found


def checked(data):
    """The document that `pack` made, as it comes back from the bucket; `Invalid` for anything else."""
    document = parse(data, 2 * ALL_BYTES, dict)
    for name, content in document.items():
        try:
            base64.b64decode(content, validate=True)
        except (ValueError, TypeError):
            raise Invalid("a certificate that is not in base64") from None
        if name.split("/")[0] not in KEPT or not all(match("stored name", part) for part in name.split("/")):
            raise Invalid(f"a certificate with the name {ascii(name)[:80]}")
    return document


def marks(folder):
    """What changes when a file does."""
    return [(name, state.st_mtime_ns, state.st_size) for name, state, _ in files(folder)]


def find(folder, host):
    """The newest certificate for a name or address that has not ended: who gave it, for which names, until when."""
    best = None
    for name, _, file in files(folder):
        parts = name.split("/")
        if parts[0] != "certificates" or parts[2:] != [host, host + ".crt"]:
            continue
        try:
            found = decoded(file.read(FILE_BYTES))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if found["until"] > time.time() and (not best or found["until"] > best["until"]):
            best = found
    return best


def decoded(content):
    """What a certificate says."""
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(content)
        copy.flush()
        # Nothing in the standard library reads a certificate but this, and only by its path.
        read = ssl._ssl._test_decode_cert(copy.name)
    issuer = {key: value for part in read.get("issuer", ()) for key, value in part}
    return {
        "names": [clean(name, 253) for _, name in read.get("subjectAltName", ())[:NAMES] if isinstance(name, str)],
        "issuer": clean(issuer.get("organizationName") or issuer.get("commonName") or "", 100),
        "until": calendar.timegm(time.strptime(read["notAfter"], "%b %d %H:%M:%S %Y GMT")),
    }
