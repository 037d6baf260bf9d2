"""The logs of an instance, by the names that `devopsctl logs` knows."""

from boot.validate import match

BUILTIN = ("app", "access", "agent", "release")


def sources(manifest):
    """The logs of an instance whose app has this manifest: by name, how the runner calls it."""
    schedules = {name: f"schedule-{name}" for name in manifest.get("schedule") or () if match("source", name)}
    return {**schedules, **{name: name for name in BUILTIN}}
