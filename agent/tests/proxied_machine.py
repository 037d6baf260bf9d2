"""A machine whose app is behind the real Caddy, and clients of that proxy."""

import contextlib
import functools
import gzip
import hashlib
import itertools
import os
import shutil
import threading
import time

from machine import CLIENT_PAUSE, release, until

TOKEN, ADDRESS = "a-token-of-the-proxy-tests", "203.0.113.7"
ECHO = """
import json, os

def app(environ, start_response):
    token = environ.get("HTTP_AUTHORIZATION") == "Token " + os.environ["APP_SECRET_TOKEN"]
    body = environ["wsgi.input"].read()
    print("asked for", environ["PATH_INFO"], flush=True)
    told = {key: value for key, value in environ.items() if isinstance(value, str)}
    text = json.dumps({"environ": told, "length": len(body)}).encode()
    if environ["PATH_INFO"] == "/much":
        text += b" " * (4 << 20)
    start_response("200 OK" if token else "401 UNAUTHORIZED", [("Content-Length", str(len(text))), ("Server", "mine")])
    return [text]
"""
HTTP = {
    "https": False,
    "port": 80,
    "domain": None,
    "address": "static",
    "acme": {"directory": None, "root": None},
    "limits": {"body_mb": 1, "header_seconds": 2, "body_seconds": 3, "idle_seconds": 5},
}


@functools.lru_cache(None)
def program():
    """(sha384, packed) of Caddy."""
    path = shutil.which("caddy")
    with open(path, "rb") as file:
        content = file.read()
    return hashlib.sha384(content).hexdigest(), gzip.compress(content, 1)


def put(aws, app=ECHO, agent=None, packages=(), more=None, **settings):
    """Orders a release. `more`: other arguments of its archive; `settings`: of the proxy."""
    sha384, packed = program()
    aws.objects[f"_tools/caddy-{sha384}.gz"] = packed
    edge = {**HTTP, "caddy": sha384, **settings}
    packed = release(app=app, agent=agent, packages=packages, edge=edge, **(more or {}))
    aws.tags["devopsctl:address"] = ADDRESS
    aws.tags["devopsctl:release"] = aws.put_release(packed, caddy=sha384)
    return aws.tags["devopsctl:release"]


def serves(machine):
    try:
        return machine.get(TOKEN, socket="80.sock")[0] == 200
    except OSError:
        return False


def pid_of_proxy(machine):
    for process in os.listdir("/proc"):
        try:
            with open(f"/proc/{process}/cmdline") as file:
                if f"{machine.root}/opt/devopsctl/tools/caddy-" in file.read():
                    return int(process)
        except OSError:
            continue
    return None


def raw(machine, request, seconds=5, whole=False):
    """The response to a client that sends just this: up to the end of the headers or, if `whole`, up to the end of the connection."""
    connection = machine.connect(seconds, "80.sock")
    connection.connect()
    found = b""
    try:
        with contextlib.suppress(BrokenPipeError):  # The proxy may answer before all is sent.
            connection.sock.sendall(request)
        while chunk := connection.sock.recv(65536):
            found += chunk
            if b"\r\n\r\n" in found and not whole:
                break
    except ConnectionResetError:
        pass
    connection.close()
    return found


class Visitors:
    """Clients that send requests through the proxy continuously, each on a new connection: the statuses they got, in order."""

    def __init__(self, machine, number=3):
        self.machine, self.going, self.seen = machine, True, [[] for _ in range(number)]
        self.threads = [threading.Thread(target=self.visit, args=(seen,), daemon=True) for seen in self.seen]
        for thread in self.threads:
            thread.start()

    def visit(self, seen):
        while self.going:
            try:
                status, text = self.machine.get(TOKEN, timeout=10, socket="80.sock")
                seen.append(status if text else f"{status} and no text")
            except OSError as problem:
                seen.append(repr(problem))
            time.sleep(CLIENT_PAUSE)

    def end(self):
        """The statuses of each client, without repetitions."""
        self.going = False
        for thread in self.threads:
            thread.join()
        return [[status for status, _ in itertools.groupby(seen)] for seen in self.seen]


def answer(machine, timeout=5):
    def ask():
        connection = machine.connect(timeout, "80.sock")
        connection.request("GET", "/", headers={"Authorization": f"Token {TOKEN}"})
        found = connection.getresponse()
        return found.status, found.headers["Retry-After"], found.read().decode()

    def once_it_listens():
        # Caddy creates the socket a moment before it listens.
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return ask()

    return until(once_it_listens, 60, "Caddy listens")
