"""Compiles a release to byte-code, once on each machine: first the files that the first answer needs (unless the release came
with their byte-code), later all of it.

As a program it compiles one part of several: `bytecode.py first|rest FOLDER PART PARTS`. compileall is no alternative: it takes as
long to create its processes as to compile an app's dependencies. Files that do not compile are skipped.

Agents of other releases and boot programs start this file by its path: see `src/release/agent.rs`.
"""

import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys

# The compilers of the first generation's files hold this lock. The workers of that generation wait for it
# (workers/gunicorn.conf.py), while gunicorn itself already starts. The lock ends with the compilers.
LOCK = "/.compiling"


def begin(folder):
    """Starts to compile the files that a generation imports before its first answer."""
    # If they are being compiled already, or the folder is not writable, each import compiles for itself.
    with contextlib.suppress(OSError):
        if complete(folder) or not missing(first(folder)):
            return
        with open(folder + LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print(f"agent: compiles {os.path.basename(folder)[:12]}", flush=True)
            # Less urgent than the agent, which starts the processes that need the byte-code.
            compilers("first", folder, 10, pass_fds=[lock.fileno()])


def under_way(folder):
    with contextlib.suppress(OSError), open(folder + LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def rest(folder):
    """Compiles all of a release at the lowest priority, so that no later generation compiles anything."""
    if not complete(folder):
        with contextlib.suppress(OSError):  # The next agent tries again.
            ends = [compiler.wait() for compiler in compilers("rest", folder, 19)]
            if not any(ends):
                mark(folder)


def compilers(what, folder, niceness, **how):
    """Starts one compiler for each core. It is the release's own program: this agent's release may be gone."""
    count = os.cpu_count() or 1
    command = ["nice", f"-n{niceness}", sys.executable, "-S", folder + "/agent/bytecode.py", what, folder]
    return [subprocess.Popen([*command, str(part), str(count)], **how) for part in range(count)]


def first(folder):
    """The files that are imported before the first answer, in about that order."""
    with open(folder + "/first.txt") as file:
        return [os.path.join(folder, name) for name in file.read().splitlines()]


def missing(paths):
    """The files without byte-code. No file of a release ever changes."""
    return [path for path in paths if not os.path.exists(importlib.util.cache_from_source(path))]


def files(folder):
    """Every plain Python file below a folder."""
    for top, _, names in os.walk(folder):
        paths = (os.path.join(top, name) for name in names if name.endswith(".py"))
        yield from (path for path in paths if not os.path.islink(path))


def complete(folder):
    return os.path.exists(folder + "/.compiled")


def mark(folder):
    with open(folder + "/.compiled", "w"):
        pass


def compile_part(what, folder, part, parts):
    import py_compile  # Only the compilers need it, and it imports a lot.

    paths = first(folder) if what == "first" else sorted(files(folder))
    for path in missing(paths[int(part) :: int(parts)]):
        py_compile.compile(path, quiet=2)


if __name__ == "__main__":
    compile_part(*sys.argv[1:])
