"""The emulator: moto on a Unix socket, made as strict as AWS.

The sandbox starts it under a supervisor as `python <this folder> <socket>`. It listens on a Unix socket in a private folder
and answers signed calls only (core/admission.py). Paths below /_devopsctl/ are for the sandbox itself and need its secret
(control/calls.py); no bucket can have this name.
"""

import gc
import logging
import os
import sys
import time
from functools import cache
from pathlib import Path

# Loaded modules stay until the end. Collecting garbage among them takes a third of the start.
gc.disable()
# moto reads these during its import. Its own images take a second to load and cannot boot here.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).parent / "images.json")
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

import botocore.session

# botocore and moto create a loader per session and service, and every loader reads the same files: 40 % of the start.
botocore.session.create_loader = cache(botocore.session.create_loader)

import moto.core.utils

moto.core.utils.create_loader = cache(moto.core.utils.create_loader)

import rules
from account import plans
from control import calls
from core import faults
from core.admission import SERVICES, Admission, path, service
from iam import auth
from moto.core.utils import get_service_model
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

# Services whose names differ between moto and botocore.
MODELS = {"servicequotas": "service-quotas"}


class Handler(MotoRequestHandler):
    """Logs no calls: the API logs them without secrets."""

    def log_request(self, *_):
        pass

    def version_string(self):
        """Shows no versions, which would only help an attacker."""
        return "sandbox"

    def date_time_string(self, timestamp=None):
        """Uses the emulated clock of AWS."""
        return super().date_time_string(time.time() + faults.ahead() if timestamp is None else timestamp)

    def send_error(self, code, *_):
        """Sends no page that repeats the request."""
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()


class Emulator:
    """moto's services and the control paths.

    It replaces moto's dispatcher, which guesses the service from the path or the host, and serves pages of its own.
    """

    def __init__(self, admission):
        self.admission = admission
        # Loaded now: the first calls are concurrent, and each would load the same files.
        own = {plans.SERVICE: plans.application()}
        self.services = {name: own.get(name) or create_backend_app(name) for name in SERVICES}
        for name in SERVICES:
            get_service_model(MODELS.get(name, name))

    def __call__(self, environ, start_response):
        if path(environ).startswith(calls.PREFIX) and self.admission.is_own(environ):
            return calls.answer(environ, start_response)
        called = service(environ)
        if called is None or path(environ).startswith(calls.PREFIX):
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        auth.keep_form(environ)
        return self.services[called](environ, start_response)


if __name__ == "__main__":
    # No warning about production servers.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Before the services are loaded, because that creates the stores of the first region.
    rules.install()
    emulator = Emulator(Admission.from_file(Path(__file__).with_name("secret")))
    gc.freeze()
    gc.enable()
    run_simple(f"unix://{sys.argv[1]}", 0, emulator, threaded=True, request_handler=Handler)
