"""A machine with a release and a token, and its processes."""

import pathlib

from machine import release

TOKEN = "first-token"


def healthy(name, version):
    def is_so(report):
        return report["phase"] == "healthy" and report["release"] == name and report["token"] == version

    return is_so


def bring_up(aws, machine, archive=None, token=TOKEN):
    """Boots a machine with a token until it is healthy -> the release and the token's version."""
    name = aws.put_release(archive or release())
    aws.tags["devopsctl:release"] = name
    version = aws.put_token(token)
    machine.boot()
    aws.wait_report(healthy(name, version), 60)
    return name, version


def state(machine):
    """A shared machine's fake AWS, release, token version and token."""
    version, token = machine.aws.token()
    return machine.aws, machine.aws.tags["devopsctl:release"], version, token


def children(pid):
    return [int(each) for each in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
