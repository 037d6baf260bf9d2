"""How gunicorn runs one generation of the app: settings and hooks, nothing that differs between deployments.

What differs comes from the release's manifest and from DEVOPSCTL_ variables:
DEVOPSCTL_RELEASE (the release's folder), DEVOPSCTL_SECRETS (a file with the token's variables, for this generation's
eyes only), DEVOPSCTL_VERDICT (the file that says how the generation does; see proof.py) and DEVOPSCTL_ADDRESS (the public
address; an older agent does not name it).
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

# What a framework's name is, and the part of it that is read on the way to the first answer.
FRAMEWORKS = {"bottle": "bottle", "django": "django.core.handlers.wsgi", "falcon": "falcon", "flask": "flask"}


def load(name):
    """A module from beside this file, under a name that no module of the app has."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("devopsctl_" + name, path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = os.environ["DEVOPSCTL_RELEASE"]
secrets = os.environ["DEVOPSCTL_SECRETS"]
if "CREDENTIALS_DIRECTORY" in os.environ:  # systemd's LoadCredential=
    secrets = os.path.join(os.environ["CREDENTIALS_DIRECTORY"], "token")
verdict = os.environ["DEVOPSCTL_VERDICT"]
with open(os.path.join(release, "manifest.json")) as file:
    manifest = json.load(file)

# gunicorn says READY before a worker exists: the proof says it instead, when the last worker has proved itself.
ready = functools.partial(load("systemd").notify, "READY=1", os.environ.pop("NOTIFY_SOCKET", None))
if "LISTEN_PID" not in os.environ:
    # The process runner can't know our pid beforehand. gunicorn leaves an inherited socket's file alone at its end.
    os.environ["LISTEN_PID"] = str(os.getpid())
site.addsitedir(os.path.join(release, "site"))
processes = load("processes")
proof = load("proof").Proof(manifest, secrets, verdict, ready, os.environ.get("DEVOPSCTL_ADDRESS"))

wsgi_app = manifest["wsgi"]
chdir = os.path.join(release, "app")
workers = manifest["workers"]
threads = manifest["threads"]
worker = load("worker").Worker
worker.proof, worker.outgoing, worker.unavailable = proof, load("outgoing"), load("unavailable")
worker_class = f"{worker.__module__}.{worker.__name__}"  # gunicorn 22 and before take no class.
graceful_timeout = 30
keepalive = 15
timeout = manifest["health"]["timeout"] + 30  # A deadlock's; a start that takes too long is ended by the agent.
control_socket_disable = True
errorlog = "-"
loglevel = "warning"  # What it says of itself would hide what the app says.
if os.path.isdir("/dev/shm"):
    worker_tmp_dir = "/dev/shm"  # A worker's heartbeat must not wait for a disk.


def is_in(folder, module):
    return any(os.path.exists(os.path.join(folder, module + end)) for end in ("", ".py"))


def on_starting(server):
    """In the master, before there are workers: what all of them need, and what knows neither the app nor its settings."""
    # Until the agent has compiled what is now imported: it holds that file for so long (bytecode.py).
    with contextlib.suppress(OSError), open(os.path.join(release, ".compiling")) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    for name, part in FRAMEWORKS.items():
        # Not where the app has one of that name itself, which a worker would find first.
        if is_in(os.path.join(release, "site"), name) and not is_in(chdir, name):
            with contextlib.suppress(BaseException):  # A worker tells it, with its traceback.
                importlib.import_module(part)
    # That it ends itself, once it is said why it must not serve, would be shown to people as the reason.
    log = server.log.error_log
    log.addFilter(lambda record: record.process != server.pid or bool(record.exc_info) or not proof.has_failed())
    gc.freeze()  # All of it stays, so no worker need ever look at it, and all can share its memory.
    gc.enable()


def post_fork(server, worker):
    """In the worker alone, before it loads the app: the master never holds the token, nor does /proc/PID/environ."""
    for name in [name for name in os.environ if name.startswith("DEVOPSCTL_")]:
        del os.environ[name]
    os.environ.update(manifest["env"])
    os.environ.update(proof.variables())
    time.tzset()
    proof.born(worker)


def post_worker_init(worker):
    """Before the worker accepts its first request."""
    proof.prove(worker)


def child_exit(server, worker):
    """In the master, when a worker has ended."""
    proof.ended(worker, processes.lacked_memory(processes.own_group()))
