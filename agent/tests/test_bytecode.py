"""When each file is compiled."""

import fcntl
import importlib.util
import os

import pytest
from machine import AGENT

import bytecode


@pytest.fixture
def release(tmp_path):
    put(str(tmp_path), "agent/bytecode.py", (AGENT / "bytecode.py").read_text())
    return str(tmp_path)


def wait(release):
    """Waits like a worker before it imports the app."""
    with open(release + bytecode.LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def put(release, name, text):
    path = os.path.join(release, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def test_the_imports_of_the_first_generation_are_compiled_first(release):
    put(release, "first.txt", "site/flask/__init__.py\napp/app.py\nsite/flask/broken.py\n")
    for name in ("site/flask/__init__.py", "site/flask/testing.py", "app/app.py"):
        put(release, name, "x = 1\n")
    put(release, "site/flask/broken.py", "x =\n")

    bytecode.begin(release)
    wait(release)
    assert not bytecode.under_way(release)
    assert compiled(release) == {"flask/__init__", "app"}
    assert not bytecode.complete(release)
    bytecode.rest(release)
    assert compiled(release) == {"flask/__init__", "flask/testing", "app", "bytecode"}
    assert bytecode.complete(release)


def test_a_compiler_that_died_blocks_nothing(release):
    put(release, "first.txt", "app/app.py\n")
    put(release, "app/app.py", "x = 1\n")
    with open(release + bytecode.LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert bytecode.under_way(release)
        bytecode.begin(release)  # It is under way: no second one starts.
        assert compiled(release) == set()
    assert not bytecode.under_way(release)


def test_unwritable_byte_code_does_not_count_as_complete(release):
    put(release, "app/app.py", "x = 1\n")
    put(release, "app/__pycache__", "in the way")
    bytecode.rest(release)
    assert not bytecode.complete(release)


def compiled(folder):
    """The names of the modules that have byte-code."""
    found = {
        path[len(folder) + 1 :].partition("/")[2]
        for path in bytecode.files(folder)
        if os.path.exists(importlib.util.cache_from_source(path))
    }
    return {path[: -len(".py")] for path in found}
