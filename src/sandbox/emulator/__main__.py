"""The emulator: moto on a Unix socket, made stricter where real AWS is stricter.

Started by the sandbox under its guard as `python <this folder> <socket>`. It listens on a Unix socket in a private folder,
so the sandbox's front is the only way in. Paths below /_devopsctl/ are for the sandbox itself (see control.py); no bucket
can have such a name.
"""

import gc
import logging
import os
import sys
from pathlib import Path

# What is loaded stays until the end: to look through it for garbage again and again takes a third of the start.
gc.disable()
# moto reads both while it is imported. Its own images take a second to load and cannot boot here.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).parent / "images.json")
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"

import authority
import control
import rules
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

SERVICES = ("ec2", "iam", "route53", "s3", "servicequotas", "ssm", "sts")


class Handler(MotoRequestHandler):
    """Without a line a call: the front notes them, and leaves out what may be secret."""

    def log_request(self, *_):
        pass


class Emulator:
    """moto, with the sandbox's own paths in front of it."""

    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)
        # Loaded now, not at the first call, so that the first command is as quick as the second.
        for service in SERVICES:
            self.moto.app_instances[service] = create_backend_app(service)

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith(control.PREFIX):
            return control.answer(environ, start_response)
        authority.keep_form(environ)
        return self.moto(environ, start_response)


if __name__ == "__main__":
    # No advice on production servers.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Before the services are loaded: that makes the first region's stores.
    rules.install()
    emulator = Emulator()
    gc.freeze()
    gc.enable()
    run_simple(f"unix://{sys.argv[1]}", 0, emulator, threaded=True, request_handler=Handler)
