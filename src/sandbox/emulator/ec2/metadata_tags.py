"""Tags in the metadata service: tags of the launch are visible at once, later tags after a delay.

AWS documents no limit of the delay. More than two minutes were observed.
"""

from core import clock, delays
from core.hooks import around
from moto.ec2.responses import EC2Response


def current(instance):
    """The tags in EC2."""
    return {tag["key"]: tag["value"] for tag in instance.get_tags()}


def shown(instance):
    """The tags that the instance can read."""
    changed = vars(instance).get("shown_tags")
    return current(instance) if changed is None else changed


@around(EC2Response, "create_tags")
def create_tags(call, proceed):
    return change(call, proceed)


@around(EC2Response, "delete_tags")
def delete_tags(call, proceed):
    return change(call, proceed)


def change(call, proceed):
    named = [call.ec2_backend.get_instance_by_id(resource) for resource in call._get_param("Resources", [])]
    instances = [instance for instance in named if instance is not None]
    for instance in instances:
        instance.shown_tags = shown(instance)
    result = proceed()
    for instance in instances:
        show_later(instance, current(instance))
    return result


def show_later(instance, tags):
    def show():
        instance.shown_tags = tags

    clock.after(delays.seconds("metadata-tags"), show)
