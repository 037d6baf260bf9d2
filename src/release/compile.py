"""Compiles what a release imports first, and its agent: `ARCHIVE` -> two bytes by which Python knows what it can read, then
a tar.gz.
"""

import importlib.util
import os
import py_compile
import sys
import tarfile
import tempfile

sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER[:2])
with tarfile.open(sys.argv[1]) as archive:
    files = {file.name: archive.extractfile(file).read() for file in archive if file.isfile()}
with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as packed:
    source, code = os.path.join(folder, "source.py"), os.path.join(folder, "code")
    agent = {name for name in files if name.startswith("agent/") and name.endswith(".py")}
    for name in sorted(agent | set(files["first.txt"].decode().splitlines())):
        with open(source, "wb") as file:
            file.write(files[name])
        # No file of a release ever changes: nothing is to be compared when it is imported.
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        if py_compile.compile(source, code, name, quiet=2, invalidation_mode=unchecked):
            packed.add(code, importlib.util.cache_from_source(name))
