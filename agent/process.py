"""Becomes a process of the app beside its web server, such as a worker of a queue (`processes` in deploy.yaml): as the app's user
and in its sandbox, with the release's code, packages, settings and secrets.

DEVOPSCTL_PROCESS names it in the manifest. Nothing of this program is left then: signals reach the process itself.

Agents of other releases start this file by its path: see `src/release/agent.rs`.
"""

import json
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


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
    given = programs.environment(release, manifest, folder)
    os.chdir(release + "/app")
    command = shell.arguments(manifest["processes"][name]["run"])
    os.execve(command[0], command, given)


if __name__ == "__main__":
    sys.path[0] = HERE + "/workers"  # Like serve.py.
    import confinement
    import programs
    import shell

    main(confinement.confine())
