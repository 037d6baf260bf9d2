"""A machine like the sandbox's: a folder in place of `/`, and the user-data as its only program."""

import contextlib
import functools
import gzip
import http.client
import importlib.util
import io
import json
import marshal
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time

AGENT = pathlib.Path(__file__).resolve().parent.parent
APP = AGENT.parent / "app"
USER_DATA = ("boot/validate", "boot/aws", "orders/orders", "orders/report", "boot/bootstrap")
CLIENT_PAUSE = 0.004  # Seconds between two requests of a client, so that the app gets the processor.


def user_data():
    """Like the command line's: the modules as one program, inside the script that installs it."""
    parts = [(AGENT / f"{name}.py").read_text() for name in USER_DATA]
    lines = [line for line in "".join(parts).splitlines() if not line.startswith(("from boot.", "from orders."))]
    return (AGENT / "boot/install.sh").read_text().replace("@PROGRAM@", "\n".join(lines))


@functools.lru_cache(None)
def site(gunicorn, flask, *more):
    """The files of one version of gunicorn, of app/'s requirements with `flask`, and of more packages: name -> content."""
    with tempfile.TemporaryDirectory() as folder:
        what = [f"gunicorn{gunicorn}", *(["-r", str(APP / "requirements.txt")] if flask else []), *more]
        uv = os.environ.get("UV") or "uv"  # `uv run` sets its path.
        subprocess.run([uv, "pip", "install", "-q", "--python", sys.executable, "--target", folder, *what], check=True)
        shutil.rmtree(folder + "/bin", ignore_errors=True)
        return {
            f"site/{path.relative_to(folder)}": path.read_bytes()
            for path in pathlib.Path(folder).rglob("*")
            if path.is_file()
        }


@functools.lru_cache(None)
def byte_code(name, source):
    """Byte-code that Python uses without checking the source's time, which differs between machines (PEP 552)."""
    code = compile(source, name, "exec", dont_inherit=True)
    unchecked = (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + unchecked + marshal.dumps(code)


def release(gunicorn=">=23", app=None, agent=None, flask=None, compiled=True, packages=(), files=None, **manifest):
    """An archive. `app`: source of app.py, by default that of app/, with Flask; `agent`: files to replace in it;
    `packages`: what else it brings; `files`: more files of the app, as bytes;
    `compiled`: it brings byte-code along, so that no machine spends time on that. What the command line makes brings none.
    """
    settings = {
        "v": 1,
        "web": "app:app",
        "workers": 2,
        "threads": 4,
        "env": {},
        "health": {"path": "/", "timeout": 30},
        "token": {"env": "APP_SECRET_TOKEN", "check": "app", "open": [], "open_preflight": False, "path": "/"},
        **manifest,
    }
    archive = {
        "manifest.json": json.dumps(settings).encode(),
        "first.txt": b"app/app.py\n",
        "app/app.py": app.encode() if app else (APP / "app.py").read_bytes(),
        **{f"app/{name}": content for name, content in (files or {}).items()},
        **{f"agent/{name}": text.encode() for name, text in {**agent_files(), **(agent or {})}.items()},
        **site(gunicorn, app is None if flask is None else flask, *packages),
    }
    if compiled:
        sources = [name for name in archive if name.endswith(".py") and not name.startswith("app/")]
        archive.update({importlib.util.cache_from_source(name): byte_code(name, archive[name]) for name in sources})
    return pack(archive)


def pack(files):
    buffer = io.BytesIO()
    zipped = gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=0)
    with zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def agent_file(name, **settings):
    """A file of the agent with other values of its constants, such as seconds to wait."""
    text = (AGENT / name).read_text()
    for constant, value in settings.items():
        text, found = re.subn(rf"(?m)^{constant} = \S+", f"{constant} = {value}", text)
        assert found == 1, f"{name} has no {constant}"
    return text


@functools.lru_cache(None)
def agent_files():
    """The agent, reading tags and reporting more often, because tests wait for both."""
    paths = [path for path in AGENT.rglob("*.*") if not {"tests", "__pycache__"} & set(path.parts[len(AGENT.parts) :])]
    return {
        **{str(path.relative_to(AGENT)): path.read_text() for path in paths},
        "agent.py": agent_file("agent.py", TAG_SECONDS=0.2),
        "orders/reporter.py": agent_file("orders/reporter.py", PAUSE=0.2),
    }


class Machine:
    def __init__(self, aws, root=None):
        self.aws = aws
        self.root = pathlib.Path(root or tempfile.mkdtemp(prefix="machine-"))
        for folder in ("bin", "net", "opt", "run", "tmp", "root", "var/lib", "var/log"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        os.chmod(self.root / "net", 0o700)
        self.program = None

    def boot(self, **more):
        python = self.root / "bin/python3"
        if not python.exists():
            python.symlink_to(sys.executable)
        script = self.root / "user-data"
        script.write_text(user_data())
        script.chmod(0o755)
        environment = {
            "DEVOPSCTL_ROOT": str(self.root),
            "DEVOPSCTL_RUNNER": "process",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.aws.url,
            "AWS_ENDPOINT_URL": self.aws.url,
            "PATH": f"{self.root}/bin:/usr/bin:/bin",
            "HOME": str(self.root / "root"),
            "TMPDIR": str(self.root / "tmp"),
            "LANG": "C.UTF-8",
            **more,
        }
        console = open(self.root / "var/log/console.log", "ab")
        self.program = subprocess.Popen(
            [str(script)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
        console.close()
        return self

    def stop(self):
        """Like a reboot: the program may end the processes."""
        self.program.send_signal(signal.SIGTERM)
        return self.program.wait(20)

    def destroy(self):
        if self.program:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.program.pid, signal.SIGKILL)
            self.program.wait()
        for pid in self.strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)

    def strays(self):
        """The processes of an app that left its process group: they still have this machine's environment."""
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"TMPDIR={self.root}/tmp".encode() in (process / "environ").read_bytes().split(b"\0"):
                    yield int(process.name)

    def console(self):
        return (self.root / "var/log/console.log").read_text()

    def app_log(self):
        return (self.root / "var/log/app.log").read_text()

    def running(self):
        return json.loads((self.root / "run/devopsctl/running.json").read_text())["generations"]

    def pid(self, role="serving"):
        return next(each["pid"] for each in self.running() if each["role"] == role)

    def connect(self, timeout=15, socket="app.sock"):
        """A connection to the app itself; with `80.sock`, through the proxy."""
        return UnixConnection(self.root / "net" / socket, timeout)

    def get(self, token=None, path="/", timeout=15, socket="app.sock"):
        """(status, text) of one request on a new connection."""
        connection = self.connect(timeout, socket)
        try:
            connection.request("GET", path, headers={"Authorization": f"Token {token}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.unix_path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        here = os.open(os.path.dirname(self.unix_path), os.O_RDONLY)
        try:
            # Through /proc, because the path may be too long for a socket.
            self.sock.connect(f"/proc/self/fd/{here}/{os.path.basename(self.unix_path)}")
        finally:
            os.close(here)


def until(condition, seconds=20, what="it"):
    """Waits until a condition holds -> its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
