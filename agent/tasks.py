"""What takes its time, done in threads: asking SSM for the token, putting a release on disk."""

import contextlib
import filecmp
import importlib.util
import os
import shutil

import bytecode
from bootstrap import fetch
from decide import Token
from validate import Invalid, integer, match, parse

from aws import AwsError, backoff

LAST_SECOND = 1 << 40  # No end of a grace period is later.
KEEP = 3  # Releases that stay on disk: the current one, the one before, one more.


def read_token(aws, name):
    """The newest version that SSM has: what a tag says about it only rings the bell."""
    held = aws.ssm("GetParameter", Name=f"/devopsctl/{name}/token", WithDecryption=True)["Parameter"]
    try:
        value = parse(held["Value"], kind=dict)
        current, previous, until = value["current"], value.get("previous") or None, value.get("previous_until") or 0
        is_text = all(isinstance(each, str) and is_variable(each) for each in (current, previous or ""))
        if not is_text or not current or type(until) not in (int, float) or not 0 <= until < LAST_SECOND:
            raise Invalid("no token")
        return Token(integer(held["Version"], 1), current, previous, float(until))
    except (ValueError, KeyError, TypeError):
        # Without the cause: it would show what the parameter holds.
        text = f"the parameter /devopsctl/{name}/token (version {held.get('Version')}) is not as devopsctl writes it"
        raise AwsError("BadToken", f"{text}: set a token again, with `devopsctl set-token`") from None


def is_variable(text):
    """Whether a text can be an environment variable."""
    return "\0" not in text and text.encode(errors="replace").decode() == text


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
    if not bytecode.complete(folder) and not bytecode.under_way(folder):
        with contextlib.suppress(OSError):  # Then it is compiled, as the first one was.
            inherit(folder, places)
        bytecode.begin(folder)


def inherit(folder, places):
    """Links the compiled files that the release shares with another one (its dependencies, most often), byte for byte, with
    their byte-code: hard links, so that it costs neither time nor space. The other one need not be compiled completely."""
    others = [places.release(name) for name in releases(places) if name != os.path.basename(folder)]
    for path in bytecode.missing(bytecode.files(folder)):
        for twin in (other + path[len(folder) :] for other in others):
            code, compiled = map(importlib.util.cache_from_source, (path, twin))
            if os.path.isfile(compiled) and os.path.isfile(twin) and filecmp.cmp(path, twin, shallow=False):
                os.makedirs(os.path.dirname(code), exist_ok=True)
                link(twin, path)  # Byte-code is valid for a file of that very time only.
                link(compiled, code)
                break


def link(path, name):
    """`name` becomes another name of the file at `path`, at once."""
    os.link(path, name + ".new")
    os.rename(name + ".new", name)


def releases(places):
    """The releases on the disk."""
    return [name for name in os.listdir(places.releases) if match("release", name)]


def on_disk(places):
    """The releases that are there and compiled."""
    return {name for name in releases(places) if bytecode.complete(places.release(name))}


def prune(places, keep):
    """Takes old releases away: first by name, at once and atomically; what then takes time is left to the caller."""
    folder = places.releases
    found = releases(places)
    found.sort(key=lambda name: (name in keep, os.stat(f"{folder}/{name}").st_mtime), reverse=True)
    gone = found[max(KEEP, len(keep & set(found))) :]
    for name in gone:
        os.rename(f"{folder}/{name}", f"{folder}/{name}.old")
    return set(gone)


def disown(places):
    """Gives to `sweep` what an agent or a machine that ended left half fetched -> what could not be renamed: {name: why}. For a
    time when nothing is fetched."""
    stayed = {}
    for name in os.listdir(places.releases):
        if not match("release", name) and not name.endswith(".old"):
            try:
                os.rename(f"{places.releases}/{name}", f"{places.releases}/{name}.old")
            except OSError as problem:
                stayed[name] = problem
    return stayed


def sweep(places):
    """Removes what has lost its name, now or before a power failure."""
    for name in os.listdir(places.releases):
        if name.endswith(".old"):
            path = f"{places.releases}/{name}"
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.remove(path)
