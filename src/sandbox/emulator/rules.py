"""All rules: where moto is more lenient than AWS, or does not have what AWS has.

Each is in the module of what it is about; most take hold when the module is imported.
"""

import addresses  # noqa: F401
import authority
import buckets
import clock
import faults
import groups  # noqa: F401
import hooks
import instances
import key_pairs  # noqa: F401
import launches
import metadata_tags  # noqa: F401
import parameters
import plans
import profiles
import public_access  # noqa: F401
import quotas
import roles
import settings
import subnets
import zones  # noqa: F401


def install():
    """Has moto follow them from now on."""
    settings.from_environment()
    hooks.install()
    # The last one is the outermost: a caller is authenticated before any other rule looks at the call.
    for module in (buckets, instances, launches, parameters, profiles, roles, subnets, authority):
        module.install()


def forget():
    """Has the rules forget what they have seen."""
    for module in (buckets, clock, faults, hooks, launches, plans, profiles, quotas, roles, settings):
        module.forget()


def memory():
    """What the rules have seen and go by when all has come to rest: the client tokens."""
    return launches.seen()


def remember(seen):
    """Has them go by that."""
    launches.seen().update(seen)
