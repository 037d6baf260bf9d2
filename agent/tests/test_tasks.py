"""Byte-code that a release shares with an earlier one, and old releases."""

import importlib.util
import os
import py_compile
import types

import pytest
from machine import AGENT

import bytecode
from orders import tasks
from system.paths import Paths

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def paths(tmp_path):
    paths = Paths(str(tmp_path))
    paths.prepare()
    return paths


def put(paths, release, name, text):
    path = os.path.join(paths.release(release), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def test_shared_files_are_compiled_and_stored_once(paths):
    shared = [put(paths, release, "site/flask/app.py", "x = 1\n") for release in (OLD, NEW)]
    changed = [put(paths, release, "app/app.py", text) for release, text in ((OLD, "y = 1\n"), (NEW, "y = 2\n"))]
    os.utime(shared[0], (1, 1))
    for path in (shared[0], changed[0]):
        py_compile.compile(path)
    bytecode.mark(paths.release(OLD))

    tasks.inherit(paths.release(NEW), paths)
    assert os.path.samefile(*shared)
    assert os.path.samefile(*map(importlib.util.cache_from_source, shared))
    # With the same length, and perhaps the same time: only the content differs.
    assert not os.path.exists(importlib.util.cache_from_source(changed[1]))
    assert not os.path.samefile(*changed)

    put(paths, NEW, "agent/bytecode.py", (AGENT / "bytecode.py").read_text())
    before = os.stat(importlib.util.cache_from_source(shared[1])).st_mtime_ns
    bytecode.rest(paths.release(NEW))
    assert os.stat(importlib.util.cache_from_source(shared[1])).st_mtime_ns == before
    assert os.path.exists(importlib.util.cache_from_source(changed[1]))


def test_a_partly_compiled_release_shares_that_part(paths):
    done, left = ([put(paths, release, name, "x = 1\n") for release in (OLD, NEW)] for name in ("app/a.py", "app/b.py"))
    py_compile.compile(done[0])
    assert not bytecode.complete(paths.release(OLD))

    for _ in range(2):  # The next agent may repeat it.
        tasks.inherit(paths.release(NEW), paths)
        assert os.path.samefile(*done) and os.path.samefile(*map(importlib.util.cache_from_source, done))
        assert not os.path.samefile(*left) and not os.path.exists(importlib.util.cache_from_source(left[1]))
        assert sorted(os.listdir(os.path.dirname(done[1]))) == ["__pycache__", "a.py", "b.py"]
    assert not bytecode.complete(paths.release(NEW)), "a part of it is not compiled"


def test_shared_byte_code_outlives_the_earlier_release(paths):
    files = [put(paths, release, "site/a.py", "x = 1\n") for release in (OLD, NEW)]
    py_compile.compile(files[0])
    bytecode.mark(paths.release(OLD))
    tasks.inherit(paths.release(NEW), paths)
    bytecode.mark(paths.release(NEW))
    os.rename(paths.release(OLD), paths.release(OLD) + ".old")
    tasks.sweep(paths)
    with open(files[1]) as file:
        assert file.read() == "x = 1\n"
    assert tasks.on_disk(paths) == {NEW}


def test_leftovers_of_a_power_failure_are_removed(paths):
    put(paths, OLD, "app/a.py", "x = 1\n")
    put(paths, NEW, "app/a.py", "x = 1\n")
    os.rename(paths.release(NEW), paths.release(NEW) + ".old")
    put(paths, NEW, "app/a.py", "x = 1\n")
    os.rename(paths.release(NEW), paths.release(NEW) + ".new")
    with open(paths.release(NEW) + ".tar.gz", "w"):
        pass
    tasks.disown(paths)
    tasks.sweep(paths)
    assert os.listdir(paths.releases) == [OLD]


def test_a_file_that_cannot_be_renamed_is_reported(paths, monkeypatch, capsys):
    for number in range(5):
        with open(f"{paths.releases}/{number}.tar.gz", "w"):
            pass
    rename = os.rename

    def refuse(path, name):
        if path.endswith("/2.tar.gz"):
            raise PermissionError(1, "Operation not permitted")
        rename(path, name)

    monkeypatch.setattr(os, "rename", refuse)
    tasks.disown(paths)
    assert capsys.readouterr().out == "agent: cannot remove '2.tar.gz': [Errno 1] Operation not permitted\n"
    tasks.sweep(paths)
    assert os.listdir(paths.releases) == ["2.tar.gz"]


def test_a_disk_with_almost_no_space_is_full(paths, monkeypatch):
    assert not paths.are_full()
    disk = types.SimpleNamespace(f_blocks=1000, f_bavail=255, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert paths.are_full()
    disk.f_bavail = 256
    assert not paths.are_full()
    disk.f_blocks = disk.f_bavail = 0  # A disk without a limit.
    assert not paths.are_full()
