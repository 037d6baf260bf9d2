"""A client's connection that spools a response to disk, so that a slow client keeps no thread of the app busy.

The part of a response that the client does not read at once goes into a file, and the worker's main loop sends it from there. The
thread is free for other requests, and a response that is generated in parts is not delayed. If the disk has no room, the thread
waits for the client.
"""

import contextlib
import os
import select
import socket
import tempfile
import threading
import time

# Seconds in which a fast client reads a response: then it never touches the disk.
PATIENCE = 0.05
# Bytes: the limit of one worker, and the free space that must be left on the disk.
MOST, SPARE = 512 << 20, 1 << 30
# Not in /tmp, which may be in memory.
FOLDER = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
PIECE = 1 << 16


class Room:
    """The rest of a worker's share of the disk."""

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
    """An unnamed temporary file."""
    file = tempfile.TemporaryFile(dir=FOLDER, buffering=0)
    disk = os.fstatvfs(file.fileno())
    if disk.f_bavail * disk.f_frsize < SPARE:
        file.close()
        raise OSError("the disk is nearly full")
    return file


class SpooledSocket(socket.socket):
    """`late` is called once data waits. From then on the main loop calls `push` whenever the client reads more, until nothing is
    left, and then clears `watched`."""

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
                if self.left():  # The data follows what waits already.
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
        """While the main loop watches it, only the main loop closes it: before that, its descriptor must not be reused."""
        with self.lock:
            self.forget()
        if self.watched:
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)
        else:
            super().close()

    def wait(self):
        """Waits until the client reads more; at first no longer than the patience that is left."""
        way, begun = select.poll(), time.monotonic()
        way.register(self, select.POLLOUT)
        way.poll(self.patience * 1000 if self.patience > 0 else None)
        self.patience -= time.monotonic() - begun

    def put(self, view):
        """Sends as much as the client accepts now -> how much that was."""
        try:
            return self.send(view, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def keep(self, view):
        """Appends to the file; returns whether there was room."""
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
        """Sends some of the waiting data, as far as the client accepts it. Other connections wait for the main loop, too."""
        for _ in range(16):
            sent = self.left() and self.put(os.pread(self.file.fileno(), PIECE, self.begun))
            if not sent:
                break
            self.begun += sent
        if not self.left():
            self.forget()

    def forget(self):
        """Releases the file and all of its room."""
        if self.file:
            self.room.give(self.end)
            self.file.close()
        self.file, self.begun, self.end, self.patience = None, 0, 0, PATIENCE
