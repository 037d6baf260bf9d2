"""Responses to slow clients."""

import http.client
import random
import select
import socket
import threading

import pytest
from machine import release, until
from running_machine import TOKEN, bring_up
from test_app_behaviour import rotate

from workers import response_spool
from workers.response_spool import Room, SpooledSocket

# More than a socket's buffers.
MUCH = 4 << 20
LARGE = """
import os, tempfile

FILE = tempfile.NamedTemporaryFile()
FILE.write(b"x" * (4 << 20))
FILE.flush()

def fail(*_):
    raise OSError("as a disk says that is broken")

def app(environ, start_response):
    if environ.get("HTTP_AUTHORIZATION") != "Token " + os.environ["APP_SECRET_TOKEN"]:
        start_response("401 No", [("Content-Length", "2")])
        return [b"no"]
    path = environ["PATH_INFO"]
    print("asked for", path, flush=True)
    if path == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return (str(number).encode() * (1 << 20) for number in range(4))
    if path == "/failing":
        os.pread = fail  # The spooled data cannot be read any more.
    size = 4 << 20 if path in ("/much", "/file", "/failing") else 2
    start_response("200 OK", [("Content-Length", str(size))])
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(FILE.name, "rb"))
    return [b"x" * size]
"""


class Pair:
    """A connection, and the main loop of its worker."""

    def __init__(self):
        ours, self.client = socket.socketpair()
        self.room, self.late = Room(), []
        self.sock = SpooledSocket(ours, self.room, self.late.append)

    def take(self, size):
        """The next data for the client, while the main loop sends."""
        taken = b""
        while len(taken) < size:
            with self.sock.lock:
                self.sock.push()
                self.sock.watched = self.sock.watched and self.sock.left() > 0
            assert select.select([self.client], [], [], 10)[0], f"{len(taken)} of {size}"
            taken += self.client.recv(size - len(taken))
        return taken


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.client.close()
    pair.sock.watched = False
    pair.sock.close()


def test_a_fast_client_never_causes_a_wait(pair):
    pair.sock.sendall(b"little")
    reader = threading.Thread(target=pair.take, args=(MUCH,))
    assert pair.take(6) == b"little"
    reader.start()
    pair.sock.sendall(b"x" * MUCH)
    reader.join()
    assert (pair.late, pair.room.left) == ([], response_spool.MOST)


def test_a_client_that_reads_nothing_blocks_no_thread(pair):
    pair.sock.sendall(b"a" * MUCH)
    pair.sock.sendall(b"b" * 10)
    assert pair.late == [pair.sock] and pair.room.left < response_spool.MOST
    assert pair.take(MUCH + 10) == b"a" * MUCH + b"b" * 10
    assert (pair.sock.file, pair.room.left) == (None, response_spool.MOST)
    # A client that has caught up is a fast one again.
    pair.sock.sendall(b"c")
    assert pair.take(1) == b"c" and len(pair.late) == 1


def test_all_data_arrives_in_order(pair):
    random.seed(7)
    said = [bytes([number % 251]) * random.choice((1, 1000, 300_000)) for number in range(200)]
    sender = threading.Thread(target=lambda: [pair.sock.sendall(piece) for piece in said])
    sender.start()
    for piece in said:
        assert pair.take(len(piece)) == piece
    sender.join()
    assert pair.room.left == response_spool.MOST


@pytest.mark.parametrize("lack", ["room", "disk", "folder"])
def test_without_room_a_thread_waits(pair, monkeypatch, tmp_path, lack):
    if lack == "room":
        pair.room.left = 1000
    elif lack == "disk":
        monkeypatch.setattr(response_spool, "SPARE", 1 << 60)
    else:
        monkeypatch.setattr(response_spool, "FOLDER", tmp_path / "nowhere")
    before = pair.room.left
    sender = threading.Thread(target=pair.sock.sendall, args=(b"x" * MUCH,))
    sender.start()
    until(lambda: pair.sock.patience <= 0, what="its patience is at an end")
    assert sender.is_alive() and pair.late == []
    assert pair.take(MUCH) == b"x" * MUCH
    sender.join()
    assert pair.room.left == before


def test_a_file_is_sent_like_bytes(pair, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789" * 100_000)
    with open(tmp_path / "file", "rb") as file:
        assert pair.sock.sendfile(file, 5, 900_000) == 900_000
    assert pair.take(900_000) == (b"0123456789" * 100_000)[5:900_005]


def test_a_watched_descriptor_is_not_reused(pair):
    pair.sock.sendall(b"x" * MUCH)
    pair.sock.close()
    assert pair.sock.fileno() >= 0 and pair.sock.left() == 0 and pair.room.left == response_spool.MOST
    pair.sock.watched = False
    pair.sock.close()
    assert pair.sock.fileno() == -1


def test_more_stalled_clients_than_threads_block_nothing(aws, machine):
    name, _ = bring_up(aws, machine, release(app=LARGE))
    ways = []
    try:
        for number in range(40):
            ways.append(machine.connect(60))
            path = ("/much", "/file", "/events", "/much")[number % 4]
            ways[-1].request("GET", path, headers={"Authorization": f"Token {TOKEN}"})
        for _ in range(40):
            assert machine.get(TOKEN, timeout=10)[0] == 200
        until(lambda: sum(machine.app_log().count(path) for path in ("/much", "/file", "/events")) == 40)
        for way in ways[8:]:
            way.close()
        # A leaving generation finishes its requests; meanwhile the next one serves.
        rotate(aws, name)
        whole = [b"x" * MUCH, b"x" * MUCH, b"".join(b"%d" % number * (1 << 20) for number in range(4)), b"x" * MUCH]
        for number, way in enumerate(ways[:8]):
            answer = way.getresponse()
            assert (answer.status, answer.read() == whole[number % 4]) == (200, True), number
    finally:
        for way in ways:
            way.close()


def test_a_disk_error_breaks_one_response_only(aws, machine):
    bring_up(aws, machine, release(app=LARGE, workers=1, threads=1))
    headers = {"Authorization": f"Token {TOKEN}"}
    lost, whole = machine.connect(60), machine.connect(60)
    try:
        for way, path in ((lost, "/failing"), (whole, "/")):
            way.request("GET", path, headers=headers)
        # There is one thread, so by then all of the first response is on the disk.
        assert whole.getresponse().read() == b"xx"
        answer = lost.getresponse()
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            answer.read()
        whole.request("GET", "/", headers=headers)
        assert whole.getresponse().read() == b"xx", "the same process goes on"
    finally:
        lost.close()
        whole.close()
