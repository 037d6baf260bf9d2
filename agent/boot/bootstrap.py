"""The boot program: fetches the release that the tags name, and becomes that release's agent.

It holds no secret and is the same for all deployments. The agent uses `fetch` and `fetch_tool` for later releases.
"""

import contextlib
import fcntl
import functools
import hashlib
import importlib
import os
import shutil
import sys
import tarfile
import threading
import time
import zlib

from boot.aws import Aws, AwsError, Metadata, backoff
from boot.validate import check, in_words, match, parse
from orders.orders import read_orders
from orders.report import ErrorCode, Phase, Report, error_code, publish, to_json


class BadRelease(Exception):
    """The fetched file is not what it should be; another attempt would not help. `error_code`: as in a report."""

    def __init__(self, text, error_code=None):
        super().__init__(text)
        self.error_code = error_code


def fetch(aws, name, release, folder, heard=None):
    """Puts a release at <folder>/<release>, atomically. `heard` gets the object's headers before the download."""
    place = os.path.join(folder, check("release", release))
    check("name", name)
    if os.path.isdir(place):
        return place
    archive, aside = place + ".tar.gz", place + ".new"
    os.makedirs(folder, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with open(archive, "wb") as file:
            download(aws, f"{name}/releases/{release}.tar.gz", file, heard)
        digest = hashlib.sha256()
        with open(archive, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
            if digest.hexdigest() != release:
                found = digest.hexdigest()[:12]
                error = f"the object of release {release[:12]} in S3 has another sha256, {found}"
                raise BadRelease(error, ErrorCode.BAD_RELEASE)
            file.seek(0)
            unpack(file, aside)
        if "DEVOPSCTL_ROOT" not in os.environ:
            os.sync()  # A power failure must not leave an incomplete release that looks complete.
        os.rename(aside, place)
    finally:  # A failure must not leave files in the space that the next attempt needs.
        shutil.rmtree(aside, ignore_errors=True)
        if os.path.lexists(archive):
            os.remove(archive)
    return place


def download(aws, key, file, heard):
    try:
        aws.download(key, file, heard)
    except AwsError as problem:
        if problem.status:  # S3 answered.
            problem.error_code = ErrorCode.NO_RELEASE
        raise


def unpack(archive, top):
    """Unpacks plain files, folders and links, all inside `top`. Refuses an archive with anything else."""
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
                # No member replaces a folder, so a path that was inside stays inside.
                if not plain or ".." in member.name.split("/") or not (folder in folders or inside(folder)):
                    raise BadRelease(f"the release contains {member.name!r}, which is no plain file or leads out of it")
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
            raise BadRelease("the release contains links that lead out of it")
    except (tarfile.TarError, EOFError, FileExistsError) as error:
        raise BadRelease(f"the release cannot be unpacked: {error}") from error


class Unpacking:
    """A file-like object that unpacks gzip into a file, and computes the sha384 of the unpacked content."""

    def __init__(self, file):
        self.file, self.gzip, self.digest = file, zlib.decompressobj(31), hashlib.sha384()

    def write(self, packed):
        plain = self.gzip.decompress(packed)
        self.digest.update(plain)
        self.file.write(plain)


def fetch_tool(aws, sha384, folder):
    """Puts the Caddy with this sha384 at <folder>/caddy-<sha384>. A concurrent caller waits for the first one."""
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
                raise BadRelease(f"the object of Caddy in S3 has another sha384, {found}", ErrorCode.BAD_PROXY)
            os.chmod(aside, 0o755)
            os.rename(aside, path)
        except zlib.error as problem:
            error = f"the object of Caddy in S3 cannot be unpacked: {problem}"
            raise BadRelease(error, ErrorCode.BAD_PROXY) from problem
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(aside)
    return path


def begin_tool(aws, root, headers):
    """Fetches Caddy in parallel with the release, whose headers name it. If that fails, the agent retries and reports it."""

    def work():
        with contextlib.suppress(OSError):  # The app's start takes longer than this. Not on macOS.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        with contextlib.suppress(AwsError, BadRelease, OSError):
            fetch_tool(aws, headers["x-amz-meta-caddy"], root + "/opt/devopsctl/tools")

    if match("sha384", headers["x-amz-meta-caddy"]):
        threading.Thread(target=work, daemon=True).start()


def tell(aws, orders, phase, error=None, code=None):
    """Reports how far the machine is. Where that fails, the console has it."""
    print(f"bootstrap: {phase.value}: {error or 'so far so good'}", flush=True)
    try:
        said = {**Report(orders, phase, error, code).document(), "at": int(time.time())}
        publish(aws, aws.metadata.name(), to_json(said))
    except (AwsError, ValueError) as problem:
        print(f"bootstrap: cannot report: {problem}", flush=True)


def attempt(aws, root):
    """Fetches the release that the tags name now -> its folder."""

    def foresee():
        with contextlib.suppress(AwsError, ValueError, TypeError):  # The call that needs it tells what is wrong.
            aws.credentials()
            aws.metadata.identity()

    early = threading.Thread(target=foresee)
    early.start()
    name, (orders, refused) = aws.metadata.name(), read_orders(aws.metadata)
    early.join()
    if name and "release" in refused:
        tell(aws, orders, Phase.FAILED, refused["release"])
        raise BadRelease(refused["release"])
    if not name or not orders.release:
        raise AwsError("NoTags", "the instance has no tags devopsctl:name and devopsctl:release (yet)", 404)
    aws.credentials()
    beside = threading.Thread(target=tell, args=(aws, orders, Phase.FETCHING))
    beside.start()
    try:
        try:
            heard = functools.partial(begin_tool, aws, root)
            place = fetch(aws, name, orders.release, root + "/opt/devopsctl/releases", heard)
        finally:
            beside.join()  # The last report is the one that counts.
        print(f"bootstrap: {orders.release[:12]} is here", flush=True)
        return place
    except (AwsError, BadRelease, OSError) as error:
        # However long `up` takes to upload the first release: nothing has failed yet.
        may_pass = isinstance(error, AwsError) and (error.may_pass() or error.absent())
        tell(aws, orders, Phase.FETCHING if may_pass else Phase.FAILED, in_words(error), error_code(error))
        raise


def become_agent(aws, root):
    """Becomes the agent that ran here last; on a new machine, the agent of the ordered release."""
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
    with contextlib.suppress(ImportError):  # The agent of another release may not have it.
        importlib.import_module("bytecode").begin(place)  # In parallel with the agent's start.
    agent = importlib.import_module("agent")
    agent.known = aws.metadata.session, aws.metadata.known  # An older agent ignores it.
    agent.main()


def main():
    os.umask(0o022)
    become_agent(Aws(Metadata()), os.environ.get("DEVOPSCTL_ROOT", ""))


if __name__ == "__main__":
    main()
