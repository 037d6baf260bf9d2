"""Unit tests of the sandbox's policy evaluation."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "src/sandbox/emulator"))

from iam.policies import Check, Unsupported, allows_everything, ruling

ROLES = "arn:aws:iam::123456789012:role"
GROUP = "arn:aws:ec2:eu-west-1:123456789012:security-group/sg-1"
OURS = {"aws:resourcetag/devopsctl:name": "hello"}
TAGGED = {"StringLike": {"aws:ResourceTag/devopsctl:name": "*"}}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(action, resource="*", effect="Allow", **more):
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def by(documents, action="ec2:DeleteSecurityGroup", resource=GROUP, keys=None):
    """The statements that allow the check. None: one denies it."""
    said = ruling(documents, Check(action, resource, keys or {}))
    return None if said.denied else said.by


def test_the_default_is_deny():
    assert by([]) == []
    assert by([policy(statement("ec2:DescribeInstances"))]) == []


def test_the_ruling_names_each_statement_that_allows():
    document = policy(statement("ec2:*"), statement(["s3:GetObject", "ec2:DeleteSecurityGroup"], Sid="Mine"))
    assert by([document]) == ["statement 1", "Mine"]
    assert by([document, document]) == ["statement 1", "Mine"] * 2


def test_a_single_statement_needs_no_list():
    assert by([json.dumps({"Statement": statement("ec2:*", Sid="A")})]) == ["A"]


def test_a_deny_overrides_an_allow():
    document = policy(statement("*"), statement("ec2:Delete*", GROUP, "Deny"))
    assert by([document]) is None
    assert by([document], resource=GROUP.replace("sg-1", "sg-2")) == ["statement 1"]


def test_actions_ignore_case_and_resources_do_not():
    assert by([policy(statement("EC2:deleteSecurityGROUP", Sid="A"))]) == ["A"]
    assert by([policy(statement("ec2:*", GROUP.upper()))]) == []


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("arn:aws:ec2:*:123456789012:security-group/*", True),
        ("arn:aws:ec2:eu-west-?:123456789012:security-group/sg-?", True),
        ("arn:aws:ec2:*:999999999999:security-group/*", False),
        ("arn:aws:ec2:*:security-group/*", False),
        ("arn:aws:ec2:*:*:instance/*", False),
        ("arn:aws:ec2:eu*group/*", False),
    ],
)
def test_a_wildcard_stays_in_its_part_of_an_arn(pattern, matches):
    try:
        assert bool(by([policy(statement("ec2:*", pattern))])) == matches
    except Unsupported:
        assert not matches


def test_only_the_last_part_of_an_arn_can_contain_colons():
    parameter = "arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl/a:b"
    document = policy(statement("ssm:*", "arn:aws:ssm:*:*:parameter/devopsctl/*"))
    assert by([document], "ssm:GetParameter", parameter)
    assert not by([document], "ssm:GetParameter", parameter.replace("/devopsctl/", "/other/"))


def test_regular_expressions_are_escaped():
    assert not by([policy(statement("ec2:*", GROUP.replace("sg-1", "sg.1")))], resource=GROUP.replace("-1", "x1"))


def test_a_condition_needs_its_key():
    document = policy(statement("ec2:*", Condition=TAGGED))
    assert not by([document])
    assert by([document], keys=OURS)
    # Keys are case-insensitive.
    louder = policy(statement("ec2:*", Condition={"StringLike": {"AWS:resourcetag/DevOpsCtl:Name": "h*"}}))
    assert by([louder], keys=OURS)
    assert not by([louder], keys={"aws:resourcetag/devopsctl:name": "other"})


def test_string_not_like_excludes_patterns():
    """A missing key matches no pattern."""
    condition = {"StringNotLike": {"aws:PrincipalArn": [f"{ROLES}/devopsctl-*", f"{ROLES}/b"]}}
    document = policy(statement("*"), statement("*", effect="Deny", Principal="*", Condition=condition))
    for role in ("devopsctl-hello", "b"):
        assert by([document], keys={"aws:principalarn": f"{ROLES}/{role}"}) == ["statement 1"]
    for keys in ({"aws:principalarn": f"{ROLES}/admin"}, {}):
        assert by([document], keys=keys) is None


@pytest.mark.parametrize("operator", ["ArnEquals", "ArnLike"])
def test_arns_are_compared_part_by_part(operator):
    condition = {operator: {"aws:PrincipalArn": f"{ROLES}/devopsctl-*-app"}}
    document = policy(statement("*", Condition=condition))
    assert by([document], keys={"aws:principalarn": f"{ROLES}/devopsctl-hello-app"})
    for keys in ({"aws:principalarn": f"{ROLES}/devopsctl-hello"}, {}):
        assert not by([document], keys=keys)


def test_all_conditions_must_hold_and_one_of_their_values():
    condition = {"StringEquals": {"ec2:CreateAction": ["RunInstances", "AllocateAddress"]}, **TAGGED}
    document = policy(statement("ec2:*", Condition=condition))
    assert by([document], keys=OURS | {"ec2:createaction": "AllocateAddress"})
    assert not by([document], keys=OURS | {"ec2:createaction": "ImportKeyPair"})
    assert not by([document], keys=OURS)


@pytest.mark.parametrize("absent", ["true", "false"])
def test_null_tests_whether_a_key_exists(absent):
    document = policy(statement("ec2:*", Condition={"Null": {"aws:RequestTag/a": absent}}))
    assert bool(by([document])) == (absent == "true")
    assert bool(by([document], keys={"aws:requesttag/a": ""})) == (absent == "false")


def test_for_a_missing_resource_only_the_action_counts():
    document = policy(statement("ec2:DeleteSecurityGroup", "arn:aws:ec2:*:*:security-group/*", Condition=TAGGED))
    assert by([document], resource=None)
    assert not by([document], action="ec2:DeleteVpc", resource=None)


@pytest.mark.parametrize(
    ("quantity", "names", "holds"),
    [
        ("ForAllValues", ["a.x", "b.x"], True),
        ("ForAllValues", ["a.x", "c"], False),
        ("ForAllValues", [], True),
        ("ForAnyValue", ["a.x", "c"], True),
        ("ForAnyValue", ["c"], False),
        ("ForAnyValue", [], False),
    ],
)
def test_set_operators_need_all_or_any_values(quantity, names, holds):
    key = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
    document = policy(statement("ec2:*", Condition={f"{quantity}:StringLike": {key: ["*.x"]}}))
    assert bool(by([document], keys={key.lower(): names})) == holds
    exact = policy(statement("ec2:*", Condition={f"{quantity}:StringEquals": {key: ["a.x", "b.x"]}}))
    assert bool(by([exact], keys={key.lower(): names})) == holds
    assert bool(by([exact])) == (quantity == "ForAllValues")


@pytest.mark.parametrize(
    "unknown",
    [
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "*", "NotResource": "*"},
        statement("*", "arn:aws:s3:::${aws:username}/*"),
        statement("*", "not-an-arn"),
        statement("*", Condition={"StringEqualsIfExists": {"aws:RequestTag/a": "b"}}),
        statement("*", Condition={"DateLessThan": {"aws:RequestTag/a": "2030-01-01"}}),
        statement("*", Condition={"StringEquals": {"aws:SourceIp": "203.0.113.1"}}),
        statement("*", Condition={"StringEquals": {"route53:ChangeResourceRecordSetsActions": "CREATE"}}),
        statement("*", Condition={"ForAnyValue:StringLike": {"aws:RequestTag/a": "b"}}),
        statement("*", Principal={"AWS": "arn:aws:iam::123456789012:root"}),
        statement("*", Condition={"ForAnyValue:Null": {"route53:ChangeResourceRecordSetsActions": "true"}}),
    ],
)
def test_unsupported_features_are_errors(unknown):
    with pytest.raises(Unsupported):
        ruling([policy(unknown)], Check("ec2:DescribeInstances", "*", {}))


def test_a_policy_that_allows_everything_is_recognized():
    assert allows_everything([policy(statement("*"))])
    assert not allows_everything([policy(statement("ec2:*"))])
    assert not allows_everything([policy(statement("*", GROUP))])
    assert not allows_everything([policy(statement("*", Condition=TAGGED))])
    assert not allows_everything([policy(statement("*"), statement("s3:*", effect="Deny"))])
