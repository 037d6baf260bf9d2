"""The delays of AWS: short enough for a user, long enough to find a program that does not wait.

The environment variable DEVOPSCTL_SANDBOX_DELAYS sets them at the start: `0` for all, or `pending=0,profile=2`.
"""

import os

# In seconds. The comment has the delay on AWS.
DELAYS = {
    "unknown": 0.1,  # at most seconds: the next call does not find a new resource
    "pending": 0.3,  # ten seconds
    "stopping": 0.3,  # half a minute
    "shutting-down": 0.3,  # half a minute
    "interface": 0.3,  # seconds: a terminated instance still has its network interface
    "tags": 2.0,  # seconds to an hour: a terminated instance loses its tags
    "metadata-tags": 1.0,  # seconds to minutes: the instance does not see a tag that was set after its launch
    "volume": 0.3,  # seconds to minutes: a volume is created, attached, detached or modified
    "profile": 0.5,  # ten seconds to more than a minute: EC2 does not find a new instance profile
    "role": 0.1,  # seconds: new tags and boundaries of roles and profiles have no effect yet
    "parameter": 0,  # none or moments: reads show a parameter as it was before a write
    "bucket": 0.5,  # minutes: the name of a deleted bucket is not available
}
DEFAULTS = dict(DELAYS)


def change(**delays):
    """Sets delays in seconds; `all` sets all of them."""
    if "all" in delays:
        delays = dict.fromkeys(DELAYS, delays.pop("all")) | delays
    for name, value in delays.items():
        if name not in DELAYS:
            raise LookupError(f"there is no delay {name}")
        DELAYS[name] = float(value)
    return DELAYS


def seconds(name):
    """The current delay."""
    return DELAYS[name]


def forget():
    """Restores the delays of the start."""
    DELAYS.update(DEFAULTS)
    from_environment()


def from_environment():
    """Sets the delays from the environment."""
    setting = os.environ.get("DEVOPSCTL_SANDBOX_DELAYS", "")
    pairs = (pair.partition("=") for pair in setting.split(",") if pair)
    change(**{name if value else "all": value or name for name, _, value in pairs})
