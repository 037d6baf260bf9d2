"""Restores the certificates of an earlier machine: a JSON document becomes files in Caddy's store.

As a program it runs as Caddy's user, without the agent's other modules: `restore.py DOCUMENT FOLDER`.
"""

import base64
import json
import os
import sys

KEPT = ("certificates", "acme")


def unpack(document, folder):
    """Existing files stay: they are as new, or newer."""
    for name, content in document.items():
        path = os.path.normpath(os.path.join(folder, name))
        if name.split("/")[0] in KEPT and path.startswith(folder + "/") and not os.path.lexists(path):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(base64.b64decode(content))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        unpack(json.load(file), os.path.realpath(sys.argv[2]))
