"""The agent's calls: each has a deadline and valid credentials, and works with a wrong clock."""

import json
import os
import socket
import socketserver
import threading
import types

import pytest
from fake_aws import KEYS

import bytecode
from boot import aws as ours
from orders import tasks


class Clock:
    """Like `time`, with a simulated monotonic clock and a wrong calendar."""

    def __init__(self):
        import time

        self.real, self.now, self.off = time, 0.0, 0.0
        self.gmtime, self.strftime, self.strptime = time.gmtime, time.strftime, time.strptime

    def monotonic(self):
        return self.now

    def time(self):
        return self.real.time() + self.off

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(ours, "time", clock)
    monkeypatch.setenv("DEVOPSCTL_BOOTED", "0")
    return clock


@pytest.fixture
def machine_aws(aws, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    return ours.Aws(ours.Metadata())


def asked_for_keys(aws):
    return aws.calls.count(("imds", "meta-data/iam/security-credentials/the-role"))


@pytest.mark.parametrize("off", [0, -10 * 365 * 86400, 10 * 365 * 86400], ids=["right", "slow", "fast"])
@pytest.mark.parametrize("lasting", [21600, 299, -5], ids=["long", "nearly over", "over"])
def test_credentials_are_read_once_a_minute_whatever_the_clock_says(aws, machine_aws, clock, off, lasting):
    clock.off, aws.lasting = off, lasting
    for _ in range(120):
        assert machine_aws.credentials()["AccessKeyId"] == KEYS["AccessKeyId"]
        clock.now += 1
    assert asked_for_keys(aws) == 2


def test_new_credentials_are_used_before_the_old_ones_expire(aws, machine_aws, clock):
    aws.put_token("a-token")
    assert tasks.read_token(machine_aws, aws.name).version == 1
    aws.keys["AccessKeyId"] = "ASIANEW"
    clock.now += 61
    assert tasks.read_token(machine_aws, aws.name).version == 1
    assert machine_aws.held["AccessKeyId"] == "ASIANEW"


def test_held_credentials_are_used_while_the_metadata_service_is_down(aws, machine_aws, clock):
    aws.put_token("a-token")
    tasks.read_token(machine_aws, aws.name)
    aws.faults["imds"] = 500, ""
    clock.now += 61
    assert tasks.read_token(machine_aws, aws.name).version == 1


@pytest.mark.parametrize("off", [-7200, 7200])
def test_a_wrong_clock_is_reported_once_and_then_corrected_for(aws, machine_aws, clock, off, tmp_path):
    clock.off = off
    aws.put_token("a-token")
    aws.objects["shop/x"] = b"x"
    with pytest.raises(ours.AwsError, match=f"clock is 120 minutes {'slow' if off < 0 else 'fast'}"):
        tasks.read_token(machine_aws, aws.name)
    assert tasks.read_token(machine_aws, aws.name).version == 1
    with open(tmp_path / "x", "wb") as file:
        machine_aws.download("shop/x", file)
    # The clock is corrected: the compensation would now be wrong.
    clock.off = 0
    with pytest.raises(ours.AwsError, match="InvalidSignatureException"):
        tasks.read_token(machine_aws, aws.name)
    assert tasks.read_token(machine_aws, aws.name).version == 1


class Trickle(socketserver.BaseRequestHandler):
    """Answers forever, byte by byte, each in time."""

    start = b""

    def handle(self):
        self.request.recv(4096)
        try:
            self.request.sendall(self.start)
            while not self.server.over.wait(0.02):
                self.request.sendall(b"x")
        except OSError:
            pass


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\n\r\n", b""], ids=["header", "body", "status"]
)
def test_a_slow_peer_times_out(start):
    handler = type("Handler", (Trickle,), {"start": start})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.over = True, threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            with pytest.raises(ours.AwsError) as caught:
                ours.send("GET", f"http://127.0.0.1:{server.server_address[1]}/", {}, seconds=0.3)
            assert caught.value.code == "Network" and caught.value.may_pass()
        finally:
            server.over.set()
            server.shutdown()


@pytest.mark.parametrize(
    ("code", "status", "passes"),
    [
        ("AccessDenied", 403, True),  # S3
        ("AccessDeniedException", 400, True),  # SSM
        ("ParameterNotFound", 400, False),
        ("NoSuchKey", 404, True),
        ("ThrottlingException", 400, True),
        ("InternalError", 500, True),
    ],
)
def test_a_denial_is_temporary_while_the_role_is_new(monkeypatch, code, status, passes):
    monkeypatch.setattr(ours, "since_boot", lambda: 10)
    assert ours.AwsError(code, "", status).may_pass() == passes
    monkeypatch.setattr(ours, "since_boot", lambda: 301)
    assert ours.AwsError(code, "", status).may_pass() == (status >= 500 or "Throttling" in code)


def test_a_silent_peer_times_out():
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ours.AwsError) as caught:
        ours.send("GET", f"http://127.0.0.1:{server.getsockname()[1]}/", {}, seconds=0.3)
    assert caught.value.code == "Network"


def test_a_metadata_service_without_a_session_is_an_error(monkeypatch):
    monkeypatch.setattr(ours, "send", lambda *args, **kwargs: (503, {}, b"<html>\nBusy\n</html>"))
    with pytest.raises(ours.AwsError, match="answers 503"):
        ours.Metadata().get("meta-data/instance-id")


def test_the_backoff_doubles_with_jitter_up_to_a_limit():
    for attempt in range(40):
        waits = {ours.backoff(attempt, 0.5, 30) for _ in range(20)}
        most = min(30, 0.5 * 2**attempt)
        assert len(waits) > 1 and all(most / 2 <= wait <= most for wait in waits)


def prepared(machine_aws, aws, clock, release, tmp_path, wanted=lambda: True):
    paths = types.SimpleNamespace(releases=str(tmp_path))
    tasks.prepare(machine_aws, aws.name, release, paths, wanted, clock)
    return tmp_path / release


@pytest.fixture
def quick(monkeypatch, clock):
    monkeypatch.setenv("DEVOPSCTL_ROOT", "/nowhere")
    monkeypatch.setattr(bytecode, "complete", lambda folder: True)
    return clock


def test_an_upload_is_signed_and_encrypted_at_rest(aws, machine_aws):
    machine_aws.upload("shop/certificates.json", b'{"a": "b"}', "application/json")
    assert aws.objects["shop/certificates.json"] == b'{"a": "b"}'


def test_an_interrupted_download_is_retried(aws, machine_aws, quick, tmp_path):
    from machine import pack

    content = os.urandom(200_000)
    release = aws.put_release(pack({"app/app.py": content}))
    archive = aws.objects[f"shop/releases/{release}.tar.gz"]
    breaks = [0, 1000, 150_000]

    def half(handler):
        if not breaks:
            return handler.answer(200, archive)
        handler.send_response_only(200)
        handler.send_header("Content-Length", str(len(archive)))
        handler.end_headers()
        handler.wfile.write(archive[: breaks.pop()])
        handler.close_connection = True
        return None

    aws.faults["s3"] = half
    folder = prepared(machine_aws, aws, quick, release, tmp_path)
    assert (folder / "app/app.py").read_bytes() == content
    assert os.listdir(tmp_path) == [release]
    assert [service for service, _ in aws.calls].count("s3") == 4
    assert quick.now >= 0.5 * (1 + 2 + 4) / 2, "each wait is longer than the one before"


def test_a_failing_download_ends_with_a_reason_and_leaves_nothing(aws, machine_aws, quick, tmp_path):
    aws.faults["s3"] = 503, "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
    with pytest.raises(ours.AwsError, match="SlowDown: Reduce your request rate"):
        prepared(machine_aws, aws, quick, "0" * 64, tmp_path)
    assert [service for service, _ in aws.calls].count("s3") == 6
    assert not os.listdir(tmp_path)


def test_a_download_that_is_no_longer_wanted_is_not_retried(aws, machine_aws, quick, tmp_path):
    aws.faults["s3"] = 503, ""
    with pytest.raises(ours.AwsError):
        prepared(machine_aws, aws, quick, "0" * 64, tmp_path, lambda: False)
    assert [service for service, _ in aws.calls].count("s3") == 1


def test_a_foreign_parameter_is_named_and_not_shown(aws, machine_aws):
    aws.put_parameter(f"/devopsctl/{aws.name}/token", json.dumps({"current": ["the-secret"]}))
    with pytest.raises(ours.AwsError, match="does not have the form that devopsctl writes") as caught:
        tasks.read_token(machine_aws, aws.name)
    assert "the-secret" not in str(caught.value)
