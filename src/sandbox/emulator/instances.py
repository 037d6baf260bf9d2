"""The life of an instance."""

from moto.ec2.models.instances import Instance


def count_boots():
    """Has an instance know how often it was started or rebooted, so that its machine can follow."""
    for name in ("start", "reboot"):
        setattr(Instance, name, counted(getattr(Instance, name)))


def counted(original):
    def counting(instance):
        instance.boots = getattr(instance, "boots", 1) + 1
        return original(instance)

    return counting
