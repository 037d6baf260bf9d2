"""Whether an app could reach the role's credentials, which must never be: asked before the first one is started."""

import hashlib
import os
import subprocess
import threading

from places import read_json, write_json
from systemd import UNITS, show, systemctl, write

HERE = os.path.dirname(os.path.abspath(__file__))
PROBE_SECONDS = 30


class Probe:
    """Whether an app could reach the role's credentials, which `IPAddressDeny=` is to prevent: on a kernel without BPF it
    does nothing, silently. So what an app would try is tried, as the app's user and in the app's own unit, before the
    first one is started; once a boot, beside whatever else there is to do.
    """

    def __init__(self, places, port):
        with open(f"{UNITS}/app-{port}@.service", "rb") as file:
            self.rules = hashlib.sha256(file.read()).hexdigest()
        self.unit = f"app-{port}@probe.service"
        self.mark = places.run + "/probed.json"
        self.trouble, self.thread = None, None
        if read_json(self.mark, {}).get("rules") != self.rules:
            self.thread = threading.Thread(target=self.run, daemon=True)
            self.thread.start()

    def run(self):
        try:
            write(f"{UNITS}/{self.unit}.d/probe.conf", PROBE_UNIT)
            systemctl("start", self.unit)
            write_json(self.mark, {"rules": self.rules})
        except (OSError, subprocess.SubprocessError):
            status = show(self.unit, "ExecMainStatus")["ExecMainStatus"]
            self.trouble = "the app is not started: " + (
                "it could reach the instance's credentials at 169.254.169.254, because this kernel does not support "
                "systemd's IPAddressDeny= (BPF)"
                if status == REACHED
                else f"whether it could reach the instance's credentials can't be told (the probe ended with {status})"
            )

    def passed(self):
        """Waits for the answer; an error if an app must not be started."""
        if self.thread:
            self.thread.join(PROBE_SECONDS)
            if self.thread.is_alive():
                raise OSError(
                    "the app is not started: whether it could reach the instance's credentials is not known yet"
                )
        if self.trouble:
            raise OSError(self.trouble)


REACHED = "3"  # The exit code of imds_probe.py.
PROBE_UNIT = f"""[Service]
Type=oneshot
TimeoutStartSec={PROBE_SECONDS - 5}
EnvironmentFile=
LoadCredential=
BindReadOnlyPaths=
BindReadOnlyPaths={HERE}
ExecStart=
ExecStart=/usr/bin/python3 -I -S {HERE}/imds_probe.py
"""
