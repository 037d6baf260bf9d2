"""Faults that a test requests: a refused call, a failed launch, a foreign or deleted instance profile, a wrong clock."""

from core.errors import AwsError

_refusals = []
_launch_failures = []
# The profile that every launch gets.
_foreign_profile = []
# One entry per association that will get a deleted profile.
_stale_profiles = []
# How many seconds AWS's clock is ahead.
_clock = []


def refuse(action, code, message="", status=None, times=1):
    """Refuses the next calls of that action."""
    _refusals.append({"action": action, "code": code, "message": message, "status": status, "left": int(times)})
    return {}


def accept(action):
    """Removes the refusals of that action."""
    _refusals[:] = [refusal for refusal in _refusals if refusal["action"] != action]
    return {}


def fail_launch(code, message):
    """Accepts the next launch and terminates its instance."""
    _launch_failures.append((code, message))
    return {}


def attach_profile(profile=None):
    """Attaches a profile to every new instance, as an account's automation may do. None: to none."""
    _foreign_profile[:] = [profile] if profile else []
    return {}


def associate_stale_profile(times=1):
    """Associates a deleted profile of the same name next: https://github.com/hashicorp/terraform/issues/2037."""
    _stale_profiles[:] = [None] * int(times)
    return {}


def set_clock(ahead=0):
    """Sets AWS's clock ahead of this machine's, as if this machine's clock were slow."""
    _clock[:] = [int(ahead)]
    return {}


def ahead():
    """How many seconds AWS's clock is ahead."""
    return _clock[0] if _clock else 0


def forget():
    """Removes all faults."""
    for faults in (_refusals, _launch_failures, _foreign_profile, _stale_profiles, _clock):
        faults.clear()


def check(action, error=AwsError):
    """Refuses the action if a test requests it. `error` is the error class of the service."""
    for refusal in _refusals:
        if refusal["action"] == action:
            refusal["left"] -= 1
            if refusal["left"] <= 0:
                _refusals.remove(refusal)
            status = int(refusal["status"]) if refusal["status"] else None
            raise error(refusal["code"], refusal["message"], status)


def launch_failure():
    """Code and message of the failure of this launch, or None."""
    return _launch_failures.pop(0) if _launch_failures else None


def foreign_profile():
    """The profile for this launch, or None."""
    return _foreign_profile[0] if _foreign_profile else None


def is_profile_stale():
    """Whether this association gets a deleted profile."""
    return bool(_stale_profiles) and _stale_profiles.pop() is None
