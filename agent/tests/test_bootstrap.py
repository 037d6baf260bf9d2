"""The boot program: what it accepts from S3, and where it refuses to run."""

import errno
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading

import pytest
from machine import AGENT, pack, user_data

from boot import bootstrap
from boot.aws import AwsError

RELEASE = "a" * 64


class Bucket:
    """The part of `Aws` that `fetch` and `fetch_tool` use."""

    def __init__(self, content):
        self.content, self.asked = content, 0

    def download(self, key, file, heard=None):
        if self.content is None:
            raise AwsError("AccessDenied", "s3:GetObject was refused", 403)
        self.asked += 1
        if heard:
            heard({"x-amz-meta-what": "this"})
            assert file.tell() == 0
        file.write(self.content)


def fetched(archive, folder, release=None):
    release = release or hashlib.sha256(archive).hexdigest()
    return bootstrap.fetch(Bucket(archive), "shop", release, str(folder))


def archive(*members):
    """A tar.gz of (name, type, link name or content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, kind, what in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                info.linkname = what
                tar.addfile(info)
    return buffer.getvalue()


def test_a_release_is_fetched_atomically_and_once(tmp_path):
    packed = pack({"app/app.py": b"x = 1\n", "manifest.json": b"{}"})
    folder = fetched(packed, tmp_path)
    assert sorted(os.listdir(tmp_path)) == [os.path.basename(folder)]
    assert open(folder + "/app/app.py").read() == "x = 1\n"
    bucket = Bucket(packed)
    assert bootstrap.fetch(bucket, "shop", os.path.basename(folder), str(tmp_path)) == folder
    assert bucket.asked == 0


def test_the_headers_of_a_release_come_before_its_content(tmp_path):
    packed, heard = pack({"app/app.py": b"x = 1\n"}), []
    bootstrap.fetch(Bucket(packed), "shop", hashlib.sha256(packed).hexdigest(), str(tmp_path), heard.append)
    assert heard == [{"x-amz-meta-what": "this"}]


def test_a_tool_is_fetched_once_by_concurrent_callers(tmp_path):
    content = os.urandom(1 << 20)
    sha384, bucket = hashlib.sha384(content).hexdigest(), Bucket(gzip.compress(content))
    threads = [threading.Thread(target=bootstrap.fetch_tool, args=(bucket, sha384, str(tmp_path))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = bootstrap.fetch_tool(bucket, sha384, str(tmp_path))
    assert bucket.asked == 1
    assert open(path, "rb").read() == content and os.access(path, os.X_OK)


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        pytest.param(gzip.compress(b"another"), "another sha384", id="another"),
        pytest.param(gzip.compress(b"the tool")[:-12], "another sha384", id="torn"),
        pytest.param(b"no gzip", "cannot be unpacked", id="no archive"),
    ],
)
def test_another_tool_is_refused(tmp_path, packed, why):
    with pytest.raises(bootstrap.BadRelease, match=why):
        bootstrap.fetch_tool(Bucket(packed), hashlib.sha384(b"the tool").hexdigest(), str(tmp_path))
    assert os.listdir(tmp_path) == [".lock"]


def test_another_sha256_is_refused(tmp_path):
    with pytest.raises(bootstrap.BadRelease, match="another sha256"):
        fetched(pack({"a": b""}), tmp_path, "0" * 64)
    assert not os.listdir(tmp_path)


FILE, LINK, HARD, DEVICE, FIFO = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([("../evil", FILE, b"x")], id="upwards"),
        pytest.param([("a/../../evil", FILE, b"x")], id="upwards in the middle"),
        pytest.param([("/etc/evil", FILE, b"x")], id="absolute"),
        pytest.param([("link", LINK, "/etc"), ("link/evil", FILE, b"x")], id="through a link"),
        pytest.param([("link", LINK, "../../out")], id="a link out"),
        pytest.param([("link", LINK, "/etc/passwd")], id="an absolute link"),
        pytest.param([("a", LINK, "b"), ("b", LINK, "/etc")], id="a link to a link out"),
        pytest.param([("hard", HARD, "/etc/passwd")], id="a hard link"),
        pytest.param([("a", FILE, b"x"), ("hard", HARD, "a")], id="a hard link within"),
        pytest.param([("device", DEVICE, "")], id="a device"),
        pytest.param([("fifo", FIFO, "")], id="a fifo"),
        pytest.param([("a", FILE, b"x"), ("a", FILE, b"y")], id="a file twice"),
    ],
)
def test_a_release_with_other_members_is_refused(tmp_path, members):
    releases = tmp_path / "a/b/releases"
    with pytest.raises(bootstrap.BadRelease):
        fetched(archive(*members), releases)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and releases not in path.parents]
    assert not outside
    assert not os.listdir(releases), "neither whole nor in part"


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    with pytest.raises(bootstrap.BadRelease, match="cannot be unpacked"):
        fetched(b"not an archive", tmp_path)
    assert not os.listdir(tmp_path)


def test_a_partial_download_of_a_killed_program_is_discarded(tmp_path):
    packed = pack({"app/app.py": b"x = 1\n"})
    release = hashlib.sha256(packed).hexdigest()
    (tmp_path / f"{release}.tar.gz").write_bytes(b"half")
    (tmp_path / f"{release}.new/app").mkdir(parents=True)
    (tmp_path / f"{release}.new/app/app.py").write_bytes(b"half")
    folder = fetched(packed, tmp_path)
    assert os.listdir(tmp_path) == [release]
    assert open(folder + "/app/app.py").read() == "x = 1\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_error_while_unpacking_leaves_nothing(tmp_path, monkeypatch, number):
    copy = bootstrap.shutil.copyfileobj

    def gives_out(source, file):
        file.write(b"some of it")
        raise OSError(number, os.strerror(number))

    packed = pack({"app/app.py": b"x = 1\n", "site/b.py": b""})
    monkeypatch.setattr(bootstrap.shutil, "copyfileobj", gives_out)
    with pytest.raises(OSError, match=os.strerror(number)):
        fetched(packed, tmp_path)
    assert not os.listdir(tmp_path)
    monkeypatch.setattr(bootstrap.shutil, "copyfileobj", copy)
    fetched(packed, tmp_path)


@pytest.mark.skipif(os.path.exists("/run/cloud-init/cloud-id-aws"), reason="this is an EC2 instance")
def test_it_installs_itself_on_ec2_instances_only(tmp_path):
    """Without the environment of a process machine."""
    program = tmp_path / "user-data"
    program.write_text(user_data())
    ran = subprocess.run(
        ["sh", str(program)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode != 0
    assert "It changed nothing here" in ran.stderr


@pytest.mark.parametrize(
    ("cloud", "installs"),
    [("aws", True), ("aws-gov", True), ("aws-china", True), ("azure", False), ("awsome", False), ("", False)],
)
def test_it_installs_itself_in_every_partition_and_in_no_other_cloud(tmp_path, cloud, installs):
    """cloud-init writes the name of its cloud, with other names for GovCloud and China."""
    (tmp_path / "cloud-id").write_text(cloud + "\n")
    check, mkdir, _ = (AGENT / "boot/install.sh").read_text().partition('mkdir -p "$root/opt/devopsctl"')
    assert mkdir
    check = check.replace("/run/cloud-init/cloud-id", f"{tmp_path}/cloud-id").replace(
        "/etc/systemd/system", str(tmp_path)
    )
    ran = subprocess.run(["sh", "-c", check + "echo installs"], env={}, capture_output=True, text=True, timeout=60)
    assert (ran.returncode == 0, ran.stdout) == (installs, "installs\n" if installs else "")


def test_an_agent_of_another_release_is_started_by_its_entry_point(tmp_path):
    """After a rollback, or if the instance is older than the release: only `agent.main()` is known of it."""
    agent = tmp_path / "opt/devopsctl/releases" / RELEASE / "agent/agent.py"
    agent.parent.mkdir(parents=True)
    agent.write_text("def main():\n    print('another')\n")
    state = tmp_path / "var/lib/devopsctl/state.json"
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"agent": RELEASE}))
    given = {"DEVOPSCTL_ROOT": str(tmp_path), "PYTHONPATH": str(AGENT)}
    command = [sys.executable, "-S", AGENT / "boot/bootstrap.py"]
    ran = subprocess.run(command, env=given, capture_output=True, check=True, text=True)
    assert ran.stdout == "another\n"
