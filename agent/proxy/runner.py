"""Runs Caddy: as a systemd unit on EC2's machines, as a child of the agent in the sandbox's."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from types import SimpleNamespace

from proxy import restore
from proxy.listener_reload import connections_paused
from system.kernel import CGROUPS, inherited
from system.systemd import UNITS, systemctl, text_of, write

UNIT = "devopsctl-edge.service"
STOP_SECONDS = 5
# Restores the certificates of an earlier machine, without overwriting any. It is part of the unit only if there are any: to start
# a program in the unit's sandbox takes half as long as Caddy's own start. If it fails, Caddy requests another certificate.
RESTORING = """
[Service]
LoadCredential=certificates:@KEPT@
ExecStartPre=-/usr/bin/python3 -S @HELPER@ ${CREDENTIALS_DIRECTORY}/certificates ${STATE_DIRECTORY}
"""


class ProxyRunner:
    """`where`: the paths as Caddy sees them. `config`, `store`, `log`, `root`, `admits`: the paths as the agent sees them."""

    def admit(self, whether):
        """Lets requests through to the app, or has Caddy answer with 503. A file tells Caddy which."""
        if whether and not os.path.exists(self.admits):
            write(self.admits, "")
        elif not whether:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.admits)

    def keep(self, program, text, root):
        """Runs this Caddy with this configuration; returns whether that changed anything."""
        if root:
            write(self.root, root)
        other = self.install(program)
        changed = write(self.config, text)
        try:
            if not self.lives():
                self.start(program)
            elif other:
                self.stop()
                self.start(program)
            elif changed:
                self.reload(program)
            else:
                return False
            return True
        except BaseException:
            os.remove(self.config)  # So that the next call tries again.
            raise


class SystemdProxy(ProxyRunner):
    config = "/run/devopsctl-edge.json"
    root = "/run/devopsctl-edge.pem"
    store = "/var/lib/devopsctl-edge"
    log = "/run/devopsctl-edge/certificates.log"
    admits = "/run/devopsctl-edge.admits"
    where = SimpleNamespace(
        folder="/run",
        admits=os.path.basename(admits),
        app="/run/devopsctl-app.sock",
        plain=lambda port: f":{port}",
        secure=":443",
        admin="/run/devopsctl-edge/admin.sock",
        store=store,
        static="/opt/devopsctl/static",
        log=log,
        root=root,
        protocols=["h1", "h2", "h3"],
        challenges={},
    )

    def __init__(self, paths, text):
        self.paths, self.text = paths, text
        self.kept, self.helper = paths.run + "/edge/certificates.json", paths.tools + "/restore.py"
        # Read once: the agent may outlive its folder.
        self.helper_text = text_of("proxy/restore.py")

    def install(self, program):
        text = self.text.replace("@CADDY@", program)
        if os.path.exists(self.kept):
            text += RESTORING.replace("@KEPT@", self.kept).replace("@HELPER@", self.helper)
        unit = f"{UNITS}/{UNIT}"
        known = os.path.exists(unit)
        changed = write(unit, text)
        if changed and known:  # systemd finds a new unit by itself.
            systemctl("daemon-reload")
        return changed

    def restore(self, document):
        """Leaves the files for the unit, which restores them as the proxy's user."""
        write(self.helper, self.helper_text)
        os.makedirs(os.path.dirname(self.kept), 0o700, exist_ok=True)
        write(self.kept, json.dumps(document))
        os.chmod(self.kept, 0o600)

    def pid(self):
        try:
            with open(f"{CGROUPS}/devopsctl.slice/{UNIT}/cgroup.procs") as file:
                return int(file.readline() or 0)
        except (OSError, ValueError):
            return 0

    def lives(self):
        return self.pid() != 0

    def start(self, program):
        systemctl("start", UNIT)

    def stop(self):
        systemctl("stop", UNIT, check=False)

    def reload(self, program):
        with connections_paused(self.pid()):
            systemctl("reload", UNIT)


class ProcessProxy(ProxyRunner):
    def __init__(self, paths):
        self.paths, self.pid = paths, None
        folder = paths.run + "/edge"
        os.makedirs(folder, 0o700, exist_ok=True)
        self.config, self.root, self.log = folder + "/caddy.json", folder + "/root.pem", folder + "/certificates.log"
        self.store = paths.root + "/var/lib/devopsctl-edge"
        self.admits = folder + "/admits"
        # Relative to the machine's folder, because a socket's whole path may be too long.
        self.where = SimpleNamespace(
            folder="run/devopsctl/edge",
            admits=os.path.basename(self.admits),
            app="net/app.sock",
            plain=lambda port: f"unix/net/{port}.sock",
            secure="unix/net/443.sock",
            admin="run/devopsctl/edge/admin.sock",
            store=self.store,
            static="opt/devopsctl/static",
            log=self.log,
            root=self.root,
            protocols=["h1", "h2"],
            # Caddy requires separate ports for challenges, but answers them on the ports for requests.
            challenges={
                "bind_host": "127.0.0.1",
                "http": {"alternate_port": free_port()},
                "tls-alpn": {"alternate_port": free_port()},
            },
        )

    def install(self, program):
        return False

    def restore(self, document):
        os.makedirs(self.store, 0o700, exist_ok=True)
        restore.unpack(document, self.store)

    def lives(self):
        if self.pid is None:
            return False
        try:
            ended, _ = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            ended = self.pid
        if ended:
            self.pid = None
        return not ended

    def start(self, program):
        append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self.pid = os.posix_spawn(
            program,
            [program, "run", "--config", self.config],
            inherited(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, self.paths.proxy_log, append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT],
        )

    def stop(self):
        """It may finish its requests, for some seconds."""
        end = time.monotonic() + STOP_SECONDS
        if self.lives():
            os.kill(self.pid, signal.SIGTERM)
        while self.lives():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)

    def reload(self, program):
        command = [program, "reload", "--config", self.config, "--address", "unix/" + self.where.admin, "--force"]
        ran = subprocess.run(command, env=inherited(), capture_output=True, text=True, timeout=60, check=False)
        if ran.returncode:
            raise OSError(f"Caddy rejects its configuration: {ran.stderr.strip()[-300:]}")


def free_port():
    with socket.socket() as way:
        way.bind(("127.0.0.1", 0))
        return way.getsockname()[1]
