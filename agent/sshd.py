"""sshd, as it is told whom to let in: the system's own on EC2's machines; in the sandbox's, one of this user's for each
connection."""

import os
import pwd
import shutil
import subprocess
import threading
import time

from systemd import TEXT, show, systemctl, write
from validate import check


class SystemdSshd:
    """The system's own. It reads the keys from a file in /run, so none outlives a boot."""

    folder = "/run/devopsctl-ssh"
    host_key = "/etc/ssh/ssh_host_ed25519_key.pub"
    config = "/etc/ssh/sshd_config.d/10-devopsctl.conf"
    # The first two are what it has without us.
    text = "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /run/devopsctl-ssh/%u\n"
    program = "/usr/sbin/sshd"
    units = ("ssh.service", "sshd.service")  # Debian's name and Ubuntu's; Amazon Linux's.

    def __init__(self):
        self.ready = False

    def allow(self, lines):
        """These are the keys that count. Where nobody ever asked, nothing is touched."""
        user = login_user()
        if lines or os.path.exists(f"{self.folder}/{user}"):
            write(f"{self.folder}/{user}", "".join(lines))
        if not lines:
            return {}
        if not self.ready:
            if not os.path.isdir(os.path.dirname(self.config)):
                raise OSError(f"this image has no {os.path.dirname(self.config)}")
            write(self.config, self.text)
            # Also where it is there already: who wrote it may not have come so far.
            self.restart()
            self.ready = True
        return {"user": user, "host_key": public_key(self.host_key)}

    def restart(self):
        """Returns once it listens with these settings; a reload would return before it has closed its sockets for a
        moment, and new connections would be refused. Open sessions stay open. A unit that is not active reads them when it
        starts.
        """
        found = [show(unit, "Id", "ActiveState") for unit in self.units]
        for unit in sorted(
            {one["Id"] for one in found if one["ActiveState"] not in ("inactive", "failed")}
        ):  # Debian's has both names.
            sound = subprocess.run([self.program, "-t"], timeout=30, check=False, **TEXT)
            if sound.returncode:  # It would not start again.
                raise OSError(f"sshd rejects its configuration: {sound.stderr.strip()}")
            systemctl("restart", unit)


def login_user():
    """Whom cloud-init has made first: admin, ubuntu, ec2-user."""
    people = [one for one in pwd.getpwall() if 1000 <= one.pw_uid < 60000 and not one.pw_shell.endswith(NO_SHELLS)]
    if not people:
        raise OSError("there is no user to log in as")
    return check("user", min(people, key=lambda one: one.pw_uid).pw_name)


NO_SHELLS = ("/nologin", "/false")


def public_key(path):
    with open(path) as file:
        return " ".join(file.read().split()[:2])


class ProcessSshd:
    """On a machine that is a process nobody can become somebody else: who logs in is who runs the sandbox."""

    def __init__(self, places, bind):
        self.places, self.bind = places, bind
        self.folder = places.root + "/var/lib/sshd"
        self.keys = places.root + "/run/ssh/authorized_keys"
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
            raise OSError("this machine is a process, and there is no sshd here that it could run")
        if os.geteuid() == 0 and not os.path.isdir("/run/sshd"):
            raise OSError("as root sshd wants a folder /run/sshd, which is not there (mkdir /run/sshd)")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        key = self.folder + "/host_key"
        if not os.path.exists(key + ".pub"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]
            subprocess.run(make, input=b"y\n", capture_output=True, timeout=30, check=True)
        write(self.folder + "/config", self.config(key))
        listener = self.bind(self.places.net, "22.sock")
        command = [program, "-i", "-f", self.folder + "/config", "-E", self.places.root + "/var/log/sshd.log"]
        threading.Thread(target=serve, args=(listener, command), daemon=True).start()
        return listener

    def config(self, key):
        settings = {
            "HostKey": f'"{key}"',
            "AuthorizedKeysFile": f'"{self.keys}"',
            "AllowUsers": user(),
            "AuthenticationMethods": "publickey",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",  # Of folders above the machine's, which are none of its own.
            "UsePAM": "no",
            "PidFile": "none",
            "LogLevel": "VERBOSE",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def user():
    return pwd.getpwuid(os.geteuid()).pw_name


def serve(listener, command):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as problem:  # No descriptors are left, or the client gave up.
            print(f"agent: can't accept a connection to sshd: {problem}", flush=True)
            time.sleep(0.2)
            continue
        threading.Thread(target=lead, args=(connection, command), daemon=True).start()


def lead(connection, command):
    with connection:
        subprocess.run(command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, check=False)
