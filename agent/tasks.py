"""What takes its time, done in threads: asking SSM for the token, putting a release on disk."""

import contextlib
import filecmp
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

from bootstrap import fetch
from decide import Token
from imports import reachable
from places import read_json

from aws import AwsError, backoff

# Not compileall: it takes as long to make its processes as to compile an app's dependencies, and begins when it has read
# the last name. What is no Python, or another one's, is passed over.
COMPILER = "import py_compile, sys\nfor line in sys.stdin: py_compile.compile(line[:-1], quiet=2)"
KEEP = 3  # Releases that stay on disk: the current one, the one before, one more.


def read_token(aws, name):
    """The newest version that SSM has: what a tag says about it only rings the bell."""
    held = aws.ssm("GetParameter", Name=f"/devopsctl/{name}/token", WithDecryption=True)["Parameter"]
    try:
        value = json.loads(held["Value"])
        if not isinstance(value["current"], str) or not value["current"]:
            raise ValueError
        until = value.get("previous_until") or 0
        return Token(held["Version"], value["current"], value.get("previous") or None, float(until))
    except (ValueError, KeyError, TypeError):
        # Without the cause: it would show what the parameter holds.
        text = f"the parameter /devopsctl/{name}/token (version {held.get('Version')}) is not as devopsctl writes it"
        raise AwsError("BadToken", f"{text}: set a token again, with `devopsctl set-token`") from None


def prepare(aws, name, release, places, wanted, clock):
    """Puts a release on disk, ready to be started."""
    attempt = 0
    while True:
        try:
            folder = fetch(aws, name, release, places.releases)
            break
        except AwsError as problem:
            if attempt >= 5 and problem.status not in (403, 404) or not problem.may_pass() or not wanted():
                raise
            print(f"agent: {problem}", flush=True)
            clock.sleep(backoff(attempt, 0.5, 8))
            attempt += 1
    if not os.path.exists(folder + "/.compiled"):
        with contextlib.suppress(OSError):  # Then it is compiled, as the first one was.
            inherit(folder, places)
        with contextlib.suppress(OSError, ValueError):  # Then whoever imports it compiles it for himself.
            compile_first(folder)


def inherit(folder, places):
    """What the release shares with one that is compiled already (its dependencies, most often) it takes from there, byte
    for byte, with its byte-code: hard links, so that it costs neither time nor space."""
    others = [places.release(other) for other in on_disk(places)]
    for path in files(folder):
        for twin in (other + path[len(folder) :] for other in others):
            code, compiled = map(importlib.util.cache_from_source, (path, twin))
            if os.path.isfile(compiled) and os.path.isfile(twin) and filecmp.cmp(path, twin, shallow=False):
                os.makedirs(os.path.dirname(code), exist_ok=True)
                link(twin, path)  # Byte-code is valid for a file of that very time only.
                link(compiled, code)
                break


def files(folder):
    """Every plain Python file below a folder."""
    for top, _, names in os.walk(folder):
        paths = (os.path.join(top, name) for name in names if name.endswith(".py"))
        yield from (path for path in paths if not os.path.islink(path))


def link(path, name):
    """`name` becomes another name of the file at `path`, at once."""
    os.link(path, name + ".new")
    os.rename(name + ".new", name)


def compile_first(folder):
    """Byte-code for what a generation imports on its way to the first answer."""
    print(f"agent: compiles {os.path.basename(folder)[:12]}", flush=True)
    app = read_json(folder + "/manifest.json")["wsgi"].partition(":")[0]
    roots = ["gunicorn.app.wsgiapp", "worker", "proof", "processes", "systemd", app]
    compile_files(reachable(roots, [f"{folder}/{part}" for part in ("agent", "app", "site")]))


def compile_rest(folder):
    """Byte-code for all of a release, so that no later generation has to compile anything. It leaves the machine to others."""
    mark = folder + "/.compiled"
    if os.path.exists(mark):
        return
    with contextlib.suppress(OSError, ValueError):  # It is tried again by the next agent.
        if compile_files(files(folder), "nice", "-n19"):
            write_mark(mark)


def compile_files(paths, *how):
    """On every core; begins while `paths` is still looked for. -> whether every compiler came to its end."""
    command = [*how, sys.executable, "-I", "-S", "-c", COMPILER]
    cores = os.cpu_count() or 1
    compilers = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1) for _ in range(cores)]
    ways = itertools.cycle(compiler.stdin for compiler in compilers)
    with contextlib.suppress(BrokenPipeError):  # It has failed; that shows in how it ended.
        for path in paths:
            if not os.path.exists(importlib.util.cache_from_source(path)):  # No file of a release ever changes.
                next(ways).write(path + "\n")
    for compiler in compilers:
        with contextlib.suppress(BrokenPipeError):
            compiler.stdin.close()
    ends = [compiler.wait() for compiler in compilers]
    return not any(ends)


def write_mark(path):
    with open(path, "w"):
        pass


def on_disk(places):
    """The releases that are there and compiled."""
    names = [name for name in os.listdir(places.releases) if re.fullmatch("[0-9a-f]{64}", name)]
    return {name for name in names if os.path.exists(f"{places.releases}/{name}/.compiled")}


def prune(places, keep):
    """Takes old releases away: first by name, at once and atomically; what then takes time is left to the caller."""
    folder = places.releases
    found = [name for name in os.listdir(folder) if re.fullmatch("[0-9a-f]{64}", name)]
    found.sort(key=lambda name: (name in keep, os.stat(f"{folder}/{name}").st_mtime), reverse=True)
    gone = found[max(KEEP, len(keep & set(found))) :]
    for name in gone:
        os.rename(f"{folder}/{name}", f"{folder}/{name}.old")
    return set(gone)


def sweep(places):
    for name in os.listdir(places.releases):
        if name.endswith(".old"):
            shutil.rmtree(f"{places.releases}/{name}", ignore_errors=True)
