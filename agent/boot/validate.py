"""Checks values from outside before they become a path, a unit, a number or a command.

Each pattern matches the whole value, in ASCII only: `str.isdigit` and `\\d` accept digits that `int` refuses.
The user-data contains this file, so it uses the standard library only.
"""

import errno
import json
import re

OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
FORMS = {
    "release": "[0-9a-f]{64}",
    "sha384": "[0-9a-f]{96}",
    "name": "[a-z][a-z0-9-]{0,30}",
    "account": "[0-9]{12}",
    "partition": "aws(-[a-z]{1,8}){0,3}",
    "region": "[a-z]{2,12}(-[a-z]{2,12}){1,4}-[0-9]{1,2}",
    "instance": "i-[0-9a-f]{8,17}",
    "domain": "[a-z0-9.-]{1,64}",
    "role": "[A-Za-z0-9+=,.@_-]{1,64}",
    "address": rf"{OCTET}(\.{OCTET}){{3}}",
    "host": "[A-Za-z0-9][A-Za-z0-9.-]{0,252}",
    "number": "[0-9]{1,12}",
    "fingerprint": "none|[0-9a-f]{16}",
    "volume": "vol-[0-9a-f]{8,32}",
    "data order": "none|vol-[0-9a-f]{8,32}",
    "data path": r"(?!/(bin|boot|dev|etc|home|lib|opt|proc|root|run|sbin|sys|tmp|usr|var)(/|$)|/lib)"
    r"(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){1,4}",
    "reference": r"ssm:(?P<parameter>(?!/?(?i:aws|ssm|devopsctl(/|$)))([A-Za-z0-9_.-]+|(/[A-Za-z0-9_.-]+){1,15}))"
    r"|secretsmanager:(?P<secret>[A-Za-z0-9/_+=.@!-]{1,512}|arn:aws[a-z-]{0,10}:secretsmanager:[a-z0-9-]{1,32}:[0-9]{12}"
    r":secret:[A-Za-z0-9/_+=.@!-]+-[A-Za-z0-9]{6})(#(?P<key>[A-Za-z0-9_.-]{1,128}))?",
    "variable": "[A-Za-z_][A-Za-z0-9_]{0,99}",
    "lease": "[0-9a-f]{4,32}",
    "ssh key": r"(?P<end>[0-9]{1,12}) [0-9./]{7,18} (?P<key>ssh-ed25519 [A-Za-z0-9+/]{68})",
    "log request": "(?P<source>[a-z][a-z0-9-]{0,19})/(?P<word>[A-Za-z0-9-]{1,64})",
    "attempt": "[A-Za-z0-9._:-]{1,64}",
    "user": "[A-Za-z_][A-Za-z0-9_-]{0,31}",
    "unit number": "[0-9]{1,9}",
    "run": "[0-9a-f]{8}",
    "source": "[a-z][a-z0-9-]{0,19}",
    "log": "[a-z][a-z0-9-]{0,39}",
    "command": r"release|schedule\.[a-z][a-z0-9-]{0,19}",
    "process": "(?!(app|web|access|agent|release|run)$)[a-z][a-z0-9-]{0,19}",
    "session": "[!-~]{1,512}",
    "microseconds": "[0-9]{1,17}",
    "URL prefix": "/|(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){1,9}",
    "folder": "[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,9}",
    "stored name": "[A-Za-z0-9_@+-][A-Za-z0-9_@+.-]{0,254}",
}
PATTERNS = {kind: re.compile(form, re.ASCII) for kind, form in FORMS.items()}
LARGEST_PID = 1 << 22  # Linux's PID_MAX_LIMIT.
JSON_BYTES, JSON_DEPTH, JSON_DIGITS = 1 << 20, 32, 20


class Invalid(ValueError):
    """A value that does not have the form of its kind."""


def match(kind, value):
    """The match, if the whole text has the form of this kind; None for anything else."""
    return PATTERNS[kind].fullmatch(value) if isinstance(value, str) else None


def check(kind, value):
    """`value`, if it has the form of this kind."""
    if not match(kind, value):
        raise Invalid(f"not a valid {kind}: {ascii(value)[:80]}")
    return value


def optional(kind, values):
    """The value under the name of its kind, if there is one."""
    return None if values.get(kind) is None else check(kind, values[kind])


def number(value):
    """The number in a text; None for no text."""
    return int(check("number", value)) if value else None


def integer(value, least=0, most=1 << 53):
    """`value`, if it is an integer within these limits. `True`, which is an int in Python, is none."""
    if type(value) is not int or not least <= value <= most:
        raise Invalid(f"not a number from {least} to {most}: {ascii(value)[:80]}")
    return value


def process_id(value):
    """`value`, if it can be the id of a process other than the first."""
    return integer(value, 2, LARGEST_PID)


def parse(data, most=JSON_BYTES, kind=None):
    """JSON from outside as Python values, if it is a `kind`. Every error is `Invalid`."""
    if len(data) > most:
        raise Invalid(f"JSON of more than {most} bytes")
    try:
        text = data if isinstance(data, str) else bytes(data).decode()
        value = json.loads(text, parse_int=small_integer, parse_constant=no_constant)
        bound_depth(value)
    except Exception as problem:  # noqa: BLE001 (RecursionError, and what other versions of Python raise)
        raise Invalid(f"not valid JSON: {type(problem).__name__}") from None
    if kind and not isinstance(value, kind):
        raise Invalid(f"JSON of another type than {kind.__name__}")
    return value


def small_integer(digits):
    """Python's time to parse a number grows with the square of its length."""
    if len(digits) > JSON_DIGITS:
        raise Invalid("a number that is too long")
    return int(digits)


def no_constant(name):
    raise Invalid(name)


def bound_depth(value):
    """Without recursion, which it protects against."""
    level = [value]
    for _ in range(JSON_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise Invalid("nested too deep")


def clean(text, most=1 << 16):
    """`text` without lone surrogates, which cannot be printed and which other JSON parsers refuse."""
    return text[:most].encode("utf-8", "replace").decode()


def in_words(problem):
    """An exception as text for a person."""
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {problem}"
    return str(problem) or type(problem).__name__
