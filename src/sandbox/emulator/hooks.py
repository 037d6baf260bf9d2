"""How a rule takes hold in moto: around an action, under the lock, and with an error that AWS would answer."""

from functools import cache

import clock
import faults
import settings
from moto.core import responses
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse


def around(response, action):
    """Decorates a rule: `rule(call, proceed)` runs instead of the action, and moto's own part is `proceed()`.

    `call` is moto's response object, which knows the parameters and the backend.
    """

    def install(rule):
        original = getattr(response, action)

        def method(call):
            return rule(call, lambda: original(call))

        setattr(response, action, method)
        return rule

    return install


# What is checked of each call before anything else: `check(call)` raises what AWS answers.
FIRST = []


def install():
    """Has calls run one after the other, see what was due before them, and meet the faults that were asked for."""
    call_action, serialized = BaseResponse.call_action, BaseResponse.serialized

    def in_order(call):
        with clock.LOCK:
            clock.settle()
            try:
                for check in FIRST:
                    check(call)
                faults.meet(call._get_action())
                unknown_yet(call)
                # What the action itself refuses it answers; who may not call it at all is told from here.
                return call_action(call)
            except ServiceException as refusal:
                status, headers, body = call.serialized(ActionResult(refusal))
                return status, {**headers, "status": status}, body

    def with_status(call, result):
        status, headers, body = serialized(call, result)
        return getattr(result.result, "status", None) or status, headers, body

    BaseResponse.call_action = in_order
    BaseResponse.serialized = with_status
    # moto lists a service's methods again for each call, which takes longer than many calls.
    responses.method_names_from_class = cache(responses.method_names_from_class)


# What was just made and what its absence is called: AWS is eventually consistent.
_unknown = {}


def make_known_later(resource_id, absence):
    """For a moment, calls that name the resource answer with `absence`."""
    if settings.delay("unknown") > 0:
        _unknown[resource_id] = absence
        clock.after(settings.delay("unknown"), lambda: _unknown.pop(resource_id, None))


def forget():
    """Everything is known."""
    _unknown.clear()


def is_unknown(resource_id):
    """Whether a list should leave it out yet."""
    return resource_id in _unknown


def unknown_yet(call):
    """Refuses a call that names what EC2 does not know yet. A filter names nothing: it just finds nothing."""
    if not _unknown or call.service_name != "ec2":
        return
    named = set(strings({name: value for name, value in call.params.items() if not name.startswith("Filter")}))
    for resource_id, absence in _unknown.items():
        if resource_id in named:
            raise absence


def strings(value):
    """All texts in a call's parameters."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
