"""Reads files that another user of the machine, the app or the proxy, may have written.

That user can put a symbolic link, a named pipe or a file of any size in place of a plain file, and replace a folder while it is
walked. So no link is followed below the top folder, no path with several parts is opened, and files of other users are not read.
The parents of the top folder belong to root.
"""

import os
import stat

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
MOST_FILES, DEPTH = 1000, 8


def open_folder(path):
    """The top folder -> (descriptor, its owner). For a dynamic user, systemd makes it a link that belongs to root."""
    folder = os.open(path, FOLDER)
    return folder, os.fstat(folder).st_uid


def open_file(path):
    """Opens a regular file that belongs to the owner of its folder -> descriptor; OSError for anything else."""
    top, name = os.path.split(path)
    folder, user = open_folder(top)
    try:
        return open_in(folder, name, user)
    finally:
        os.close(folder)


def open_in(folder, name, user):
    fd = os.open(name, FILE, dir_fd=folder)
    state = os.fstat(fd)
    if stat.S_ISREG(state.st_mode) and state.st_uid == user and state.st_nlink == 1:
        return fd
    os.close(fd)
    raise OSError(f"{name} is not a plain file of the owner of its folder")


def read(path, most, start=0):
    """At most `most` bytes of a file."""
    with open(open_file(path), "rb") as file:
        file.seek(start)
        return file.read(most)


def size(path):
    """The size of a file; 0 if there is none."""
    try:
        fd = open_file(path)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def names(path):
    """The names in a folder, only some if there are very many; none if there is no such folder."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry, _ in zip(entries, range(MOST_FILES)))
    except OSError:
        return []


def walk(path, kinds, most):
    """The regular files in the folders `kinds` of a folder, as (name within it, state, content or None), in order.

    Files that are larger than `most` bytes are left out. A content is read only where the caller asks: `read()`.
    """
    try:
        top, user = open_folder(path)
    except OSError:
        return
    left = [MOST_FILES]
    try:
        for kind in kinds:
            yield from walk_folder(top, kind, kind, user, most, left, DEPTH)
    finally:
        os.close(top)


def walk_folder(parent, name, place, user, most, left, depth):
    try:
        folder = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError:
        return
    try:
        if os.fstat(folder).st_uid != user or not depth:
            return
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MOST_FILES)))
        for inner in names:
            if left[0] <= 0:
                return
            left[0] -= 1
            try:
                state = os.lstat(inner, dir_fd=folder)
            except OSError:
                continue
            if stat.S_ISDIR(state.st_mode):
                yield from walk_folder(folder, inner, f"{place}/{inner}", user, most, left, depth - 1)
            elif stat.S_ISREG(state.st_mode) and state.st_size <= most:
                yield from walk_file(folder, inner, f"{place}/{inner}", user, most)
    finally:
        os.close(folder)


def walk_file(folder, name, place, user, most):
    try:
        fd = open_in(folder, name, user)
    except OSError:
        return
    with open(fd, "rb") as file:
        state = os.fstat(fd)
        if state.st_size <= most:
            yield place, state, file
