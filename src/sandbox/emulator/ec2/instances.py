"""Instance states: no transition is immediate."""

from core import clock, delays, hooks
from core.errors import AwsError
from core.hooks import around
from ec2 import volumes
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.responses import EC2Response
from moto.ec2.utils import filter_dict_attribute_mapping

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def install():
    """Installs the rules."""
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
        enter(instance, "pending", "running", delays.seconds("pending"))
        return before

    def stop(instance):
        if instance.state in ("stopping", "stopped"):
            return InstanceState(instance.state, CODES[instance.state])
        require(instance, "stopped", "running")
        before = halt(instance)
        keep_elastic(instance)
        enter(instance, "stopping", "stopped", delays.seconds("stopping"), lambda: volumes.release(instance))
        return before

    def terminate(instance):
        if instance.state in ("shutting-down", "terminated"):
            return InstanceState(instance.state, CODES[instance.state])
        for nic in instance.nics.values():
            # It is removed later, see `release_resources`.
            nic.delete_on_termination = False
        before = end(instance)
        reason = instance.state_reason
        enter(
            instance,
            "shutting-down",
            "terminated",
            delays.seconds("shutting-down"),
            lambda: release_resources(instance),
        )
        instance.state_reason = reason
        return before

    def again(instance):
        require(instance, "rebooted", "running")
        reboot(instance)
        instance.boots = getattr(instance, "boots", 1) + 1

    Instance.start, Instance.stop, Instance.terminate, Instance.reboot = start, stop, terminate, again


def enter(instance, state, then, after, arrived=lambda: None):
    """Sets a transitional state and the next one, which follows unless another transition starts first."""
    instance._state = passing = InstanceState(state, CODES[state])

    def arrive():
        if instance._state is passing:
            instance._state = InstanceState(then, CODES[then])
            arrived()

    clock.after(after, arrive)


def require(instance, what, *states):
    """Refuses an operation in the wrong state."""
    if instance.state not in states:
        message = f"The instance '{instance.id}' is not in a state from which it can be {what}."
        raise AwsError("IncorrectInstanceState", message)


def release_resources(instance):
    """Releases the addresses and volumes of a terminated instance at once, its interface and its tags later."""
    backend = instance.ec2_backend
    volumes.release(instance)
    for address in backend.addresses:
        if address.instance is instance:
            backend.disassociate_address(address=address.public_ip)
    for nic in instance.nics.values():
        nic.public_ip = None
    clock.after(delays.seconds("interface"), lambda: remove_interfaces(instance))
    clock.after(delays.seconds("tags"), lambda: backend.tags.pop(instance.id, None))


def remove_interfaces(instance):
    backend = instance.ec2_backend
    for nic in instance.nics.values():
        backend.enis.pop(nic.id, None)
        for private_ip in nic.private_ip_addresses:
            nic.subnet.del_subnet_ip(private_ip["PrivateIpAddress"])


def fail(instance, code, message):
    """Terminates an instance whose launch was accepted."""

    def terminate():
        instance.terminate()
        instance.state_reason = StateReason(f"{code}: {message}", code)

    clock.after(delays.seconds("pending") / 2, terminate)


def keep_elastic(instance):
    """An instance keeps its Elastic IP when it stops and starts, but not an address of the pool."""
    for address in instance.ec2_backend.addresses:
        if address.eni in instance.nics.values():
            address.eni.public_ip = address.public_ip


def renew_profile(instance):
    """A start reads the profile's role again."""
    association = instance.ec2_backend.iam_instance_profile_associations.get(instance.id)
    if association is not None:
        association.roles_then = list(association.iam_instance_profile.roles)


@around(EC2Response, "terminate_instances")
def terminate_instances(call, _proceed):
    """Replaces moto's implementation, which loads the load balancers and takes a second."""
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
    """moto always returns the transitional state; EC2 returns the current state."""
    result = proceed()
    for changes in result.result.values():
        for change in changes:
            change["CurrentState"] = call.ec2_backend.get_instance(change["InstanceId"]).instance_state
    return result


@around(EC2Response, "describe_instances")
def describe_instances(_call, proceed):
    """Lists do not contain a new instance yet."""
    result = proceed()
    kept = []
    for reservation in result.result["Reservations"]:
        reservation.instances = [one for one in reservation.instances if not hooks.is_unknown(one.id)]
        if reservation.instances:
            kept.append(reservation)
    result.result["Reservations"] = kept
    return result
