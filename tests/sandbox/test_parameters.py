"""SSM in the sandbox: encrypted parameters below a path, as an app's secrets are stored."""

import json

import pytest
from conftest import NUMBERS, granted, refused, until

ADMINISTRATOR = "arn:aws:iam::123456789012:user/administrator"


@pytest.fixture
def path():
    return f"/devopsctl/parameters-{next(NUMBERS)}/secrets"


def put(ssm, name, value="x", **more):
    return ssm.put_parameter(**{"Name": name, "Type": "SecureString", "Value": value, **more})["Version"]


def pages(call, key="Parameters", **arguments):
    """All pages of a list."""
    found, more = [], {}
    while True:
        answer = call(**arguments, **more)
        found.append(answer[key])
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}


def below(ssm, path, **more):
    """The parameters directly below a path, by name."""
    listed = pages(ssm.get_parameters_by_path, Path=path, WithDecryption=True, **more)
    return {one["Name"][len(path) + 1 :]: one for page in listed for one in page}


# What SSM refuses


@pytest.mark.parametrize("value", ["a {{b}} c", "{{ssm:/other}}", "{{", "a {{", '{"a": {{}'])
def test_a_value_cannot_nest_a_parameter(ssm, path, value):
    code, message = refused(put, ssm=ssm, name=path, value=value)
    assert code == "ValidationException" and "nest another parameter" in message
    put(ssm, path, "a {b}} c")


def test_a_value_has_at_least_one_and_at_most_4096_characters(ssm, path):
    assert refused(put, ssm=ssm, name=path, value="")[0] == "ValidationException"
    for value in ("x" * 4097, "ü" * 2049):
        code, message = refused(put, ssm=ssm, name=path, value=value)
        assert code == "ValidationException" and "maximum parameter value of 4096 characters" in message
    put(ssm, path, "x" * 4096)
    put(ssm, path, "x" * 4097, Tier="Advanced", Overwrite=True)


@pytest.mark.parametrize("value", ["a\nb\r\n\tc\n", "  ", "\n", "Grüße 世界 🔑", '{"a": "\\"}"}', "\x01\x7f"])
def test_a_value_is_kept_as_it_is(ssm, path, value):
    put(ssm, path, value)
    assert ssm.get_parameter(Name=path, WithDecryption=True)["Parameter"]["Value"] == value


@pytest.mark.parametrize("name", ["a b", "a$", "ü", "a:b", "a\n"])
def test_a_name_has_plain_characters_only(ssm, path, name):
    assert refused(put, ssm=ssm, name=f"{path}/{name}")[0] == "ValidationException"


def test_an_overwritten_parameter_takes_no_tags(ssm, path):
    tags = [{"Key": "a", "Value": "b"}]
    assert put(ssm, path, Tags=tags) == 1
    assert refused(put, ssm=ssm, name=path, Tags=tags)[0] == "ParameterAlreadyExists"
    assert refused(put, ssm=ssm, name=path, Tags=tags, Overwrite=True)[0] == "ValidationException"
    assert put(ssm, path, Overwrite=True) == 2


def test_ten_parameters_are_deleted_at_once(ssm, path):
    names = [f"{path}/NAME_{number}" for number in range(11)]
    for name in names:
        put(ssm, name)
    assert refused(ssm.delete_parameters, Names=names)[0] == "ValidationException"
    gone = ssm.delete_parameters(Names=[*names[:9], f"{path}/OTHER"])
    assert (sorted(gone["DeletedParameters"]), gone["InvalidParameters"]) == (sorted(names[:9]), [f"{path}/OTHER"])
    assert set(below(ssm, path)) == {"NAME_9", "NAME_10"}
    assert put(ssm, names[0]) == 1, "versions begin again"


# What it lists


def test_a_path_is_listed_in_pages_of_ten(ssm, path):
    for number in range(23):
        put(ssm, f"{path}/NAME_{number}", f"value {number}")
    put(ssm, f"{path}/deeper/NAME")
    put(ssm, f"{path}-of-others/NAME")
    found = pages(ssm.get_parameters_by_path, Path=path, WithDecryption=True)
    assert [len(page) for page in found if page] == [10, 10, 3]
    listed = below(ssm, path)
    assert {name: one["Value"] for name, one in listed.items()} == {f"NAME_{n}": f"value {n}" for n in range(23)}
    assert len(below(ssm, path, Recursive=True)) == 24
    assert refused(ssm.get_parameters_by_path, Path=path, MaxResults=11)[0] == "ValidationException"


def test_without_decryption_no_call_shows_a_value(ssm, path):
    put(ssm, path, "not-shown")
    put(ssm, f"{path}/NAME", "not-shown")
    for answer in (
        ssm.get_parameter(Name=path),
        ssm.get_parameters(Names=[path]),
        ssm.get_parameters_by_path(Path=path),
        ssm.get_parameter_history(Name=path),
        ssm.describe_parameters(ParameterFilters=[{"Key": "Path", "Values": [path]}]),
    ):
        assert "not-shown" not in str(answer)
    assert "Value" not in ssm.describe_parameters()["Parameters"][0]


def test_a_write_has_a_date_in_milliseconds_and_its_caller(ssm, cli, path):
    put(ssm, f"{path}/BY_ADMINISTRATOR")
    put(cli("ssm"), f"{path}/BY_TOOL")
    listed = below(ssm, path)
    assert all(one["LastModifiedDate"].microsecond % 1000 == 0 for one in listed.values())
    one_level = [{"Key": "Path", "Option": "OneLevel", "Values": [path]}]
    described = [one for page in pages(ssm.describe_parameters, ParameterFilters=one_level) for one in page]
    callers = {one["Name"][len(path) + 1 :]: one["LastModifiedUser"] for one in described}
    tool = "arn:aws:iam::123456789012:user/devopsctl"
    assert callers == {"BY_ADMINISTRATOR": ADMINISTRATOR, "BY_TOOL": tool}
    dates = {one["Name"][len(path) + 1 :]: one["LastModifiedDate"] for one in described}
    assert dates == {name: one["LastModifiedDate"] for name, one in listed.items()}
    put(ssm, f"{path}/BY_TOOL", Overwrite=True)
    described = ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [f"{path}/BY_TOOL"]}])
    assert described["Parameters"][0]["LastModifiedUser"] == ADMINISTRATOR


def test_parameters_are_described_by_path(ssm, path):
    for name in (path, f"{path}/A", f"{path}/B", f"{path}/deeper/C", f"{path}-of-others/D"):
        put(ssm, name)

    def described(option):
        filters = [{"Key": "Path", "Values": [path], **({"Option": option} if option else {})}]
        found = pages(ssm.describe_parameters, ParameterFilters=filters)
        return {one["Name"][len(path) + 1 :] for page in found for one in page}

    assert described(None) == described("OneLevel") == {"A", "B"}
    assert described("Recursive") == {"A", "B", "deeper/C"}
    wrong = [{"Key": "Path", "Option": "Equals", "Values": [path]}]
    assert refused(ssm.describe_parameters, ParameterFilters=wrong)[0] == "InvalidFilterOption"
    everything = pages(ssm.describe_parameters)
    assert not [one for page in everything for one in page if one["Name"].startswith("/aws/")]


# Who may


def test_a_path_and_its_description_are_permissions_of_their_own(sandbox, iam, ssm, path):
    name = f"reads-{next(NUMBERS)}"
    iam.create_user(UserName=name)
    keys = iam.create_access_key(UserName=name)["AccessKey"]
    mine = sandbox.client("ssm", keys={"access_key": keys["AccessKeyId"], "secret_key": keys["SecretAccessKey"]})
    put(ssm, f"{path}/NAME")

    def may(action, resource):
        statement = {"Effect": "Allow", "Action": f"ssm:{action}", "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=document)

    prefix = "arn:aws:ssm:eu-west-1:123456789012:"
    parameters = f"{prefix}parameter{path}"
    # The path itself is checked, not what is below it.
    for resource, allowed in ((f"{parameters}/*", False), (f"{parameters}-of-others", False), (parameters, True)):
        may("GetParametersByPath", resource)
        assert bool(granted(mine.get_parameters_by_path, Path=path)) == allowed
    assert not granted(mine.get_parameters_by_path, Path=f"{path}/deeper")
    code, message = refused(mine.describe_parameters)
    assert code == "AccessDeniedException"
    assert f"is not authorized to perform: ssm:DescribeParameters on resource: {prefix}*" in message
    may("DescribeParameters", parameters)
    assert not granted(mine.describe_parameters)
    may("DescribeParameters", "*")
    assert mine.describe_parameters()["Parameters"]
    may("DeleteParameters", f"{parameters}/NAME")
    assert not granted(mine.delete_parameters, Names=[f"{path}/NAME", f"{path}/OTHER"])
    assert granted(mine.delete_parameters, Names=[f"{path}/NAME"])


# When a write shows


def test_reads_can_show_a_parameter_as_it_was(sandbox, ssm, path):
    name = f"{path}/NAME"
    filters = [{"Key": "Path", "Values": [path]}]

    def versions():
        by_path = [one["Version"] for one in below(ssm, path).values()]
        described = [one["Version"] for one in ssm.describe_parameters(ParameterFilters=filters)["Parameters"]]
        got = [one["Version"] for one in ssm.get_parameters(Names=[name])["Parameters"]]
        one = granted(ssm.get_parameter, Name=name)
        assert by_path == described == got == ([one["Parameter"]["Version"]] if one else [])
        return got

    with sandbox.delays(parameter=3600):
        assert put(ssm, name) == 1
        assert versions() == []
        assert refused(put, ssm=ssm, name=name)[0] == "ParameterAlreadyExists", "writes are ordered"
        assert put(ssm, name, Overwrite=True) == 2
        assert versions() == []
    sandbox.control("emulator/reset")
    assert put(ssm, name) == 1
    with sandbox.delays(parameter=3600):
        ssm.delete_parameters(Names=[name])
        assert versions() == [1]
    sandbox.control("emulator/reset")
    with sandbox.delays(parameter=0.3):
        put(ssm, name)
        until(lambda: set(below(ssm, path)) == {"NAME"})
        put(ssm, name, "y", Overwrite=True)
        until(lambda: below(ssm, path)["NAME"]["Value"] == "y")
        ssm.delete_parameter(Name=name)
        until(lambda: not below(ssm, path))
