"""Makes sure that a program of a release cannot get the instance's credentials, before it loads any file of the release.

`IPAddressDeny=` in the unit denies them, but silently has no effect on a kernel without BPF. So this tries to reach them, as the
app's user in the app's unit. In the sandbox it restricts where the program may write, as the unit does on EC2.
"""

import os
import socket

METADATA = (socket.AF_INET, "169.254.169.254"), (socket.AF_INET6, "fd00:ec2::254")
SECONDS = 0.5  # The service answers within milliseconds.
# The sandbox's process machines have no metadata service at that address, but their host may have one.
IN_SANDBOX = os.environ.get("DEVOPSCTL_RUNNER") == "process"
if IN_SANDBOX:
    import landlock


def reachable(family, address, port=80):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as way:
            way.connect((address, port))
            way.send(b"")  # A filter refuses this at once; it lets connections wait.
        socket.create_connection((address, port), SECONDS).close()
    except OSError:
        return False
    return True


def confine():
    """Why the program must not start; None if it may."""
    if IN_SANDBOX:
        # The folders that the unit lets an app write to on EC2: temporary files, its state, devices, the verdict.
        own = [os.environ.get(name, "/tmp") for name in ("TMPDIR", "HOME", "STATE_DIRECTORY")]
        own += [os.environ["DATA_DIR"]] if "DATA_DIR" in os.environ else []
        folders = [*own, "/tmp", "/var/tmp", "/dev", os.path.dirname(os.environ["DEVOPSCTL_VERDICT"])]
        # A test's machine may be inside /tmp.
        release = os.path.realpath(os.environ["DEVOPSCTL_RELEASE"])
        landlock.write_only_in([each for each in folders if not release.startswith(os.path.realpath(each) + "/")])
        return None
    for family, address in METADATA:
        if reachable(family, address):
            return (
                f"it could reach the instance's credentials at {address}, because this kernel does not support "
                "systemd's IPAddressDeny= (BPF)"
            )
    return None
