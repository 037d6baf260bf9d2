"""gunicorn's threaded worker, with a graceful shutdown that loses no request.

On SIGTERM, gunicorn's own worker drops connections that it accepted but did not read yet (23), or keeps answering new requests on
old connections (27). A rotated token allows neither. Here a connection is in one of two states:

    waiting  for a request, the first or the next one: in the poller
    busy     its request waits for a thread; or is answered, in a thread and by gunicorn's own code; or the thread is done, and the
             client has not read the whole response yet (response_spool.py)

On SIGTERM the worker stops accepting connections. It gives waiting connections a moment to send a request, answers those that do
with `Connection: close`, and closes the others. Then it **closes the listening socket**, which tells the agent that it accepts
no more requests here, and finishes the busy connections.

A worker whose threads are all busy stops accepting, so that a worker with a free thread accepts instead. If all workers are full,
requests wait for a thread for a limited time, and then get 503. The time that a thread takes for a request is not limited.

An ASGI app needs no threads: asgi.py serves it.
"""

import collections
import contextlib
import errno
import functools
import os
import selectors
import signal
import socket
import sys
import time

from gunicorn.workers.gthread import TConn, ThreadWorker

LINGER = 5.0  # How long the rest of a request is read whose response came early.
THREAD_SECONDS = 30  # How long a request may wait for a thread: as long as a replaced app may take to finish.
FULL_SECONDS = 1  # A worker whose threads have all been busy for this long tells the other workers and the agent.
FULL = "The app is too busy: all of its threads are taken. Try again in a few seconds.\n"


class Worker(ThreadWorker):
    proof = response_spool = unavailable = asgi = asgi_server = None
    guard = None  # Checks the token of each request, if the app need not.
    # How long waiting connections have at a shutdown, in seconds. A client that got a response expects that the connection can be
    # closed, and retries; the first request of a new connection is on its way.
    idle_seconds, silent_seconds = 0.5, 2.0

    def load_wsgi(self):
        # A process that the app forks must not hold the listening socket: the agent would take this generation for listening.
        os.register_at_fork(after_in_child=self.let_go)
        with self.reported("the app can't be loaded"):
            super().load_wsgi()
            self.tell_of_asgi()
            is_asgi = self.asgi.is_app(self.wsgi)
            if self.guard:
                self.wsgi = self.guard.asgi(self.wsgi) if is_asgi else self.guard.wsgi(self.wsgi)
            if is_asgi:
                self.asgi_server = self.asgi.Server(self)
        if self.asgi_server:
            self.start_up()

    @contextlib.contextmanager
    def reported(self, what):
        """Records an exception as the reason why the generation must not serve."""
        try:
            yield
        except BaseException as problem:
            told = isinstance(problem, self.asgi.StartUpFailed)
            text = str(problem) if told else f"{type(problem).__name__}: {str(problem) or repr(problem)}"
            self.proof.failed(self, f"{what}: {text}", traced=not told)
            if told or isinstance(problem, SystemExit):
                sys.exit(3)  # Otherwise gunicorn would restart it forever.
            raise

    def start_up(self):
        if self.proof.is_first(self):
            with self.reported("the app's start-up failed"):
                self.asgi_server.start()
            return
        try:
            self.asgi_server.start()
        except Exception:  # The reason may be temporary, such as a database that restarts.
            self.log.exception("The app's start-up failed")
            time.sleep(1)
            sys.exit(1)  # gunicorn starts another worker. With 3, it would end all workers.

    def tell_of_asgi(self):
        """Logs the exceptions of an ASGI app behind the bridge a2wsgi, as ASGI servers do.

        Frameworks answer with 500 and raise the exception as well, for the server to log it. The bridge a2wsgi drops an exception
        after a response, and passes one before a response to `start_response`, where gunicorn drops it.
        """
        responder = getattr(sys.modules.get("a2wsgi.asgi"), "ASGIResponder", None)
        if responder is None:
            return
        begin = responder.__init__

        def init(itself, app, *args, **kwargs):
            async def telling(scope, receive, send):
                try:
                    await app(scope, receive, send)
                except Exception as problem:
                    self.tell(scope["path"], problem)
                    raise

            begin(itself, telling, *args, **kwargs)

        responder.__init__ = init

    def tell(self, path, problem):
        """Logs an exception once, however often it is passed on."""
        if not getattr(problem, "devopsctl_told", False):
            with contextlib.suppress(AttributeError):
                problem.devopsctl_told = True
            self.log.error("Error handling request %s", path, exc_info=problem)

    def let_go(self):
        for listener in self.sockets:
            listener.close()

    def run(self):
        if self.asgi_server:
            self.asgi_server.run()
            return
        self.waiting, self.busy, self.finished = {}, set(), collections.deque()
        self.leaving = {}  # Connections that get no further response, until when their rest is read.
        self.websockets = set()  # The sockets that the app speaks WebSocket on, such as with simple-websocket.
        # The busy connections that wait for a thread, until when; the waiting connections without a request yet.
        self.queued, self.fresh = {}, set()
        self.full_since, self.told_full = None, False
        # Connections with a slow client: new ones, and those whose response is complete.
        self.late, self.taking, self.room = collections.deque(), {}, self.response_spool.Room()
        self.wsgi = self.polite(self.wsgi)
        # The app may have replaced these two while it was loaded.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.set_wakeup_fd(self.PIPE[1], warn_on_full_buffer=False)
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, self.woken)
        self.accepting = False
        while self.alive and not self.proof.complete(self):
            self.notify()
            time.sleep(0.01)
        while self.alive and self.ppid == os.getppid():
            self.accept_more(self.has_room())
            self.turn(1.0)
        self.alive = False
        self.retire()

    def retire(self):
        now = time.monotonic()
        end = now + self.cfg.graceful_timeout
        self.accept_more(False)
        for conn, until in self.waiting.items():
            self.waiting[conn] = min(until, now + (self.idle_seconds if conn.initialized else self.silent_seconds))
        while self.waiting and time.monotonic() < end:
            self.turn(0.05)
        self.let_go()
        while (self.busy or self.leaving) and time.monotonic() < end:
            for sock in list(self.websockets):
                self.websockets.discard(sock)
                end_websocket(sock)
            self.turn(1.0)
        self.tpool.shutdown(False)

    def has_room(self):
        """Whether this worker is to accept more."""
        now = time.monotonic()
        full = len(self.busy) - len(self.taking) + len(self.fresh) >= self.cfg.threads
        self.full_since = (self.full_since or now) if full else None
        told = full and now >= self.full_since + FULL_SECONDS
        if told != self.told_full and self.proof.full(self.pid, told):
            self.told_full = told
        room = len(self.waiting) + len(self.busy) < self.worker_connections
        # No other worker can take a request that waits here, so most should wait in the socket.
        few = len(self.queued) < self.cfg.threads
        return room and (not full or (told and few and self.proof.all_full()))

    def handle_exit(self, sig, frame):
        self.alive = False

    def turn(self, seconds):
        """Handles the next events, or waits this long for one."""
        self.notify()
        for key, _ in self.poller.select(seconds):
            key.data(key.fileobj)
        now = time.monotonic()
        for conn in [conn for conn, until in self.waiting.items() if until <= now]:
            self.poller.unregister(conn.sock)
            del self.waiting[conn]
            self.fresh.discard(conn)
            self.close(conn)
        for conn in [conn for conn, until in self.leaving.items() if until <= now]:
            self.leave(conn)
        for conn, (future, until) in list(self.queued.items()):
            if future.running() or future.done():
                del self.queued[conn]
            elif until > now:
                break  # The following ones came later.
            elif future.cancel():  # No thread will take it now; `done` closes its connection.
                with contextlib.suppress(OSError):
                    conn.sock.sendall(self.unavailable.answer(FULL))

    def accept_more(self, more):
        if more != self.accepting:
            for listener in self.sockets:
                if more:
                    listener.setblocking(False)
                    self.poller.register(listener, selectors.EVENT_READ, self.accept)
                else:
                    self.poller.unregister(listener)
            self.accepting = more

    def accept(self, listener):
        try:
            sock, client = listener.accept()
        except OSError as problem:
            if problem.errno in (errno.EAGAIN, errno.ECONNABORTED):
                return  # Another worker accepted it, or the client gave up.
            raise
        sock = self.response_spool.SpooledSocket(sock, self.room, self.lag)
        conn = TConn(self.cfg, sock, client, listener.getsockname())
        self.fresh.add(conn)
        self.wait(conn)

    def wait(self, conn):
        """Waits for the client's next request."""
        conn.sock.setblocking(False)
        self.waiting[conn] = time.monotonic() + self.cfg.keepalive
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(self.begin, conn))

    def begin(self, conn, sock):
        """The client sends a request: a thread answers it."""
        self.poller.unregister(sock)
        del self.waiting[conn]
        self.fresh.discard(conn)
        self.enqueue_req(conn)

    def enqueue_req(self, conn):
        self.busy.add(conn)
        conn.data_ready = True  # Otherwise gunicorn 27 would wait once more.
        future = self.tpool.submit(self.answer, conn)
        self.queued.pop(conn, None)  # So that the last entry is the newest.
        self.queued[conn] = future, time.monotonic() + THREAD_SECONDS
        future.add_done_callback(functools.partial(self.done, conn))

    def answer(self, conn):
        conn.init()
        return self.handle(conn)

    def done(self, conn, future):
        """In the thread: passes the connection to the main loop."""
        self.finished.append((conn, future))
        self.wake()

    def lag(self, sock):
        """In the thread: the main loop is to send what the client has not read yet."""
        self.late.append(sock)
        self.wake()

    def wake(self):
        try:
            os.write(self.PIPE[1], b".")
        except BlockingIOError:
            pass  # The pipe is full, so the main loop wakes up anyway.

    def woken(self, pipe):
        """The pipe signals finished requests, slow clients and Unix signals."""
        os.read(pipe, 4096)
        while self.late:
            self.poller.register(self.late.popleft(), selectors.EVENT_WRITE, self.send_on)
        while self.finished:
            conn, future = self.finished.popleft()
            result = None if future.cancelled() or future.exception() else future.result()
            keep = result[0] if isinstance(result, tuple) else result is True  # gunicorn before 24, or later.
            if conn.sock.watched:
                self.taking[conn.sock] = (conn, keep)
            else:
                self.answered(conn, keep)

    def send_on(self, sock):
        """A slow client reads more of its response, or hangs up."""
        try:
            with sock.lock:
                sock.push()
        except OSError:
            sock.close()  # A truncated response must not look complete.
        with sock.lock:
            if sock.left():
                return
            sock.watched = False
        self.poller.unregister(sock)
        if sock in self.taking:
            self.answered(*self.taking.pop(sock))

    def answered(self, conn, keep):
        self.busy.discard(conn)
        if not keep or not self.alive:
            self.close(conn)
        elif conn.parser.unreader.buf.getvalue():
            self.enqueue_req(conn)  # The next request was read together with the last one.
        else:
            self.wait(conn)

    def close(self, conn):
        """Reads the rest first: closing with unread data would reset the connection before the client has the response. An app may
        answer before it has read a whole upload, and the proxy still sends the rest."""
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
        if is_over(conn.sock) or not may_send(conn) or len(self.leaving) >= self.worker_connections:
            conn.close()
        else:
            self.leaving[conn] = time.monotonic() + LINGER
            self.poller.register(conn.sock, selectors.EVENT_READ, lambda sock: is_over(sock) and self.leave(conn))

    def leave(self, conn):
        self.poller.unregister(conn.sock)
        del self.leaving[conn]
        conn.close()

    def polite(self, app):
        """Wraps the app: a response that begins during the shutdown says `Connection: close`, and an exception that comes with a
        response (PEP 3333's `exc_info`) is logged."""

        def wrapped(environ, start_response):
            def start(status, headers, exc_info=None):
                if not self.alive:
                    start_response.__self__.force_close()
                if exc_info:
                    self.tell(environ.get("PATH_INFO"), exc_info[1])
                return start_response(status, headers, exc_info)

            if environ.get("HTTP_UPGRADE", "").lower() != "websocket":
                return app(environ, start)
            # As long as the app uses the connection, it stays in this call.
            sock = environ["gunicorn.socket"]
            self.websockets.add(sock)
            try:
                return app(environ, start)
            finally:
                self.websockets.discard(sock)

        return wrapped


def may_send(conn):
    """Whether the client may still send a part of its last request: most methods have no body."""
    request = conn.parser and conn.parser.mesg
    return bool(request) and request.method not in ("GET", "HEAD", "OPTIONS")


def end_websocket(sock):
    """Tells the client to connect again (1012, service restart), and the app that the connection has ended."""
    with contextlib.suppress(OSError):
        sock.send(b"\x88\x02\x03\xf4", socket.MSG_DONTWAIT)
        sock.shutdown(socket.SHUT_RD)


def is_over(sock):
    """Discards what has arrived -> whether nothing can arrive any more."""
    try:
        return not all(sock.recv(65536) for _ in range(16))
    except BlockingIOError:
        return False
    except OSError:
        return True
