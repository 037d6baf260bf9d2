"""Mounts the data volume: on EC2 as root by a unit of systemd, on the sandbox's process machines as a link.

A volume that is mounted, or whose mount began, has `<id>.json` beside its folder, with its size.
"""

import os
from collections import namedtuple

from boot.validate import integer, match
from data import disk
from system.paths import read_json, write_json
from system.systemd import UNITS, systemctl, text_of, write

MOST_FILES = 20_000  # Of a process machine's volume that are counted.

# A volume that this machine has: its id, the size of its file system in GiB, and whether it can be used.
Held = namedtuple("Held", "volume gib mounted")


class Volumes:
    def __init__(self, paths):
        self.paths = paths

    def held(self):
        """The volume that must be unmounted before another instance can have it; None if there is none."""
        for name in sorted(os.listdir(self.paths.volumes)):
            volume, kind = os.path.splitext(name)
            if kind == ".json" and match("volume", volume):
                try:
                    gib = integer(read_json(f"{self.paths.volumes}/{name}", {}).get("gib", 0))
                except ValueError:
                    gib = 0
                return Held(volume, gib, gib > 0 and self.is_mounted(self.paths.volume(volume)))
        return None


class SystemdVolumes(Volumes):
    """The agent itself may not mount: its unit has neither the capability nor the devices."""

    def __init__(self, paths):
        super().__init__(paths)
        # Read once: the agent may outlive its folder.
        self.texts = {
            f"{UNITS}/data@.service": text_of("units/data@.service"),
            paths.run + "/disk.py": text_of("data/disk.py"),
        }
        self.rules = text_of("units/data.conf")

    def is_mounted(self, folder):
        return os.path.ismount(folder)

    def device(self, volume):
        """The size of the attached volume in GiB; None while it is not attached."""
        try:
            name = disk.find(volume)
            return name and disk.gib(name)
        except (OSError, ValueError):
            return None

    def mount(self, volume):
        self.do("mount", volume)

    def grow(self, volume):
        self.do("grow", volume)

    def unmount(self, volume):
        self.do("unmount", volume)

    def do(self, verb, volume):
        """Waits until that is done. A unit that an earlier agent started goes on, and is waited for."""
        trouble = self.paths.volume(volume) + ".error"
        for path, text in self.texts.items():
            write(path, text)
        try:
            systemctl("start", f"data@{verb}-{volume}.service")
        except OSError as problem:
            try:
                with open(trouble) as file:
                    why = file.read(1000)
            except OSError:
                raise problem from None
            raise OSError(why) from None

    def used(self, volume):
        """How full the volume is, in percent."""
        disk = os.statvfs(self.paths.volume(volume))
        used = disk.f_blocks - disk.f_bfree
        return -(-100 * used // (used + disk.f_bavail or 1))

    def bind(self, units, path):
        """Has the units see the volume at this path, by the name of their folders -> whether a reload is needed for that."""
        changed = False
        for unit, folder in units.items():
            text = self.rules.replace("@FOLDER@", folder).replace("@PATH@", path)
            changed |= write(f"{UNITS}/{unit}.d/data.conf", text)
        return changed


class ProcessVolumes(Volumes):
    """An attached volume is a folder in `dev`. The sandbox does not take it away while the link exists."""

    def place(self, volume):
        return f"{self.paths.root}/dev/{os.path.basename(self.paths.volume(volume))}"

    def is_mounted(self, folder):
        return os.path.isdir(folder)

    def device(self, volume):
        try:
            with open(self.place(volume) + ".size") as file:
                return int(file.read()) if os.path.isdir(self.place(volume)) else None
        except (OSError, ValueError):
            return None

    def mount(self, volume):
        folder = self.paths.volume(volume)
        self.grow(volume)
        if not os.path.lexists(folder):
            os.symlink(self.place(volume), folder)

    def grow(self, volume):
        gib = self.device(volume)
        if gib is None:
            raise OSError("the volume is not attached")
        write_json(self.paths.volume(volume) + ".json", {"gib": gib})

    def unmount(self, volume):
        folder = self.paths.volume(volume)
        for path in (folder, folder + ".json"):
            if os.path.lexists(path):
                os.remove(path)

    def used(self, volume):
        total, files = 0, 0
        for top, _, names in os.walk(self.place(volume)):
            for name in names:
                files += 1
                if os.path.isfile(f"{top}/{name}"):
                    total += os.path.getsize(f"{top}/{name}")
            if files > MOST_FILES:
                break
        return -(-100 * total // ((self.device(volume) or 1) << 30))
