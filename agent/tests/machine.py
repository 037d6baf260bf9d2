"""A machine as the sandbox boots it: a folder that stands for `/`, the user-data as its program, nothing else."""

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
CLIENT_PAUSE = 0.004  # Seconds between two requests of a client, so that clients leave the app the processor.


def user_data():
    """As the CLI makes it: the modules as one program, in the one that installs it."""
    parts = [(AGENT / name).read_text() for name in ("validate.py", "aws.py", "bootstrap.py")]
    lines = [
        line for line in "".join(parts).splitlines() if not line.startswith(("from aws import", "from validate import"))
    ]
    return (AGENT / "install.sh").read_text().replace("@PROGRAM@", "\n".join(lines))


@functools.lru_cache(None)
def site(gunicorn, flask, *more):
    """One version of gunicorn, with `flask` all that app/ needs, and more packages, as files: name -> content."""
    with tempfile.TemporaryDirectory() as folder:
        what = [f"gunicorn{gunicorn}", *(["-r", str(APP / "requirements.txt")] if flask else []), *more]
        uv = os.environ.get("UV") or "uv"  # As `uv run` says where it is.
        subprocess.run([uv, "pip", "install", "-q", "--python", sys.executable, "--target", folder, *what], check=True)
        shutil.rmtree(folder + "/bin", ignore_errors=True)
        return {
            f"site/{path.relative_to(folder)}": path.read_bytes()
            for path in pathlib.Path(folder).rglob("*.*")
            if path.is_file()
        }


@functools.lru_cache(None)
def byte_code(name, source):
    """What Python takes without a look at the source's time, which differs from machine to machine (PEP 552)."""
    code = compile(source, name, "exec", dont_inherit=True)
    unchecked = (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + unchecked + marshal.dumps(code)


def release(gunicorn=">=23", app=None, agent=None, flask=None, compiled=True, packages=(), **manifest):
    """An archive. `app`: source of app.py, else app/ as it stands, with Flask; `agent`: files that are different in it;
    `packages`: what else it brings;
    `compiled`: it brings byte-code along, so that no machine spends time on that. What the command line makes brings none.
    """
    settings = {
        "v": 1,
        "wsgi": "app:app",
        "workers": 2,
        "threads": 4,
        "env": {},
        "health": {"path": "/", "timeout": 30},
        "token": {"env": "APP_SECRET_TOKEN", "enforce": True, "path": "/"},
        **manifest,
    }
    files = {
        "manifest.json": json.dumps(settings).encode(),
        "first.txt": b"app/app.py\n",
        "app/app.py": app.encode() if app else (APP / "app.py").read_bytes(),
        **{f"agent/{name}": text.encode() for name, text in {**agent_files(), **(agent or {})}.items()},
        **site(gunicorn, app is None if flask is None else flask, *packages),
    }
    if compiled:
        sources = [name for name in files if name.endswith(".py") and not name.startswith("app/")]
        files.update({importlib.util.cache_from_source(name): byte_code(name, files[name]) for name in sources})
    return pack(files)


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
    """A file of the agent with other values of its constants, such as the seconds that it waits."""
    text = (AGENT / name).read_text()
    for constant, value in settings.items():
        text, found = re.subn(rf"(?m)^{constant} = \S+", f"{constant} = {value}", text)
        assert found == 1, f"{name} has no {constant}"
    return text


@functools.lru_cache(None)
def agent_files():
    """The agent, which here looks at its tags and reports more often: a test waits for that again and again."""
    files = {path.name: path.read_text() for path in AGENT.iterdir() if path.is_file()}
    return {
        **files,
        "agent.py": agent_file("agent.py", TAG_SECONDS=0.2),
        "report.py": agent_file("report.py", PAUSE=0.2),
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
        """As a reboot does: the program may end what runs."""
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
        """What an app has started that has left its group: it still has this machine's settings."""
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
        """To the app itself; by way of `80.sock` through the edge."""
        return UnixConnection(self.root / "net" / socket, timeout)

    def get(self, token=None, path="/", timeout=15, socket="app.sock"):
        """(status, text) of one request on a connection of its own."""
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
            # By way of /proc, as the path may be too long for a socket.
            self.sock.connect(f"/proc/self/fd/{here}/{os.path.basename(self.unix_path)}")
        finally:
            os.close(here)


def until(condition, seconds=20, what="it"):
    """Waits until a condition holds; its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
