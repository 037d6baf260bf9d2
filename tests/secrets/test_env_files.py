"""`secrets import` reads what python-dotenv reads, which most Python apps use: both read the cases of `env_files.json`."""

import io
import json
import pathlib

import dotenv
import pytest

CASES = json.loads(pathlib.Path(__file__).with_name("env_files.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", [case for case in CASES if "values" in case], ids=lambda case: repr(case["text"]))
def test_python_dotenv_reads_the_same(case):
    # A file is opened with universal newlines.
    file = io.StringIO(case["text"], newline=None)
    assert dotenv.dotenv_values(stream=file, interpolate=False) == case["values"]
