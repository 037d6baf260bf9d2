"""The logs of an instance, by the names that `devopsctl logs` knows."""

from boot.validate import match

BUILTIN = ("app", "access", "agent", "release")
WEB = "web"  # The app's web server alone, if the app has other processes: `app` has the lines of all of them.


def sources(manifest):
    """The logs of an instance whose app has this manifest: by name, how the runner calls it."""
    processes = {name: f"process-{name}" for name in manifest.get("processes") or () if match("process", name)}
    schedules = {name: f"schedule-{name}" for name in manifest.get("schedule") or () if match("source", name)}
    web = {WEB: "app"} if processes else {}
    return {**schedules, **processes, **web, **{name: name for name in BUILTIN}}
