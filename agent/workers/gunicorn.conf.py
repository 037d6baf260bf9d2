"""gunicorn's settings and hooks for one generation of the app. They are the same for all deployments.

What differs comes from the release's manifest and from these variables: DEVOPSCTL_RELEASE (the release's folder),
DEVOPSCTL_SECRETS (a file with the variables of the secrets and the token, readable by this generation only), DEVOPSCTL_VERDICT
(the file with the generation's verdict; see proof.py), DEVOPSCTL_ADDRESS (the public address; an older agent does not set it)
and DEVOPSCTL_GATE (a folder, if the generation waits for the agent after its checks).
"""

import contextlib
import fcntl
import functools
import gc
import importlib
import importlib.util
import json
import os
import site
import sys
import time

# The names of frameworks, and the module of each that is imported before the first answer.
FRAMEWORKS = {
    "bottle": "bottle",
    "django": "django.core.handlers.wsgi",
    "falcon": "falcon",
    "flask": "flask",
    "starlette": "starlette.applications",
    "uvicorn": "uvicorn",
}


def load(name):
    """A module of the agent, such as `system/systemd`, under a name that no module of the app has."""
    agent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location("devopsctl_" + os.path.basename(name), f"{agent}/{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = os.environ["DEVOPSCTL_RELEASE"]
variables = load("workers/variables")
secrets = variables.path()
verdict = os.environ["DEVOPSCTL_VERDICT"]
with open(os.path.join(release, "manifest.json")) as file:
    manifest = json.load(file)

# gunicorn notifies READY before a worker exists. The proof does it instead, once the last worker passed its checks.
ready = functools.partial(load("system/systemd").notify, "READY=1", os.environ.pop("NOTIFY_SOCKET", None))
if "LISTEN_PID" not in os.environ:
    # The process runner cannot know this pid in advance. gunicorn does not remove the file of an inherited socket.
    os.environ["LISTEN_PID"] = str(os.getpid())
site.addsitedir(os.path.join(release, "site"))
kernel = load("system/kernel")
checks = manifest["token"]["check"]
# With a check in the app, the guard answers only for static files.
guards = load("workers/guard") if checks == "proxy" or (checks == "app" and manifest.get("static")) else None
proof = load("workers/proof").Proof(
    manifest, secrets, verdict, ready, os.environ.get("DEVOPSCTL_ADDRESS"), os.environ.get("DEVOPSCTL_GATE")
)

wsgi_app = manifest["web"]
chdir = os.path.join(release, "app")
workers = manifest["workers"]
threads = manifest["threads"]
worker = load("workers/worker").Worker
worker.proof = proof
for part in ("response_spool", "unavailable", "asgi"):
    setattr(worker, part, load(f"workers/{part}"))
worker_class = f"{worker.__module__}.{worker.__name__}"  # gunicorn before 23 accepts no class.
graceful_timeout = 30
keepalive = 15
timeout = manifest["health"]["timeout"] + 30  # For a deadlock; the agent ends a start that takes too long.
control_socket_disable = True
errorlog = "-"
loglevel = "warning"  # Its own messages would hide those of the app.
if os.path.isdir("/dev/shm"):
    worker_tmp_dir = "/dev/shm"  # A worker's heartbeat must not wait for a disk.


def is_in(folder, module):
    return any(os.path.exists(os.path.join(folder, module + end)) for end in ("", ".py"))


def on_starting(server):
    """In the master, before there are workers: imports what all of them need, without the app or its settings."""
    # Waits until the agent has compiled these modules: its compilers hold the lock (bytecode.py).
    with contextlib.suppress(OSError), open(os.path.join(release, ".compiling")) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    for name, part in FRAMEWORKS.items():
        # Not if the app itself has a module of that name, which a worker would find first.
        if is_in(os.path.join(release, "site"), name) and not is_in(chdir, name):
            with contextlib.suppress(BaseException):  # A worker reports it, with its traceback.
                importlib.import_module(part)
    # Once a worker has failed, the master logs that it exits. Shown to a person, that would look like the reason.
    log = server.log.error_log
    log.addFilter(lambda record: record.process != server.pid or bool(record.exc_info) or not proof.has_failed())
    gc.freeze()  # These objects stay: workers need not scan them, and share their memory.
    gc.enable()


def post_fork(server, worker):
    """In the worker, before it loads the app: so neither the master nor /proc/PID/environ ever holds a secret."""
    for name in [name for name in os.environ if name.startswith("DEVOPSCTL_")]:
        del os.environ[name]
    given = proof.variables()
    if guards:
        worker.guard = guards.Guard(manifest["token"], given)
    os.environ.update(variables.of_app(manifest, given))
    time.tzset()
    proof.born(worker)


def post_worker_init(worker):
    """Before the worker accepts its first request."""
    proof.prove(worker)


def child_exit(server, worker):
    """In the master, when a worker has ended."""
    proof.ended(worker, kernel.lacked_memory(kernel.own_group()))
