"""A machine boots from its user-data, its security groups limit access, and it leaves nothing behind."""

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from conftest import associated, granted, until

# Serves its environment, its metadata and its credentials. It also starts a daemon that outlives it.
USER_DATA = b"""#!/usr/bin/env python3
# \xc3\xa4\xc3\xb6 stays as it is
import http.server, json, os, pathlib, socketserver, subprocess, sys, urllib.error, urllib.request

root = pathlib.Path(os.environ["DEVOPSCTL_ROOT"])
imds = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 60; done"], start_new_session=True)


def ask(path, method="GET", **headers):
    request = urllib.request.Request(imds + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        if self.path == "/environment":
            body = json.dumps(dict(os.environ)).encode()
        elif self.path == "/bytes":
            body = (root / "var/lib/user-data").read_bytes()
        else:
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            token = ask("/latest/api/token", "PUT", **headers)[1]
            naked = ask(self.path)[0]
            status, text = ask(self.path, **{"X-aws-ec2-metadata-token": token})
            body = json.dumps([naked, status, text]).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "local"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server(str(root / "net/80.sock"), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def machine(sandbox):
    ec2, iam, ssm = sandbox.client("ec2"), sandbox.client("iam"), sandbox.client("ssm")
    image = ssm.get_parameters(Names=["/aws/service/devopsctl/process/latest/x86_64"])["Parameters"][0]["Value"]
    group = ec2.create_security_group(GroupName="machine", Description="machine")["GroupId"]
    # The next call does not find a new resource.
    ec2.get_waiter("security_group_exists").wait(GroupIds=[group], WaiterConfig={"Delay": 1})
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
    }
    iam.create_role(RoleName="machine", AssumeRolePolicyDocument=json.dumps(trust))
    iam.create_instance_profile(InstanceProfileName="machine")
    iam.add_role_to_instance_profile(InstanceProfileName="machine", RoleName="machine")
    launched = ec2.run_instances(
        ImageId=image,
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        UserData=USER_DATA,
        NetworkInterfaces=[{"DeviceIndex": 0, "AssociatePublicIpAddress": True, "Groups": [group]}],
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "colour", "Value": "red"}]}],
    )
    instance = launched["Instances"][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    address = describe(ec2, instance)["PublicIpAddress"]
    yield {"id": instance, "group": group, "address": address}
    ec2.terminate_instances(InstanceIds=[instance])


def describe(ec2, instance):
    return ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]


def fetch(sandbox, address, path):
    """The machine's response, or None if there is none."""
    local = sandbox.control(f"url/{address}/80")
    try:
        with urllib.request.urlopen(f"http://{local}{path}", timeout=60) as response:
            return response.read()
    except (urllib.error.URLError, ConnectionError):
        return None


def metadata_answer(service, path, headers):
    """The response of the metadata service to a request for a session token."""
    connection = http.client.HTTPConnection(service.netloc, timeout=60)
    try:
        connection.request("PUT", f"{path}/latest/api/token", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def processes_of(folder):
    """The processes that have the machine's folder in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if f"DEVOPSCTL_ROOT={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            pass
    return found


def metadata(sandbox, machine, path):
    """The status without a session token; then, with one, the status and the value."""
    return json.loads(fetch(sandbox, machine["address"], path))


def security_groups_limit_access(sandbox, machine, ec2):
    address = machine["address"]
    for port, source in ((443, "0.0.0.0/0"), (80, "203.0.113.0/24"), (80, "0.0.0.0/0")):
        assert fetch(sandbox, address, "/bytes") is None
        ec2.authorize_security_group_ingress(
            GroupId=machine["group"], IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp=source
        )
    until(lambda: fetch(sandbox, address, "/bytes"))


def the_environment_has_only_the_machines_own(environment, folder):
    assert environment["PATH"].split(":")[0] == f"{folder}/bin"
    assert set(environment) <= {
        "PATH", "LANG", "HOME", "TMPDIR", "DEVOPSCTL_ROOT", "DEVOPSCTL_RUNNER",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL",
        "LC_CTYPE", "PWD", "SHLVL", "_",
    }  # fmt: skip


def the_metadata_service_refuses_browsers(environment):
    """And clients that do not know its path."""
    metadata_service = urlsplit(environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"])
    assert len(metadata_service.path) > 40
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    assert metadata_answer(metadata_service, metadata_service.path, ttl)[0] == 200
    for path, headers in (
        ("", ttl),
        ("/" + "0" * 48, ttl),
        ("/" + metadata_service.path, ttl),
        (metadata_service.path, {**ttl, "Host": "evil.example"}),
        (metadata_service.path, {**ttl, "Host": f"localhost:{metadata_service.port}"}),
        (metadata_service.path, {**ttl, "Origin": "http://evil.example"}),
        (metadata_service.path, {**ttl, "Sec-Fetch-Site": "cross-site"}),
    ):
        assert metadata_answer(metadata_service, path, headers) == (403, b"")


def metadata_follows_the_tags(sandbox, machine, ec2):
    def read(path):
        return metadata(sandbox, machine, path)

    assert read("/latest/meta-data/instance-id") == [401, 200, machine["id"]]
    assert read("/latest/meta-data/public-ipv4") == [401, 200, machine["address"]]
    assert read("/latest/meta-data/tags/instance/") == [401, 200, "colour"]
    assert read("/latest/meta-data/tags/instance/colour") == [401, 200, "red"]
    assert read("/latest/meta-data/tags/instance/none")[1] == 404
    ec2.create_tags(Resources=[machine["id"]], Tags=[{"Key": "colour", "Value": "blue"}])
    until(lambda: read("/latest/meta-data/tags/instance/colour")[2] == "blue")
    document = json.loads(read("/latest/dynamic/instance-identity/document")[2])
    assert (document["instanceId"], document["region"]) == (machine["id"], "eu-west-1")


def credentials_come_with_the_association(sandbox, machine, ec2):
    def read(path):
        return metadata(sandbox, machine, path)

    credentials = "/latest/meta-data/iam/security-credentials/"
    assert read(credentials)[1] == 404
    until(lambda: associated(ec2, machine["id"], "machine"))
    assert read(credentials)[2] == "machine"
    keys = json.loads(read(credentials + "machine")[2])
    caller = boto3.client(
        "sts",
        region_name="eu-west-1",
        endpoint_url=sandbox.endpoint,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    ).get_caller_identity()
    assert caller["Arn"].endswith(f":assumed-role/machine/{machine['id']}")
    assert json.loads(read(credentials + "machine")[2]) == keys


def an_elastic_ip_leads_to_the_machine(sandbox, machine, ec2):
    elastic = ec2.allocate_address(Domain="vpc")
    assert fetch(sandbox, elastic["PublicIp"], "/bytes") is None
    ec2.associate_address(AllocationId=elastic["AllocationId"], InstanceId=machine["id"])
    assert fetch(sandbox, elastic["PublicIp"], "/bytes") == USER_DATA
    association = ec2.describe_addresses(AllocationIds=[elastic["AllocationId"]])["Addresses"][0]["AssociationId"]
    ec2.disassociate_address(AssociationId=association)
    ec2.release_address(AllocationId=elastic["AllocationId"])


def phase(ec2, volume):
    """The state of the volume, or of its attachment."""
    found = ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]
    return found["Attachments"][0]["State"] if found["Attachments"] else found["State"]


def a_volume_is_seen_while_it_is_attached(sandbox, machine, ec2):
    folder, zone = sandbox.machine(machine["id"]), describe(ec2, machine["id"])["Placement"]["AvailabilityZone"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=1, VolumeType="gp3")["VolumeId"]
    until(lambda: granted(ec2.describe_volumes, VolumeIds=[volume]) and phase(ec2, volume) == "available")
    device, size = folder / "dev" / volume, folder / "dev" / f"{volume}.size"
    attach = {"VolumeId": volume, "InstanceId": machine["id"], "Device": "/dev/sdf"}
    ec2.attach_volume(**attach)
    until(device.is_dir)
    assert size.read_text() == "1"
    (device / "row").write_text("first")
    ec2.modify_volume(VolumeId=volume, Size=2)
    until(lambda: size.read_text() == "2")

    # The machine has mounted it: it stays, and is busy.
    mounts = folder / "run/devopsctl/volumes"
    mounts.mkdir(parents=True)
    (mounts / volume).symlink_to(device)
    ec2.detach_volume(VolumeId=volume)
    until(lambda: phase(ec2, volume) == "busy")
    assert (mounts / volume / "row").read_text() == "first"
    (mounts / volume).unlink()
    until(lambda: phase(ec2, volume) == "available")
    assert not device.exists()

    # It is the same volume at the next attachment. With force, it is gone although it is mounted.
    ec2.attach_volume(**attach)
    until(device.is_dir)
    assert (device / "row").read_text() == "first"
    (mounts / volume).symlink_to(device)
    ec2.detach_volume(VolumeId=volume, Force=True)
    until(lambda: phase(ec2, volume) == "available" and not device.exists())

    # A stopped machine gives it back, and a running one sees it again.
    ec2.attach_volume(**attach)
    until(device.is_dir)
    yield
    until(device.is_dir)
    assert (device / "row").read_text() == "first"
    store = sandbox.folder / "volumes" / volume
    assert store.exists()
    ec2.terminate_instances(InstanceIds=[machine["id"]])
    until(lambda: phase(ec2, volume) == "available")
    ec2.delete_volume(VolumeId=volume)
    until(lambda: not store.exists())


def a_reboot_and_a_stop_keep_the_disk(sandbox, machine, ec2):
    folder = sandbox.machine(machine["id"])
    # A reboot clears tmpfs and runs the program again.
    before = set(processes_of(folder))
    assert len(before) >= 2
    ec2.reboot_instances(InstanceIds=[machine["id"]])
    until(lambda: processes_of(folder) and not before & set(processes_of(folder)))
    address = describe(ec2, machine["id"])["PublicIpAddress"]
    until(lambda: fetch(sandbox, address, "/bytes"))

    # A stop ends the program and keeps the disk.
    ec2.stop_instances(InstanceIds=[machine["id"]])
    until(lambda: not processes_of(folder))
    assert folder.exists()
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[machine["id"]], WaiterConfig={"Delay": 1})
    ec2.start_instances(InstanceIds=[machine["id"]])
    until(lambda: processes_of(folder))


def test_the_life_of_a_machine(sandbox, machine, ec2):
    folder = sandbox.machine(machine["id"])
    until(lambda: (folder / "net/80.sock").exists())
    security_groups_limit_access(sandbox, machine, ec2)
    assert fetch(sandbox, machine["address"], "/bytes") == USER_DATA, "it is what was passed"
    environment = json.loads(fetch(sandbox, machine["address"], "/environment"))
    the_environment_has_only_the_machines_own(environment, folder)
    the_metadata_service_refuses_browsers(environment)
    metadata_follows_the_tags(sandbox, machine, ec2)
    credentials_come_with_the_association(sandbox, machine, ec2)
    an_elastic_ip_leads_to_the_machine(sandbox, machine, ec2)
    volume = a_volume_is_seen_while_it_is_attached(sandbox, machine, ec2)
    next(volume)
    a_reboot_and_a_stop_keep_the_disk(sandbox, machine, ec2)
    assert list(volume) == []
    # Nothing is left of a terminated machine, not even a process that ignores SIGTERM.
    until(lambda: not folder.exists())
    assert not processes_of(folder)
