"""All rules: where moto is more lenient than AWS, or does not have what AWS has."""

import instances
import parameters


def install():
    """Has moto follow them from now on."""
    parameters.publish()
    instances.count_boots()
