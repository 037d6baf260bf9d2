"""How long AWS takes here: short enough for a person, long enough to be met by a program that does not wait.

The environment variable DEVOPSCTL_SANDBOX_DELAYS changes them at the start: `0` for all at once, or `pending=0,profile=2`.
"""

import os

# In seconds; behind each, what it is on AWS.
DELAYS = {
    "unknown": 0.1,  # seconds at worst: what was just made is not known to the next call
    "pending": 0.3,  # ten seconds
    "stopping": 0.3,  # half a minute
    "shutting-down": 0.3,  # half a minute
    "interface": 0.3,  # seconds: a terminated instance's network interface is still there
    "tags": 2.0,  # from seconds to an hour: a terminated instance loses its tags
    "metadata-tags": 1.0,  # from seconds to minutes: the instance does not see a tag that was set after its launch
    "profile": 0.5,  # ten seconds, at worst more than a minute: a new instance profile is unknown to EC2
    "role": 0.1,  # seconds: new tags and boundaries of roles and profiles do not count yet
    "bucket": 0.5,  # minutes: the name of a deleted bucket cannot be used
}
USUAL = dict(DELAYS)


def change(**delays):
    """Sets delays, in seconds; `all` sets every one of them."""
    if "all" in delays:
        delays = dict.fromkeys(DELAYS, delays.pop("all")) | delays
    for name, seconds in delays.items():
        if name not in DELAYS:
            raise LookupError(f"there is no delay {name}")
        DELAYS[name] = float(seconds)
    return DELAYS


def delay(name):
    """That delay now."""
    return DELAYS[name]


def forget():
    """As at the start."""
    DELAYS.update(USUAL)
    from_environment()


def from_environment():
    """What the environment asks for."""
    told = os.environ.get("DEVOPSCTL_SANDBOX_DELAYS", "")
    pairs = (pair.partition("=") for pair in told.split(",") if pair)
    change(**{name if seconds else "all": seconds or name for name, _, seconds in pairs})
