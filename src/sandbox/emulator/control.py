"""What the sandbox asks of the emulator beside AWS's own calls: how things stand, and the credentials of a role.

The view is one snapshot of all regions, taken from moto's memory: what the sandbox needs to boot machines, to serve their
metadata and to let traffic through. Everything in it is also in AWS's answers; this way it is one call and costs no parsing.
"""

import base64
import copy
import json
from pathlib import Path
from urllib.parse import parse_qs

import authority
import clock
import faults
import metadata_tags
import parameters
import plans
import quotas
import rules
import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.model_instances import reset_model_data
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.route53.models import route53_backends
from moto.s3.models import FakeKey, s3_backends
from moto.ssm.models import ssm_backends
from moto.sts.models import sts_backends

PREFIX = "/_devopsctl/"
PARTITION = "aws"
# What moto's IAM keeps of those who call.
CALLERS = ("users", "access_keys")


def answer(environ, start_response):
    """Answers one call of the sandbox: a WSGI application. The caller has checked the secret."""
    name = environ["PATH_INFO"][len(PREFIX) :]
    query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    try:
        body, status = CALLS[name](**query), "200 OK"
    except LookupError as error:
        body, status = {"error": str(error)}, "404 Not Found"
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    start_response(status, [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


def users():
    """The IAM users that there are from the start: the command line, which may do what `devopsctl policy` prints, and an
    administrator, for people and tests that act past it."""
    return {name: user(name, policy) for name, policy in callers().items()}


def callers():
    """The policy of each of them, by name."""
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    least = Path(__file__).with_name("policy.json").read_text()
    return {authority.USER: least, "administrator": json.dumps(everything)}


def user(name, policy):
    """A user with that policy, and their access key."""
    iam = iam_backends[DEFAULT_ACCOUNT_ID][PARTITION]
    iam.create_user(region_name="us-east-1", user_name=name)
    iam.put_user_policy(name, name, policy)
    key = iam.create_access_key(name)
    return {"access_key": key.access_key_id, "secret_key": key.secret_access_key}


def backends():
    """Every store of moto's that there is."""
    for service in (ec2_backends, iam_backends, route53_backends, s3_backends, ssm_backends, sts_backends):
        yield from [backend for regions in service.values() for backend in regions.values()]


def reset():
    """An account as on its first day, without a restart. The callers stay, with their keys and the policies they began with."""
    with clock.LOCK:
        for backend in backends():
            kept = {name: vars(backend)[name] for name in CALLERS if name in vars(backend)}
            backend.reset()
            vars(backend).update(kept)
        iam, policies = iam_backends[DEFAULT_ACCOUNT_ID][PARTITION], callers()
        iam.access_keys = {key: held for key, held in iam.access_keys.items() if held.user_name in policies}
        iam.users = {name: iam.users[name] for name in policies}
        for name, policy in policies.items():
            iam.users[name].policies = {name: policy}
        reset_model_data()
        rules.forget()
    return {}


_kept = {}


def keep(name):
    """Keeps the account as it stands now, to begin from it again with `again`."""
    with clock.LOCK:
        clock.settle()
        if clock.pending():
            raise LookupError("something is under way: an account is kept only when all has come to rest")
        # moto closes the content of every object that it knows of when it is reset: it must not know of these.
        known = list(FakeKey.instances_tracked)
        _kept[name] = copied([(backend, vars(backend)) for backend in backends()], rules.memory())
        FakeKey.instances_tracked = known
    return {}


def again(name):
    """The account as it stood when it was kept under that name."""
    with clock.LOCK:
        reset()
        stores, memory = copied(*_kept[name])
        for backend, held in stores:
            vars(backend).update(held)
        rules.remember(memory)
    return {}


def copied(stores, memory):
    """A copy of all that is in moto's stores and in the memory of the rules, which hold one another's things. The stores
    themselves are not copied, nor is what AWS brings and no call changes."""
    brought = [
        policy for backend in iam_backends[DEFAULT_ACCOUNT_ID].values() for policy in backend.managed_policies.values()
    ]
    same = {id(thing): thing for thing in [*backends(), *brought]}
    return copy.deepcopy((stores, memory), same)


def view():
    """All instances with what matters to them, and when the next of them changes by itself."""
    with clock.LOCK:
        next_change = clock.settle()
        instances = [describe(backend, instance) for backend, instance in all_instances()]
    return {"instances": instances, "next_change": next_change}


def all_instances():
    """Every instance that moto holds, with its backend."""
    for regions in list(ec2_backends.values()):
        for backend in list(regions.values()):
            for reservation in list(backend.reservations.values()):
                for instance in reservation.instances:
                    yield backend, instance


def find(instance_id):
    """The instance of that id, with its backend."""
    for backend, instance in all_instances():
        if instance.id == instance_id:
            return backend, instance
    raise LookupError(f"there is no instance {instance_id}")


def describe(backend, instance):
    """One instance, as the sandbox sees it."""
    image = backend.amis.get(instance.image_id)
    options = instance.metadata_options
    return {
        "id": instance.id,
        "account": backend.account_id,
        "region": backend.region_name,
        "zone": instance.placement.zone,
        "image": instance.image_id,
        "image_name": (image and image.name) or "",
        "instance_type": instance.instance_type,
        "architecture": image.architecture if image else "x86_64",
        "state": instance.state,
        "boots": getattr(instance, "boots", 1),
        "private_ip": instance.private_ip if instance.nics else None,
        "public_ip": instance.public_ip if instance.nics else None,
        "tags": metadata_tags.shown(instance),
        "ingress": [rule for group in groups(instance) for rule in ingress(group)],
        "profile": profile(backend, instance),
        "key": key(backend, instance),
        "metadata": {
            "enabled": options.http_endpoint == "enabled",
            "tags": options.instance_metadata_tags == "enabled",
        },
        "user_data": bool(instance.user_data),
    }


def groups(instance):
    """The security groups on the instance's interfaces, each once."""
    found = {group.id: group for nic in instance.nics.values() for group in nic.group_set}
    return found.values()


def ingress(group):
    """What a security group lets in from address blocks (other groups are no address of this machine)."""
    for rule in group.ingress_rules:
        if rule.cidr_ipv4:
            yield {
                "protocol": str(rule.ip_protocol),
                "from_port": -1 if rule.from_port is None else rule.from_port,
                "to_port": -1 if rule.to_port is None else rule.to_port,
                "cidr": rule.cidr_ipv4,
            }


def key(backend, instance):
    """The public half of the key pair that the instance was launched with. It outlives the key pair in EC2, not here."""
    pair = backend.key_pairs.get(instance.key_name)
    return {"name": pair.key_name, "public": pair.public_key} if pair else None


def profile(backend, instance):
    """The instance profile that is associated, with the role that it held then."""
    association = backend.iam_instance_profile_associations.get(instance.id)
    if association is None:
        return None
    role = role_of(association)
    return {
        "association": association.association_id,
        "arn": association.iam_instance_profile.arn,
        "id": association.iam_instance_profile.id,
        "role": role.name if role else None,
    }


def role_of(association):
    """A role that was put into the profile later counts only when the profile is associated again."""
    return association.roles_then[0] if association.roles_then else None


def publish(region, parameter=None):
    """A newer image than that which a public parameter names, or than all of them."""
    with clock.LOCK:
        return parameters.publish(region, parameter)


def user_data(instance):
    """What the instance was launched with, byte for byte."""
    _, found = find(instance)
    return base64.b64decode(str(found.user_data or ""))


def credentials(instance):
    """Temporary credentials of the role in the profile that is associated with the instance."""
    backend, _ = find(instance)
    association = backend.iam_instance_profile_associations.get(instance)
    role = role_of(association) if association else None
    # One that was deleted and made anew has the same name and is another.
    if role is None or role.id not in iam_backends[backend.account_id][PARTITION].roles:
        raise LookupError(f"{instance} has no role")
    keys = sts_backends[backend.account_id][PARTITION].assume_role(
        region_name=backend.region_name,
        role_session_name=instance,
        role_arn=role.arn,
        policy="",
        duration=6 * 3600,
        external_id="",
    )
    return {
        "Code": "Success",
        "LastUpdated": clock.iso(),
        "Type": "AWS-HMAC",
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "Token": keys.session_token,
        "Expiration": keys.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


CALLS = {
    "users": users,
    "reset": reset,
    "keep": keep,
    "again": again,
    "view": view,
    "user-data": user_data,
    "credentials": credentials,
    "delays": settings.change,
    "quota": quotas.apply,
    "plan": plans.set_plan,
    "refuse": faults.refuse,
    "doom": faults.doom,
    "forgive": faults.forgive,
    "attach": faults.attach,
    "recollect": faults.recollect,
    "clock": faults.set_clock,
    "publish": publish,
}
