"""Lets a server's listening sockets change hands without a connection lost.

A server that is given another configuration listens anew, and closes what it listened on. Whoever was in that one's queue
is hung up on by the kernel; whoever it has accepted but not yet read, by Go's HTTP server. So for a moment beforehand the
old sockets pass over who wants to connect: the client's own kernel asks again a second later, and finds the new ones.
"""

import contextlib
import os
import socket
import struct
import time

from processes import open_files

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
PIDFD_GETFD = 438  # The same number on all of Linux's processors.
LISTEN = "0A"  # As /proc/net/tcp writes TCP's states.
# What has begun to connect gets through, and is read: the handshakes with who is furthest away, on a slow machine. Kernels
# ask again after a second; by then the new sockets should be there.
SECONDS = 0.8
# Of TCP's flags (the 14th byte): SYN without ACK is dropped, all else passes.
FILTER = [(0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]


@contextlib.contextmanager
def hushed(pid):
    """Nobody is connected by what that process listens on now. Where this can't be had, all goes on as without it."""
    if on_sockets(pid, listeners(), attach):
        time.sleep(SECONDS)
    try:
        yield
    finally:
        on_sockets(pid, listeners(), detach)  # It may have kept its sockets, because it did not take the configuration.


def on_sockets(pid, names, act):
    """Does something with those of a process's sockets, named as /proc names open files -> how many there were."""
    done = 0
    # Before Linux 5.6; no Linux; not allowed; a Python whose ctypes wants memory that may be written and run.
    with contextlib.suppress(OSError, AttributeError, ImportError, MemoryError):
        process = os.pidfd_open(pid)
        try:
            for fd, name in open_files(pid).items():
                if name in names:
                    with socket.socket(fileno=taken(process, fd)) as sock:
                        act(sock)
                        done += 1
        finally:
            os.close(process)
    return done


def listeners():
    """All listening TCP sockets, as /proc names open files."""
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open("/proc/net/" + table) as file:
            found.update(f"socket:[{line.split()[9]}]" for line in file if line.split()[3] == LISTEN)
    return found


def taken(process, fd):
    """Another process's open file, as one of ours: the same socket."""
    import ctypes  # Seldom needed, and not read by every agent that starts.

    libc = ctypes.CDLL(None, use_errno=True)
    own = libc.syscall(PIDFD_GETFD, process, fd, 0)
    if own < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    return own


def attach(listener):
    import ctypes

    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in FILTER))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(FILTER), ctypes.addressof(code)))


def detach(listener):
    with contextlib.suppress(FileNotFoundError):  # It has none.
        listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
