"""What is said to be imported first, and what is."""

import json
import os
import subprocess
import sys

from imports import reachable
from machine import site

PROGRAM = """
import json, sys
import gunicorn.app.wsgiapp, gunicorn.workers.gthread, flask
print(json.dumps([module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]))
"""


def lay_out(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def below(folder, paths):
    return {os.path.relpath(path, folder) for path in paths if path.startswith(f"{folder}/") and path.endswith(".py")}


def test_what_flask_and_gunicorn_import_is_known_beforehand(tmp_path):
    lay_out(tmp_path, site(">=23"))
    roots = ["gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "flask"]
    said = below(tmp_path, reachable(roots, [f"{tmp_path}/site"]))
    command = [sys.executable, "-B", "-c", PROGRAM]
    ran = subprocess.run(command, env={"PYTHONPATH": f"{tmp_path}/site"}, capture_output=True, check=True)
    real = below(tmp_path, json.loads(ran.stdout))
    assert len(real) > 100
    # markupsafe imports its slower half where its faster one is missing, within `try`.
    assert real - said <= {"site/markupsafe/_native.py"}
    assert len(said - real) < 10


def test_every_form_of_import(tmp_path):
    text = """import os, one.deep as d , two
from three import (
    four,  # a module
    five as six,
)
from . import seven
from .eight.nine import ten
from unknown import thing
if True:
    import late
"""
    asked = {
        "own/__init__",
        "one/__init__",
        "one/deep",
        "two",
        "three/__init__",
        "three/four",
        "own/seven",
        "own/eight/nine",
    }
    lay_out(tmp_path, {f"{name}.py": "" for name in asked | {"own/eight/ten", "late"}})
    (tmp_path / "own/__init__.py").write_text(text)
    (tmp_path / "three/four.py").write_text("from .. import beyond\nfrom ...far import too\nfrom three import four")
    found = below(tmp_path, reachable(["own", "missing"], [str(tmp_path)]))
    assert found == {f"{name}.py" for name in asked}
