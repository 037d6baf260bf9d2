"""What a test asks AWS to do wrong: refuse a call, let a launch die, attach a profile that is another's or was deleted."""

from refusal import Refusal

# Refusals that wait for their call; launches that will die; a profile that every launch gets; how many associations will be
# with a deleted profile; by how many seconds AWS's clock is ahead.
_refusals = []
_deaths = []
_foreign_profile = []
_recollections = []
_clock = []


def refuse(action, code, message="", status=None, times=1):
    """The next calls of that action are refused."""
    _refusals.append({"action": action, "code": code, "message": message, "status": status, "left": int(times)})
    return {}


def forgive(action):
    """That action is refused no more."""
    _refusals[:] = [refusal for refusal in _refusals if refusal["action"] != action]
    return {}


def doom(code, message):
    """The next launch is accepted and dies."""
    _deaths.append((code, message))
    return {}


def attach(profile=None):
    """Every launch from now on gets that instance profile, as an account's rules may do it. None: no more."""
    _foreign_profile[:] = [profile] if profile else []
    return {}


def recollect(times=1):
    """The next associations are with a deleted profile of the same name: https://github.com/hashicorp/terraform/issues/2037."""
    _recollections[:] = [None] * int(times)
    return {}


def set_clock(ahead=0):
    """AWS's clock is so many seconds ahead of this machine's: as if this one's were behind."""
    _clock[:] = [int(ahead)]
    return {}


def ahead():
    """By how many seconds AWS's clock is ahead."""
    return _clock[0] if _clock else 0


def forget():
    """Nothing goes wrong any more."""
    for wishes in (_refusals, _deaths, _foreign_profile, _recollections, _clock):
        wishes.clear()


def meet(action, refused=Refusal):
    """Refuses the action if somebody asked for it, in the way of its service."""
    for refusal in _refusals:
        if refusal["action"] == action:
            refusal["left"] -= 1
            if refusal["left"] <= 0:
                _refusals.remove(refusal)
            status = int(refusal["status"]) if refusal["status"] else None
            raise refused(refusal["code"], refusal["message"], status)


def death():
    """How the launch dies that is just made, or None."""
    return _deaths.pop(0) if _deaths else None


def foreign_profile():
    """The profile that the launch gets by itself, or None."""
    return _foreign_profile[0] if _foreign_profile else None


def recollects():
    """Whether the association that is just made is with a deleted profile."""
    return bool(_recollections) and _recollections.pop() is None
