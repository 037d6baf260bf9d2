"""What the kernel tells of processes, and what it is told about the agent's own."""

import contextlib
import os
import resource

CGROUPS = "/sys/fs/cgroup"
PR_SET_DUMPABLE = 4


def open_files(pid):
    """What a process holds open: as Linux names it, by descriptor."""
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
    """What of its environment the agent hands on to the processes that it starts itself."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def no_core_dumps():
    """Secrets must not be left in a core dump: not of this process, nor of any that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def not_dumpable():
    """Also where a program collects core dumps, which the limit alone does not prevent. Not inherited over an exec."""
    # No Linux; a Python whose ctypes wants memory that may be written and run.
    with contextlib.suppress(OSError, AttributeError, ImportError, MemoryError):
        import ctypes  # To read it takes time, so it is read beside the start.

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def own_group():
    """The control group that this process is in; nothing where nobody can tell."""
    try:
        with open("/proc/self/cgroup") as file:
            return file.read().strip().rpartition("::")[2]
    except OSError:
        return ""


def lacked_memory(group):
    """Whether the kernel has ended a process of this unit's control group because memory was at its end."""
    if not group.endswith(".service"):
        return False  # No unit of ours: others' processes would count.
    try:
        with open(f"{CGROUPS}{group}/memory.events") as file:
            return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in file)
    except OSError:
        return False
