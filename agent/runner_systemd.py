"""Runs generations as systemd units: EC2's machines.

`app.socket` is there for as long as the machine is up; each generation is `app@<number>.service`, which inherits it. So
neither the agent's end nor a generation's closes it. All units but the agent's own lie in /run: a boot begins with a clean
slate. What differs from one generation to the next is in files that systemd reads when it starts one, not in units: to
have it read all units anew takes a second, and only a changed unit needs it.
"""

import os
import re
import subprocess
import time

from edge_runner import SystemdEdge
from hush import on_sockets
from logs import Journal
from processes import CGROUPS, lacked_memory, open_files
from sshd import SystemdSshd
from systemd import HERE, UNITS, last_output, notify, show, systemctl, text_of, write
from unavailable import turn_away
from updates import Updates
from validate import check, match

AGENT_UNIT = "/etc/systemd/system/devopsctl-agent.service"
SEEN = "/opt/devopsctl/release"  # Where a generation finds its release.
SLICE = "/devopsctl.slice"
JOURNAL = "/etc/systemd/journald.conf.d/devopsctl.conf"
JOURNAL_LIMITS = "[Journal]\nSystemMaxUse=200M\nRuntimeMaxUse=50M\n"
TAIL = 16384  # Characters of what the app printed, at most.
MOMENT = 5  # Between a healthy state and the agent's restart under its own unit, so that what it says gets out.
ALIVE_SECONDS = 10  # Between two signs of life; the unit's WatchdogSec is longer.
STARTING_OOM, SERVING_OOM = 900, 500  # Who has to go first when memory ends; see app@.service.
SYSTEMD = 1
LISTENING = 0x10000  # The flag of a Unix socket that others may connect to: __SO_ACCEPTCON.
# Where in the journal each log is. `app` is of this unit's all generations, so by the name that app@.service gives.
JOURNALS = {
    "app": ("_SYSTEMD_SLICE=devopsctl.slice", "SYSLOG_IDENTIFIER=devopsctl-app"),
    "access": ("_SYSTEMD_UNIT=devopsctl-edge.service",),
    "agent": ("_SYSTEMD_UNIT=devopsctl-agent.service",),
}
UNITS_OF_OURS = ("app-wake.service", "app.socket", "app@.service", "devopsctl.slice")


class SystemdRunner:
    outlived = True  # Generations live on when the agent ends.
    sources = JOURNALS

    def __init__(self, places):
        self.places = places
        self.endings = {}  # number: how its unit ended
        self.calm = (None, 0.0)  # Which generation has been alone for how long.
        self.alive = self.looked = 0.0
        # Read once: the agent may outlive the folder that it came from, when later releases bring the same agent.
        self.texts = {
            name: text_of(name) for name in os.listdir(HERE) if name.endswith((".service", ".socket", ".slice"))
        }
        os.makedirs(UNITS, exist_ok=True)
        self.stale = False  # Whether systemd has to read units anew.
        # The boot program's unit can do little; ours is narrower, and holds from the next start of the agent.
        self.boot_unit = write(AGENT_UNIT, self.texts["devopsctl-agent.service"])
        for name in UNITS_OF_OURS:
            known = os.path.exists(f"{UNITS}/{name}")
            # One that is new systemd finds by itself.
            self.stale |= write(f"{UNITS}/{name}", self.texts[name]) and known
        self.edge = SystemdEdge(places, self.texts["edge.service"])
        self.sshd = SystemdSshd()
        self.updates = Updates()

    def reload(self):
        if self.stale:
            systemctl("daemon-reload")
            self.stale = False

    def record(self):
        return {}

    def before_exec(self):
        """The units stay as they are."""

    def take_over(self, record):
        """Generations outlive the agent, but not the machine: after a boot there is no record."""
        return True

    def start(self, generation):
        self.endings.pop(generation.number, None)
        release = self.places.release(generation.target.release)
        lines = [f"{name}={value}\n" for name, value in generation.environment().items()]
        write(generation.folder + "/environment", "".join(lines).replace(release, SEEN))
        os.symlink(release, generation.folder + "/release")
        self.reload()
        # Its socket is opened with it (Sockets=), the first time.
        systemctl("start", "--no-block", unit(generation))

    def ended(self, generation):
        """How its gunicorn ended, as words; None as long as it runs."""
        if self.members(generation):
            return None
        if generation.number not in self.endings:
            shown = show(unit(generation), "ActiveState", "Job", "Result", "ExecMainCode", "ExecMainStatus")
            if shown["Job"] not in ("", "0") or shown["ActiveState"] not in ("inactive", "failed"):
                return None
            self.endings[generation.number] = ending(shown, lacked_memory(f"{SLICE}/{unit(generation)}"))
        return self.endings[generation.number]

    def retire(self, generation):
        """Asks it to finish what it has begun, and to leave."""
        # What does not hear is killed later.
        systemctl("stop", "--no-block", unit(generation), check=False)

    def kill(self, generation):
        systemctl("kill", "--signal=KILL", unit(generation), check=False)

    def members(self, generation):
        try:
            with open(f"{CGROUPS}{SLICE}/{unit(generation)}/cgroup.procs") as file:
                return [int(line) for line in file]
        except (OSError, ValueError):
            return []

    def listens(self, generation):
        """Whether any of its processes still holds the listening socket, so might answer something new."""
        sockets = listening(self.edge.where.app)
        return any(sockets & set(open_files(pid).values()) for pid in self.members(generation))

    def turn_away(self):
        """Answers requests that no generation takes: they wait in the socket that systemd holds."""
        if time.monotonic() >= self.looked + 1:
            self.looked = time.monotonic()
            on_sockets(SYSTEMD, listening(self.edge.where.app), turn_away)

    def output(self, generation):
        """The last lines that were printed since it started."""
        run = show(unit(generation), "InvocationID")["InvocationID"]
        command = ["journalctl", "--no-pager", "--quiet", "-o", "cat", "-n", "200", "_SYSTEMD_INVOCATION_ID=" + run]
        if not run:
            return ""
        try:
            # One process can write a message of any size.
            text = last_output(command, 4 * TAIL).decode(errors="replace")
        except (OSError, subprocess.SubprocessError):
            return ""
        return text if len(text) <= TAIL else text[-TAIL:].partition("\n")[2]

    def follow(self, source):
        """The lines of a log."""
        return Journal(JOURNALS[source])

    def settle(self, serving):
        """Nothing starts or retires: whoever waited for calm goes on."""
        number, since = self.calm
        if number != serving.number:
            self.calm = (serving.number, time.monotonic())
            self.spare(serving)
        elif self.boot_unit and time.monotonic() > since + MOMENT:
            self.boot_unit = False
            if write(JOURNAL, JOURNAL_LIMITS):
                systemctl("restart", "systemd-journald.service", check=False)
            print("agent: starts anew, under its own unit", flush=True)
            systemctl("daemon-reload")
            # It may be ended before it has told us how it went.
            systemctl("restart", "--no-block", "devopsctl-agent.service", check=False)

    def spare(self, generation):
        """Of those that serve and those that are only about to, the latter go first when memory ends."""
        for pid in self.members(generation):
            try:
                with open(f"/proc/{pid}/oom_score_adj", "r+") as file:
                    if int(file.read()) == STARTING_OOM:
                        file.write(str(SERVING_OOM))
            except (OSError, ValueError):
                continue  # It is gone, or it is as it was.

    def tidy(self):
        """Now and then: says that the agent lives; takes away what generations leave behind that are gone."""
        if time.monotonic() < self.alive + ALIVE_SECONDS:
            return
        self.alive = time.monotonic()
        notify("READY=1\nWATCHDOG=1", os.environ.get("NOTIFY_SOCKET"))
        for name in os.listdir("/run"):
            kind, _, number = name.partition("-")
            if (
                kind == "app"
                and match("unit number", number)
                and not os.path.exists(f"{self.places.generations}/{number}")
            ):
                # The folder is the app's user's, so systemd has to remove it.
                systemctl("reset-failed", f"app@{number}.service", check=False)
                systemctl("clean", "--what=runtime", f"app@{number}.service", check=False)
                self.endings.pop(int(number), None)


def unit(generation):
    return f"app@{check('unit number', str(generation.number))}.service"


def ending(shown, lacked_memory):
    code, status = shown["ExecMainCode"], shown["ExecMainStatus"]
    if lacked_memory or shown["Result"] == "oom-kill":
        return "it took more memory than there is"
    if code == "1":  # CLD_EXITED
        return f"exit code {status}"
    return f"signal {status}" if status not in ("", "0") else f"{shown['Result']}"


def listening(path):
    """The sockets that listen at a path, as /proc names open files.

    Every process can name a socket as it likes, also with a line break and what looks like an entry of the list.
    """
    with open("/proc/net/unix", "rb") as file:
        lines = (line.split() for line in file)
        entries = (fields for fields in lines if fields[7:] == [os.fsencode(path)])
        return {
            f"socket:[{fields[6].decode()}]"
            for fields in entries
            if re.fullmatch(b"[0-9A-Fa-f]{8}", fields[3])
            and int(fields[3], 16) & LISTENING
            and re.fullmatch(b"[0-9]{1,20}", fields[6])
        }
