"""How a shell runs the command of a process beside the web server, so that the process gets SIGTERM."""

import re

# One command of a program: with `exec` it takes the place of the shell. A word of the shell itself, such as `cd`, cannot.
SIMPLE = re.compile(
    r"(?!(cd|exec|eval|export|set|unset|source|trap|ulimit|umask|if|for|while|until|case|time|command|\.)\s)[\w./~-]+([ \t][^;&|(){}`\n]*)?",
    re.ASCII,
)
# A shell that stays waits for its program after SIGTERM, which all of its programs get, and runs nothing more.
WAITS = "trap 'exit 143' TERM\n"


def is_simple(command):
    return SIMPLE.fullmatch(command.strip()) is not None


def arguments(command):
    """How a shell runs the command."""
    return ["/bin/sh", "-c", ("exec " if is_simple(command) else WAITS) + command.strip()]
