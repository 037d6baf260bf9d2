"""The files of the proxy that outlive the machine, as one JSON document: certificates, their keys and the ACME account.

The files belong to the proxy's user, and root reads them: only through system/untrusted.py.
"""

import base64
import calendar
import ssl
import tempfile
import time

from boot.validate import Invalid, clean, match, parse
from proxy.restore import KEPT
from system import untrusted

FILE_BYTES, ALL_BYTES = 1 << 18, 4 << 20
NAMES = 20  # The report lists at most so many names of a certificate.


def files(folder):
    """The files of Caddy's store that are kept, in order: (name, state, file)."""
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
    """The document that `pack` made, read from the bucket; `Invalid` for anything else."""
    document = parse(data, 2 * ALL_BYTES, dict)
    for name, content in document.items():
        try:
            base64.b64decode(content, validate=True)
        except (ValueError, TypeError):
            raise Invalid("a certificate is not in base64") from None
        if name.split("/")[0] not in KEPT or not all(match("stored name", part) for part in name.split("/")):
            raise Invalid(f"a certificate has the name {ascii(name)[:80]}")
    return document


def marks(folder):
    """A value that changes when a file changes."""
    return [(name, state.st_mtime_ns, state.st_size) for name, state, _ in files(folder)]


def find(folder, host):
    """The newest certificate for a host that has not expired: its issuer, its names, its end."""
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
    """The report's fields of a certificate."""
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(content)
        copy.flush()
        # The only function of the standard library that parses a certificate; it takes a path.
        read = ssl._ssl._test_decode_cert(copy.name)
    issuer = {key: value for part in read.get("issuer", ()) for key, value in part}
    return {
        "names": [clean(name, 253) for _, name in read.get("subjectAltName", ())[:NAMES] if isinstance(name, str)],
        "issuer": clean(issuer.get("organizationName") or issuer.get("commonName") or "", 100),
        "until": calendar.timegm(time.strptime(read["notAfter"], "%b %d %H:%M:%S %Y GMT")),
    }
