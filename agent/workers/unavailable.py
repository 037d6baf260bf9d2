"""The response to a request that the app cannot handle: 503, with a text and the time to retry.

The proxy sends it while no generation serves (proxy/caddy.py), a worker after a request waited too long for a thread (worker.py),
and the agent to requests that wait in the app's socket while no generation accepts them.
"""

import contextlib
import socket

RETRY_SECONDS = 5
HEADERS = {"Retry-After": str(RETRY_SECONDS), "Cache-Control": "no-store"}
NOT_RUNNING = "The app is not running yet. Try again in a few seconds.\n"
MOST = 1 << 20  # Bytes of a request that are read before its connection is closed.


def answer(text):
    """The whole HTTP/1.1 response."""
    body = text.encode()
    headers = {
        **HEADERS,
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = ["HTTP/1.1 503 Service Unavailable", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def refuse(sock, text):
    """Answers a connection and closes it. Never blocks: the response fits into the socket's buffer."""
    with contextlib.suppress(OSError), sock:
        sock.setblocking(False)
        sock.sendall(answer(text))
        sock.shutdown(socket.SHUT_WR)
        # Closing with unread data would reset the connection before the client has the response.
        read = 0
        while read < MOST and (chunk := sock.recv(65536)):
            read += len(chunk)


def turn_away(listener):
    """Answers all connections that wait at a listening socket. Never blocks."""
    listener.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            refuse(listener.accept()[0], NOT_RUNNING)
