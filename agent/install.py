"""What cloud-init runs, once: hands the machine to systemd, which runs this file again, at this boot and at every later one.

It stands at the top of the user-data and ends before anything else in it is read: what follows is for the unit, and
importing it twice would take a second where machines are slow.
"""

import os
import socket
import sys

UNIT = """[Unit]
Description=devopsctl agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 /opt/devopsctl/bootstrap.py --unit
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
"""
SESSION = (
    b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


def is_instance():
    """Whether EC2's metadata service answers here."""
    try:
        with socket.create_connection(("169.254.169.254", 80), 2) as way:
            way.settimeout(5)
            way.sendall(SESSION)
            return way.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def install():
    os.umask(0o022)
    if os.geteuid() or not is_instance():
        sys.exit("This program sets up EC2 instances, as root; nothing was done here.")
    os.makedirs("/opt/devopsctl", exist_ok=True)
    with open(__file__) as source, open("/opt/devopsctl/bootstrap.py", "w") as file:
        file.write(source.read())
    unit, wants = "/etc/systemd/system/devopsctl-agent.service", "/etc/systemd/system/multi-user.target.wants"
    with open(unit, "w") as file:
        file.write(UNIT)
    os.makedirs(wants, exist_ok=True)
    if not os.path.lexists(wants + "/devopsctl-agent.service"):
        os.symlink(unit, wants + "/devopsctl-agent.service")
    # A unit that is new needs no reload.
    os.execvp("systemctl", ["systemctl", "start", "--no-block", "devopsctl-agent.service"])


# The sandbox's process machines have no systemd: there it is run once a boot.
if __name__ == "__main__" and "--unit" not in sys.argv and os.environ.get("DEVOPSCTL_RUNNER") != "process":
    install()
