"""A client's connection on which an answer waits by itself, and not in a thread of the app.

What a client does not take within a moment goes into a file, as other servers do with it, and is sent on from there by
the worker's main loop: the thread answers somebody else meanwhile, and what an app says bit by bit comes as soon as ever.
Where the disk has no room left, a thread waits as it would without.
"""

import contextlib
import os
import select
import socket
import tempfile
import threading
import time

# A fast client takes all of it within this many seconds, and its answer never touches the disk.
PATIENCE = 0.05
# Bytes: how much may wait in one worker, and what has to be left of the disk.
MOST, SPARE = 512 << 20, 1 << 30
# Not below /tmp, which may be memory.
FOLDER = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
PIECE = 1 << 16


class Room:
    """What is left of a worker's share of the disk."""

    def __init__(self):
        self.lock, self.left = threading.Lock(), MOST

    def take(self, size):
        with self.lock:
            if size > self.left:
                return False
            self.left -= size
            return True

    def give(self, size):
        with self.lock:
            self.left += size


def spool():
    """A file without a name."""
    file = tempfile.TemporaryFile(dir=FOLDER, buffering=0)
    disk = os.fstatvfs(file.fileno())
    if disk.f_bavail * disk.f_frsize < SPARE:
        file.close()
        raise OSError("the disk is nearly full")
    return file


class Outgoing(socket.socket):
    """`late` is told once something waits: from then on the main loop is to call `push` whenever the client takes more, until
    nothing is left; then it says so by `watched`."""

    def __init__(self, sock, room, late):
        super().__init__(fileno=sock.detach())
        self.room, self.late, self.watched = room, late, False
        self.lock, self.file, self.begun, self.end = threading.Lock(), None, 0, 0
        self.patience = PATIENCE

    def left(self):
        return self.end - self.begun

    def sendall(self, data, flags=0):
        view = memoryview(data)
        while view:
            with self.lock:
                if self.left():  # It comes after what waits already.
                    if self.keep(view):
                        return
                    self.push()
                if not self.left():
                    view = view[self.put(view) :]
                    if view and self.patience <= 0 and self.keep(view):
                        return
            if view:
                self.wait()

    def sendfile(self, file, offset=0, count=None):
        file.seek(offset)
        sent = 0
        while block := file.read(PIECE if count is None else min(PIECE, count - sent)):
            self.sendall(block)
            sent += len(block)
        return sent

    def close(self):
        """Whoever watches it closes it: its number must not become another connection's before that."""
        with self.lock:
            self.forget()
        if self.watched:
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)
        else:
            super().close()

    def wait(self):
        """Until the client takes more; while there is patience, not for longer than that."""
        way, begun = select.poll(), time.monotonic()
        way.register(self, select.POLLOUT)
        way.poll(self.patience * 1000 if self.patience > 0 else None)
        self.patience -= time.monotonic() - begun

    def put(self, view):
        """How much of it the client takes at this moment."""
        try:
            return self.send(view, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def keep(self, view):
        """Whether there is room for it in the file."""
        if not self.room.take(len(view)):
            return False
        try:
            self.file = self.file or spool()
            written = 0
            while written < len(view):
                written += os.pwrite(self.file.fileno(), view[written:], self.end + written)
        except OSError:
            self.room.give(len(view))
            return False
        self.end += len(view)
        if not self.watched:
            self.watched = True
            self.late(self)
        return True

    def push(self):
        """Sends on some of what waits, as far as the client takes it: others wait for the main loop, too."""
        for _ in range(16):
            sent = self.left() and self.put(os.pread(self.file.fileno(), PIECE, self.begun))
            if not sent:
                break
            self.begun += sent
        if not self.left():
            self.forget()

    def forget(self):
        """A file that has grown gives its room back as a whole."""
        if self.file:
            self.room.give(self.end)
            self.file.close()
        self.file, self.begun, self.end, self.patience = None, 0, 0, PATIENCE
