"""What runs as a generation: sees to it that an app can't have the instance's credentials, and becomes gunicorn.

`IPAddressDeny=` in the unit is to keep it from them, but does nothing, silently, on a kernel without BPF. So what the app
could do is tried, as its user, in its own unit, before anything of it or of its dependencies is read.
"""

import gc
import json
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
METADATA = (socket.AF_INET, "169.254.169.254"), (socket.AF_INET6, "fd00:ec2::254")
SECONDS = 0.5  # Enough for a service that answers within milliseconds.


def reachable(family, address, port=80):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as way:
            way.connect((address, port))
            way.send(b"")  # A filter refuses it at once; connections it lets wait.
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
    # Not before: a dependency could bring a `sitecustomize`.
    sys.path[0] = os.environ["PYTHONPATH"] = os.path.join(os.environ["DEVOPSCTL_RELEASE"], "site")
    gc.disable()  # Of what is imported from here on, nothing is garbage; gunicorn.conf.py goes on.
    try:
        from gunicorn.app.wsgiapp import run
    except ModuleNotFoundError as missing:
        if missing.name != "pkg_resources":
            raise
        # gunicorn 20.1 imports it for worker classes named `egg:`, which ours is not; setuptools 82 has it no more.
        sys.modules["pkg_resources"] = type(sys)("pkg_resources")
        from gunicorn.app.wsgiapp import run

        del sys.modules["pkg_resources"]  # For the app, it is missing.
    from gunicorn.errors import HaltServer

    sys.argv = ["gunicorn", "-c", os.path.join(HERE, "gunicorn.conf.py")]
    try:
        sys.exit(run())
    except HaltServer as end:  # Of a worker that could not start, while gunicorn ends anyway.
        sys.exit(end.exit_status)


if __name__ == "__main__":
    # The sandbox's process machines have no metadata service at that address, and what they run on may have one.
    if os.environ.get("DEVOPSCTL_RUNNER") == "process":
        import landlock

        # What its unit lets an app write to on EC2: temporary files, devices, and what it says of itself.
        own = [os.environ.get(name, "/tmp") for name in ("TMPDIR", "HOME")]
        folders = [*own, "/tmp", "/var/tmp", "/dev", os.path.dirname(os.environ["DEVOPSCTL_VERDICT"])]
        # A test's machine may lie in /tmp itself.
        release = os.path.realpath(os.environ["DEVOPSCTL_RELEASE"])
        landlock.write_only_in([each for each in folders if not release.startswith(os.path.realpath(each) + "/")])
    else:
        for family, address in METADATA:
            if reachable(family, address):
                refuse(
                    f"it could reach the instance's credentials at {address}, because this kernel does not support "
                    "systemd's IPAddressDeny= (BPF)"
                )
    if "LISTEN_FDS" not in os.environ:  # gunicorn would take a port of its own, which nobody asks.
        refuse("it was given no socket to listen at, because app.socket could not be opened")
    become_gunicorn()
