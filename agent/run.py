"""Runs one command in the environment of the serving release: `devopsctl run` starts this file, in an SSH session.

Its arguments are the command. See `processes/one_off.py`, and `src/release/agent.rs` for its path.
"""

import os
import sys

ROOT = os.environ.get("DEVOPSCTL_ROOT", "")  # Set on the sandbox's process machines, where there is no sudo.

if __name__ == "__main__":
    if not ROOT and os.geteuid():
        # A session logs in as the image's user, who may become root.
        os.execv("/usr/bin/sudo", ["sudo", "-n", sys.executable, "-I", os.path.abspath(__file__), *sys.argv[1:]])
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from processes import one_off

    sys.exit(one_off.main(ROOT, sys.argv[1:]))
