"""Files that other users can write: only plain files of their owner are read, and none without a limit."""

import base64
import os

import pytest

from logs import publisher
from proxy import certificates
from system import untrusted


@pytest.fixture
def store(tmp_path):
    store = tmp_path / "store"
    (store / "certificates/ca/host").mkdir(parents=True)
    (store / "certificates/ca/host/host.key").write_text("a key")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/host.crt").write_text("root's own")
    return store


def test_only_the_proxys_own_files_are_kept(store, tmp_path):
    """The attack: a link in the proxy's store pointed to a file of root, which was restored as readable."""
    host = store / "certificates/ca/host"
    (host / "host.crt").symlink_to(tmp_path / "secret/host.crt")
    (store / "certificates/other").symlink_to(tmp_path / "secret")
    (store / "acme").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "secret/host.crt", host / "hard.crt")
    os.mkfifo(host / "pipe.crt")
    with open(host / "large.crt", "wb") as file:
        file.truncate(certificates.FILE_BYTES + 1)
    (host / "host with spaces").write_text("x")
    document = certificates.pack(str(store))
    assert document == {"certificates/ca/host/host.key": base64.b64encode(b"a key").decode()}
    assert [name for name, *_ in certificates.marks(str(store))] == list(document)
    assert certificates.find(str(store), "host") is None


def test_an_endless_store_is_read_up_to_a_limit(store):
    folder = store / "acme"
    for _ in range(30):
        folder = folder / "d"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    assert list(certificates.pack(str(store))) == ["certificates/ca/host/host.key"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "hard link"])
def test_only_a_plain_file_is_read_as_a_log(tmp_path, kind):
    target, path = tmp_path / "target", tmp_path / "log"
    target.write_text("root's own\n")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        os.link(target, path)
    with pytest.raises(OSError):
        untrusted.read(str(path), 100)
    assert untrusted.size(str(path)) == 0 and publisher.File(str(path)).read() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_read(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("own", "roots"):
        (folder / name).write_text("x")
    os.chown(folder, 1234, 1234)
    os.chown(folder / "own", 1234, 1234)
    assert untrusted.read(str(folder / "own"), 9) == b"x"
    with pytest.raises(OSError, match="not a plain file of the owner"):
        untrusted.read(str(folder / "roots"), 9)
