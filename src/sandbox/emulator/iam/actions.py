"""The permissions that AWS checks for a call: for each action its resources and condition keys, and the actions that it
includes without a call of their own (`ec2:CreateTags`, `iam:PassRole`, …).

Source: the service authorization reference, https://docs.aws.amazon.com/service-authorization/latest/reference/. If it does
not say whether a resource is checked, it is checked here. A resource that a call creates has no id yet; its ARN ends in `*`.
"""

from urllib.parse import parse_qsl, urlsplit

import xmltodict
from iam import roles
from iam.ec2_actions import RULES as EC2
from iam.ec2_actions import tags, without_resource
from iam.policies import Check
from moto.iam.exceptions import NotFoundException
from moto.ssm.models import ParameterDict
from secretsmanager import secrets

# Parameters of an S3 query besides the subresource.
DETAILS = {"continuation-token", "delimiter", "encoding-type", "fetch-owner", "list-type", "max-keys", "prefix"}
DETAILS |= {"key-marker", "start-after", "version-id-marker", "x-id"}


def checks_of(call, action):
    """The checks of a call. None: there is no rule for the action."""
    rule = RULES.get(action)
    return None if rule is None else list(rule(call))


# IAM


def about_role(action):
    def rule(call):
        yield existing_role(call, action)

    return rule


def about_profile(action):
    def rule(call):
        yield existing_profile(call, action)

    return rule


def tag_role(call):
    yield with_request_tags(call, existing_role(call, "iam:TagRole"))


def tag_instance_profile(call):
    yield with_request_tags(call, existing_profile(call, "iam:TagInstanceProfile"))


def with_request_tags(call, check):
    return check._replace(keys=check.keys | tags("RequestTag", call._get_param("Tags")))


def create_role(call):
    bounded = boundary_key(call._get_param("PermissionsBoundary"))
    yield from creation(call, "iam:CreateRole", "iam:TagRole", role_arn(call), bounded)


def put_role_permissions_boundary(call):
    check = existing_role(call, "iam:PutRolePermissionsBoundary")
    yield check._replace(keys=check.keys | boundary_key(call._get_param("PermissionsBoundary")))


def boundary_key(arn):
    return {"iam:permissionsboundary": arn} if arn else {}


def create_instance_profile(call):
    yield from creation(call, "iam:CreateInstanceProfile", "iam:TagInstanceProfile", profile_arn(call))


def creation(call, create, tag, resource, more=None):
    """The creation, with `more` condition keys, and the tagging that it includes."""
    keys = tags("RequestTag", call._get_param("Tags"))
    yield Check(create, resource, keys | (more or {}))
    if keys:
        yield Check(tag, resource, keys)


def add_role_to_instance_profile(call):
    yield existing_profile(call, "iam:AddRoleToInstanceProfile")
    # AWS does not support conditions on the tags of a passed role:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
    yield Check("iam:PassRole", role_arn(call), {"iam:passedtoservice": "ec2.amazonaws.com"})


def existing_role(call, action):
    """A check on an existing role, with its effective tags and boundary."""
    return existing(action, role_arn(call), call.backend.get_role, call._get_param("RoleName"))


def existing_profile(call, action):
    """The same for an instance profile."""
    name = call._get_param("InstanceProfileName")
    return existing(action, profile_arn(call), call.backend.get_instance_profile, name)


def existing(action, arn, find, name):
    """A missing resource has no tags, so a policy that requires a tag refuses the call without telling that it is missing."""
    try:
        carried, boundary = roles.effective(find(name))
    except NotFoundException:
        return Check(action, arn, {})
    return Check(action, arn, tags("ResourceTag", carried) | boundary_key(boundary))


def role_arn(call):
    name = call._get_param("RoleName")
    try:
        return call.backend.get_role(name).arn
    except NotFoundException:
        return f"arn:{call.partition}:iam::{call.current_account}:role{call._get_param('Path', '/')}{name}"


def profile_arn(call):
    name = call._get_param("InstanceProfileName")
    try:
        return call.backend.get_instance_profile(name).arn
    except NotFoundException:
        return f"arn:{call.partition}:iam::{call.current_account}:instance-profile{call._get_param('Path', '/')}{name}"


# SSM


def about_parameters(action, field):
    """Parameters by name or by path."""

    def rule(call):
        named = call._get_param(field) or []
        for name in [named] if isinstance(named, str) else named:
            yield Check(action, parameter_arn(call, name), {})

    return rule


def get_parameters(action, field):
    """The same, and the key of each encrypted one that is read decrypted."""
    about = about_parameters(action, field)

    def rule(call):
        yield from about(call)
        names = call._get_param(field) or []
        for name in [names] if isinstance(names, str) else names:
            yield from decryption_of_parameter(call, name)

    return rule


def decryption_of_parameter(call, name):
    """AWS's own key needs no permission: its policy gives all principals of the account access.
    https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html
    """
    arn = parameter_arn(call, name)
    held = call.ssm_backend._parameters.get(ParameterDict.normalize_name(arn.split(":parameter", 1)[-1]))
    key = held[-1].keyid if held and held[-1].parameter_type == "SecureString" else None
    if key and key != "alias/aws/ssm" and call._get_param("WithDecryption"):
        yield decryption(call, key, "ssm", "parameter_arn", arn)


def decryption(call, key, service, context, arn):
    """The key's own policy gives the account's administrators the right to allow it, as the default one does."""
    keys = {"kms:viaservice": f"{service}.{call.region}.amazonaws.com", f"kms:encryptioncontext:{context}": arn}
    place = f"arn:{call.partition}:kms:{call.region}:{call.current_account}:key/"
    return Check("kms:Decrypt", key if key.startswith("arn:") else place + key, keys)


def put_parameter(call):
    resource, keys = parameter_arn(call, call._get_param("Name")), tags("RequestTag", call._get_param("Tags"))
    yield Check("ssm:PutParameter", resource, keys)
    if keys:
        yield Check("ssm:AddTagsToResource", resource, keys)


def describe_parameters(call):
    yield Check("ssm:DescribeParameters", f"arn:{call.partition}:ssm:{call.region}:{call.current_account}:*", {})


def parameter_arn(call, name):
    """A name below /aws/ belongs to AWS, not to an account. A version or label is not part of the name."""
    if name.startswith("arn:"):
        return name
    name = "/" + name.removeprefix("/").split(":")[0]
    account = "" if name.startswith("/aws/") else call.current_account
    return f"arn:{call.partition}:ssm:{call.region}:{account}:parameter{name}"


# Secrets Manager


def about_secret(action):
    """The ARN of an existing secret ends in six random characters."""

    def rule(call):
        yield Check(action, secret_arn(call), {})

    return rule


def get_secret_value(call):
    """https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html"""
    yield Check("secretsmanager:GetSecretValue", secret_arn(call), {})
    found = secrets.find(call, call._get_param("SecretId"))
    key = found and secrets.own_key(found)
    if key:
        yield decryption(call, key, "secretsmanager", "secretarn", found.arn)


def secret_arn(call):
    named = call._get_param("SecretId")
    found = secrets.find(call, named)
    place = f"arn:{call.partition}:secretsmanager:{call.region}:{call.current_account}:secret:"
    return found.arn if found else named if named.startswith("arn:") else place + named


# S3


def s3_action(call):
    """The action of a request in a policy, which differs from the name of the S3 operation."""
    named = [name for name, _ in parse_qsl(urlsplit(call.uri).query, keep_blank_values=True) if name not in DETAILS]
    kind = "object" if call.parse_key_name() else "bucket" if call.bucket_name else "service"
    return S3.get((kind, call.method, *named), f"s3:{call.method} {kind} {' '.join(named)}".rstrip())


S3 = {
    ("bucket", "DELETE"): "s3:DeleteBucket",
    ("bucket", "GET"): "s3:ListBucket",
    ("bucket", "GET", "policy"): "s3:GetBucketPolicy",
    ("bucket", "GET", "publicAccessBlock"): "s3:GetBucketPublicAccessBlock",
    ("bucket", "GET", "versions"): "s3:ListBucketVersions",
    ("bucket", "HEAD"): "s3:ListBucket",
    ("bucket", "POST", "delete"): "s3:DeleteObject",
    ("bucket", "PUT"): "s3:CreateBucket",
    ("bucket", "PUT", "policy"): "s3:PutBucketPolicy",
    ("bucket", "PUT", "publicAccessBlock"): "s3:PutBucketPublicAccessBlock",
    ("object", "DELETE"): "s3:DeleteObject",
    ("object", "GET"): "s3:GetObject",
    ("object", "HEAD"): "s3:GetObject",
    ("object", "PUT"): "s3:PutObject",
}


def about_bucket(action):
    def rule(call):
        yield Check(action, f"arn:{call.partition}:s3:::{call.bucket_name}", {})

    return rule


def about_objects(action):
    """One object, or the objects and versions that the body lists."""

    def rule(call):
        objects = [{"Key": call.parse_key_name()}]
        if not objects[0]["Key"]:
            listed = xmltodict.parse(call.body, force_list=("Object",), strip_whitespace=False)["Delete"]
            objects = listed.get("Object", [])
        for one in objects:
            required = f"{action}Version" if "VersionId" in one else action
            yield Check(required, f"arn:{call.partition}:s3:::{call.bucket_name}/{one['Key']}", {})

    return rule


def put_object(call):
    """A write on the condition of an ETag reveals it, so it also needs the right to read the object."""
    yield from about_objects("s3:PutObject")(call)
    if "If-Match" in call.headers:
        yield from about_objects("s3:GetObject")(call)


# Route 53


def list_resource_record_sets(call):
    yield Check("route53:ListResourceRecordSets", zone_arn(call), {})


def change_resource_record_sets(call):
    """https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html"""
    changes = call._get_param("ChangeBatch.Changes")
    sets = [change["ResourceRecordSet"] for change in changes]
    keys = {
        "NormalizedRecordNames": [one["Name"].lower().rstrip(".") for one in sets],
        "RecordTypes": [one["Type"] for one in sets],
        "Actions": [change["Action"] for change in changes],
    }
    prefix = "route53:changeresourcerecordsets"
    keys = {f"{prefix}{name.lower()}": values for name, values in keys.items()}
    yield Check("route53:ChangeResourceRecordSets", zone_arn(call), keys)


def zone_arn(call):
    return f"arn:{call.partition}:route53:::hostedzone/{call._get_param('HostedZoneId')}"


# STS


def assume_role(call):
    """The role's trust policy is another check (sessions.py)."""
    yield Check("sts:AssumeRole", call._get_param("RoleArn"), {})


OF_ROLES = (
    "AttachRolePolicy",
    "DeleteRole",
    "DeleteRolePermissionsBoundary",
    "DeleteRolePolicy",
    "DetachRolePolicy",
    "GetRole",
)
OF_ROLES += ("GetRolePolicy", "ListAttachedRolePolicies", "ListRolePolicies", "PutRolePolicy", "UpdateAssumeRolePolicy")
OF_PROFILES = ("DeleteInstanceProfile", "GetInstanceProfile", "RemoveRoleFromInstanceProfile")
OF_BUCKETS = ("CreateBucket", "DeleteBucket", "GetBucketPolicy", "GetBucketPublicAccessBlock", "ListBucket")
OF_BUCKETS += ("ListBucketVersions", "PutBucketPolicy", "PutBucketPublicAccessBlock")
OF_PARAMETERS = {
    "AddTagsToResource": "ResourceId",
    "DeleteParameter": "Name",
    "DeleteParameters": "Names",
    "GetParametersByPath": "Path",
    "ListTagsForResource": "ResourceId",
}

RULES = {
    **EC2,
    **{f"iam:{name}": about_role(f"iam:{name}") for name in OF_ROLES},
    **{f"iam:{name}": about_profile(f"iam:{name}") for name in OF_PROFILES},
    **{f"ssm:{name}": about_parameters(f"ssm:{name}", field) for name, field in OF_PARAMETERS.items()},
    **{f"s3:{name}": about_bucket(f"s3:{name}") for name in OF_BUCKETS},
    **{f"s3:{name}": about_objects(f"s3:{name}") for name in ("DeleteObject", "GetObject")},
    "freetier:GetAccountPlanState": without_resource("freetier:GetAccountPlanState"),
    "iam:AddRoleToInstanceProfile": add_role_to_instance_profile,
    "iam:CreateInstanceProfile": create_instance_profile,
    "iam:CreateRole": create_role,
    "iam:PutRolePermissionsBoundary": put_role_permissions_boundary,
    "iam:TagInstanceProfile": tag_instance_profile,
    "iam:TagRole": tag_role,
    "route53:ChangeResourceRecordSets": change_resource_record_sets,
    "route53:ListHostedZonesByName": without_resource("route53:ListHostedZonesByName"),
    "route53:ListResourceRecordSets": list_resource_record_sets,
    "secretsmanager:DescribeSecret": about_secret("secretsmanager:DescribeSecret"),
    "secretsmanager:GetSecretValue": get_secret_value,
    "servicequotas:GetAWSDefaultServiceQuota": without_resource("servicequotas:GetAWSDefaultServiceQuota"),
    "servicequotas:GetServiceQuota": without_resource("servicequotas:GetServiceQuota"),
    "s3:PutObject": put_object,
    "ssm:DescribeParameters": describe_parameters,
    "ssm:GetParameter": get_parameters("ssm:GetParameter", "Name"),
    "ssm:GetParameters": get_parameters("ssm:GetParameters", "Names"),
    "ssm:PutParameter": put_parameter,
    "sts:AssumeRole": assume_role,
}
