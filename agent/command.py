"""Runs the commands of a release in the app's environment: as the app's user and in its sandbox, with the release's code,
packages, settings and secrets.

DEVOPSCTL_COMMAND names the list of shell commands in the manifest. They run one after the other, and the first that fails is the
last. How they ended is written to DEVOPSCTL_VERDICT: {}, or {"error": text}.

Agents of other releases start this file by its path: see `src/release/agent.rs`.
"""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
# An entry point of a package, as in its metadata: a name for a file, and what the program calls.
SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
CALLED = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)(?P<rest>[\w.]*)(\s*\[.*\])?", re.ASCII)
# The release has no such programs, because they would have the path of the Python that installed them. This one finds its Python
# beside itself: as a shell script it starts that, which skips the second line as a text.
PROGRAM = """#!/bin/sh
'''exec' "$(dirname -- "$0")/python" "$0" "$@"
' '''
import sys
from {module} import {name}
sys.exit({name}{rest}())
"""


def environment(release, folder):
    """A virtual environment in `folder`, for the packages of the release -> the folder with its programs."""
    site, programs = release + "/site", folder + "/bin"
    packages = folder + f"/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    os.makedirs(packages)
    os.symlink(site, packages + "/site-packages")
    os.mkdir(programs)
    python = os.path.realpath(sys.executable)
    with open(folder + "/pyvenv.cfg", "w") as file:
        file.write(f"home = {os.path.dirname(python)}\ninclude-system-site-packages = false\n")
    for name in ("python", "python3"):
        os.symlink(python, f"{programs}/{name}")
    for name, text in scripts(site):
        # A package could name the same program twice, or Python's.
        if not os.path.lexists(f"{programs}/{name}"):
            with open(os.open(f"{programs}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755), "w") as file:
                file.write(text)
    return programs


def scripts(site):
    """The programs that the packages declare, such as `alembic` or `flask`: (name, text)."""
    for package in importlib.metadata.distributions(path=[site]):
        for entry in package.entry_points:
            called = CALLED.fullmatch(entry.value)
            if entry.group == "console_scripts" and called and SCRIPT.fullmatch(entry.name):
                yield entry.name, PROGRAM.format(**called.groupdict())


def variables(manifest):
    """The variables as the app gets them (workers/gunicorn.conf.py)."""
    secrets = os.environ["DEVOPSCTL_SECRETS"]
    if "CREDENTIALS_DIRECTORY" in os.environ:  # systemd's LoadCredential=
        secrets = os.path.join(os.environ["CREDENTIALS_DIRECTORY"], "token")
    with open(secrets) as file:
        given = json.load(file)
    if manifest["token"]["check"] == "proxy":
        for name in (manifest["token"]["env"], manifest["token"]["env"] + "_PREVIOUS"):
            given.pop(name, None)
    return {**manifest["env"], **given}


def surroundings(release, manifest, folder):
    """The whole environment of a program of the release, whose packages' programs are made in `folder`."""
    programs = environment(release, folder)
    own = ("DEVOPSCTL_", "CREDENTIALS_DIRECTORY")
    given = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    given.update(variables(manifest))
    given.update(PATH=f"{programs}:{given.get('PATH') or os.defpath}", VIRTUAL_ENV=folder)
    return given


def run(release, manifest, folder):
    """Runs the commands -> how the first that failed ended, as text, or None."""
    given = surroundings(release, manifest, folder)
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

    main(confinement.confine())
