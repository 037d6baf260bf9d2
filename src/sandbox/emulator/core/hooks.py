"""Installs rules in moto: around an action, under the lock, with AWS's errors."""

from functools import cache

from core import clock, delays, faults
from moto.core import responses
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse


def around(response, action):
    """Decorates a rule: `rule(call, proceed)` replaces the action, and `proceed()` is moto's own implementation.

    `call` is moto's response object with the parameters and the backend.
    """

    def install(rule):
        original = getattr(response, action)

        def method(call):
            return rule(call, lambda: original(call))

        setattr(response, action, method)
        return rule

    return install


# The first checks of each call: `check(call)` raises AWS's error.
FIRST = []


def install():
    """Runs calls one after the other, after all changes that are due, and with the faults that tests request."""
    call_action, serialized = BaseResponse.call_action, BaseResponse.serialized

    def in_order(call):
        with clock.LOCK:
            clock.settle()
            try:
                for check in FIRST:
                    check(call)
                faults.check(call._get_action())
                require_known(call)
                # moto answers the errors of the action. Errors of the checks before it are answered here.
                return call_action(call)
            except ServiceException as error:
                status, headers, body = call.serialized(ActionResult(error))
                return status, {**headers, "status": status}, body

    def with_status(call, result):
        status, headers, body = serialized(call, result)
        # The status of a volume is another one.
        own = vars(result.result).get("status") if isinstance(result.result, ServiceException) else None
        return own or status, headers, body

    BaseResponse.call_action = in_order
    BaseResponse.serialized = with_status
    # moto lists a service's methods for each call, which takes longer than many calls.
    responses.method_names_from_class = cache(responses.method_names_from_class)


# New resources that calls do not find yet, with the error for each: AWS is eventually consistent.
_unknown = {}


def hide_new(resource_id, error):
    """Answers calls that name the resource with `error` for a moment."""
    if delays.seconds("unknown") > 0:
        _unknown[resource_id] = error
        clock.after(delays.seconds("unknown"), lambda: _unknown.pop(resource_id, None))


def forget():
    """Shows all resources."""
    _unknown.clear()


def is_unknown(resource_id):
    """Whether lists do not contain the resource yet."""
    return resource_id in _unknown


def require_known(call):
    """Refuses a call that names a resource which EC2 does not find yet. A filter just finds nothing."""
    if not _unknown or call.service_name != "ec2":
        return
    named = set(strings({name: value for name, value in call.params.items() if not name.startswith("Filter")}))
    for resource_id, error in _unknown.items():
        if resource_id in named:
            raise error


def strings(value):
    """All strings in a call's parameters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
