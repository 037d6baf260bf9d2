"""Public parameters with the newest images of each publisher and of process machines."""

import copy
from datetime import timedelta

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.utils import random_ami_id
from moto.ssm.models import Parameter, ParameterDict, ssm_backends

NEWEST_IMAGES = {
    "/aws/service/debian/release/13/latest/amd64": "ami-0de1b1a13d0000001",
    "/aws/service/debian/release/13/latest/arm64": "ami-0de1b1a13d0000002",
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "ami-0b0b240400000001a",
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": "ami-0b0b240400000002a",
    "/aws/service/canonical/ubuntu/server/26.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "ami-0b0b260400000001a",
    "/aws/service/canonical/ubuntu/server/26.04/stable/current/arm64/hvm/ebs-gp3/ami-id": "ami-0b0b260400000002a",
    "/aws/service/debian/release/12/latest/amd64": "ami-0de1b1a12d0000001",
    "/aws/service/debian/release/12/latest/arm64": "ami-0de1b1a12d0000002",
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64": "ami-0a12023000000001a",
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64": "ami-0a12023000000002a",
    "/aws/service/devopsctl/process/latest/x86_64": "ami-0de0c7100000001aa",
    "/aws/service/devopsctl/process/latest/arm64": "ami-0de0c7100000002aa",
    "/aws/service/devopsctl/process-ubuntu-24.04/latest/x86_64": "ami-0de0c7100000003aa",
    "/aws/service/devopsctl/process-ubuntu-24.04/latest/arm64": "ami-0de0c7100000004aa",
    "/aws/service/devopsctl/process-al2023/latest/x86_64": "ami-0de0c7100000005aa",
    "/aws/service/devopsctl/process-al2023/latest/arm64": "ami-0de0c7100000006aa",
    "/aws/service/devopsctl/process-ubuntu-26.04/latest/x86_64": "ami-0de0c7100000007aa",
    "/aws/service/devopsctl/process-ubuntu-26.04/latest/arm64": "ami-0de0c7100000008aa",
    "/aws/service/devopsctl/process-debian-12/latest/x86_64": "ami-0de0c7100000009aa",
    "/aws/service/devopsctl/process-debian-12/latest/arm64": "ami-0de0c710000000aaa",
}


def install():
    """Puts them into every region. moto's own parameters name images that this emulator does not have."""
    ParameterDict._load_latest_amis = lambda store: None
    make = ParameterDict.__init__

    def init(store, account_id, region_name):
        make(store, account_id, region_name)
        for name, image in NEWEST_IMAGES.items():
            store[name] = [public(account_id, name, image)]

    ParameterDict.__init__ = init
    ParameterDict.__deepcopy__ = copied


def copied(store, same):
    """Copies a store. Python would call its constructor with the arguments of a `defaultdict`, which it is."""
    made = same[id(store)] = ParameterDict.__new__(ParameterDict)
    made.default_factory = store.default_factory
    vars(made).update(copy.deepcopy(vars(store), same))
    made.update(copy.deepcopy(dict(store), same))
    return made


def publish_image(region, parameter=None):
    """Publishes a newer image in that region, for one parameter or for all of them."""
    ec2 = ec2_backends[DEFAULT_ACCOUNT_ID][region]
    store = ssm_backends[DEFAULT_ACCOUNT_ID][region]._parameters
    published = {}
    for name in [parameter] if parameter else NEWEST_IMAGES:
        if name not in NEWEST_IMAGES:
            raise LookupError(f"there is no public parameter {name}")
        before = ec2.amis[store[name][-1].value]
        image = newer(ec2, before)
        ec2.amis[image.id] = image
        store[name] = [*store[name], public(DEFAULT_ACCOUNT_ID, name, image.id, len(store[name]) + 1)]
        published[name] = image.id
    return published


def newer(backend, before):
    """A later build of the same image, with another id and name and a later date."""
    name, _, number = before.name.rpartition("-build-")
    return Ami(
        backend,
        random_ami_id(),
        name=f"{name or before.name}-build-{int(number) + 1 if name else 2}",
        description=before.description,
        owner_id=before.owner_id,
        owner_alias=before.owner_alias,
        public=True,
        virtualization_type=before.virtualization_type,
        architecture=before.architecture,
        creation_date=max(utcnow(), before.creation_date + timedelta(seconds=1)),
        hypervisor=before.hypervisor,
        root_device_type=before.root_device_type,
        root_device_name=before.root_device_name,
    )


def newest(region, name):
    """The image id in a public parameter. None: there is no such parameter."""
    held = ssm_backends[DEFAULT_ACCOUNT_ID][region]._parameters
    return held[name][-1].value if name in NEWEST_IMAGES else None


def public(account_id, name, image, version=1):
    """A public parameter of AWS."""
    return Parameter(
        account_id=account_id,
        name=name,
        value=image,
        parameter_type="String",
        description=None,
        allowed_pattern=None,
        keyid=None,
        last_modified_date=utcnow().timestamp(),
        version=version,
        data_type="aws:ec2:image",
    )
