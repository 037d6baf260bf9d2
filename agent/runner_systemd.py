"""Runs generations as systemd units: EC2's machines.

`app-<port>.socket` holds the port open for as long as the machine is up; each generation is `app@<number>.service`, which
inherits it. So neither the agent's end nor a generation's closes the port. All units but the agent's own lie in /run:
a boot begins with a clean slate.
"""

import os
import shutil
import subprocess
import sys
import time

from processes import open_files

HERE = os.path.dirname(os.path.abspath(__file__))
UNITS = "/run/systemd/system"
AGENT_UNIT = "/etc/systemd/system/devopsctl-agent.service"
SLICE = "/sys/fs/cgroup/devopsctl.slice"
LISTENING = "0A"  # /proc/net/tcp's word for it.


class SystemdRunner:
    def __init__(self, places):
        self.places = places
        self.ports = set()
        self.endings = {}  # number: how its unit ended
        os.makedirs(UNITS, exist_ok=True)
        if self.install("devopsctl-agent.service", AGENT_UNIT):
            # The boot program's unit can do little; ours is narrower, and holds for what runs from now on.
            print("agent: starts anew, under its own unit", flush=True)
            systemctl("daemon-reload")
            systemctl("restart", "--no-block", "devopsctl-agent.service")
            while True:
                time.sleep(1)
        changed = [self.install(name, f"{UNITS}/{name}") for name in ("app@.service", "app-wake.service")]
        if any(changed):
            systemctl("daemon-reload")

    def install(self, name, path, **words):
        """Writes a unit of ours; whether it was another before."""
        with open(f"{HERE}/{name}") as file:
            text = file.read()
        for word, value in words.items():
            text = text.replace(f"@{word}@", str(value))
        return write(path, text)

    def record(self):
        return {}

    def before_exec(self):
        """The units stay as they are."""

    def take_over(self, record):
        """Generations outlive the agent, but not the machine: after a boot there is no record."""
        return True

    def listen(self, port):
        if port not in self.ports:
            unit = f"app-{port}.socket"
            if self.install("app.socket", f"{UNITS}/{unit}", PORT=port):
                systemctl("daemon-reload")
            systemctl("start", unit)
            self.ports.add(port)

    def start(self, generation):
        self.listen(generation.manifest["port"])
        self.endings.pop(generation.number, None)
        write(f"{UNITS}/{unit(generation)}.d/generation.conf", drop_in(generation))
        systemctl("daemon-reload")
        systemctl("start", "--no-block", unit(generation))

    def ended(self, generation):
        """How its gunicorn ended, as words; None as long as it runs."""
        if self.members(generation):
            return None
        if generation.number not in self.endings:
            shown = show(generation, "ActiveState", "Job", "Result", "ExecMainCode", "ExecMainStatus")
            if shown["Job"] not in ("", "0") or shown["ActiveState"] not in ("inactive", "failed"):
                return None
            self.endings[generation.number] = ending(shown)
        return self.endings[generation.number]

    def retire(self, generation):
        """Asks it to finish what it has begun, and to leave."""
        systemctl("stop", "--no-block", unit(generation))

    def kill(self, generation):
        systemctl("kill", "--signal=KILL", unit(generation), check=False)

    def members(self, generation):
        try:
            with open(f"{SLICE}/{unit(generation)}/cgroup.procs") as file:
                return [int(line) for line in file]
        except OSError:
            return []

    def listens(self, generation):
        """Whether any of its processes still holds the listening socket, so might answer something new."""
        sockets = {f"socket:[{inode}]" for inode in listening(generation.manifest["port"])}
        return any(sockets & open_files(pid) for pid in self.members(generation))

    def output(self, generation):
        """The last lines that were printed since it started."""
        run = show(generation, "InvocationID")["InvocationID"]
        command = ["journalctl", "--no-pager", "--quiet", "-o", "cat", "-n", "200", "_SYSTEMD_INVOCATION_ID=" + run]
        try:
            ran = subprocess.run(command, capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.SubprocessError):
            return ""
        return ran.stdout.decode(errors="replace")[-16384:] if run else ""

    def settle(self, serving):
        """Nothing starts or retires: ports that nobody serves any more are closed."""
        for name in os.listdir(UNITS):
            port = name[len("app-") : -len(".socket")]
            if name == f"app-{port}.socket" and port != str(serving.manifest["port"]):
                systemctl("stop", name, check=False)
                os.remove(f"{UNITS}/{name}")
                self.ports.discard(int(port))

    def tidy(self):
        """What generations leave behind that are gone."""
        for name in os.listdir(UNITS):
            number = name[len("app@") : -len(".service.d")]
            if name == f"app@{number}.service.d" and not os.path.exists(f"{self.places.generations}/{number}"):
                shutil.rmtree(f"{UNITS}/{name}", ignore_errors=True)
                shutil.rmtree(os.path.dirname(self.places.verdict(number)), ignore_errors=True)
                systemctl("reset-failed", f"app@{number}.service", check=False)
                self.endings.pop(int(number), None)


def unit(generation):
    return f"app@{generation.number}.service"


def drop_in(generation):
    """What differs from one generation to the next. The token is read by systemd and shown to this unit alone."""
    lines = ["[Unit]", f"After=app-{generation.manifest['port']}.socket", "[Service]"]
    lines.append(f"Sockets=app-{generation.manifest['port']}.socket")
    lines.append(f"LoadCredential=token:{generation.secrets}")
    lines += [f'Environment="{name}={value}"' for name, value in generation.environment().items()]
    lines.append("ExecStart=")
    lines.append(f"ExecStart={sys.executable} -m gunicorn -c {generation.conf()}")
    return "\n".join(lines) + "\n"


def ending(shown):
    code, status = shown["ExecMainCode"], shown["ExecMainStatus"]
    if shown["Result"] == "oom-kill":
        return "it took more memory than there is"
    if code == "1":  # CLD_EXITED
        return f"exit code {status}"
    return f"signal {status}" if status not in ("", "0") else f"{shown['Result']}"


def show(generation, *properties):
    command = ["systemctl", "show", unit(generation), *(f"--property={name}" for name in properties)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    found = dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line)
    return {name: found.get(name, "") for name in properties}


def systemctl(*words, check=True):
    ran = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=90, check=False)
    if check and ran.returncode:
        raise OSError(f"systemctl {' '.join(words)} failed: {ran.stderr.strip()}")


def write(path, text):
    """Whether that changed anything."""
    try:
        with open(path) as file:
            if file.read() == text:
                return False
    except OSError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = path + ".new"
    with open(aside, "w") as file:
        file.write(text)
    os.rename(aside, path)
    return True


def listening(port):
    """The inodes of the sockets that listen on a TCP port, as the kernel lists them."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                for line in file:
                    fields = line.split()
                    if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                        found.add(fields[9])
        except OSError:
            continue  # A machine without IPv6.
    return found
