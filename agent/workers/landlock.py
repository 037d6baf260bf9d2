"""Restricts this process and its children to write in some folders only (Linux's Landlock).

The sandbox's machines run an app as the user of the sandbox. What systemd forbids an app on EC2, for example to change its
release, must fail there as well, or a test in the sandbox proves nothing.
"""

import ctypes
import os
import struct

CREATE, ADD, RESTRICT = 444, 445, 446  # The same numbers on all of Linux's processors.
VERSION, PATH_BENEATH = 1, 1
PR_SET_NO_NEW_PRIVS = 38
LEAST = 3  # The version that covers truncation: Linux 6.2.
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
# Also removing and creating anything, and moving between folders.
WRITES = WRITE_FILE | sum(1 << bit for bit in range(4, 14)) | TRUNCATE


def write_only_in(folders):
    """Applies the restriction; returns whether the kernel supports it. Missing folders are ignored."""
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "syscall", None)
    if os.uname().sysname != "Linux" or not call or call(CREATE, None, 0, VERSION) < LEAST:
        return False
    rules = done(call(CREATE, struct.pack("Q", WRITES), 8, 0))
    try:
        for folder in filter(os.path.isdir, folders):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                done(call(ADD, rules, PATH_BENEATH, struct.pack("=Qi", WRITES, fd), 0))
            finally:
                os.close(fd)
        done(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        done(call(RESTRICT, rules, 0))
    finally:
        os.close(rules)
    return True


def done(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock: " + os.strerror(ctypes.get_errno()))
    return result
