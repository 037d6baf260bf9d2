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
from machine import Machine, until  # noqa: E402

# A busy machine is slow, which must not fail a test.
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
        show(machine)
        machine.destroy()


def show(machine):
    """Prints the end of its logs. pytest shows it only with a failure."""
    for log in ("console", "app"):
        path = machine.root / f"var/log/{log}.log"
        if path.exists():
            print(log, path.read_text()[-4000:], sep="\n")


class Shared:
    """One machine for several tests. Each test should leave an app that serves, with any release and token. Otherwise the next
    test gets a new machine."""

    def __init__(self, begin):
        self.begin, self.machine = begin, None

    def get(self):
        if self.machine and not self.serves():
            self.end()
        if not self.machine:
            self.machine = Machine(FakeAws())
            try:
                self.begin(self.machine.aws, self.machine)
                assert self.serves()
            except BaseException:
                show(self.machine)
                self.end()
                raise
        del self.machine.aws.reports[:-1]
        return self.machine

    def serves(self):
        """Whether it runs and reports only the ordered release with the newest token."""
        machine, aws = self.machine, self.machine.aws

        def as_asked():
            said, wanted = aws.reports[-1][1], ("healthy", None, aws.tags["devopsctl:release"], aws.token()[0])
            runs = [each["role"] for each in machine.running()]
            return (said["phase"], said["error"], said["release"], said["token"]) == wanted and runs == ["serving"]

        try:
            assert machine.program.poll() is None and not aws.faults
            until(as_asked)
            return machine.get(aws.token()[1])[0] == 200
        except (AssertionError, LookupError, OSError):
            return False

    def end(self):
        if self.machine:
            self.machine.destroy()
            self.machine.aws.close()
            self.machine = None


@pytest.fixture(scope="module")
def shared(request):
    """A machine that the test module starts with `begin(aws, machine)`."""
    shared = Shared(request.module.begin)
    yield shared
    shared.end()


@pytest.fixture
def serving(shared):
    """A machine that serves; see `Shared`."""
    machine = shared.get()
    yield machine
    show(machine)
