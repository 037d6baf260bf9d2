"""Runs the commands of a release in the app's environment: as the app's user and in its sandbox, with the release's code,
packages, settings and secrets.

DEVOPSCTL_COMMAND is the path in the manifest of what has the list of shell commands. They run one after the other, and the first
that fails is the last. How they ended is written to DEVOPSCTL_VERDICT: {}, or {"error": text}, with the exit code as "code" (of a
signal: negative).

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


def commands(manifest):
    for name in os.environ["DEVOPSCTL_COMMAND"].split("."):
        manifest = manifest[name]
    return manifest["commands"]


def run(release, manifest, folder):
    """Runs the commands -> how the first that failed ended, as the verdict has it."""
    given = programs.environment(release, manifest, folder)
    for command in commands(manifest):
        print(f"$ {command}", flush=True)
        code = subprocess.call(["/bin/sh", "-c", command], env=given, cwd=release + "/app")
        if code:
            how = f"exit code {code}" if code > 0 else f"it was killed by signal {-code}"
            return {"error": f"{command}: {how}", "code": code}
    return {}


def stop(*_):
    """Tells all its processes to end, and ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    sys.exit(3)


def main(error):
    """`error`: why nothing may be started."""
    verdict = {"error": error}
    if not error:
        if os.getpgrp() != os.getpid():  # systemd has done it.
            os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, stop)
        release = os.environ["DEVOPSCTL_RELEASE"]
        with open(release + "/manifest.json") as file:
            manifest = json.load(file)
        folder = tempfile.mkdtemp(prefix="devopsctl-")
        try:
            verdict = run(release, manifest, folder)
        except OSError as problem:
            verdict = {"error": f"cannot start it: {problem}"}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    with open(os.environ["DEVOPSCTL_VERDICT"], "w") as file:
        file.write(json.dumps(verdict))
    sys.exit(1 if verdict else 0)


if __name__ == "__main__":
    sys.path[0] = HERE + "/workers"  # Like serve.py.
    import confinement
    import programs

    main(confinement.confine())
