"""Runs generations as systemd units, on EC2's instances.

`app.socket` exists as long as the machine is up; each generation is a unit `app@<number>.service` that inherits it. So the end
of the agent or of a generation does not close it. All units but the agent's own are in /run, and a boot starts without them.
What differs between generations is in files that systemd reads at each start, not in units: a reload of all units takes a
second, and only a changed unit needs it.
"""

import os
import re
import subprocess
import time

from boot.validate import check, match
from data.runner import SystemdVolumes
from logs.publisher import Journal
from processes.generation import lines_of
from proxy.listener_reload import on_sockets
from proxy.runner import SystemdProxy
from ssh.sshd import SystemdSshd
from system.kernel import CGROUPS, lacked_memory, open_files
from system.paths import SEEN
from system.systemd import UNITS, last_output, notify, show, systemctl, text_of, write
from system.updates import Updates
from workers.unavailable import turn_away

AGENT_UNIT = "/etc/systemd/system/devopsctl-agent.service"
SEEN_GATE = "/opt/devopsctl/gate"
SLICE = "/devopsctl.slice"
JOURNAL = "/etc/systemd/journald.conf.d/devopsctl.conf"
JOURNAL_LIMITS = "[Journal]\nSystemMaxUse=200M\nRuntimeMaxUse=50M\n"
TAIL = 16384  # Characters of the app's output, at most.
MOMENT = 5  # Between a healthy state and the agent's restart under its own unit, so that its report is sent first.
ALIVE_SECONDS = 10  # Between two watchdog notifications; the unit's WatchdogSec is longer.
STARTING_OOM, SERVING_OOM = 900, 500  # The higher value is killed first when memory runs out; see app@.service.
SYSTEMD = 1
LISTENING = 0x10000  # The flag of a listening Unix socket: __SO_ACCEPTCON.
# The journal's matches for the logs that the app does not print.
JOURNALS = {
    "access": ("_SYSTEMD_UNIT=devopsctl-edge.service",),
    "agent": ("_SYSTEMD_UNIT=devopsctl-agent.service",),
}
UNITS_OF_OURS = (
    "app-wake.service",
    "app.socket",
    "app@.service",
    "command@.service",
    "devopsctl.slice",
    "process@.service",
)
SANDBOXED = ("app@.service", "command@.service", "process@.service")  # They end with the rules of units/sandbox.conf.
SCHEDULES = "schedule@.service"  # As command@.service, but the identifier in the journal is a schedule's own.
# Those that see the data volume. For each, the folder of their files.
WITH_DATA = {
    "app@.service": "generations",
    "command@.service": "commands",
    "process@.service": "processes",
    SCHEDULES: "commands",
}


class SystemdRunner:
    outlived = True  # Generations live on when the agent ends.

    def __init__(self, paths):
        self.paths = paths
        self.endings = {}  # By unit: how it exited.
        self.calm = (None, 0.0)  # The generation that has been alone, and since when.
        self.alive = self.looked = 0.0
        # Read once: the agent may outlive its folder, when later releases contain the same agent.
        self.texts = {name: text_of("units/" + name) for name in (*UNITS_OF_OURS, "devopsctl-agent.service")}
        for name in SANDBOXED:
            self.texts[name] += text_of("units/sandbox.conf")
        self.texts[SCHEDULES] = self.texts["command@.service"].replace("=devopsctl-release", "=devopsctl-%i")
        os.makedirs(UNITS, exist_ok=True)
        self.stale = False  # Whether systemd must reload its units.
        # This unit is more restricted than the boot program's. It takes effect at the agent's next start.
        self.boot_unit = write(AGENT_UNIT, self.texts["devopsctl-agent.service"])
        for name in (*UNITS_OF_OURS, SCHEDULES):
            known = os.path.exists(f"{UNITS}/{name}")
            # systemd finds a new unit by itself.
            self.stale |= write(f"{UNITS}/{name}", self.texts[name]) and known
        self.proxy = SystemdProxy(paths, text_of("units/proxy.service"))
        self.sshd = SystemdSshd()
        self.updates = Updates()
        self.volumes = SystemdVolumes(paths)

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
        self.endings.pop(generation.unit(), None)
        release = self.paths.release(generation.release)
        text = lines_of(generation.environment()).replace(release, SEEN).replace(generation.folder + "/gate", SEEN_GATE)
        write(generation.folder + "/environment", text)
        os.symlink(release, generation.folder + "/release")
        if generation.volume:
            os.symlink(self.paths.volume(generation.volume), generation.folder + "/data")
            self.stale |= self.volumes.bind(WITH_DATA, generation.environment()["DATA_DIR"])
        self.reload()
        # Its socket is opened with it (Sockets=), the first time.
        systemctl("start", "--no-block", generation.unit())

    run = start  # Commands start like generations, except for what their unit says.

    def ended(self, generation):
        """How its first process exited, as text; None while it runs."""
        if self.members(generation):
            return None
        unit = generation.unit()
        if unit not in self.endings:
            shown = show(unit, "ActiveState", "Job", "Result", "ExecMainCode", "ExecMainStatus")
            if shown["Job"] not in ("", "0") or shown["ActiveState"] not in ("inactive", "failed"):
                return None
            self.endings[unit] = ending(shown, lacked_memory(f"{SLICE}/{unit}"))
        return self.endings[unit]

    def retire(self, generation):
        """Tells it to finish its requests and exit."""
        # If it does not, it is killed later.
        systemctl("stop", "--no-block", generation.unit(), check=False)

    def terminate(self, process):
        """Tells a process beside the web server to end, and with a shell also the programs that the shell started."""
        # Not `stop`: its time limit is the unit's, which is the same for all. `--kill-whom` is the name since systemd 252.
        who = "all" if process.has_shell() else "main"
        systemctl("kill", f"--kill-who={who}", "--signal=TERM", process.unit(), check=False)

    def kill(self, generation):
        systemctl("kill", "--signal=KILL", generation.unit(), check=False)

    def forget(self, unit):
        """Removes what systemd keeps of a unit that has exited. Its folder belongs to the app's user."""
        systemctl("reset-failed", unit, check=False)
        systemctl("clean", "--what=runtime", unit, check=False)
        self.endings.pop(unit, None)

    def members(self, generation):
        try:
            with open(f"{CGROUPS}{SLICE}/{generation.unit()}/cgroup.procs") as file:
                return [int(line) for line in file]
        except (OSError, ValueError):
            return []

    def listens(self, generation):
        """Whether any of its processes still holds the listening socket, so that it might accept requests."""
        sockets = listening(self.proxy.where.app)
        return any(sockets & set(open_files(pid).values()) for pid in self.members(generation))

    def turn_away(self):
        """Answers requests that no generation accepts: they wait in the socket that systemd holds."""
        if time.monotonic() >= self.looked + 1:
            self.looked = time.monotonic()
            on_sockets(SYSTEMD, listening(self.proxy.where.app), turn_away)

    def output(self, generation):
        """The last lines that were printed since it started."""
        run = show(generation.unit(), "InvocationID")["InvocationID"]
        command = ["journalctl", "--no-pager", "--quiet", "-o", "cat", "-n", "200", "_SYSTEMD_INVOCATION_ID=" + run]
        if not run:
            return ""
        try:
            # A message of a process has no size limit.
            text = last_output(command, 4 * TAIL).decode(errors="replace")
        except (OSError, subprocess.SubprocessError):
            return ""
        return text if len(text) <= TAIL else text[-TAIL:].partition("\n")[2]

    def follow(self, log):
        """The lines of a log."""
        return Journal(journal(log))

    def follow_command(self, command):
        """The lines that a command prints."""
        return Journal(journal(command.log), int(command.began))

    def settle(self, serving):
        """Does the work that waits until no generation starts or retires."""
        number, since = self.calm
        if number != serving.number:
            self.calm = (serving.number, time.monotonic())
            self.spare(serving)
        elif self.boot_unit and time.monotonic() > since + MOMENT:
            self.boot_unit = False
            if write(JOURNAL, JOURNAL_LIMITS):
                systemctl("restart", "systemd-journald.service", check=False)
            print("agent: restarts under its own unit", flush=True)
            systemctl("daemon-reload")
            # The restart may end this agent before systemctl returns.
            systemctl("restart", "--no-block", "devopsctl-agent.service", check=False)

    def spare(self, generation):
        """Protects a serving generation: when memory runs out, the kernel kills a starting one first."""
        for pid in self.members(generation):
            try:
                with open(f"/proc/{pid}/oom_score_adj", "r+") as file:
                    if int(file.read()) == STARTING_OOM:
                        file.write(str(SERVING_OOM))
            except (OSError, ValueError):
                continue  # The process is gone, or the value was set by another.

    def tidy(self):
        """Regularly notifies the watchdog, and removes the folders of generations that are gone."""
        if time.monotonic() < self.alive + ALIVE_SECONDS:
            return
        self.alive = time.monotonic()
        notify("READY=1\nWATCHDOG=1", os.environ.get("NOTIFY_SOCKET"))
        for name in os.listdir("/run"):
            kind, _, number = name.partition("-")
            if (
                kind == "app"
                and match("unit number", number)
                and not os.path.exists(f"{self.paths.generations}/{number}")
            ):
                self.forget(f"app@{number}.service")


def journal(log):
    """The journal's matches for a log. What a release prints has its log as the identifier, which the units set for all
    generations."""
    own = "_SYSTEMD_SLICE=devopsctl.slice", f"SYSLOG_IDENTIFIER=devopsctl-{check('log', log)}"
    return JOURNALS.get(log) or own


def ending(shown, lacked_memory):
    code, status = shown["ExecMainCode"], shown["ExecMainStatus"]
    if lacked_memory or shown["Result"] == "oom-kill":
        return "it took more memory than there is"
    if code == "1":  # CLD_EXITED
        return f"exit code {status}"
    if shown["Result"] == "success":  # systemd has forgotten the unit, as it does without a failure.
        return "exit code 0"
    return f"signal {status}" if status not in ("", "0") else f"{shown['Result']}"


def listening(path):
    """The sockets that listen at a path, as /proc names open files.

    Every process can name a socket freely, also with a line break and text that looks like an entry of this list.
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
