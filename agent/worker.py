"""gunicorn's threaded worker with an end that can be relied on.

gunicorn's own one drops a connection that it has accepted but not yet read when it is told to end (23), or goes on
answering new requests on old connections after it (27). A token that was changed must not do either. Here a connection
is in one of two states:

    waiting  nobody has said anything yet, or since the last answer: in the poller
    busy     its request waits for a thread; or is being answered, in a thread and with gunicorn's own code; or the thread is
             done, and the client has not taken all of the answer yet (outgoing.py)

and a worker that is told to end (SIGTERM) takes three steps: it accepts nothing more; it gives the waiting ones a
moment to speak, answers those that do with `Connection: close`, and closes the others; then it **closes the listening
socket**, by which the agent knows that nothing new will be answered here; and finishes what is busy.

A worker whose threads are all taken accepts nothing more, so that another worker with a free thread does. Where all workers
are full, requests wait for a thread, but not for ever: then they are answered with 503. How long a thread takes for a request
is not limited.
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

# What waiting connections get at the end, in seconds: a client that has had an answer must expect the connection to be
# closed, and tries again; one that was just accepted has its first request on the way.
IDLE, SILENT = 0.5, 2.0
THREAD_SECONDS = 30  # What a request may wait for a thread: as long as the app may take to finish when it is replaced.
FULL_SECONDS = 1  # A worker whose threads have all been taken for this long tells the others, and the agent.
FULL = "The app is too busy: all of its threads are taken. Try again in a few seconds.\n"


class Worker(ThreadWorker):
    proof = outgoing = unavailable = None

    def load_wsgi(self):
        # What the app forks must not hold the port: as long as somebody does, this generation has not let go of it.
        os.register_at_fork(after_in_child=self.let_go)
        try:
            super().load_wsgi()
            self.tell_of_asgi()
        except BaseException as problem:
            text = str(problem) or repr(problem)
            self.proof.failed(self, f"the app can't be loaded: {type(problem).__name__}: {text}")
            if isinstance(problem, SystemExit):
                sys.exit(3)  # Else gunicorn would start it again, for ever.
            raise

    def tell_of_asgi(self):
        """Has what an ASGI app raises be logged, as servers of ASGI do.

        Frameworks answer with 500 and raise all the same, for the server to log it. The bridge a2wsgi has no log: it drops
        what is raised after an answer, and gives what is raised before one to `start_response`, where gunicorn drops it.
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
        """Logs an exception, once however many there are who tell of it."""
        if not getattr(problem, "devopsctl_told", False):
            with contextlib.suppress(AttributeError):
                problem.devopsctl_told = True
            self.log.error("Error handling request %s", path, exc_info=problem)

    def let_go(self):
        for listener in self.sockets:
            listener.close()

    def run(self):
        self.waiting, self.busy, self.finished = {}, set(), collections.deque()
        # Of the busy ones, those that wait for a thread: until when. Of the waiting ones, those whose first request is on its way.
        self.queued, self.fresh = {}, set()
        self.full_since, self.told_full = None, False
        # Connections whose client is slow: those that come to be so, and those with nothing more to come.
        self.late, self.taking, self.room = collections.deque(), {}, self.outgoing.Room()
        self.wsgi = self.polite(self.wsgi)
        # The app may have taken these two for itself while it was loaded.
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
            self.waiting[conn] = min(until, now + (IDLE if conn.initialized else SILENT))
        while self.waiting and time.monotonic() < end:
            self.turn(0.05)
        self.let_go()
        while self.busy and time.monotonic() < end:
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
        # What waits here no other worker can take any more, so that most stay in the socket.
        few = len(self.queued) < self.cfg.threads
        return room and (not full or (told and few and self.proof.all_full()))

    def handle_exit(self, sig, frame):
        self.alive = False

    def turn(self, seconds):
        """Whatever happens next, or nothing for so long."""
        self.notify()
        for key, _ in self.poller.select(seconds):
            key.data(key.fileobj)
        now = time.monotonic()
        for conn in [conn for conn, until in self.waiting.items() if until <= now]:
            self.poller.unregister(conn.sock)
            del self.waiting[conn]
            self.fresh.discard(conn)
            self.close(conn)
        for conn, (future, until) in list(self.queued.items()):
            if future.running() or future.done():
                del self.queued[conn]
            elif until > now:
                break  # Those behind it came later.
            elif future.cancel():  # From here on no thread takes it; `done` has its connection closed.
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
                return  # Another worker was faster, or the client gave up.
            raise
        sock = self.outgoing.Outgoing(sock, self.room, self.lag)
        conn = TConn(self.cfg, sock, client, listener.getsockname())
        self.fresh.add(conn)
        self.wait(conn)

    def wait(self, conn):
        """Until the client speaks."""
        conn.sock.setblocking(False)
        self.waiting[conn] = time.monotonic() + self.cfg.keepalive
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(self.begin, conn))

    def begin(self, conn, sock):
        """A client speaks: a thread answers."""
        self.poller.unregister(sock)
        del self.waiting[conn]
        self.fresh.discard(conn)
        self.enqueue_req(conn)

    def enqueue_req(self, conn):
        self.busy.add(conn)
        conn.data_ready = True  # gunicorn 27 would wait once more.
        future = self.tpool.submit(self.answer, conn)
        self.queued.pop(conn, None)  # The last one is always the newest.
        self.queued[conn] = future, time.monotonic() + THREAD_SECONDS
        future.add_done_callback(functools.partial(self.done, conn))

    def answer(self, conn):
        conn.init()
        return self.handle(conn)

    def done(self, conn, future):
        """In the thread: leave the rest to the main loop."""
        self.finished.append((conn, future))
        self.wake()

    def lag(self, sock):
        """In the thread: the main loop is to send on what the client has not taken."""
        self.late.append(sock)
        self.wake()

    def wake(self):
        try:
            os.write(self.PIPE[1], b".")
        except BlockingIOError:
            pass  # The main loop has enough to wake up for.

    def woken(self, pipe):
        """Signals and finished requests come through the pipe."""
        os.read(pipe, 4096)
        while self.late:
            self.poller.register(self.late.popleft(), selectors.EVENT_WRITE, self.send_on)
        while self.finished:
            conn, future = self.finished.popleft()
            result = None if future.cancelled() or future.exception() else future.result()
            keep = result[0] if isinstance(result, tuple) else result is True  # 23 and before, or after.
            if conn.sock.watched:
                self.taking[conn.sock] = (conn, keep)
            else:
                self.answered(conn, keep)

    def send_on(self, sock):
        """A slow client takes more of its answer, or hangs up."""
        try:
            with sock.lock:
                sock.push()
        except OSError:
            sock.close()  # No more goes out: what is missing must not look like an answer's end.
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
            self.enqueue_req(conn)  # The next request has been read along with the last one.
        else:
            self.wait(conn)

    def close(self, conn):
        """Reads what is left first: closing with unread data would take the answer away from the client again."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            for _ in range(16):
                if not conn.sock.recv(65536):
                    break
        except OSError:
            pass
        conn.close()

    def polite(self, app):
        """The app, so that an answer which begins when this worker is to end says `Connection: close`, and so that an exception
        that comes with an answer (PEP 3333's `exc_info`) is logged."""

        def wrapped(environ, start_response):
            def start(status, headers, exc_info=None):
                if not self.alive:
                    start_response.__self__.force_close()
                if exc_info:
                    self.tell(environ.get("PATH_INFO"), exc_info[1])
                return start_response(status, headers, exc_info)

            return app(environ, start)

        return wrapped
