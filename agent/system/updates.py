"""Security updates of the operating system: enables the tool that applies them on this machine.

Debian and Ubuntu have unattended-upgrades, which apt's own timers run. Amazon Linux applies nothing by itself, so the agent
installs a timer (apply_updates.py). This module installs no package and never reboots the machine: the report says that a reboot
is pending. It never waits for a package manager.
"""

import os
import re
import time

from boot.validate import in_words, integer, parse
from system.systemd import UNITS, systemctl, text_of, write

LOOK_SECONDS = 5  # Between two checks of files.
BEGIN_SECONDS = 30  # How long the app's start has the machine to itself.
KEEP_SECONDS = 3600  # Between two checks whether updates are still enabled.
AGAIN_SECONDS = 60  # The same after a failure.
MOST = 4096  # Bytes of a file that is read.
REBOOT = ("/run/reboot-required", "/var/run/reboot-required")
NEEDRESTART = "/etc/needrestart/conf.d"
# On Ubuntu needrestart restarts units that use a replaced library. Only the agent replaces the app without losing a request.
SPARED = "$nrconf{override_rc}->{qr(^((app|command|data|process|schedule)\\@|app-wake\\.|app\\.|devopsctl-))} = 0;\n"


class Apt:
    """Debian, Ubuntu: https://wiki.debian.org/UnattendedUpgrades"""

    name = "unattended-upgrades"
    program = "/usr/bin/unattended-upgrade"
    settings = "/etc/apt/apt.conf.d/99devopsctl"
    text = (
        'APT::Periodic::Enable "1";\n'
        'APT::Periodic::Update-Package-Lists "1";\n'
        'APT::Periodic::Unattended-Upgrade "1";\n'
        'Unattended-Upgrade::Automatic-Reboot "false";\n'
    )
    timers = ("apt-daily.timer", "apt-daily-upgrade.timer")
    # apt's own, and that of unattended-upgrades.
    stamps = ("/var/lib/apt/periodic/upgrade-stamp", "/var/lib/apt/periodic/unattended-upgrades-stamp")

    def __init__(self, root, tell, texts):
        self.root, self.tell = root, tell

    def is_on(self):
        units = self.root + "/etc/systemd/system"
        linked = all(os.path.islink(f"{units}/timers.target.wants/{timer}") for timer in self.timers)
        return read(self.root + self.settings) == self.text and linked and not self.is_masked()

    def is_masked(self):
        return any(os.path.islink(f"{self.root}/etc/systemd/system/{timer}") for timer in self.timers)

    def switch_on(self):
        write(self.root + self.settings, self.text)
        if not self.is_on():
            self.tell("enable", "--now", *self.timers)

    def last(self):
        """When updates were applied last, and why that failed."""
        times = [int(os.stat(self.root + path).st_mtime) for path in self.stamps if os.path.exists(self.root + path)]
        return max(times, default=None), None


class Dnf:
    """Amazon Linux 2023: https://docs.aws.amazon.com/linux/al2023/ug/deterministic-upgrades.html"""

    name = "dnf"
    program = "/usr/bin/dnf"
    units = ("devopsctl-updates.service", "devopsctl-updates.timer")
    copy = "/opt/devopsctl/apply_updates.py"
    said = "/var/lib/devopsctl/updates.json"

    def __init__(self, root, tell, texts):
        self.root, self.tell, self.texts = root, tell, texts

    def is_masked(self):
        return os.path.islink(f"{self.root}/etc/systemd/system/{self.units[1]}")

    def is_on(self):
        return not self.is_masked() and all(
            read(f"{self.root}{UNITS}/{name}") == self.texts[name] for name in self.units
        )

    def switch_on(self):
        write(self.root + self.copy, self.texts["apply_updates.py"])
        changed = [write(f"{self.root}{UNITS}/{name}", self.texts[name]) for name in self.units]
        if any(changed):
            self.tell("daemon-reload")
        self.tell("start", self.units[1])

    def last(self):
        """When updates were applied last, and why that failed."""
        text = read(self.root + self.said)
        if text is None:
            return None, None
        try:
            said = parse(text.encode(), MOST, dict)
            at, code = integer(said.get("at")), integer(said.get("code"), -255, 255)
        except ValueError:
            return None, None
        return at, f"dnf exited with code {code}" if code else None


SYSTEMS = {"debian": Apt, "ubuntu": Apt, "amzn": Dnf}


class Updates:
    """`said` is its part of the report; None if there is nothing to report, as on a machine that is a process.

    On a machine that is a folder, systemd is not called.
    """

    def __init__(self, root="", clock=time):
        self.root, self.clock = root, clock
        # Read once: the agent may outlive its folder.
        self.texts = {name: text_of("units/" + name) for name in Dnf.units}
        self.texts["apply_updates.py"] = text_of("system/apply_updates.py")
        self.tool = self.trouble = None
        self.look()

    def run(self):
        """Runs forever. The app's start has the machine to itself first."""
        due = self.clock.monotonic() + BEGIN_SECONDS
        while True:
            self.clock.sleep(LOOK_SECONDS)
            now = self.clock.monotonic()
            if now >= due:
                due = now + (KEEP_SECONDS if self.keep() else AGAIN_SECONDS)
            self.look()

    def keep(self):
        """Enables updates, unless a person masked their timer; returns whether that succeeded."""
        before, self.trouble = self.trouble, None
        for step in (self.switch_on, self.spare):
            try:
                step()
            except OSError as problem:
                self.trouble = self.trouble or in_words(problem)
        if self.trouble and self.trouble != before:
            print(f"agent: cannot enable security updates: {self.trouble}", flush=True)
        return self.trouble is None

    def switch_on(self):
        if self.tool and self.has_tool() and not self.tool.is_masked():
            self.tool.switch_on()

    def spare(self):
        """Excludes the agent's services from needrestart."""
        if os.path.isdir(self.root + NEEDRESTART):
            write(f"{self.root}{NEEDRESTART}/devopsctl.conf", SPARED)

    def has_tool(self):
        return os.path.exists(self.root + self.tool.program)

    def look(self):
        kind = None if self.tool else SYSTEMS.get(system(self.root))
        if kind:
            self.tool = kind(self.root, nothing_told if self.root else systemctl, self.texts)
        reboot = any(os.path.exists(self.root + path) for path in REBOOT)
        if not self.tool and not reboot:
            self.said = None
            return
        there = bool(self.tool and self.has_tool())
        at, failed = self.tool.last() if there else (None, None)
        missing = f"{self.tool.name} is not installed" if self.tool and not there else None
        masked = "its timer is masked" if there and self.tool.is_masked() else None
        error = missing or self.trouble or masked or failed
        self.said = {
            "by": self.tool.name if there else None,
            "on": there and self.tool.is_on(),
            "at": at,
            "reboot": reboot,
            "error": error and " ".join(error.split())[:300],
        }


def nothing_told(*words):
    """Replaces systemctl on a machine without systemd."""


def system(root):
    """The operating system's id."""
    found = re.search('^ID="?([a-z]{1,20})"?$', read(root + "/etc/os-release") or "", re.MULTILINE | re.ASCII)
    return found and found[1]


def read(path):
    """The beginning of a file's text; None if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MOST)
    except OSError:
        return None
