"""A server's reload under load: with Caddy itself, on TCP, as on EC2."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from machine import until

from proxy import listener_reload

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")


@contextlib.contextmanager
def load(port, clients=8):
    """Clients that send requests continuously, each on a new connection."""
    seen, end = SimpleNamespace(answered=0, lost=[]), threading.Event()

    def ask():
        while not end.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"here"
                seen.answered += 1
            except (OSError, http.client.HTTPException) as problem:
                seen.lost.append(repr(problem))
            finally:
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        end.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def server(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, path, admin = shutil.which("caddy"), tmp_path / "caddy.json", f"unix/{tmp_path}/admin.sock"

    def configure(idle_seconds):
        route = {"handle": [{"handler": "static_response", "body": "here"}]}
        site = {"listen": [f"127.0.0.1:{port}"], "idle_timeout": idle_seconds * 10**9, "routes": [route]}
        config = {"admin": {"listen": admin}, "apps": {"http": {"servers": {"site": site}}}}
        path.write_text(json.dumps(config))

    def reload(idle_seconds):
        configure(idle_seconds)
        command = [program, "reload", "--config", str(path), "--address", admin]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode

    configure(5)
    environment = {**os.environ, "HOME": str(tmp_path), "GODEBUG": "multipathtcp=0"}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([program, "run", "--config", str(path)], env=environment, stderr=log)
    try:
        until(lambda: answers(port), what="Caddy")
        yield SimpleNamespace(port=port, pid=process.pid, reload=reload)
    finally:
        process.kill()
        process.wait()


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_a_reload_resets_no_connection(server):
    """Without the pause, each reload resets about three connections."""
    with load(server.port) as seen:
        for number in range(8):
            with listener_reload.connections_paused(server.pid):
                assert server.reload(6 + number) == 0
            before = seen.answered
            until(lambda before=before: seen.answered > before + 200, what="it serves on")
    assert not seen.lost, f"{len(seen.lost)} of {seen.answered}: {seen.lost[:3]}"


def test_new_connections_wait_and_open_ones_go_on(server):
    before = socket.create_connection(("127.0.0.1", server.port), 5)
    with before, listener_reload.connections_paused(server.pid):
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", server.port), 0.2):
            pass
        before.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert before.recv(100).startswith(b"HTTP/1.1 200")
    # Its configuration did not change, so it keeps listening.
    assert answers(server.port)


def test_a_process_without_sockets_is_no_error():
    with listener_reload.connections_paused(os.getpid()):
        pass
    with listener_reload.connections_paused(1 << 22):
        pass
