"""The paths on the machine, and how files are written: every path is defined here."""

import json
import os
import re

from boot.validate import check, parse

MOST = 4 << 20  # Bytes of a JSON file.
LEAST = 1 << 20  # Bytes: a disk with less free space is full.
SEEN = "/opt/devopsctl/release"  # The path at which a unit of the app sees its release.


class Paths:
    def __init__(self, root=""):
        self.root = root
        self.releases = root + "/opt/devopsctl/releases"
        self.run = root + "/run/devopsctl"  # Secrets; on tmpfs, so they do not survive a power failure.
        self.generations = self.run + "/generations"
        self.commands = self.run + "/commands"
        self.processes = self.run + "/processes"
        self.runs = self.run + "/runs"
        self.running = self.run + "/running.json"
        self.volumes = self.run + "/volumes"  # Where the data volume is mounted.
        self.state = root + "/var/lib/devopsctl/state.json"
        self.tools = root + "/opt/devopsctl/tools"
        self.static = root + "/opt/devopsctl/static"
        self.static_roles = self.static + "/roles"
        self.logs = root + "/var/log"
        self.proxy_log = self.log("edge")
        self.net = root + "/net"
        self.kept = root + "/var/lib/devopsctl-app"  # The app's own; `StateDirectory=` of its unit.

    def prepare(self):
        folders = [(self.releases, 0o755), (self.static, 0o755)]
        private = (self.run, self.generations, self.commands, self.processes, self.runs, self.volumes)
        folders += [(folder, 0o700) for folder in private]
        for folder, mode in folders:
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, mode)
        os.makedirs(os.path.dirname(self.state), exist_ok=True)

    def release(self, release):
        """The folder of a release. Every path of a release is made here, so only an id can become one."""
        return os.path.join(self.releases, check("release", release))

    def static_tree(self, release):
        """The tree of a release's static files; see proxy/static_files.py."""
        return os.path.join(self.static, check("release", release))

    def keep_instance(self, release):
        """Links `instance` in the app's folder, where Flask has the files that are not code, to the folder that outlives releases."""
        folder = self.release(release) + "/app"
        if os.path.isdir(folder) and not os.path.lexists(folder + "/instance"):
            os.symlink(self.kept, folder + "/instance")

    def volume(self, volume):
        """Where a data volume is mounted. Every path of a volume is made here, so only an id can become one."""
        return os.path.join(self.volumes, check("volume", volume))

    def data_folder(self, volume, path):
        """Where the app finds its data: at the path of deploy.yaml, which its unit binds; on a process machine in the volume itself."""
        return self.volume(volume) if self.root else check("data path", path)

    def verdict(self, number):
        """The file with a generation's verdict. Under systemd its unit creates the folder."""
        return f"{self.generations}/{number}/verdict" if self.root else f"/run/app-{number}/verdict"

    def command_verdict(self, name, run):
        """The file in which a run of a command says how it ended."""
        return f"{self.commands}/{name}/verdict-{run}" if self.root else f"/run/command-{name}/verdict-{run}"

    def process(self, name):
        """The folder of a process beside the web server."""
        return f"{self.processes}/{check('process', name)}"

    def log(self, name):
        """The file of a log on a machine without a journal."""
        return f"{self.logs}/{check('log', name)}.log"

    def shorten(self, text):
        """`text` with paths relative to the release, as the app's owner knows them."""
        return re.sub("(" + re.escape(self.releases) + f"/[0-9a-f]{{64}}|{SEEN})/", "", text)

    def are_full(self):
        """Whether one of their disks is full: a program that fails then may report another error, or none."""
        disks = [os.statvfs(path) for path in (self.releases, self.run) if os.path.exists(path)]
        return any(disk.f_blocks and disk.f_bavail * disk.f_frsize < LEAST for disk in disks)

    def manifest(self, release):
        return read_json(self.release(release) + "/manifest.json")


def read_json(path, default=None):
    """The object in a JSON file that root wrote; `default` if it is missing or damaged."""
    try:
        with open(path, "rb") as file:
            return parse(file.read(MOST + 1), MOST, dict)
    except (OSError, ValueError):
        if default is None:
            raise
        return default


def write_json(path, content):
    """Writes atomically, readable by this user only."""
    aside = path + ".new"
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, path)
