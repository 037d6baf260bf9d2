"""Applies Amazon Linux's security updates. `devopsctl-updates.service` runs this program once a day.

It stands alone, without the agent's other files: the agent copies it to a place that no release takes away. It never
reboots the machine. It leaves the mark that Debian's packages leave where a reboot is needed.
"""

import json
import os
import subprocess
import time

ROOT = os.environ.get("DEVOPSCTL_ROOT", "")
SAID = ROOT + "/var/lib/devopsctl/updates.json"
REBOOT = ROOT + "/run/reboot-required"
# The repositories are pinned to the image's release, which never changes:
# https://docs.aws.amazon.com/linux/al2023/ug/deterministic-upgrades-usage.html
UPGRADE = ("dnf", "--assumeyes", "--refresh", "--releasever=latest", "--security", "upgrade")
HINT = ("dnf", "needs-restarting", "-r")
# dnf ends with 1 also where it has no such command.
NEEDED = "Reboot is required"


def run(command, **more):
    return subprocess.run(command, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}, **more)


def apply():
    """The exit code of dnf."""
    try:
        code = run(UPGRADE).returncode
        hint = run(HINT, stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
        needed = hint.returncode == 1 and NEEDED in hint.stdout
    except OSError as problem:
        print(f"dnf cannot be run: {problem}", flush=True)
        code, needed = 127, False
    if needed:
        with open(REBOOT, "w") as file:
            file.write("*** System restart required ***\n")
    elif os.path.exists(REBOOT):
        os.remove(REBOOT)
    with open(SAID + ".new", "w") as file:
        json.dump({"at": int(time.time()), "code": code}, file)
    os.rename(SAID + ".new", SAID)
    return code


if __name__ == "__main__":
    raise SystemExit(apply())
