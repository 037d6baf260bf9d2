"""The kernel's facts about processes, and its settings for the agent's own process."""

import contextlib
import os
import resource

CGROUPS = "/sys/fs/cgroup"
PR_SET_DUMPABLE = 4


def open_files(pid):
    """The open files of a process: descriptor -> Linux's name for the file."""
    found = {}
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                pass
    except OSError:
        pass
    return found


def inherited():
    """The environment variables that the agent passes to the processes it starts."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def no_core_dumps():
    """Disables core dumps of this process and its children, because they would contain secrets."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def not_dumpable():
    """Disables core dumps that a program collects, which the limit does not prevent. An exec resets it."""
    # Not Linux; a Python whose ctypes needs memory that is writable and executable.
    with contextlib.suppress(OSError, AttributeError, ImportError, MemoryError):
        import ctypes  # Slow to import, so it is imported in parallel with the start.

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def own_group():
    """The control group of this process; empty if unknown."""
    try:
        with open("/proc/self/cgroup") as file:
            return file.read().strip().rpartition("::")[2]
    except OSError:
        return ""


def lacked_memory(group):
    """Whether the kernel killed a process of this unit's control group because memory ran out."""
    if not group.endswith(".service"):
        return False  # Not one of our units: processes of others would count.
    try:
        with open(f"{CGROUPS}{group}/memory.events") as file:
            return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in file)
    except OSError:
        return False
