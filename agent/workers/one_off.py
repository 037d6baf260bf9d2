"""Runs one command in the environment of a release, confined, and with the input and outputs of this process.

`processes/one_off.py` starts it. The command is in the file `command` of CREDENTIALS_DIRECTORY: {"words": [...]}.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

COULD_NOT, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # Exit codes as of `env` and of shells.


def run(words, environment, folder):
    """The exit code of the command."""
    # Handlers are not inherited, so the command has the defaults. A terminal sends it Ctrl-C as well.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    child, told = None, []

    def tell(number, _):
        told.append(number)
        if child:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, tell)
    try:
        child = subprocess.Popen(words, env=environment, cwd=folder)
    except (OSError, ValueError) as problem:
        why = "not found" if isinstance(problem, FileNotFoundError) else getattr(problem, "strerror", None) or problem
        print(f"devopsctl: {words[0]}: {why}", file=sys.stderr)
        return NOT_FOUND if isinstance(problem, FileNotFoundError) else NOT_EXECUTABLE
    for number in told:  # While it was being started.
        child.send_signal(number)
    code = child.wait()
    return code if code >= 0 else 128 - code


def main(error):
    """`error`: why nothing may be started."""
    if error:
        print(f"devopsctl: the command is not started: {error}", file=sys.stderr)
        return COULD_NOT
    release = os.environ["DEVOPSCTL_RELEASE"]
    with open(os.environ["CREDENTIALS_DIRECTORY"] + "/command") as file:
        words = json.load(file)["words"]
    with open(release + "/manifest.json") as file:
        manifest = json.load(file)
    folder = tempfile.mkdtemp(prefix="devopsctl-")
    try:
        return run(words, programs.environment(release, manifest, folder), release + "/app")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    # Its folder is the first of sys.path, as it is of every script.
    import confinement
    import programs

    sys.exit(main(confinement.confine()))
