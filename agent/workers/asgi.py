"""Serves an ASGI app in gunicorn's worker, with uvicorn's server.

gunicorn's master chooses the worker's class before the app is loaded, so worker.py loads it and passes it here if it is ASGI.

The shutdown is that of worker.py. uvicorn alone would close connections that were accepted and whose request is on its way, and
would close the listening socket before it answers the others. On SIGTERM, this server

    1. stops accepting connections; those without a request have a moment to send one, and responses say `Connection: close`;
    2. **closes the listening socket**, which tells the agent that it accepts no more requests here;
    3. closes WebSockets with the code 1012 (service restart), finishes the other requests, and ends the app (lifespan). A request
       without an end is aborted. Server-sent events end like a complete response, because their clients connect again.
"""

import asyncio
import errno
import functools
import inspect
import logging
import os
import signal
import time

# How much of `graceful_timeout` is left for the app's own shutdown (lifespan), in seconds.
ENDING = 3
# How often the worker notifies its master, in seconds.
BEAT = 1
CLIENT = ("127.0.0.1", 0)
EVENTS = b"text/event-stream"
LAST = {"type": "http.response.body", "body": b"", "more_body": False}
NO_UVICORN = "the app is ASGI, and its release has no uvicorn: add a line `uvicorn` to the app's requirements"


class StartUpFailed(Exception):
    """The app reports that its start-up failed, and logs the exception itself."""


def is_app(app):
    """Whether the object is an ASGI app: async, or with the arguments (scope, receive, send); WSGI's are two."""
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        return True
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):  # A callable without a signature.
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters) == 3


def new_loop():
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def only(problem):
    """The exception itself, where it is alone in a group of exceptions."""
    while len(getattr(problem, "exceptions", ())) == 1:
        problem = problem.exceptions[0]
    return problem


def are_events(headers):
    """Whether a response has server-sent events, without a fixed length."""
    return headers.get(b"content-type", b"").lower().startswith(EVENTS) and b"content-length" not in headers


class Server:
    """uvicorn's server for the app of a worker."""

    def __init__(self, worker):
        try:
            import uvicorn
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(NO_UVICORN) from missing
        self.worker, self.app = worker, worker.wsgi
        self.begun, self.problem, self.reason = False, None, ""
        self.joining = set()  # Accepted connections that uvicorn does not know yet.
        self.accepting = False
        logger = logging.getLogger("uvicorn.error")
        logger.handlers, logger.propagate = worker.log.error_log.handlers, False
        logger.setLevel(worker.log.error_log.level)
        self.loop = new_loop()
        asyncio.set_event_loop(self.loop)
        self.config = uvicorn.Config(
            self.polite,
            interface="asgi3",
            log_config=None,
            access_log=False,
            forwarded_allow_ips="*",  # Only the proxy can open the socket.
            timeout_keep_alive=worker.cfg.keepalive,
            timeout_notify=BEAT,
            callback_notify=self.beat,
        )
        self.config.load()
        self.server = uvicorn.Server(self.config)
        self.lifespan = self.server.lifespan = self.config.lifespan_class(self.config)
        worker.proof.call = self.call

    @property
    def connections(self):
        return self.server.server_state.connections

    async def polite(self, scope, receive, send):
        """The app, whose responses during the shutdown say `Connection: close`, and end after their request.

        uvicorn closes the connection after the response. The proxy would answer 502 if it still had to send some of the request.
        """
        if scope["type"] == "lifespan":
            await self.live(scope, receive, send)
            return
        if not scope.get("client"):  # In the sandbox, the proxy does not know its client.
            scope["client"] = CLIENT
        has_open_events, has_more = False, True

        async def take():
            nonlocal has_more
            message = await receive()
            has_more = message.get("more_body", False)
            return message

        async def close_after(message):
            nonlocal has_open_events
            if message["type"] == "http.response.start":
                headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
                has_open_events = are_events(dict(headers))
                if self.server.should_exit:
                    kept = [each for each in headers if each[0] != b"connection"]
                    message = {**message, "headers": [*kept, (b"connection", b"close")]}
            elif not message.get("more_body", False):
                has_open_events = False
                while has_more and message["type"] == "http.response.body":
                    await take()
            await send(message)

        try:
            await self.app(scope, take, close_after)
        except asyncio.CancelledError:  # A request that is cut off at the end of the shutdown is no error of the app.
            if not self.server.should_exit:
                raise
        if has_open_events and self.server.should_exit:  # Any other response must not look complete.
            await send(LAST)

    async def live(self, scope, receive, send):
        """The app's lifespan. Records what its start-up raises or reports."""

        async def begin():
            self.begun = True
            return await receive()

        async def tell(message):
            if message["type"] == "lifespan.startup.failed":
                self.reason, message = message.get("message", ""), {"type": message["type"]}
            # An app that answers an HTTP request now does not know of lifespans.
            self.begun = self.begun and message["type"].startswith("lifespan.")
            await send(message)

        try:
            await self.app(scope, begin, tell)
        except BaseException as problem:
            self.problem = problem
            raise

    def start(self):
        """The app's start-up. Raises the app's own exception; an app without lifespan raises one before it asks for an event."""
        self.loop.run_until_complete(self.lifespan.startup())
        if self.problem and (self.begun or self.lifespan.should_exit):
            raise only(self.problem)
        if self.lifespan.should_exit:
            raise StartUpFailed(self.reason or "it gives no reason")

    def call(self, app, request, answer):
        """The proof's request; see proof.py."""
        self.loop.run_until_complete(self.ask(app, request, answer))

    async def ask(self, app, request, answer):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": request.scheme,
            "path": request.decoded.decode(errors="replace"),
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers],
            "client": CLIENT,
            "server": (request.name, int(request.port)),
            "state": self.lifespan.state.copy(),
        }
        sent, complete = [{"type": "http.request", "body": b"", "more_body": False}], asyncio.Event()

        async def receive():
            if sent:
                return sent.pop()
            await complete.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                pairs = ((bytes(each).decode("latin-1") for each in pair) for pair in message.get("headers", ()))
                answer.headers = {name.lower(): value for name, value in pairs}
            elif message["type"] == "http.response.body":
                answer.add(message.get("body", b""))
                if not message.get("more_body", False):
                    complete.set()

        try:
            await app(scope, receive, send)
        except Exception as problem:  # Frameworks answer with 500 and raise as well, for the server to log it.
            if answer.status is None:
                raise
            answer.problem = only(problem)
            self.worker.tell(request.path, problem)
        if answer.status is None:
            raise RuntimeError("it returned without a response")

    def run(self):
        """Serves until SIGTERM."""
        # Libraries for server-sent events ask the object of this handler whether the server ends.
        signal.signal(signal.SIGTERM, self.server.handle_exit)
        self.server.should_exit = not self.worker.alive  # A signal may have come before.
        try:
            self.loop.run_until_complete(self.serve())
        finally:
            self.end_tasks()

    async def serve(self):
        while not self.server.should_exit and not self.worker.proof.complete(self.worker):
            self.worker.notify()
            await asyncio.sleep(0.01)
        self.server.started, self.server.servers = True, []
        for listener in self.worker.sockets:
            listener.setblocking(False)
        self.accept_more(not self.server.should_exit)
        await self.server.main_loop()
        await self.retire()

    async def beat(self):
        self.worker.notify()
        if self.worker.ppid != os.getppid():
            self.server.should_exit = True
        self.accept_more(self.has_room())

    def has_room(self):
        return len(self.connections) + len(self.joining) < self.worker.worker_connections

    def accept_more(self, more):
        if more != self.accepting:
            for listener in self.worker.sockets:
                if more:
                    self.loop.add_reader(listener.fileno(), self.accept, listener)
                else:
                    self.loop.remove_reader(listener.fileno())
            self.accepting = more

    def accept(self, listener):
        """Accepts one connection at a time, so that each worker gets its share. (asyncio's own server takes all that wait.)"""
        try:
            sock, _ = listener.accept()
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                self.worker.log.error("Cannot accept a connection: %s", problem)
                self.accept_more(False)  # Until the next beat.
            return
        sock.setblocking(False)
        protocol = functools.partial(
            self.config.http_protocol_class,
            config=self.config,
            server_state=self.server.server_state,
            app_state=self.lifespan.state,
        )
        task = self.loop.create_task(self.loop.connect_accepted_socket(protocol, sock))
        self.joining.add(task)
        task.add_done_callback(self.joined)
        if not self.has_room():
            self.accept_more(False)

    def joined(self, task):
        self.joining.discard(task)
        if not task.cancelled() and task.exception():  # For example, the client hung up.
            self.worker.log.debug("A connection failed: %s", task.exception())

    async def retire(self):
        now = time.monotonic()
        end = now + self.worker.cfg.graceful_timeout - ENDING
        self.accept_more(False)
        known = {each: now + self.worker.idle_seconds for each in self.waiting() if each.cycle}
        while True:
            await asyncio.sleep(0.05)
            now = time.monotonic()
            for connection in self.waiting():
                # A connection with a cycle that is new here has just got its response.
                if known.setdefault(connection, now if connection.cycle else now + self.worker.silent_seconds) <= now:
                    connection.shutdown()
            if now >= end or not (self.joining or self.waiting()):
                break
        self.worker.let_go()
        self.config.timeout_graceful_shutdown = max(0.0, end - now)
        await self.server.shutdown()

    def waiting(self):
        """The connections without a request."""
        http = [each for each in self.connections if hasattr(each, "cycle") and not each.transport.is_closing()]
        return [each for each in http if each.cycle is None or each.cycle.response_complete]

    def end_tasks(self):
        """Cancels what the app left running, as `asyncio.run` does."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
