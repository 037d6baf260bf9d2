"""Applies Amazon Linux's security updates. `devopsctl-updates.service` runs this program once a day.

It uses no other file of the agent, which copies it to a path outside of releases. It never reboots the machine. If a reboot is
needed, it creates the same file as Debian's packages do.
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
# dnf also exits with 1 if it has no such command.
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
