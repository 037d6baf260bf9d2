"""The values of parameters: which ones SSM refuses, who wrote them and when, and when reads show a write."""

import base64
import hashlib
import re
from contextlib import contextmanager

from core import clock, delays
from core.errors import AwsError
from core.hooks import around
from moto.ssm.models import Parameter, ParameterDict, SimpleSystemManagerBackend
from moto.ssm.responses import SimpleSystemManagerResponse

STANDARD = 4096
MOST_NAMES = 10
NAME = re.compile(r"[a-zA-Z0-9_.\-/]+")

# By account, region and name: the versions before each write that reads do not show yet, the oldest first.
_hidden = {}


def install():
    """Describes parameters as AWS does, and keeps the text of an encrypted one from callers that do not decrypt it."""
    response_object, describe_response_object = Parameter.response_object, Parameter.describe_response_object
    describe_parameters = SimpleSystemManagerBackend.describe_parameters

    def shown(parameter, decrypt=False, region=None):
        said = response_object(parameter, decrypt, region)
        if parameter.parameter_type == "SecureString" and not decrypt:
            said["Value"] = base64.b64encode(hashlib.sha256(parameter.value.encode()).digest()).decode()
        return said

    def described(parameter, *arguments, **named):
        said = describe_response_object(parameter, *arguments, **named)
        return said | {"LastModifiedUser": getattr(parameter, "last_modified_user", said["LastModifiedUser"])}

    def listed(backend, *arguments):
        # AWS lists its public parameters for a path only.
        return [found for found in describe_parameters(backend, *arguments) if not found.name.startswith("/aws/")]

    Parameter.response_object, Parameter.describe_response_object = shown, described
    SimpleSystemManagerBackend.describe_parameters = listed


@around(SimpleSystemManagerResponse, "put_parameter")
def put_parameter(call, proceed):
    check(call._get_param("Name"), call._get_param("Value") or "", call._get_param("Tier") or "Standard")
    name = call._get_param("Name")
    with hidden(call, [name]):
        result = proceed()
    written = call.ssm_backend._parameters[name][-1]
    date = written.last_modified_date
    written.last_modified_date = date.replace(microsecond=date.microsecond // 1000 * 1000)
    written.last_modified_user = call.devopsctl_signed.caller
    return result


def check(name, value, tier):
    """Refuses a name or a value that AWS refuses. AWS gives the limit as 4 KB and as 4096 characters; here it is the smaller one."""
    if not NAME.fullmatch(name):
        message = "Parameter name must be a mix of letters, numbers and the following symbols: .-_/"
        raise AwsError("ValidationException", message)
    if "{{" in value:
        message = 'Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.'
        raise AwsError("ValidationException", message)
    if tier == "Standard" and len(value.encode()) > STANDARD:
        message = f"Standard tier parameters support a maximum parameter value of {STANDARD} characters."
        more = "To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier."
        raise AwsError("ValidationException", f"{message} {more}")


@around(SimpleSystemManagerResponse, "delete_parameter")
def delete_parameter(call, proceed):
    with hidden(call, [call._get_param("Name")]):
        return proceed()


@around(SimpleSystemManagerResponse, "delete_parameters")
def delete_parameters(call, proceed):
    names = call._get_param("Names")
    if len(names) > MOST_NAMES:
        message = f"1 validation error detected: Value '[{', '.join(names)}]' at 'names' failed to satisfy constraint: "
        message += f"Member must have length less than or equal to {MOST_NAMES}"
        raise AwsError("ValidationException", message)
    with hidden(call, names):
        return proceed()


def read(call, proceed):
    """Shows the parameters as they were before the writes of the last moment."""
    backend = call.ssm_backend
    now, place = backend._parameters, (call.current_account, call.region)
    earlier = {name: befores[0] for (*where, name), befores in _hidden.items() if tuple(where) == place}
    if not earlier:
        return proceed()
    then = backend._parameters = ParameterDict.__new__(ParameterDict)
    then.default_factory = now.default_factory
    vars(then).update(vars(now))
    then.update({name: held for name, held in {**now, **earlier}.items() if held})
    try:
        return proceed()
    finally:
        backend._parameters = now


READS = ("describe_parameters", "get_parameter", "get_parameter_history", "get_parameters", "get_parameters_by_path")
for action in READS:
    around(SimpleSystemManagerResponse, action)(read)


@contextmanager
def hidden(call, names):
    """Hides a write from reads for a moment."""
    held, places = call.ssm_backend._parameters, []
    for name in map(ParameterDict.normalize_name, names):
        places.append(((call.current_account, call.region, name), list(held.get(name, ()))))
    yield
    for place, before in places if delays.seconds("parameter") > 0 else ():
        _hidden.setdefault(place, []).append(before)
        clock.after(delays.seconds("parameter"), lambda place=place: show(place))


def show(place):
    """Shows the oldest hidden write of a parameter."""
    befores = _hidden[place]
    befores.pop(0)
    if not befores:
        del _hidden[place]


def forget():
    """Shows all writes."""
    _hidden.clear()
