"""Secrets that are kept elsewhere in AWS: what SSM and Secrets Manager hold becomes variables of the app."""

import json
import re
from types import SimpleNamespace

import pytest
from machine import AGENT
from test_secrets import Clock

from boot.aws import AwsError
from boot.validate import match
from orders import references
from orders.report import ErrorCode

VERSION = "1a2b3c4d-0000-4000-8000-1234567890ab"
DB = {"ARN": "x", "Name": "prod/db", "VersionId": VERSION}
OBJECT = json.dumps({"password": "not-shown", "port": 5432, "tls": True, "none": None, "list": ["not-shown"], "": "x"})


def cases(name, part=None):
    found = json.loads((AGENT.parent / "tests/secrets" / name).read_text())
    return [pytest.param(case, id=case["name"]) for case in (found[part] if part else found)]


FORMS = json.loads((AGENT.parent / "tests/secrets/references.json").read_text())


@pytest.mark.parametrize("case", FORMS["valid"], ids=lambda case: case["text"])
def test_a_reference_has_a_source_and_perhaps_a_key(case):
    form = match("reference", case["text"])
    store = "ssm" if form["parameter"] else "secretsmanager"
    assert (store, form["parameter"] or form["secret"], form["key"]) == (case["store"], case["name"], case["key"])


@pytest.mark.parametrize("text", FORMS["invalid"])
def test_any_other_text_is_no_reference(text):
    assert not match("reference", text)
    with pytest.raises(references.BadSecret):
        references.look(None, {"A": text})


class Elsewhere:
    """SSM and Secrets Manager; a value that is an error is raised."""

    def __init__(self, **held):
        self.held, self.calls = held, []

    def ssm(self, action, **request):
        assert (action, request["WithDecryption"]) == ("GetParameter", True)
        return {"Parameter": self.answer(request["Name"])}

    def secrets_manager(self, action, **request):
        assert action == "GetSecretValue"
        return self.answer(request["SecretId"])

    def answer(self, name):
        self.calls.append(name)
        held = self.held[name]
        held = held.pop(0) if isinstance(held, list) else held
        if isinstance(held, Exception):
            raise held
        return held


def parameter(value, version=3, modified=1764428400.123):
    return {"Value": value, "Version": version, "LastModifiedDate": modified}


def secret(value, version=VERSION):
    return {**DB, "VersionId": version, "SecretString": value}


@pytest.mark.parametrize("case", cases("reference_fingerprints.json"))
def test_references_have_a_fingerprint(case):
    held, named = {}, {}
    for one in case["references"]:
        form = match("reference", one["reference"])
        if form["parameter"]:
            version, milliseconds = map(int, one["version"].split())
            held[form["parameter"]] = parameter("x", version, milliseconds / 1000)
        else:
            held[form["secret"]] = secret('{"password": "x", "username": "y"}', one["version"])
        named[one["name"]] = one["reference"]
    assert references.look(Elsewhere(**held), named).fingerprint == case["fingerprint"]


def test_values_come_from_parameters_secrets_and_keys_and_each_source_is_read_once():
    elsewhere = Elsewhere(**{"/shared/db": parameter('json:"as it is"'), "prod/db": secret(OBJECT)})
    named = {
        "URL": "ssm:/shared/db",
        "ALL": "secretsmanager:prod/db",
        "PASSWORD": "secretsmanager:prod/db#password",
        "PORT": "secretsmanager:prod/db#port",
        "TLS": "secretsmanager:prod/db#tls",
    }
    found = references.look(elsewhere, named)
    expected = {"URL": 'json:"as it is"', "ALL": OBJECT, "PASSWORD": "not-shown", "PORT": "5432", "TLS": "true"}
    assert found.values == expected and sorted(elsewhere.calls) == ["/shared/db", "prod/db"]
    assert references.look(elsewhere, {}) == ("none", {}, False)


@pytest.mark.parametrize(
    ("held", "reference", "words"),
    [
        ({**DB, "SecretBinary": "bm90LXNob3du"}, "secretsmanager:a", "is binary, and a variable is text"),
        (secret("not-shown"), "secretsmanager:a#key", "is not a JSON object"),
        (secret('["not-shown"]'), "secretsmanager:a#key", "is not a JSON object"),
        (secret("[" * 100000), "secretsmanager:a#key", "is not a JSON object"),
        (secret(OBJECT), "secretsmanager:a#key", "does not have that key"),
        (secret(OBJECT), "secretsmanager:a#none", "is not text, a number or a truth value"),
        (secret(OBJECT), "secretsmanager:a#list", "is not text, a number or a truth value"),
        (secret("not-shown\0"), "secretsmanager:a", "cannot be that of a variable"),
        (secret("not-shown\ud800"), "secretsmanager:a", "cannot be that of a variable"),
        (secret("x" * 4097), "secretsmanager:a", "has more than 4 KiB"),
        (parameter("ü" * 2049), "ssm:a", "has more than 4 KiB"),
    ],
)
def test_a_value_that_cannot_be_a_variable_is_named_without_it(held, reference, words):
    with pytest.raises(references.BadSecret, match=words) as problem:
        references.look(Elsewhere(a=held), {"NAME": reference})
    text = str(problem.value)
    assert f"NAME ({reference}" in text and "not-shown" not in text and problem.value.__cause__ is None
    assert problem.value.error_code is ErrorCode.BAD_SECRET


@pytest.mark.parametrize(
    ("held", "reference"),
    [
        (None, "ssm:a"),
        ({"Value": "not-shown"}, "ssm:a"),
        (parameter("not-shown", version="not-shown"), "ssm:a"),
        (parameter("not-shown", modified=float("inf")), "ssm:a"),
        (parameter("not-shown", modified="now"), "ssm:a"),
        ({"SecretString": "not-shown"}, "secretsmanager:a"),
        ({"SecretString": "not-shown", "VersionId": 7}, "secretsmanager:a"),
    ],
)
def test_an_answer_of_another_form_is_an_error(held, reference):
    with pytest.raises(AwsError, match="NAME") as problem:
        references.look(Elsewhere(a=held), {"NAME": reference})
    assert problem.value.code == "BadAnswer" and "not-shown" not in str(problem.value)


def test_more_than_the_agent_can_mask_is_refused():
    named = {f"S{at}": f"ssm:s{at}" for at in range(9)}
    elsewhere = Elsewhere(**{f"s{at}": parameter("x" * 4096) for at in range(9)})
    with pytest.raises(references.BadSecret, match="32 KiB in all"):
        references.look(elsewhere, named)
    del named["S8"]
    assert len(references.look(elsewhere, named).values) == 8


def read(elsewhere, ordered=None, wanted=lambda: True):
    clock = Clock()
    found = references.read_references(elsewhere, {"A": "ssm:a"}, ordered, wanted, clock)
    return found, clock.now


def test_a_version_that_is_shown_late_is_awaited_for_a_moment():
    old, new = parameter("old", 1), parameter("new", 2)
    ordered = references.look(Elsewhere(a=new), {"A": "ssm:a"}).fingerprint
    found, took = read(Elsewhere(a=[old, old, new]), ordered)
    assert (found.values, found.answered) == ({"A": "new"}, True) and 0 < took < references.LATE_SECONDS
    found, took = read(Elsewhere(a=old), ordered)
    assert (found.values, found.answered) == ({"A": "old"}, True)
    assert references.LATE_SECONDS <= took < references.LATE_SECONDS + 3
    for expected in (None, "none"):
        assert read(Elsewhere(a=old), expected)[1] == 0
    assert read(Elsewhere(a=old), ordered, lambda: False)[1] == 0, "other orders came"


@pytest.mark.parametrize("code", references.REFUSALS)
def test_a_refusal_may_pass_because_the_role_was_just_changed(code, monkeypatch):
    refusal = AwsError(code, f"ssm:GetParameter was refused: {code}: no", 400)
    found, took = read(Elsewhere(a=[refusal] * 4 + [parameter("x")]))
    assert found.values == {"A": "x"} and 0 < took < references.REFUSED_SECONDS
    monkeypatch.setattr("boot.aws.since_boot", lambda: 1000)
    with pytest.raises(references.BadSecret, match=re.escape("A (ssm:a): ssm:GetParameter was refused")) as problem:
        read(Elsewhere(a=refusal))
    assert "deploy.yaml" in str(problem.value)


def test_another_error_is_raised_at_once():
    for code in ("ThrottlingException", "InvalidRequestException"):
        with pytest.raises(AwsError, match="A \\(ssm:a\\)") as problem:
            read(Elsewhere(a=AwsError(code, "no", 400)))
        assert problem.value.code == code


def test_all_secrets_of_a_generation_have_a_maximum_length_together():
    from processes.generation import require

    half = "x" * (16 << 10)
    require(["A"], {"A": half, "B": half})
    with pytest.raises(ValueError, match="32 KiB in all, with those that are kept elsewhere"):
        require(["A"], {"A": half, "B": half + "x"})


def test_both_services_are_called_with_their_own_signature(monkeypatch):
    from boot.aws import Aws

    metadata = SimpleNamespace(identity=lambda: {"region": "eu-west-1"}, fact=lambda path: None)
    called = []

    def call(self, what, service, method, url, headers, body=b"", **_):
        called.append((what, service, url, headers["X-Amz-Target"], json.loads(body)))
        return b"{}"

    monkeypatch.setattr(Aws, "call", call)
    Aws(metadata).secrets_manager("GetSecretValue", SecretId="a")
    Aws(metadata).ssm("GetParameter", Name="b")
    assert called == [
        (
            "secretsmanager:GetSecretValue",
            "secretsmanager",
            "https://secretsmanager.eu-west-1.amazonaws.com/",
            "secretsmanager.GetSecretValue",
            {"SecretId": "a"},
        ),
        ("ssm:GetParameter", "ssm", "https://ssm.eu-west-1.amazonaws.com/", "AmazonSSM.GetParameter", {"Name": "b"}),
    ]
