"""The boot program: fetches the release that the machine's tags name, and becomes its agent.

Nothing in it is secret or differs between deployments. The agent uses `fetch` and `fetch_tool` for later releases.
"""

import contextlib
import fcntl
import functools
import hashlib
import importlib
import json
import os
import shutil
import sys
import tarfile
import threading
import time
import zlib

from validate import check, in_words, match, number, parse

from aws import Aws, AwsError, Metadata, backoff


class BadRelease(Exception):
    """What was fetched is not what it should be; fetching it again won't help."""


def fetch(aws, name, release, folder, heard=None):
    """Puts a release at <folder>/<release>, wholly or not at all. `heard` is told what S3 says of it, before it is here."""
    place = os.path.join(folder, check("release", release))
    check("name", name)
    if os.path.isdir(place):
        return place
    archive, aside = place + ".tar.gz", place + ".new"
    os.makedirs(folder, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with open(archive, "wb") as file:
            aws.download(f"{name}/releases/{release}.tar.gz", file, heard)
        digest = hashlib.sha256()
        with open(archive, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
            if digest.hexdigest() != release:
                found = digest.hexdigest()[:12]
                raise BadRelease(f"what S3 holds as release {release[:12]} has another sha256, {found}")
            file.seek(0)
            unpack(file, aside)
        if "DEVOPSCTL_ROOT" not in os.environ:
            os.sync()  # A power failure must not leave a release that only looks whole.
        os.rename(aside, place)
    finally:  # What failed must not take the space that the next attempt needs.
        shutil.rmtree(aside, ignore_errors=True)
        if os.path.lexists(archive):
            os.remove(archive)
    return place


def unpack(archive, top):
    """Plain files, folders and links, all inside `top`; anything else and the archive is refused."""
    os.makedirs(top, exist_ok=True)
    top, links, folders = os.path.realpath(top), [], set()

    def inside(path):
        return (os.path.realpath(path) + "/").startswith(top + "/")

    try:
        with tarfile.open(fileobj=archive, mode="r:gz") as tar:
            for member in tar:
                path = os.path.join(top, member.name)
                folder = path if member.isdir() else os.path.dirname(path)
                plain = member.isfile() or member.isdir() or member.issym()
                # Nothing here takes a folder's place again, so what was inside once remains so.
                if not plain or ".." in member.name.split("/") or not (folder in folders or inside(folder)):
                    raise BadRelease(f"the release holds {member.name!r}: no plain file, or not inside")
                if folder not in folders:
                    os.makedirs(folder, exist_ok=True)
                    folders.add(folder)
                if member.issym():
                    os.symlink(member.linkname, path)
                    links.append(path)
                elif member.isfile():
                    with open(path, "xb") as file:
                        shutil.copyfileobj(tar.extractfile(member), file)
                    if member.mode & 0o100:
                        os.chmod(path, 0o755)
        if not all(map(inside, links)):
            raise BadRelease("the release holds links that lead out of it")
    except (tarfile.TarError, EOFError, FileExistsError) as error:
        raise BadRelease(f"the release can't be unpacked: {error}") from error


class Unpacking:
    """A file that unpacks (gzip) what it is given, and knows the sha384 of the whole: nothing is read twice."""

    def __init__(self, file):
        self.file, self.gzip, self.digest = file, zlib.decompressobj(31), hashlib.sha384()

    def write(self, packed):
        plain = self.gzip.decompress(packed)
        self.digest.update(plain)
        self.file.write(plain)


def fetch_tool(aws, sha384, folder):
    """Puts Caddy, of just these bytes, at <folder>/caddy-<sha384>. Who comes second waits for who came first."""
    path = f"{folder}/caddy-{check('sha384', sha384)}"
    aside = path + ".new"
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(path):
            return path
        try:
            with open(aside, "wb") as file:
                unpacking = Unpacking(file)
                aws.download(f"_tools/caddy-{sha384}.gz", unpacking)
                file.flush()
                os.fsync(file.fileno())
            if unpacking.digest.hexdigest() != sha384:
                found = unpacking.digest.hexdigest()[:12]
                raise BadRelease(f"what S3 holds as Caddy has another sha384, {found}")
            os.chmod(aside, 0o755)
            os.rename(aside, path)
        except zlib.error as problem:
            raise BadRelease(f"what S3 holds as Caddy can't be unpacked: {problem}") from problem
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(aside)
    return path


def begin_tool(aws, root, headers):
    """Fetches beside the release what it says it will need; if that fails, the agent tries again, and tells."""

    def work():
        with contextlib.suppress(OSError):  # The app takes longer to start than this to be here. Not on macOS.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        with contextlib.suppress(AwsError, BadRelease, OSError):
            fetch_tool(aws, headers["x-amz-meta-caddy"], root + "/opt/devopsctl/tools")

    if match("sha384", headers["x-amz-meta-caddy"]):
        threading.Thread(target=work, daemon=True).start()


def report(aws, release, phase, error=None):
    """Says how far the machine is; as long as it may not, the console has to do."""
    print(f"bootstrap: {phase}: {error or 'so far so good'}", flush=True)
    try:
        wanted = {"release": release, "token": wanted_token(aws), "try": aws.metadata.tag("try")}
        said = {"v": 1, "wanted": wanted, "release": None, "token": None, "phase": phase, "healthy": False}
        said.update(error=error, log_tail="", at=int(time.time()))
        place = f"/devopsctl/{aws.metadata.name()}/report/{aws.metadata.identity()['instanceId']}"
        value = json.dumps(said).replace("{{", "{\\u007b")  # SSM refuses `{{`.
        aws.ssm("PutParameter", Name=place, Value=value, Type="String", Overwrite=True)
    except (AwsError, ValueError) as problem:
        print(f"bootstrap: can't report: {problem}", flush=True)


def wanted_token(aws):
    """The token's version that the tags name; None for a tag that names none."""
    with contextlib.suppress(ValueError):
        return number(aws.metadata.tag("token"))
    return None


def attempt(aws, root):
    """Fetches what the tags name at this moment -> its folder."""

    def foresee():
        with contextlib.suppress(AwsError, ValueError, TypeError):  # Whoever needs it tells what is wrong.
            aws.credentials()
            aws.metadata.identity()

    early = threading.Thread(target=foresee)
    early.start()
    name, release = aws.metadata.name(), aws.metadata.tag("release")
    early.join()
    if not name or not release:
        raise AwsError("NoTags", "the instance has no tags devopsctl:name and devopsctl:release (yet)", 404)
    if not match("release", release):
        error = "the tag devopsctl:release is not the id of a release (64 hexadecimal digits)"
        report(aws, ascii(release)[:80], "failed", error)
        raise BadRelease(error)
    aws.credentials()
    beside = threading.Thread(target=report, args=(aws, release, "fetching"))
    beside.start()
    try:
        try:
            heard = functools.partial(begin_tool, aws, root)
            place = fetch(aws, name, release, root + "/opt/devopsctl/releases", heard)
        finally:
            beside.join()  # What is said last is what is true.
        print(f"bootstrap: {release[:12]} is here", flush=True)
        return place
    except (AwsError, BadRelease, OSError) as error:
        # However long `up` takes to upload the first release: nothing has failed yet.
        may_pass = isinstance(error, AwsError) and (error.may_pass() or error.absent())
        report(aws, release, "fetching" if may_pass else "failed", in_words(error))
        raise


def become_agent(aws, root):
    """Of the release whose agent ran here last; on a new machine, of the one that is wanted."""
    place, failures = "/nowhere", 0
    try:
        with open(root + "/var/lib/devopsctl/state.json") as file:
            kept = parse(file.read(4096), kind=dict)
        place = f"{root}/opt/devopsctl/releases/{check('release', kept.get('agent'))}"
    except (OSError, ValueError):
        pass
    while not os.path.exists(place + "/agent/agent.py"):
        try:
            place = attempt(aws, root)
        except (AwsError, BadRelease, OSError, ValueError) as error:
            print(f"bootstrap: {in_words(error)}", flush=True)
            early = getattr(error, "code", "") in ("NoTags", "NoCredentials")
            failures += not early
            time.sleep(0.25 if early else backoff(failures))
    sys.path[0] = place + "/agent"
    with contextlib.suppress(ImportError):  # Another agent may have no such part.
        importlib.import_module("bytecode").begin(place)  # Beside the agent's own start.
    agent = importlib.import_module("agent")
    agent.known = aws.metadata.session, aws.metadata.known  # An older one does not look at it.
    agent.main()


def main():
    os.umask(0o022)
    become_agent(Aws(Metadata()), os.environ.get("DEVOPSCTL_ROOT", ""))


if __name__ == "__main__":
    main()
