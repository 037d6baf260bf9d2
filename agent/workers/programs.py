"""The environment in which the programs of a release run that are no workers, such as `alembic` or `flask`."""

import importlib.metadata
import os
import re
import sys

import variables

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


def environment(release, manifest, folder):
    """The environment variables of a program: the app's, with the packages of the release. `folder`: an empty one of its own."""
    programs = virtual_environment(release, folder)
    own = ("DEVOPSCTL_", "CREDENTIALS_DIRECTORY")
    given = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    given.update(variables.of_app(manifest, variables.read()))
    return {**given, "PATH": f"{programs}:{given.get('PATH') or os.defpath}", "VIRTUAL_ENV": folder}


def virtual_environment(release, folder):
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
