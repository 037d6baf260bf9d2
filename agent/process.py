"""Becomes a process of the app beside its web server, such as a worker of a queue (`processes` in deploy.yaml): as the app's user
and in its sandbox, with the release's code, packages, settings and secrets.

DEVOPSCTL_PROCESS names it in the manifest. Nothing of this program is left then: signals reach the process itself.

Agents of other releases start this file by its path: see `src/release/agent.rs`.
"""

import json
import os
import re
import shutil
import sys
import tempfile

from command import HERE, surroundings

# One command of a program: with `exec` it takes the place of the shell. A word of the shell itself, such as `cd`, cannot.
SIMPLE = re.compile(
    r"(?!(cd|exec|eval|export|set|unset|source|trap|ulimit|umask|if|for|while|until|case|time|command|\.)\s)[\w./~-]+([ \t][^;&|(){}`\n]*)?",
    re.ASCII,
)
# A shell that stays waits for its program after SIGTERM, which all of its programs get, and runs nothing more.
WAITS = "trap 'exit 143' TERM\n"


def is_simple(command):
    return SIMPLE.fullmatch(command.strip()) is not None


def arguments(command):
    """How a shell runs the command."""
    return ["/bin/sh", "-c", ("exec " if is_simple(command) else WAITS) + command.strip()]


def main(error):
    """`error`: why nothing may be started."""
    if error:
        sys.exit(f"it is not started: {error}")
    release, name = os.environ["DEVOPSCTL_RELEASE"], os.environ["DEVOPSCTL_PROCESS"]
    with open(release + "/manifest.json") as file:
        manifest = json.load(file)
    # Always the same: nothing removes it after the process, where /tmp outlives it.
    folder = f"{tempfile.gettempdir()}/devopsctl-process-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder, 0o700)
    given = surroundings(release, manifest, folder)
    os.chdir(release + "/app")
    command = arguments(manifest["processes"][name]["run"])
    os.execve(command[0], command, given)


if __name__ == "__main__":
    sys.path[0] = HERE + "/workers"  # Like serve.py.
    import confinement

    main(confinement.confine())
