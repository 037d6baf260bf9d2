"""What a release takes over from one before it."""

import importlib.util
import os
import py_compile

import pytest
import tasks
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
    tasks.write_mark(places.release(OLD) + "/.compiled")

    tasks.inherit(places.release(NEW), places)
    assert os.path.samefile(*shared)
    assert os.path.samefile(*map(importlib.util.cache_from_source, shared))
    # Of the same length, and perhaps of the same second: only the content tells.
    assert not os.path.exists(importlib.util.cache_from_source(changed[1]))
    assert not os.path.samefile(*changed)

    before = os.stat(importlib.util.cache_from_source(shared[1])).st_mtime_ns
    tasks.compile_rest(places.release(NEW))
    assert os.stat(importlib.util.cache_from_source(shared[1])).st_mtime_ns == before
    assert os.path.exists(importlib.util.cache_from_source(changed[1]))


def test_it_outlives_the_one_before(places):
    paths = [put(places, release, "site/a.py", "x = 1\n") for release in (OLD, NEW)]
    py_compile.compile(paths[0])
    tasks.write_mark(places.release(OLD) + "/.compiled")
    tasks.inherit(places.release(NEW), places)
    tasks.write_mark(places.release(NEW) + "/.compiled")
    os.rename(places.release(OLD), places.release(OLD) + ".old")
    tasks.sweep(places)
    with open(paths[1]) as file:
        assert file.read() == "x = 1\n"
    assert tasks.on_disk(places) == {NEW}


def test_what_the_first_generation_imports_is_compiled_before_the_rest(places):
    folder = places.release(NEW)
    put(places, NEW, "manifest.json", '{"wsgi": "app:make()"}')
    for name in (
        "gunicorn/__init__",
        "gunicorn/app/__init__",
        "gunicorn/app/wsgiapp",
        "flask/__init__",
        "flask/testing",
    ):
        put(places, NEW, f"site/{name}.py", "x = 1\n")
    put(places, NEW, "site/flask/broken.py", "x =\n")
    put(places, NEW, "app/app.py", "import flask\n")
    put(places, NEW, "agent/worker.py", "")

    tasks.compile_first(folder)
    assert compiled(folder) == {
        "gunicorn/__init__",
        "gunicorn/app/__init__",
        "gunicorn/app/wsgiapp",
        "flask/__init__",
        "app",
        "worker",
    }
    assert tasks.on_disk(places) == set()
    tasks.compile_rest(folder)
    assert "flask/testing" in compiled(folder)
    assert tasks.on_disk(places) == {NEW}


def test_byte_code_that_can_not_be_written_is_not_taken_for_complete(places):
    put(places, NEW, "manifest.json", "{}")
    put(places, NEW, "app/app.py", "x = 1\n")
    put(places, NEW, "app/__pycache__", "in the way")
    tasks.compile_rest(places.release(NEW))
    assert tasks.on_disk(places) == set()


def compiled(folder):
    """The modules that have byte-code, without the part of the release that they lie in."""
    found = {
        path[len(folder) + 1 :].partition("/")[2]
        for path in tasks.files(folder)
        if os.path.exists(importlib.util.cache_from_source(path))
    }
    return {path[: -len(".py")] for path in found}
