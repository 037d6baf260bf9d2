"""The slow work of the agent's threads: reading the token from SSM, putting a release on disk."""

import contextlib
import filecmp
import importlib.util
import os
import shutil

import bytecode
from boot.aws import AwsError, backoff
from boot.bootstrap import fetch
from boot.validate import Invalid, in_words, integer, match, parse
from orders.decide import Token
from orders.secrets import is_variable
from proxy import static_files

LAST_SECOND = 1 << 40  # No grace period ends later.
KEEP = 3  # Releases that stay on disk: the current one, the previous one, one more.


def read_token(aws, name):
    """The newest version that SSM has. The tag's version only says when to read it."""
    held = aws.ssm("GetParameter", Name=f"/devopsctl/{name}/token", WithDecryption=True)["Parameter"]
    try:
        value = parse(held["Value"], kind=dict)
        current, previous, until = value["current"], value.get("previous") or None, value.get("previous_until") or 0
        is_text = all(isinstance(each, str) and is_variable(each) for each in (current, previous or ""))
        if not is_text or not current or type(until) not in (int, float) or not 0 <= until < LAST_SECOND:
            raise Invalid("no token")
        return Token(integer(held["Version"], 1), current, previous, float(until))
    except (ValueError, KeyError, TypeError):
        # Without the cause, which would show the parameter's value.
        text = f"the parameter /devopsctl/{name}/token (version {held.get('Version')}) does not have the form that devopsctl writes"
        raise AwsError("BadToken", f"{text}: set a token again, with `devopsctl set-token`") from None


def prepare(aws, name, release, paths, wanted, clock):
    """Puts a release on disk, ready to start."""
    attempt = 0
    while True:
        try:
            folder = fetch(aws, name, release, paths.releases)
            break
        except AwsError as problem:
            if attempt >= 5 and problem.status not in (403, 404) or not problem.may_pass() or not wanted():
                raise
            print(f"agent: {problem}", flush=True)
            clock.sleep(backoff(attempt, 0.5, 8))
            attempt += 1
    if not bytecode.complete(folder) and not bytecode.under_way(folder):
        with contextlib.suppress(OSError):  # Otherwise it is compiled, like the first release.
            inherit(folder, paths)
        bytecode.begin(folder)


def inherit(folder, paths):
    """Hard-links the files that are equal in another release (most often dependencies) together with their byte-code, which
    saves time and space. The other release need not be compiled completely."""
    others = [paths.release(name) for name in releases(paths) if name != os.path.basename(folder)]
    for path in bytecode.missing(bytecode.files(folder)):
        for twin in (other + path[len(folder) :] for other in others):
            code, compiled = map(importlib.util.cache_from_source, (path, twin))
            if os.path.isfile(compiled) and os.path.isfile(twin) and filecmp.cmp(path, twin, shallow=False):
                os.makedirs(os.path.dirname(code), exist_ok=True)
                link(twin, path)  # Byte-code is valid only for a file with that modification time.
                link(compiled, code)
                break


def link(path, name):
    """Makes `name` a hard link to the file at `path`, atomically."""
    os.link(path, name + ".new")
    os.rename(name + ".new", name)


def releases(paths):
    """The releases on the disk."""
    return [name for name in os.listdir(paths.releases) if match("release", name)]


def on_disk(paths):
    """The releases that are on the disk and compiled."""
    return {name for name in releases(paths) if bytecode.complete(paths.release(name))}


def prune(paths, keep):
    """Renames old releases, which is atomic, and returns their ids. `sweep` then removes them, which takes time."""
    folder = paths.releases
    found = releases(paths)
    found.sort(key=lambda name: (name in keep, os.stat(f"{folder}/{name}").st_mtime), reverse=True)
    gone = found[max(KEEP, len(keep & set(found))) :]
    for name in gone:
        os.rename(f"{folder}/{name}", f"{folder}/{name}.old")
    return set(gone)


def disown(paths):
    """Renames what an earlier agent left half fetched, for `sweep`. Call it while nothing is fetched."""
    try:
        left = [name for name in os.listdir(paths.releases) if not match("release", name) and not name.endswith(".old")]
    except OSError as problem:
        left = []
        print(f"agent: cannot list the releases: {in_words(problem)}", flush=True)
    for name in left:
        try:
            os.rename(f"{paths.releases}/{name}", f"{paths.releases}/{name}.old")
        except OSError as problem:
            print(f"agent: cannot remove {ascii(name)[:100]}: {in_words(problem)}", flush=True)


def sweep(paths):
    """Removes what was renamed, now or before a power failure."""
    static_files.sweep(paths)
    for name in os.listdir(paths.releases):
        if name.endswith(".old"):
            path = f"{paths.releases}/{name}"
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.remove(path)
