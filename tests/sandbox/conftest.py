"""A sandbox for these tests, called with boto3: a client that is independent of devopsctl.

`DEVOPSCTL` names the binary. The sandbox ends with this process, however that ends.
"""

import contextlib
import itertools
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
NUMBERS = itertools.count()
# The user of the command line, and the tag of its resources.
USER = "arn:aws:iam::123456789012:user/devopsctl"
OURS = [{"Key": "devopsctl:name", "Value": "hello"}]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
}


class Sandbox:
    """A running sandbox."""

    def __init__(self, state):
        self.state = Path(state)
        self.environment = {
            **os.environ,
            "XDG_STATE_HOME": state,
            "DEVOPSCTL_SANDBOX_OWNER": str(os.getpid()),
        }
        # These tests do not show which permissions the command line needs.
        self.environment.pop("DEVOPSCTL_IAM_LOG", None)
        self.run("start")
        self.folder = self.state / "devopsctl" / "sandbox"
        self.handle = json.loads((self.folder / "sandbox.json").read_text())
        self.endpoint = self.handle["endpoint"]

    def run(self, verb):
        command = [os.environ.get("DEVOPSCTL", "devopsctl"), "sandbox", verb]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def client(self, service, region="eu-west-1", keys=None):
        """A client with the given keys, or with the administrator's."""
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
        """Calls a control path of the API."""
        url = f"{self.endpoint}/_devopsctl/{call}"
        request = urllib.request.Request(url, headers={"x-devopsctl-sandbox": self.handle["control"]})
        with urllib.request.urlopen(request, timeout=SLOW) as response:
            return response.read().decode()

    @contextlib.contextmanager
    def delays(self, **seconds):
        """Sets delays of AWS for a block of code: long enough for a busy machine."""
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
    # A short path, because the path of a Unix socket is limited.
    with tempfile.TemporaryDirectory(prefix="dsb") as state:
        sandbox = Sandbox(state)
        try:
            yield sandbox
        finally:
            sandbox.run("stop")
            # pytest shows it with a failure only.
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


@pytest.fixture
def cli(sandbox):
    """Clients of the command line's user."""
    return lambda service, region="eu-west-1": sandbox.client(service, region, sandbox.handle)


def image(sandbox, ec2):
    ssm = sandbox.client("ssm", ec2.meta.region_name)
    name = "/aws/service/debian/release/13/latest/amd64"
    return ssm.get_parameters(Names=[name])["Parameters"][0]["Value"]


@pytest.fixture
def launch(sandbox, ec2):
    """Launches instances without user-data, so nothing boots, and terminates them at the end."""
    launched = []

    def launch(**more):
        wanted = {"ImageId": image(sandbox, ec2), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
        instance = ec2.run_instances(**wanted)["Instances"][0]
        launched.append(instance["InstanceId"])
        return instance

    yield launch
    if launched:
        # EC2 does not find a new instance at once.
        until(lambda: granted(ec2.terminate_instances, InstanceIds=launched))


def state(ec2, instance):
    found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance]}])["Reservations"]
    return found[0]["Instances"][0]["State"]["Name"] if found else None


def runs(ec2, instance):
    return until(lambda: state(ec2, instance) == "running")


@pytest.fixture
def group(ec2):
    group = ec2.create_security_group(GroupName=f"group-{next(NUMBERS)}", Description="x")["GroupId"]
    until(lambda: granted(ec2.describe_security_groups, GroupIds=[group]))
    return group


@pytest.fixture
def profile(iam):
    """An instance profile with its role."""
    name = f"profile-{next(NUMBERS)}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return name


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
    """The code and the message of the error of a call."""
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    error = refusal.value.response["Error"]
    return error["Code"], error["Message"]


def granted(call, **arguments):
    """The response of AWS, or None for an error: for calls that succeed after a delay."""
    try:
        return call(**arguments)
    except ClientError:
        return None


def permission_log(sandbox):
    """The permissions that the command line has used."""
    return [json.loads(line) for line in (sandbox.folder / "iam.log").read_text().splitlines()]


def associated(ec2, instance, profile):
    """The association of an instance with a profile, or None while EC2 does not find the profile."""
    try:
        return ec2.associate_iam_instance_profile(InstanceId=instance, IamInstanceProfile={"Name": profile})
    except ClientError as error:
        assert "Invalid IAM Instance Profile name" in error.response["Error"]["Message"]
        return None
