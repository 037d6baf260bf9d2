"""Reloads a server's configuration without losing a connection.

A server that reloads opens new listening sockets and closes the old ones. The kernel then resets the connections in an old
socket's queue, and Go's HTTP server closes those that it accepted but did not read yet. So shortly before, the old sockets drop
new SYNs: clients retransmit about a second later, and reach the new sockets.
"""

import contextlib
import os
import socket
import struct
import time

from system.kernel import open_files

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
PIDFD_GETFD = 438  # The same number on all of Linux's processors.
LISTEN = "0A"  # As /proc/net/tcp writes TCP's states.
# Long enough for handshakes that have started: those of the most distant clients, on a slow machine. Kernels retransmit after a
# second; by then the new sockets should exist.
SECONDS = 0.8
# By TCP's flags (the 14th byte): a SYN without ACK is dropped, everything else passes.
FILTER = [(0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]


@contextlib.contextmanager
def connections_paused(pid):
    """Meanwhile the listening sockets of that process accept no new connections. Where that is impossible, this does nothing."""
    if on_sockets(pid, listeners(), attach):
        time.sleep(SECONDS)
    try:
        yield
    finally:
        on_sockets(pid, listeners(), detach)  # It keeps its sockets if it rejects the configuration.


def on_sockets(pid, names, act):
    """Calls `act` for those sockets of a process, named as /proc names open files -> how many there were."""
    done = 0
    # Linux before 5.6; not Linux; not permitted; a Python whose ctypes needs memory that is writable and executable.
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
    """A descriptor of this process for another process's socket."""
    import ctypes  # Seldom needed, and slow to import.

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
