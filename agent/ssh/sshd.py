"""Configures sshd: the system's own on EC2's instances; on the sandbox's machines, one process for each connection."""

import os
import pwd
import shutil
import subprocess
import threading
import time

from boot.validate import check
from system.systemd import TEXT, show, systemctl, write


class SystemdSshd:
    """The system's sshd. It reads the keys from a file in /run, so no key survives a reboot."""

    folder = "/run/devopsctl-ssh"
    host_key = "/etc/ssh/ssh_host_ed25519_key.pub"
    config = "/etc/ssh/sshd_config.d/10-devopsctl.conf"
    # The first two are the default.
    text = "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /run/devopsctl-ssh/%u\n"
    program = "/usr/sbin/sshd"
    units = ("ssh.service", "sshd.service")  # Debian's name and Ubuntu's; Amazon Linux's.

    def __init__(self):
        self.ready = False

    def allow(self, lines):
        """Sets the authorized keys. Before the first request, nothing is changed."""
        user = login_user()
        if lines or os.path.exists(f"{self.folder}/{user}"):
            write(f"{self.folder}/{user}", "".join(lines))
        if not lines:
            return {}
        if not self.ready:
            if not os.path.isdir(os.path.dirname(self.config)):
                raise OSError(f"this image has no {os.path.dirname(self.config)}")
            write(self.config, self.text)
            # Also if the file exists: the agent that wrote it may not have restarted sshd.
            self.restart()
            self.ready = True
        return {"user": user, "host_key": public_key(self.host_key)}

    def restart(self):
        """Returns once sshd listens with these settings. A reload would return before sshd closes its sockets for a moment, and new
        connections would be refused. Open sessions stay open. An inactive unit reads the settings when it starts.
        """
        found = [show(unit, "Id", "ActiveState") for unit in self.units]
        for unit in sorted(
            {one["Id"] for one in found if one["ActiveState"] not in ("inactive", "failed")}
        ):  # Debian's has both names.
            sound = subprocess.run([self.program, "-t"], timeout=30, check=False, **TEXT)
            if sound.returncode:  # It would not start.
                raise OSError(f"sshd rejects its configuration: {sound.stderr.strip()}")
            systemctl("restart", unit)


def login_user():
    """The image's default user, which cloud-init created first: admin, ubuntu, ec2-user."""
    people = [one for one in pwd.getpwall() if 1000 <= one.pw_uid < 60000 and not one.pw_shell.endswith(NO_SHELLS)]
    if not people:
        raise OSError("there is no user to log in as")
    return check("user", min(people, key=lambda one: one.pw_uid).pw_name)


NO_SHELLS = ("/nologin", "/false")


def public_key(path):
    with open(path) as file:
        return " ".join(file.read().split()[:2])


class ProcessSshd:
    """On a machine that is a process, a session can log in only as the user of the sandbox."""

    def __init__(self, paths, bind):
        self.paths, self.bind = paths, bind
        self.folder = paths.root + "/var/lib/sshd"
        self.keys = paths.root + "/run/ssh/authorized_keys"
        self.listener = None

    def allow(self, lines):
        if lines or os.path.exists(self.keys):
            write(self.keys, "".join(lines))
        if not lines:
            return {}
        if not self.listener:
            self.listener = self.open()
        return {"user": user(), "host_key": public_key(self.folder + "/host_key.pub")}

    def open(self):
        """Listens at port 22 of the machine."""
        program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not program:
            raise OSError("this machine is a process, and no sshd is installed that it could run")
        if os.geteuid() == 0 and not os.path.isdir("/run/sshd"):
            raise OSError("as root, sshd requires the folder /run/sshd, which is missing (mkdir /run/sshd)")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        key = self.folder + "/host_key"
        if not os.path.exists(key + ".pub"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]
            subprocess.run(make, input=b"y\n", capture_output=True, timeout=30, check=True)
        write(self.folder + "/config", self.config(key))
        listener = self.bind(self.paths.net, "22.sock")
        command = [program, "-i", "-f", self.folder + "/config", "-E", self.paths.root + "/var/log/sshd.log"]
        threading.Thread(target=serve, args=(listener, command), daemon=True).start()
        return listener

    def config(self, key):
        settings = {
            "HostKey": f'"{key}"',
            "AuthorizedKeysFile": f'"{self.keys}"',
            "AllowUsers": user(),
            "AuthenticationMethods": "publickey",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",  # The folders above the machine's do not belong to it.
            "UsePAM": "no",
            "PidFile": "none",
            "SetEnv": f'DEVOPSCTL_ROOT="{self.paths.root}"',  # For run.py.
            "LogLevel": "VERBOSE",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def user():
    return pwd.getpwuid(os.geteuid()).pw_name


def serve(listener, command):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as problem:  # There are no free descriptors, or the client gave up.
            print(f"agent: cannot accept a connection to sshd: {problem}", flush=True)
            time.sleep(0.2)
            continue
        threading.Thread(target=lead, args=(connection, command), daemon=True).start()


def lead(connection, command):
    with connection:
        subprocess.run(command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, check=False)
