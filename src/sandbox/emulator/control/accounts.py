"""The account as a whole: its users, and how tests empty, save and restore it."""

import copy
import json
from pathlib import Path

import rules
from core import clock
from iam import auth
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.model_instances import reset_model_data
from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from moto.route53.models import route53_backends
from moto.s3.models import FakeKey, s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends
from moto.sts.models import sts_backends

PARTITION = "aws"
# The stores of moto's IAM that authenticate callers.
CALLERS = ("users", "access_keys")
POLICY = Path(__file__).parents[1] / "policy.json"


def users():
    """Creates the users that exist from the start, and returns their keys: the command line with the policy that
    `devopsctl policy` prints, and an administrator for tests that bypass it."""
    return {name: user(name, policy) for name, policy in user_policies().items()}


def user_policies():
    """The policy of each user by name."""
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    return {auth.USER: POLICY.read_text(), "administrator": json.dumps(everything)}


def user(name, policy):
    """Creates a user with that policy, and returns its access key."""
    iam = iam_backends[DEFAULT_ACCOUNT_ID][PARTITION]
    iam.create_user(region_name="us-east-1", user_name=name)
    iam.put_user_policy(name, name, policy)
    key = iam.create_access_key(name)
    return {"access_key": key.access_key_id, "secret_key": key.secret_access_key}


def backends():
    """All of moto's stores."""
    others = (route53_backends, s3_backends, secretsmanager_backends, ssm_backends, sts_backends)
    for service in (ec2_backends, iam_backends, *others):
        yield from [backend for regions in service.values() for backend in regions.values()]


def reset():
    """Empties the account without a restart. The users keep their keys and get their first policies back."""
    with clock.LOCK:
        for backend in backends():
            kept = {name: vars(backend)[name] for name in CALLERS if name in vars(backend)}
            backend.reset()
            vars(backend).update(kept)
        iam, policies = iam_backends[DEFAULT_ACCOUNT_ID][PARTITION], user_policies()
        iam.access_keys = {key: held for key, held in iam.access_keys.items() if held.user_name in policies}
        iam.users = {name: iam.users[name] for name in policies}
        for name, policy in policies.items():
            iam.users[name].policies = {name: policy}
        reset_model_data()
        rules.forget()
    return {}


_saved = {}


def save(name):
    """Saves the account under a name for `restore`."""
    with clock.LOCK:
        clock.settle()
        if clock.pending():
            raise LookupError("a change is pending: an account can be saved only when none is")
        # A reset of moto closes the content of every object in this list, so it must not contain the copies.
        known = list(FakeKey.instances_tracked)
        _saved[name] = copied([(backend, vars(backend)) for backend in backends()], rules.saved_state())
        FakeKey.instances_tracked = known
    return {}


def restore(name):
    """Restores the account that was saved under that name."""
    with clock.LOCK:
        reset()
        stores, state = copied(*_saved[name])
        for backend, held in stores:
            vars(backend).update(held)
        rules.restore_state(state)
    return {}


def copied(stores, state):
    """Copies moto's stores and the state of the rules together, because they refer to each other. The stores themselves and
    AWS's managed policies, which no call changes, are shared."""
    managed = [
        policy for backend in iam_backends[DEFAULT_ACCOUNT_ID].values() for policy in backend.managed_policies.values()
    ]
    shared = {id(thing): thing for thing in [*backends(), *managed]}
    return copy.deepcopy((stores, state), shared)
