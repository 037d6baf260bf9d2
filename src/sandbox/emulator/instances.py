"""The life of an instance: nothing is running, stopped or terminated at once."""

import clock
import hooks
import settings
from hooks import around
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.responses import EC2Response
from moto.ec2.utils import filter_dict_attribute_mapping
from refusal import Refusal

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def install():
    """Has instances live as on EC2."""
    filter_dict_attribute_mapping["client-token"] = "client_token"
    begin, end, halt, reboot = Instance.start, Instance.terminate, Instance.stop, Instance.reboot

    def start(instance):
        if instance.state in ("pending", "running"):
            return InstanceState(instance.state, CODES[instance.state])
        require(instance, "started", "stopped")
        before = begin(instance)
        keep_elastic(instance)
        renew_profile(instance)
        instance.boots = getattr(instance, "boots", 1) + 1
        instance.launch_time = utcnow()
        enter(instance, "pending", "running", settings.delay("pending"))
        return before

    def stop(instance):
        if instance.state in ("stopping", "stopped"):
            return InstanceState(instance.state, CODES[instance.state])
        require(instance, "stopped", "running")
        before = halt(instance)
        keep_elastic(instance)
        enter(instance, "stopping", "stopped", settings.delay("stopping"))
        return before

    def terminate(instance):
        if instance.state in ("shutting-down", "terminated"):
            return InstanceState(instance.state, CODES[instance.state])
        for nic in instance.nics.values():
            # It goes later, see below.
            nic.delete_on_termination = False
        before = end(instance)
        reason = instance.state_reason
        enter(instance, "shutting-down", "terminated", settings.delay("shutting-down"), lambda: depart(instance))
        instance.state_reason = reason
        return before

    def again(instance):
        require(instance, "rebooted", "running")
        reboot(instance)
        instance.boots = getattr(instance, "boots", 1) + 1

    Instance.start, Instance.stop, Instance.terminate, Instance.reboot = start, stop, terminate, again


def enter(instance, state, then, after, arrived=lambda: None):
    """Puts the instance into a state that passes into another, unless something else happens in the meantime."""
    instance._state = passing = InstanceState(state, CODES[state])

    def arrive():
        if instance._state is passing:
            instance._state = InstanceState(then, CODES[then])
            arrived()

    clock.after(after, arrive)


def require(instance, what, *states):
    """Refuses what cannot be done to an instance in its state."""
    if instance.state not in states:
        message = f"The instance '{instance.id}' is not in a state from which it can be {what}."
        raise Refusal("IncorrectInstanceState", message)


def depart(instance):
    """What goes with a terminated instance: its addresses at once, its interface and its tags later."""
    backend = instance.ec2_backend
    for address in backend.addresses:
        if address.instance is instance:
            backend.disassociate_address(address=address.public_ip)
    for nic in instance.nics.values():
        nic.public_ip = None
    clock.after(settings.delay("interface"), lambda: remove_interfaces(instance))
    clock.after(settings.delay("tags"), lambda: backend.tags.pop(instance.id, None))


def remove_interfaces(instance):
    backend = instance.ec2_backend
    for nic in instance.nics.values():
        backend.enis.pop(nic.id, None)
        for private_ip in nic.private_ip_addresses:
            nic.subnet.del_subnet_ip(private_ip["PrivateIpAddress"])


def die(instance, code, message):
    """A launch that was accepted and comes to nothing."""

    def dying():
        instance.terminate()
        instance.state_reason = StateReason(f"{code}: {message}", code)

    clock.after(settings.delay("pending") / 2, dying)


def keep_elastic(instance):
    """An Elastic IP stays where it is when the instance stops and starts; an address of the pool does not."""
    for address in instance.ec2_backend.addresses:
        if address.eni in instance.nics.values():
            address.eni.public_ip = address.public_ip


def renew_profile(instance):
    """A start looks again at which role the profile holds."""
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    if association is not None:
        association.roles_then = list(association.iam_instance_profile.roles)


@around(EC2Response, "terminate_instances")
def terminate_instances(call, _proceed):
    """As moto's, without its load balancers, which take a second to load."""
    call.error_on_dryrun()
    terminated = call.ec2_backend.terminate_instances(call._get_param("InstanceIds", []))
    instances = [
        {"InstanceId": instance.id, "CurrentState": instance.instance_state, "PreviousState": before}
        for instance, before in terminated
    ]
    return ActionResult({"TerminatingInstances": instances})


@around(EC2Response, "stop_instances")
@around(EC2Response, "start_instances")
def real_states(call, proceed):
    """moto names the passing state whatever it is; a second call finds it where it is."""
    result = proceed()
    for changes in result.result.values():
        for change in changes:
            change["CurrentState"] = call.ec2_backend.get_instance(change["InstanceId"]).instance_state
    return result


@around(EC2Response, "describe_instances")
def describe_instances(_call, proceed):
    """What was launched a moment ago is in no list yet."""
    result = proceed()
    kept = []
    for reservation in result.result["Reservations"]:
        reservation.instances = [one for one in reservation.instances if not hooks.is_unknown(one.id)]
        if reservation.instances:
            kept.append(reservation)
    result.result["Reservations"] = kept
    return result
