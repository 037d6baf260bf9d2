"""The emulator: moto on a Unix socket, made stricter where real AWS is stricter.

Started by the sandbox under its guard as `python <this folder> <socket>`. It listens on a Unix socket in a private folder
and answers signed calls alone (see admission.py). Paths below /_devopsctl/ are for the sandbox itself and need its secret
(see control.py); no bucket can have such a name.
"""

import gc
import logging
import os
import sys
import time
from functools import cache
from pathlib import Path

# What is loaded stays until the end: to look through it for garbage again and again takes a third of the start.
gc.disable()
# moto reads these while it is imported. Its own images take a second to load and cannot boot here.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).parent / "images.json")
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

import botocore.session

# Both make a loader for each session and each service, and every loader searches all of botocore's folders and reads the same
# files again: that took 40 % of the start.
botocore.session.create_loader = cache(botocore.session.create_loader)

import moto.core.utils

moto.core.utils.create_loader = cache(moto.core.utils.create_loader)

import authority
import control
import faults
import plans
import rules
from admission import SERVICES, Admission, path, service
from moto.core.utils import get_service_model
from moto.moto_server.werkzeug_app import MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

# What botocore calls a service otherwise than moto.
MODELS = {"servicequotas": "service-quotas"}


class Handler(MotoRequestHandler):
    """Without a line a call: the front notes them, and leaves out what may be secret."""

    def log_request(self, *_):
        pass

    def version_string(self):
        """Without versions, which only help an attacker."""
        return "sandbox"

    def date_time_string(self, timestamp=None):
        """By AWS's clock."""
        return super().date_time_string(time.time() + faults.ahead() if timestamp is None else timestamp)

    def send_error(self, code, *_):
        """Without a page that repeats the request."""
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()


class Emulator:
    """moto's services, with the sandbox's own paths in front of them.

    moto's own dispatcher is left out: it guesses a service from the path or the host, and has pages of its own.
    """

    def __init__(self, admission):
        self.admission = admission
        # Loaded now, not at the first calls: those come at once, and each would load the same.
        own = {plans.SERVICE: plans.application()}
        self.services = {name: own.get(name) or create_backend_app(name) for name in SERVICES}
        for name in SERVICES:
            get_service_model(MODELS.get(name, name))

    def __call__(self, environ, start_response):
        if path(environ).startswith(control.PREFIX) and self.admission.is_own(environ):
            return control.answer(environ, start_response)
        called = service(environ)
        if called is None or path(environ).startswith(control.PREFIX):
            start_response("403 Forbidden", [("Content-Length", "0")])
            return []
        authority.keep_form(environ)
        return self.services[called](environ, start_response)


if __name__ == "__main__":
    # No advice on production servers.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Before the services are loaded: that makes the first region's stores.
    rules.install()
    emulator = Emulator(Admission.from_file(Path(__file__).with_name("secret")))
    gc.freeze()
    gc.enable()
    run_simple(f"unix://{sys.argv[1]}", 0, emulator, threaded=True, request_handler=Handler)
