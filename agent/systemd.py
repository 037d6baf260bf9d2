"""systemd, as the agent tells it things and asks it."""

import os
import select
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
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
    """The last `most` bytes that a program prints, however many there are."""
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
    """To systemd's socket, as sd_notify(3) does; nothing where there is none."""
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


def text_of(name):
    """One of the agent's own files, such as a unit."""
    with open(f"{HERE}/{name}") as file:
        return file.read()


def write(path, text):
    """Whether that changed anything."""
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
