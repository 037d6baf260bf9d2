"""What a release takes over from one before it."""

import importlib.util
import os
import py_compile
import types

import bytecode
import pytest
import tasks
from machine import AGENT
from places import Places

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def places(tmp_path):
    places = Places(str(tmp_path))
    places.prepare()
    return places


def put(places, release, name, text):
    path = os.path.join(places.release(release), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def test_what_two_releases_share_is_compiled_once_and_stored_once(places):
    shared = [put(places, release, "site/flask/app.py", "x = 1\n") for release in (OLD, NEW)]
    changed = [put(places, release, "app/app.py", text) for release, text in ((OLD, "y = 1\n"), (NEW, "y = 2\n"))]
    os.utime(shared[0], (1, 1))
    for path in (shared[0], changed[0]):
        py_compile.compile(path)
    bytecode.mark(places.release(OLD))

    tasks.inherit(places.release(NEW), places)
    assert os.path.samefile(*shared)
    assert os.path.samefile(*map(importlib.util.cache_from_source, shared))
    # Of the same length, and perhaps of the same second: only the content tells.
    assert not os.path.exists(importlib.util.cache_from_source(changed[1]))
    assert not os.path.samefile(*changed)

    put(places, NEW, "agent/bytecode.py", (AGENT / "bytecode.py").read_text())
    before = os.stat(importlib.util.cache_from_source(shared[1])).st_mtime_ns
    bytecode.rest(places.release(NEW))
    assert os.stat(importlib.util.cache_from_source(shared[1])).st_mtime_ns == before
    assert os.path.exists(importlib.util.cache_from_source(changed[1]))


def test_a_release_that_is_compiled_in_part_hands_on_that_part(places):
    done, left = (
        [put(places, release, name, "x = 1\n") for release in (OLD, NEW)] for name in ("app/a.py", "app/b.py")
    )
    py_compile.compile(done[0])
    assert not bytecode.complete(places.release(OLD))

    for _ in range(2):  # An agent that follows may do it again.
        tasks.inherit(places.release(NEW), places)
        assert os.path.samefile(*done) and os.path.samefile(*map(importlib.util.cache_from_source, done))
        assert not os.path.samefile(*left) and not os.path.exists(importlib.util.cache_from_source(left[1]))
        assert sorted(os.listdir(os.path.dirname(done[1]))) == ["__pycache__", "a.py", "b.py"]
    assert not bytecode.complete(places.release(NEW)), "a part of it is not compiled"


def test_it_outlives_the_one_before(places):
    paths = [put(places, release, "site/a.py", "x = 1\n") for release in (OLD, NEW)]
    py_compile.compile(paths[0])
    bytecode.mark(places.release(OLD))
    tasks.inherit(places.release(NEW), places)
    bytecode.mark(places.release(NEW))
    os.rename(places.release(OLD), places.release(OLD) + ".old")
    tasks.sweep(places)
    with open(paths[1]) as file:
        assert file.read() == "x = 1\n"
    assert tasks.on_disk(places) == {NEW}


def test_what_the_power_interrupted_does_not_stay(places):
    put(places, OLD, "app/a.py", "x = 1\n")
    put(places, NEW, "app/a.py", "x = 1\n")
    os.rename(places.release(NEW), places.release(NEW) + ".old")
    put(places, NEW, "app/a.py", "x = 1\n")
    os.rename(places.release(NEW), places.release(NEW) + ".new")
    with open(places.release(NEW) + ".tar.gz", "w"):
        pass
    tasks.disown(places)
    tasks.sweep(places)
    assert os.listdir(places.releases) == [OLD]


def test_what_cannot_be_renamed_is_named_and_the_rest_is_cleared_up(places, monkeypatch):
    for number in range(5):
        with open(f"{places.releases}/{number}.tar.gz", "w"):
            pass
    rename = os.rename

    def refuse(path, name):
        if path.endswith("/2.tar.gz"):
            raise PermissionError(1, "Operation not permitted")
        rename(path, name)

    monkeypatch.setattr(os, "rename", refuse)
    assert {name: str(why) for name, why in tasks.disown(places).items()} == {
        "2.tar.gz": "[Errno 1] Operation not permitted"
    }
    tasks.sweep(places)
    assert os.listdir(places.releases) == ["2.tar.gz"]


def test_a_disk_with_next_to_nothing_left_is_full(places, monkeypatch):
    assert not places.are_full()
    disk = types.SimpleNamespace(f_blocks=1000, f_bavail=255, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert places.are_full()
    disk.f_bavail = 256
    assert not places.are_full()
    disk.f_blocks = disk.f_bavail = 0  # One without bounds.
    assert not places.are_full()
