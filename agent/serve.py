"""Runs one generation: checks that the app cannot get the instance's credentials, and becomes gunicorn.

`IPAddressDeny=` in the unit denies them, but silently has no effect on a kernel without BPF. So this program tries to reach
them, as the app's user in the app's unit, before it loads any file of the app or its dependencies.

Agents of other releases start this file by its path: see `src/release/agent.rs`.
"""

import gc
import json
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
METADATA = (socket.AF_INET, "169.254.169.254"), (socket.AF_INET6, "fd00:ec2::254")
SECONDS = 0.5  # The service answers within milliseconds.


def reachable(family, address, port=80):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as way:
            way.connect((address, port))
            way.send(b"")  # A filter refuses this at once; it lets connections wait.
        socket.create_connection((address, port), SECONDS).close()
    except OSError:
        return False
    return True


def refuse(why):
    reason = f"the app is not started: {why}"
    print(reason, flush=True)
    with open(os.environ["DEVOPSCTL_VERDICT"], "a") as file:
        file.write(json.dumps({"failed": reason}) + "\n")
    sys.exit(3)


def become_gunicorn():
    # Not earlier: a dependency could contain a `sitecustomize`.
    sys.path[0] = os.environ["PYTHONPATH"] = os.path.join(os.environ["DEVOPSCTL_RELEASE"], "site")
    gc.disable()  # Nothing that is imported from here on is garbage; gunicorn.conf.py enables it again.
    try:
        from gunicorn.app.wsgiapp import run
    except ModuleNotFoundError as missing:
        if missing.name != "pkg_resources":
            raise
        # gunicorn 20.1 imports it for worker classes named `egg:`, which ours is not; setuptools 82 removed it.
        sys.modules["pkg_resources"] = type(sys)("pkg_resources")
        from gunicorn.app.wsgiapp import run

        del sys.modules["pkg_resources"]  # The app must not find it.
    from gunicorn.errors import HaltServer

    sys.argv = ["gunicorn", "-c", os.path.join(HERE, "workers/gunicorn.conf.py")]
    try:
        sys.exit(run())
    except HaltServer as end:  # From a worker that could not start, while gunicorn is ending.
        sys.exit(end.exit_status)


if __name__ == "__main__":
    # The sandbox's process machines have no metadata service at that address, but their host may have one.
    if os.environ.get("DEVOPSCTL_RUNNER") == "process":
        sys.path[0] = HERE + "/workers"  # Not as a package: the app may have one of the name `workers`.
        import landlock

        # The folders that the unit lets an app write to on EC2: temporary files, its state, devices, the generation's verdict.
        own = [os.environ.get(name, "/tmp") for name in ("TMPDIR", "HOME", "STATE_DIRECTORY")]
        folders = [*own, "/tmp", "/var/tmp", "/dev", os.path.dirname(os.environ["DEVOPSCTL_VERDICT"])]
        # A test's machine may be inside /tmp.
        release = os.path.realpath(os.environ["DEVOPSCTL_RELEASE"])
        landlock.write_only_in([each for each in folders if not release.startswith(os.path.realpath(each) + "/")])
    else:
        for family, address in METADATA:
            if reachable(family, address):
                refuse(
                    f"it could reach the instance's credentials at {address}, because this kernel does not support "
                    "systemd's IPAddressDeny= (BPF)"
                )
    if "LISTEN_FDS" not in os.environ:  # gunicorn would open a port of its own.
        refuse("it got no listening socket, because app.socket could not be opened")
    become_gunicorn()
