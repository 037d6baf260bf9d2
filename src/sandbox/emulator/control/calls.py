"""The control calls of the sandbox and its tests, besides AWS's own calls."""

import json
from urllib.parse import parse_qs

from account import plans, quotas
from control import accounts, aws_state
from core import clock, delays, faults
from ec2 import volumes
from ssm import parameters

PREFIX = "/_devopsctl/"


def answer(environ, start_response):
    """Answers one control call: a WSGI application. The secret has been checked."""
    name = environ["PATH_INFO"][len(PREFIX) :]
    query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    try:
        body, status = CALLS[name](**query), "200 OK"
    except LookupError as error:
        body, status = {"error": str(error)}, "404 Not Found"
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    start_response(status, [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


def publish_image(region, parameter=None):
    """Publishes a newer image for one public parameter, or for all of them."""
    with clock.LOCK:
        return parameters.publish_image(region, parameter)


def settle():
    """Ends all delays that run."""
    with clock.LOCK:
        clock.hurry()
    return {}


def mount(volume, mounted):
    """Notes whether a machine has mounted the volume."""
    with clock.LOCK:
        volumes.set_mounted(aws_state.find_volume(volume), mounted == "true")
    return {}


CALLS = {
    "users": accounts.users,
    "reset": accounts.reset,
    "save": accounts.save,
    "restore": accounts.restore,
    "aws-state": aws_state.aws_state,
    "user-data": aws_state.user_data,
    "credentials": aws_state.credentials,
    "delays": delays.change,
    "quota": quotas.apply,
    "plan": plans.set_plan,
    "refuse": faults.refuse,
    "accept": faults.accept,
    "fail-launch": faults.fail_launch,
    "attach-profile": faults.attach_profile,
    "stale-profile": faults.associate_stale_profile,
    "clock": faults.set_clock,
    "settle": settle,
    "mounted": mount,
    "publish-image": publish_image,
}
