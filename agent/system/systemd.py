"""The agent's calls of systemd."""

import os
import select
import socket
import subprocess
import time

AGENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNITS = "/run/systemd/system"
TEXT = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}


def systemctl(*words, check=True):
    try:
        ran = subprocess.run(["systemctl", *words], timeout=90, check=False, **TEXT)
        trouble = ran.returncode and (ran.stderr.strip() or f"exit code {ran.returncode}")
    except subprocess.TimeoutExpired:
        trouble = "it does not answer"
    if check and trouble:
        raise OSError(f"systemctl {' '.join(words)} failed: {trouble}")


def show(unit, *properties):
    command = ["systemctl", "show", unit, *(f"--property={name}" for name in properties)]
    ran = subprocess.run(command, timeout=30, check=False, **TEXT)
    found = dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line)
    return {name: found.get(name, "") for name in properties}


def last_output(command, most, seconds=10):
    """The last `most` bytes of a program's output."""
    end, found = time.monotonic() + seconds, b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        try:
            while True:
                left = end - time.monotonic()
                if left <= 0 or not select.select([program.stdout], [], [], left)[0]:
                    raise subprocess.TimeoutExpired(command, seconds)
                chunk = os.read(program.stdout.fileno(), 1 << 16)
                if not chunk:
                    return found
                found = (found + chunk)[-most:]
        finally:
            program.kill()


def notify(text, address):
    """Sends to systemd's socket, like sd_notify(3), if there is one."""
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


def text_of(name):
    """One of the agent's own files, such as `units/app.socket`."""
    with open(f"{AGENT}/{name}") as file:
        return file.read()


def write(path, text):
    """Writes a file; returns whether that changed it."""
    try:
        with open(path) as file:
            if file.read() == text:
                return False
    except OSError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    aside = path + ".new"
    with open(aside, "w") as file:
        file.write(text)
    os.rename(aside, path)
    return True
