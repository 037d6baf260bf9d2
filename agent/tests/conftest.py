"""The agent's suite. From the top of the repository:

    uv run --no-project --with-requirements tests/requirements.txt --with-requirements app/requirements.txt \
        python -m pytest agent/tests
"""

import os
import pathlib
import sys

import pytest

AGENT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(AGENT), str(AGENT / "tests")]
os.environ.pop("AWS_ENDPOINT_URL", None)

from fake_aws import FakeAws  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402  # noqa: E402
from machine import Machine  # noqa: E402

# A busy machine is slow, which says nothing about what is tested.
settings.register_profile("agent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("agent")


@pytest.fixture
def aws():
    aws = FakeAws()
    yield aws
    aws.close()


@pytest.fixture
def machine(aws):
    machine = Machine(aws)
    try:
        yield machine
    finally:
        # Shown with a failure only.
        for log in ("console", "app"):
            path = machine.root / f"var/log/{log}.log"
            if path.exists():
                print(log, path.read_text()[-4000:], sep="\n")
        machine.destroy()
