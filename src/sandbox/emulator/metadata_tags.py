"""Tags on their way to an instance: its metadata service shows at once what it was launched with, and later what is tagged
after that. AWS documents no bound; more than two minutes were seen.
"""

import clock
import settings
from hooks import around
from moto.ec2.responses import EC2Response


def current(instance):
    """The tags that EC2 tells."""
    return {tag["key"]: tag["value"] for tag in instance.get_tags()}


def shown(instance):
    """The tags that the instance itself can read by now."""
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

    clock.after(settings.delay("metadata-tags"), show)
