"""Runs the commands of a release in the app's environment: as the app's user and in its sandbox, with the release's code,
packages, settings and secrets.

DEVOPSCTL_COMMAND names the list of shell commands in the manifest. They run one after the other, and the first that fails is the
last. How they ended is written to DEVOPSCTL_VERDICT: {}, or {"error": text}.

Agents of other releases start this file by its path: see `src/release/agent.rs`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def run(release, manifest, folder):
    """Runs the commands -> how the first that failed ended, as text, or None."""
    given = programs.environment(release, manifest, folder)
    for command in manifest[os.environ["DEVOPSCTL_COMMAND"]]["commands"]:
        print(f"$ {command}", flush=True)
        code = subprocess.call(["/bin/sh", "-c", command], env=given, cwd=release + "/app")
        if code:
            how = f"exit code {code}" if code > 0 else f"it was killed by signal {-code}"
            return f"{command}: {how}"
    return None


def stop(*_):
    """Tells all its processes to end, and ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    sys.exit(3)


def main(error):
    """`error`: why nothing may be started."""
    if not error:
        if os.getpgrp() != os.getpid():  # systemd has done it.
            os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, stop)
        release = os.environ["DEVOPSCTL_RELEASE"]
        with open(release + "/manifest.json") as file:
            manifest = json.load(file)
        folder = tempfile.mkdtemp(prefix="devopsctl-")
        try:
            error = run(release, manifest, folder)
        except OSError as problem:
            error = f"cannot start it: {problem}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    with open(os.environ["DEVOPSCTL_VERDICT"], "w") as file:
        file.write(json.dumps({"error": error} if error else {}))
    sys.exit(1 if error else 0)


if __name__ == "__main__":
    sys.path[0] = HERE + "/workers"  # Like serve.py.
    import confinement
    import programs

    main(confinement.confine())
