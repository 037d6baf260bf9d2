"""The state of all instances, as the sandbox needs it to boot machines, serve their metadata and route connections.

It is one snapshot of all regions from moto's memory. AWS's responses have the same information; this is a single call and
needs no parsing.
"""

import base64

from core import clock
from ec2 import metadata_tags, volumes
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

PARTITION = "aws"


def aws_state():
    """All instances, and the time until the next change that no call causes."""
    with clock.LOCK:
        next_change = clock.settle()
        instances = [describe(backend, instance) for backend, instance in all_instances()]
        ids = [
            volume for regions in ec2_backends.values() for backend in regions.values() for volume in backend.volumes
        ]
    return {"instances": instances, "volumes": ids, "next_change": next_change}


def all_instances():
    """All instances in moto with their backends."""
    for regions in list(ec2_backends.values()):
        for backend in list(regions.values()):
            for reservation in list(backend.reservations.values()):
                for instance in reservation.instances:
                    yield backend, instance


def find(instance_id):
    """The instance with that id, and its backend."""
    for backend, instance in all_instances():
        if instance.id == instance_id:
            return backend, instance
    raise LookupError(f"there is no instance {instance_id}")


def find_volume(volume_id):
    """The volume with that id."""
    for regions in list(ec2_backends.values()):
        for backend in list(regions.values()):
            if volume_id in backend.volumes:
                return backend.volumes[volume_id]
    raise LookupError(f"there is no volume {volume_id}")


def describe(backend, instance):
    """One instance."""
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
        "ingress": [rule for group in security_groups(instance) for rule in ingress(group)],
        "profile": profile(backend, instance),
        "key": key(backend, instance),
        "metadata": {
            "enabled": options.http_endpoint == "enabled",
            "tags": options.instance_metadata_tags == "enabled",
        },
        "user_data": bool(instance.user_data),
        "volumes": [
            {"id": volume.id, "gib": volume.size, "state": volume.attachment.status}
            for volume in volumes.attached_to(instance)
        ],
    }


def security_groups(instance):
    """The distinct security groups of the instance's interfaces."""
    found = {group.id: group for nic in instance.nics.values() for group in nic.group_set}
    return found.values()


def ingress(group):
    """The rules of a security group for CIDR blocks. Rules for other groups match no address of this machine."""
    for rule in group.ingress_rules:
        if rule.cidr_ipv4:
            yield {
                "protocol": str(rule.ip_protocol),
                "from_port": -1 if rule.from_port is None else rule.from_port,
                "to_port": -1 if rule.to_port is None else rule.to_port,
                "cidr": rule.cidr_ipv4,
            }


def key(backend, instance):
    """The public key of the instance's key pair. On EC2 it outlives the key pair, here it does not."""
    pair = backend.key_pairs.get(instance.key_name)
    return {"name": pair.key_name, "public": pair.public_key} if pair else None


def profile(backend, instance):
    """The associated instance profile with the role that it had at the association."""
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
    """The role at the association. A role that is added to the profile later takes effect with the next association."""
    return association.roles_then[0] if association.roles_then else None


def user_data(instance):
    """The user-data of the instance, byte for byte."""
    _, found = find(instance)
    return base64.b64decode(str(found.user_data or ""))


def credentials(instance):
    """Temporary credentials of the role in the associated instance profile."""
    backend, _ = find(instance)
    association = backend.iam_instance_profile_associations.get(instance)
    role = role_of(association) if association else None
    # A role that was deleted and created again has the same name, but another id.
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
