"""Mounts, grows or unmounts a data volume, as root in the machine's own mount namespace. data@.service runs it for the agent:

    disk.py mount-vol-0123456789abcdef0

A volume is found by its id, which is the serial number of its NVMe controller: names of devices change. It is formatted only if
it is blank: blkid finds nothing at all, and both of its ends are empty. Everything else than ext4 is refused.

Beside the folder of a mounted volume, `<id>.json` has its size: {"gib": 10}; before that is known, 0. `<id>.error` says why the last
call failed. It uses the standard library only, because the agent copies it to where its own release cannot be removed.
"""

import json
import os
import re
import subprocess
import sys
import time

FOLDER = "/run/devopsctl/volumes"
BLOCKS = "/sys/class/block"
WORD = re.compile(r"(mount|grow|unmount)-(vol-[0-9a-f]{8,32})", re.ASCII)
NAME = re.compile(r"nvme[0-9]{1,4}n[0-9]{1,4}", re.ASCII)  # Without partitions, and without the hidden paths of a disk.
ENDS = 4 << 20  # Bytes at each end of a blank volume that must be zero: all that a file system begins or ends with.
# At the start of a volume while it is formatted: an interrupted mkfs may be repeated. ext4 leaves this place to boot loaders.
MARK = b"devopsctl formats this volume\n"
BUSY_SECONDS = 5  # How long the kernel may take to let go of a volume.


class Refused(Exception):
    """The volume cannot be used, as words."""


def find(volume):
    """The name of the volume's device, such as `nvme1n1`; None while it is not attached."""
    serial = volume.replace("-", "")
    for name in filter(NAME.fullmatch, sorted(os.listdir(BLOCKS))):
        try:
            with open(f"{BLOCKS}/{name}/device/serial") as file:
                if file.read().strip() == serial:
                    return name
        except OSError:
            continue  # It is gone again.
    return None


def gib(name):
    """The size of a device in GiB."""
    with open(f"{BLOCKS}/{name}/size") as file:
        return int(file.read()) * 512 >> 30


def mount(volume, name):
    device, folder = f"/dev/{name}", f"{FOLDER}/{volume}"
    if not os.path.ismount(folder):
        new = prepare(device)
        code, said = run("fsck.ext4", "-p", device)
        if code & ~3:  # 1 and 2: errors were corrected.
            raise Refused(f"the file system has errors that fsck.ext4 -p does not correct: {said}")
        write(volume, 0)  # From here on it must be unmounted, also if this program is killed.
        os.makedirs(folder, 0o700, exist_ok=True)
        must("mount", "-t", "ext4", "-o", "nodev,nosuid,noatime", device, folder)
        if new:
            os.chmod(folder, 0o700)
            # A program may require an empty folder. fsck makes this one again when it needs it.
            os.rmdir(folder + "/lost+found")
    grow(volume, name)


def grow(volume, name):
    """The file system gets the size of the volume."""
    must("resize2fs", f"/dev/{name}")
    write(volume, gib(name))


def unmount(volume, name):
    folder, end = f"{FOLDER}/{volume}", time.monotonic() + BUSY_SECONDS
    if os.path.ismount(folder):
        must("umount", folder)
    # A process that still runs keeps it mounted in its own namespace.
    while name and is_busy(f"/dev/{name}"):
        if time.monotonic() > end:
            raise Refused("the volume is unmounted, but a process still uses it")
        time.sleep(0.1)
    if os.path.isdir(folder):
        os.rmdir(folder)
    remove(f"{FOLDER}/{volume}.json")


def prepare(device):
    """Formats a blank volume -> whether it was blank."""
    code, kind = run("blkid", "--probe", "--output", "value", "--match-tag", "TYPE", device)
    with open(device, "r+b", buffering=0) as file:
        file.seek(0)
        head = file.read(len(MARK))
        if (code, kind) == (0, "ext4"):
            if head == MARK:  # mkfs had ended, but not this program.
                put(file, bytes(len(MARK)))
            return False
        if code != 2 or kind or not (head == MARK or is_empty(file)):
            found = f"a file system of the type {kind[:40]}" if kind else "other content"
            raise Refused(f"the volume is not blank and has no ext4 file system, but {found}: it is left as it is")
        put(file, MARK)
        must("mkfs.ext4", "-q", "-F", "-m", "0", "-L", "devopsctl-data", device)
        put(file, bytes(len(MARK)))
    return True


def put(file, content):
    file.seek(0)
    file.write(content)
    os.fsync(file.fileno())


def is_empty(file):
    """Whether both ends have only zeros."""
    size = file.seek(0, os.SEEK_END)
    for start in (0, max(0, size - ENDS)):
        file.seek(start)
        left = min(ENDS, size)
        while left:
            block = file.read(min(left, 1 << 20))
            if not block or any(block):
                return False
            left -= len(block)
    return True


def is_busy(device):
    """Whether the device is mounted in any namespace."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def run(*command):
    """(exit code, what it printed, in one line)"""
    try:
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except OSError as problem:
        raise Refused(f"{command[0]} does not start: {problem.strerror}") from problem
    return ran.returncode, " ".join(ran.stdout.decode(errors="replace").split())[:300]


def must(*command):
    code, said = run(*command)
    if code:
        raise Refused(f"{command[0]} failed: {said or f'exit code {code}'}")


def write(volume, size):
    put_text(f"{FOLDER}/{volume}.json", json.dumps({"gib": size}))


def put_text(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def remove(path):
    if os.path.lexists(path):
        os.remove(path)


def main(word):
    verb, volume = WORD.fullmatch(word).groups()
    trouble = f"{FOLDER}/{volume}.error"
    try:
        name = find(volume)
        if not name and verb != "unmount":
            raise Refused("the volume is not attached")
        {"mount": mount, "grow": grow, "unmount": unmount}[verb](volume, name)
    except (Refused, OSError) as problem:
        put_text(trouble, str(problem))
        sys.exit(f"{verb} {volume}: {problem}")
    remove(trouble)


if __name__ == "__main__":
    os.umask(0o077)
    main(sys.argv[1])
