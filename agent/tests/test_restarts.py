"""Boots while parts are missing, reboots, and restarts of killed processes."""

import os
import signal
import time

import pytest
from machine import release, until
from running_machine import TOKEN, alive, bring_up, children, healthy, state

begin = bring_up


def test_a_boot_waits_for_what_is_missing(aws, machine):
    """The role appears late, and S3 and SSM refuse at first, as on a new account."""
    aws.role = False
    aws.faults["s3"] = 403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    aws.faults["GetParameter"] = 400, '{"__type":"AccessDeniedException","message":"no"}'
    name = aws.put_release(release())
    aws.tags["devopsctl:release"] = name
    aws.put_token(TOKEN)
    machine.boot()
    until(lambda: ("imds", "meta-data/iam/security-credentials/") in aws.calls)
    aws.role = True
    until(lambda: any(service == "s3" for service, _ in aws.calls))
    aws.faults.clear()
    aws.wait_report(healthy(name, 1), 60)


@pytest.mark.parametrize("absent", [(404, "NoSuchKey"), (403, "AccessDenied")], ids=["404", "403"])
def test_a_missing_first_release_is_no_failure(aws, machine, absent):
    """As if `up` uploads it for more than five minutes."""
    status, code = absent
    aws.faults["s3"] = status, f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    name = aws.put_release(release())
    aws.tags["devopsctl:release"] = name
    aws.put_token(TOKEN)
    machine.boot(DEVOPSCTL_BOOTED=str(time.monotonic() - 1000))
    report = aws.wait_report(lambda each: each["error"])
    assert report["phase"] == "fetching" and code in report["error"]
    aws.faults.clear()
    aws.wait_report(healthy(name, 1), 60)


@pytest.mark.parametrize("which", ["master", "worker"])
def test_a_killed_process_is_restarted(serving, which):
    master = serving.pid()
    victim = master if which == "master" else children(master)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: not alive(victim))
    until(lambda: master_lives(serving) and serves(serving), 60)


def master_lives(machine):
    """Workers of a killed master live for a moment, and would answer."""
    return any(each["role"] == "serving" and alive(each["pid"]) for each in machine.running())


def serves(machine):
    try:
        return machine.get(machine.aws.token()[1])[0] == 200
    except OSError:
        return False


def test_after_a_reboot_the_same_release_runs_without_a_download(serving):
    machine, (aws, name, version, token) = serving, state(serving)
    assert machine.stop() == 0
    aws.reports.clear()
    aws.faults["s3"] = 503, "<Error><Code>SlowDown</Code></Error>"
    machine.boot()
    aws.wait_report(healthy(name, version), 60)
    assert machine.get(token)[0] == 200
    aws.faults.clear()
