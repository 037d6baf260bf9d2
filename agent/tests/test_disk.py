"""Only a blank volume is formatted. With the real programs, on files in place of devices; `tests/vm` mounts a disk."""

import subprocess

import pytest

from data import disk

MIB = 1 << 20


@pytest.fixture
def volume(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
    path = tmp_path / "volume"
    with open(path, "wb") as file:
        file.truncate(64 * MIB)
    return path


def put(path, place, content):
    with open(path, "r+b") as file:
        file.seek(place, 2 if place < 0 else 0)
        file.write(content)


def kind(path):
    ran = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "TYPE", path], capture_output=True, text=True, check=False
    )
    return ran.stdout.strip()


def test_a_blank_volume_is_formatted_once(volume):
    assert disk.prepare(str(volume)) and kind(volume) == "ext4"
    before = volume.read_bytes()
    assert not disk.prepare(str(volume)) and volume.read_bytes() == before
    assert disk.MARK not in before


def swap(path):
    subprocess.run(["mkswap", path], check=True, capture_output=True)


def other_file_system(path):
    subprocess.run(["mkfs.ext3", "-q", "-F", path], check=True, capture_output=True)


@pytest.mark.parametrize(
    "fill",
    [
        pytest.param(lambda path: put(path, 0, b"x"), id="one byte at the start"),
        pytest.param(lambda path: put(path, 3 * MIB, b"x"), id="one byte later"),
        pytest.param(lambda path: put(path, -1, b"x"), id="the last byte"),
        pytest.param(lambda path: put(path, 510, b"\x55\xaa"), id="a partition table"),
        pytest.param(lambda path: put(path, 0, b"LUKS\xba\xbe\0\x02"), id="LUKS"),
        pytest.param(lambda path: put(path, 0, b"XFSB"), id="XFS"),
        pytest.param(lambda path: put(path, 0, disk.MARK.upper()), id="almost the mark"),
        pytest.param(swap, id="swap"),
        pytest.param(other_file_system, id="ext3"),
    ],
)
def test_a_volume_with_anything_else_stays_as_it_is(volume, fill):
    fill(volume)
    before = volume.read_bytes()
    with pytest.raises(disk.Refused, match="is not blank and has no ext4 file system"):
        disk.prepare(str(volume))
    assert volume.read_bytes() == before


def test_a_format_that_was_interrupted_is_repeated(volume, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(disk, "must", lambda *_: put(volume, MIB, b"half of a file system") or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            disk.prepare(str(volume))
    assert disk.prepare(str(volume)) and kind(volume) == "ext4"
    # Interrupted between the end of mkfs and the removal of the mark: it must not be formatted again.
    put(volume, 0, disk.MARK)
    before = volume.read_bytes()
    assert not disk.prepare(str(volume))
    assert volume.read_bytes() == bytes(len(disk.MARK)) + before[len(disk.MARK) :]


def test_a_missing_program_or_device_is_no_blank_volume(volume, monkeypatch):
    with pytest.raises(OSError):
        disk.prepare(str(volume) + "-gone")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(disk.Refused, match="blkid does not start"):
        disk.prepare(str(volume))
    assert not any(volume.read_bytes())


HIDDEN = "nvme0c1n1", "vol0123456789abcdef0"  # A path of the same disk, which is no device.


def test_a_volume_is_found_by_its_id(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "BLOCKS", str(tmp_path))
    for name, serial in (
        ("nvme0n1", "vol0aaaaaaaaaaaaaaaa"),
        ("nvme1n1", "vol0123456789abcdef0"),
        ("loop0", None),
        HIDDEN,
    ):
        (tmp_path / name / "device").mkdir(parents=True)
        (tmp_path / name / "size").write_text(f"{3 << 21}\n")
        if serial:
            (tmp_path / name / "device/serial").write_text(serial + "    \n")
    assert disk.find("vol-0123456789abcdef0") == "nvme1n1" and disk.gib("nvme1n1") == 3
    assert disk.find("vol-0123456789abcdef1") is None


def test_a_volume_that_a_process_uses_is_not_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "FOLDER", str(tmp_path))
    monkeypatch.setattr(disk, "BUSY_SECONDS", 0)
    one, record = "vol-0123456789abcdef0", tmp_path / "vol-0123456789abcdef0.json"
    disk.write(one, 1)
    (tmp_path / one).mkdir()
    monkeypatch.setattr(disk, "is_busy", lambda device: device == "/dev/nvme1n1")
    with pytest.raises(disk.Refused, match="a process still uses it"):
        disk.unmount(one, "nvme1n1")
    assert record.exists(), "it is still held"
    monkeypatch.setattr(disk, "is_busy", lambda device: False)
    disk.unmount(one, "nvme1n1")
    assert not record.exists() and list(tmp_path.iterdir()) == []
    disk.unmount(one, None)


@pytest.mark.parametrize("word", ["mount-vol-0123456789abcdef0/..", "format-vol-0123456789abcdef0", "mount-sda", ""])
def test_only_a_verb_and_the_id_of_a_volume_are_accepted(word):
    assert not disk.WORD.fullmatch(word)


def test_an_error_is_kept_for_the_agent(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "FOLDER", str(tmp_path))
    monkeypatch.setattr(disk, "BLOCKS", str(tmp_path))
    with pytest.raises(SystemExit):
        disk.main("mount-vol-0123456789abcdef0")
    assert (tmp_path / "vol-0123456789abcdef0.error").read_text() == "the volume is not attached"
    disk.main("unmount-vol-0123456789abcdef0")
    assert not (tmp_path / "vol-0123456789abcdef0.error").exists()
