"""Byte-code for a release, made once on the machine: first for what the way to the first answer needs (unless it came with
the release), later for all of it.

As a program it compiles one part of several: `bytecode.py first|rest FOLDER PART PARTS`. Not compileall, which takes as
long to make its processes as to compile an app's dependencies. What is no Python, or another one's, is passed over.
"""

import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys

# Held by the compilers of what a release's first generation needs; its workers wait for that (worker.py), while all the
# rest of it already starts. Nobody outlives his lock.
LOCK = "/.compiling"


def begin(folder):
    """Starts to compile what a generation imports on its way to the first answer."""
    # If it is under way already, or nothing can be written there, then whoever imports compiles for himself.
    with contextlib.suppress(OSError):
        if complete(folder) or not missing(first(folder)):
            return
        with open(folder + LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print(f"agent: compiles {os.path.basename(folder)[:12]}", flush=True)
            # Less urgent than the agent, which has to start what will need it.
            compilers("first", folder, 10, pass_fds=[lock.fileno()])


def under_way(folder):
    with contextlib.suppress(OSError), open(folder + LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def rest(folder):
    """All of it, so that no later generation has to compile anything. It leaves the machine to others."""
    if not complete(folder):
        with contextlib.suppress(OSError):  # It is tried again by the next agent.
            ends = [compiler.wait() for compiler in compilers("rest", folder, 19)]
            if not any(ends):
                mark(folder)


def compilers(what, folder, niceness, **how):
    """One for each core. The release brings the program: our own may be gone, with the release that we came with."""
    count = os.cpu_count() or 1
    command = ["nice", f"-n{niceness}", sys.executable, "-S", folder + "/agent/bytecode.py", what, folder]
    return [subprocess.Popen([*command, str(part), str(count)], **how) for part in range(count)]


def first(folder):
    """What is imported on the way to the first answer, in about that order."""
    with open(folder + "/first.txt") as file:
        return [os.path.join(folder, name) for name in file.read().splitlines()]


def missing(paths):
    """Those that have no byte-code: no file of a release ever changes."""
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
    import py_compile  # Of all programs that read this file, only the compilers need it, and it brings much with it.

    paths = first(folder) if what == "first" else sorted(files(folder))
    for path in missing(paths[int(part) :: int(parts)]):
        py_compile.compile(path, quiet=2)


if __name__ == "__main__":
    compile_part(*sys.argv[1:])
