"""Serves the credentials of the app's role on loopback, in the way in which AWS's SDKs get those of a container:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html

Every local process can connect. So there is one thread, with a limit for the number of connections, their time and their bytes, and
a connection too many ends the oldest one.
"""

import errno
import json
import random
import re
import selectors
import socket
import time

HOST, PATH = "127.0.0.1", "/credentials"
# Below the ports that Linux gives to outgoing connections: one of those could have the port when the next agent needs it.
PORTS = range(20000, 30000)
MOST_CONNECTIONS = 16
MOST_BYTES = 8192  # Of a request.
SECONDS = 2  # How long a client may take to send it. An SDK does not wait longer for the answer either.
REQUEST = re.compile(rb"([A-Z]{1,16}) ([!-~]{1,512}) HTTP/1\.[01]\r\n", re.ASCII)
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


def listen(port=None):
    """A socket at that port, else at a free one."""
    for each in [port] if port else random.sample(PORTS, 100):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, each))
            listener.listen(MOST_CONNECTIONS)
            return listener
        except OSError as problem:
            listener.close()
            if port or problem.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free for the app's credentials")


def error(code, message):
    """The document of an error."""
    return {"code": code, "message": message}


NOT_YET = 503, error("NoCredentials", "there are no credentials yet")


class Server:
    """`answer(token)` -> (status, document); None as long as there is no answer yet."""

    def __init__(self, listener, answer, clock=time):
        self.listener, self.answer, self.clock = listener, answer, clock
        self.clients = {}  # By connection, the oldest first: (deadline, the bytes so far).
        self.waiting = set()  # Those whose request has no answer yet.

    def run(self):
        """Runs forever."""
        self.listener.setblocking(False)
        for client in self.clients:
            client.close()  # Of an earlier run.
        self.clients.clear()
        self.waiting.clear()
        with selectors.DefaultSelector() as self.selector:
            self.selector.register(self.listener, selectors.EVENT_READ)
            while True:
                for key, _ in self.selector.select(0.05 if self.waiting else SECONDS / 2):
                    self.accept() if key.fileobj is self.listener else self.hear(key.fileobj)
                for client in list(self.waiting):
                    self.consider(client)
                now = self.clock.monotonic()
                for client in [each for each, (deadline, _) in self.clients.items() if now > deadline]:
                    self.reply(client, *NOT_YET) if client in self.waiting else self.end(client)

    def accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return  # It is gone already.
        client.setblocking(False)
        if len(self.clients) >= MOST_CONNECTIONS:
            self.end(next(iter(self.clients)))
        self.clients[client] = self.clock.monotonic() + SECONDS, b""
        self.selector.register(client, selectors.EVENT_READ)

    def hear(self, client):
        if client not in self.clients:
            return  # A connection too many ended it in this round.
        deadline, before = self.clients[client]
        try:
            data = client.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        request = before + data
        self.clients[client] = deadline, request
        if b"\r\n\r\n" in request:
            self.waiting.add(client)
            if not data:
                self.end(client)
        elif not data or len(request) > MOST_BYTES:
            self.end(client)

    def consider(self, client):
        found = respond(self.clients[client][1], self.answer)
        if found:
            self.reply(client, *found)

    def reply(self, client, status, document):
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        try:
            # It fits into the socket's buffer; a client without room for it gets none.
            client.send(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.end(client)

    def end(self, client):
        del self.clients[client]
        self.waiting.discard(client)
        self.selector.unregister(client)
        client.close()


def respond(request, answer):
    """(status, document) for the bytes of a request; None if there is no answer yet."""
    first = REQUEST.match(request)
    if not first:
        return 400, error("BadRequest", "this is no HTTP request")
    method, path = first[1].decode(), first[2].decode()
    if path != PATH:
        return 404, error("NotFound", "only the app's credentials are here")
    if method != "GET":
        return 405, error("MethodNotAllowed", "use GET")
    lines = request[first.end() :].partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = [line.partition(":") for line in lines]
    tokens = [value.strip() for name, _, value in headers if name.lower() == "authorization"]
    return answer(tokens[0] if len(tokens) == 1 else "")
