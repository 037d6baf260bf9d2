"""A sandbox for these tests alone, spoken to with boto3: a client that is independent of ours.

`DEVOPSCTL` names the binary. The sandbox ends with this process, however that ends.
"""

import contextlib
import json
import os
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

SLOW = 60


class Sandbox:
    """A running sandbox."""

    def __init__(self, state):
        self.state = Path(state)
        self.environment = {
            **os.environ,
            "XDG_STATE_HOME": state,
            "DEVOPSCTL_SANDBOX_OWNER": str(os.getpid()),
        }
        # What these tests ask for says nothing on what the command line needs.
        self.environment.pop("DEVOPSCTL_AUTHORITY_LOG", None)
        self.run("start")
        self.folder = self.state / "devopsctl" / "sandbox"
        self.handle = json.loads((self.folder / "sandbox.json").read_text())
        self.endpoint = self.handle["endpoint"]

    def run(self, verb):
        command = [os.environ.get("DEVOPSCTL", "devopsctl"), "sandbox", verb]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def client(self, service, region="eu-west-1", keys=None):
        """A client of the administrator's, or of whose keys they are."""
        keys = keys or self.handle["administrator"]
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id=keys["access_key"],
            aws_secret_access_key=keys["secret_key"],
            aws_session_token=keys.get("token"),
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def control(self, call):
        """Asks the front's control paths."""
        url = f"{self.endpoint}/_devopsctl/{call}"
        request = urllib.request.Request(url, headers={"x-devopsctl-sandbox": self.handle["control"]})
        with urllib.request.urlopen(request, timeout=SLOW) as response:
            return response.read().decode()

    @contextlib.contextmanager
    def delays(self, **seconds):
        """Has AWS take so long meanwhile: long enough to be seen also on a busy machine."""
        before = json.loads(self.control("emulator/delays"))
        self.control("emulator/delays?" + urllib.parse.urlencode(seconds))
        try:
            yield
        finally:
            self.control("emulator/delays?" + urllib.parse.urlencode(before))

    def machine(self, instance):
        return self.folder / "machines" / instance


@pytest.fixture(scope="session")
def sandbox():
    # Short, because a Unix socket's path may not be long.
    with tempfile.TemporaryDirectory(prefix="dsb") as state:
        sandbox = Sandbox(state)
        try:
            yield sandbox
        finally:
            sandbox.run("stop")
            # Shown with a failure only.
            for log in sorted(sandbox.folder.glob("*.log")):
                print(log.name, log.read_text()[-5000:], sep="\n")


@pytest.fixture
def ec2(sandbox):
    return sandbox.client("ec2")


@pytest.fixture
def iam(sandbox):
    return sandbox.client("iam")


@pytest.fixture
def ssm(sandbox):
    return sandbox.client("ssm")


@pytest.fixture
def s3(sandbox):
    return sandbox.client("s3")


@pytest.fixture
def route53(sandbox):
    return sandbox.client("route53")


def until(question, within=SLOW):
    """Waits until the answer is true, and returns it."""
    deadline = time.monotonic() + within
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def refused(call, **arguments):
    """The code and the message with which AWS refuses a call."""
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    error = refusal.value.response["Error"]
    return error["Code"], error["Message"]


def granted(call, **arguments):
    """What AWS answers, or None where it refuses: for what is true after a while."""
    try:
        return call(**arguments)
    except ClientError:
        return None


def associated(ec2, instance, profile):
    """The association of an instance with a profile, or None as long as EC2 does not know the profile."""
    try:
        return ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile={"Name": profile})
    except ClientError as error:
        assert "Invalid IAM Instance Profile name" in error.response["Error"]["Message"]
        return None
