"""The app's secrets: what SSM holds becomes variables of the app, and stays out of everything else."""

import json
import pathlib
import threading
import time
from types import SimpleNamespace

import pytest
from fake_aws import Parameters
from machine import AGENT, release, until

from boot.aws import AwsError
from orders import secrets
from orders.decide import State
from processes.generation import require
from processes.generations import Generations
from system.paths import Paths

TOKEN = "token-of-these-tests"
PASSWORD = "open-sesame"
URL = f"postgres://shop:{PASSWORD}@db.example/shop"
# It says which secrets it has to a caller with the token.
TELLS = """
import json, os
TOKEN = "Token " + os.environ["APP_SECRET_TOKEN"]
NAMES = ("A", "B", "PEM", "BRACES", "FROM_ENV", "APP_SECRET_TOKEN", "APP_SECRET_TOKEN_PREVIOUS")
GIVEN = {name: os.environ.get(name) for name in NAMES}

def app(environ, start_response):
    right = environ.get("HTTP_AUTHORIZATION") == TOKEN
    body = json.dumps(GIVEN if right else {}).encode()
    start_response("200 OK" if right else "401 Unauthorized", [("Content-Length", str(len(body)))])
    return [body]
"""


def cases(name, part=None):
    found = json.loads((AGENT.parent / "tests/secrets" / name).read_text())
    return [pytest.param(case, id=case["name"]) for case in (found[part] if part else found)]


@pytest.mark.parametrize("case", cases("values.json", "written") + cases("values.json", "read"))
def test_a_stored_text_is_decoded(case):
    assert secrets.decode(case["stored"]) == case["value"]


def test_fixtures_and_fake_have_one_stored_form():
    held = Parameters()
    for case in json.loads((AGENT.parent / "tests/secrets/values.json").read_text())["written"]:
        held.put("A", case["value"])
        assert held.held["A"][2] == case["stored"]


@pytest.mark.parametrize("case", cases("fingerprints.json"))
def test_secrets_have_a_fingerprint(case):
    shown = [
        {"Name": f"/devopsctl/shop/secrets/{one['name']}", "Version": one["version"], "Value": "x"}
        | {"LastModifiedDate": one["modified"]}
        for one in case["secrets"]
    ]
    found = look(lambda request: {"Parameters": shown})
    assert found.fingerprint == case["fingerprint"]
    lines = [(one["name"], one["version"], one["milliseconds"]) for one in case["secrets"]]
    assert secrets.fingerprint(lines) == case["fingerprint"]


def look(answer):
    return secrets.look(SimpleNamespace(ssm=lambda _, **request: answer(request)), "/devopsctl/shop/secrets")


def test_all_pages_are_read():
    held = Parameters()
    for number in range(25):
        held.put(f"NAME_{number}", f"value {number}")
    found = look(held.page)
    assert found.values == {f"NAME_{number}": f"value {number}" for number in range(25)}
    assert found.fingerprint == held.fingerprint()


def test_an_empty_page_need_not_be_the_last():
    held = Parameters()
    held.put("A", "x")
    pages = [{"Parameters": [], "NextToken": "0"}, held.page({**ASKED, "Path": held.path})]
    assert look(lambda request: pages.pop(0)).values == {"A": "x"} and not pages


ASKED = {"WithDecryption": True, "Recursive": False}
ONE = {"Name": "/devopsctl/shop/secrets/A", "Version": 1, "Value": "not-shown", "LastModifiedDate": 1.5}


@pytest.mark.parametrize(
    "changed",
    [
        {"Name": "/devopsctl/shop/secrets/a-b"},
        {"Name": "/devopsctl/shop/secrets/1A"},
        {"Name": "/devopsctl/shop/secrets/a.b"},
        {"Name": "/devopsctl/shop/secrets/" + "A" * 101},
        {"Name": "/devopsctl/shop/secrets/"},
        {"Name": "/devopsctl/shop/secrets/A\n"},
        {"Value": 'json:"not-shown\\u0000"'},
        {"Value": "not-shown\0"},
        {"Value": "not-shown\ud800"},
    ],
)
def test_a_parameter_that_cannot_be_a_variable_is_named_without_its_value(changed):
    with pytest.raises(secrets.BadSecret, match="/devopsctl/shop/secrets/") as problem:
        look(lambda request: {"Parameters": [{**ONE, **changed}]})
    assert "not-shown" not in str(problem.value)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"Parameters": None},
        {"Parameters": ["not-shown"]},
        {"Parameters": [{**ONE, "Value": None}]},
        {"Parameters": [{**ONE, "Value": ["not-shown"]}]},
        {"Parameters": [{**ONE, "Version": 0}]},
        {"Parameters": [{**ONE, "Version": "not-shown"}]},
        {"Parameters": [{**ONE, "LastModifiedDate": "now"}]},
        {"Parameters": [{**ONE, "LastModifiedDate": float("inf")}]},
        {"Parameters": [{**ONE, "LastModifiedDate": None}]},
        {"Parameters": [{"Name": None}]},
    ],
)
def test_an_answer_of_another_form_is_an_error(answer):
    with pytest.raises((AwsError, ValueError)) as problem:
        look(lambda request: answer)
    assert problem.value.__cause__ is None


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def read(held, ordered, wanted=lambda: True):
    clock, fake = Clock(), SimpleNamespace(ssm=lambda _, **request: held.page(request))
    return secrets.read_secrets(fake, "shop", ordered, wanted, clock), clock.now


def test_secrets_that_ssm_shows_late_are_awaited_for_a_moment():
    held = Parameters()
    held.put("A", "x")
    held.late = 3
    found, took = read(held, held.fingerprint())
    assert (found.values, found.answered) == ({"A": "x"}, True) and 0 < took < secrets.LATE_SECONDS
    found, took = read(held, "0" * 16)
    assert (found.values, found.answered) == ({"A": "x"}, True)
    assert secrets.LATE_SECONDS <= took < secrets.LATE_SECONDS + 3
    assert read(held, None) == (found._replace(answered=False), 0)
    assert read(held, "0" * 16, lambda: False)[1] == 0, "other orders came"


def test_required_secrets_are_named_with_the_command():
    require(["A"], {"A": "", "B": "x"})
    with pytest.raises(ValueError, match="^the secret C is not set: devopsctl secrets set C$"):
        require(["A", "C"], {"A": "x"})
    with pytest.raises(ValueError, match="^the secrets C D are not set: devopsctl secrets set C D$"):
        require(["C", "A", "D"], {"A": "x"})


# On a machine


def uses(known):
    return lambda report: report["phase"] == "healthy" and report["secrets"] == known


def begin(aws, machine):
    aws.tags["devopsctl:release"] = aws.put_release(release(app=TELLS, env={"FROM_ENV": "env", "A": "from env"}))
    aws.put_token(TOKEN)
    machine.boot()
    aws.wait_report(uses("none"), 60)


def change(aws, **values):
    """Changes secrets, and waits until the app has them. Without a difference, there is no report to wait for."""
    before = aws.tags.get("devopsctl:secrets", "none")
    del aws.reports[:]
    known = aws.put_secrets(**values)
    if known != before:
        aws.wait_report(uses(known))


def given(machine):
    return json.loads(machine.get(TOKEN)[1])


def test_secrets_reach_the_app_over_its_environment_and_under_its_token(serving):
    aws = serving.aws
    values = {
        "A": "from-ssm-1",
        "B": 'json:"as it is"',
        "PEM": "-----BEGIN EXAMPLE-----\nnot a key ü\n-----END EXAMPLE-----\n",
        "BRACES": '{{"a": "\\{"}}',
        "APP_SECRET_TOKEN": "from-ssm-2",
        "APP_SECRET_TOKEN_PREVIOUS": "from-ssm-3",
    }
    change(aws, **values)
    others = {"FROM_ENV": "env", "APP_SECRET_TOKEN": TOKEN, "APP_SECRET_TOKEN_PREVIOUS": None}
    assert given(serving) == {**values, **others}
    change(aws, **dict.fromkeys(values))
    assert given(serving) == {**dict.fromkeys(values), "A": "from env", **others}


def test_the_previous_token_is_given_in_its_grace_period_only(serving):
    aws = serving.aws
    change(aws, APP_SECRET_TOKEN_PREVIOUS="from-ssm")
    version = aws.put_token(TOKEN, previous="earlier-token", until=time.time() + 3600)
    aws.wait_report(lambda report: report["token"] == version and report["phase"] == "healthy")
    assert given(serving)["APP_SECRET_TOKEN_PREVIOUS"] == "earlier-token"
    version = aws.put_token(TOKEN)
    aws.wait_report(lambda report: report["token"] == version and report["phase"] == "healthy")
    assert given(serving)["APP_SECRET_TOKEN_PREVIOUS"] is None
    change(aws, APP_SECRET_TOKEN_PREVIOUS=None)


def test_a_change_fails_no_request_and_is_one_generation(serving):
    aws, seen, going = serving.aws, [], True
    change(aws, A="before")
    before = max(each["number"] for each in serving.running())

    def ask():
        while going:
            seen.append((serving.get(TOKEN)[0], given(serving)["A"]))

    client = threading.Thread(target=ask)
    client.start()
    try:
        until(lambda: len(seen) > 20)
        asked = len(seen)
        change(aws, A="after", B="new")
        changed = len(seen) + 1  # The request that is being answered belongs to neither part.
        until(lambda: len(seen) > changed + 20)
    finally:
        going = False
        client.join()
    assert {status for status, _ in seen} == {200}
    # While the new generation takes over, both answer.
    values = [value for _, value in seen]
    assert set(values[:asked]) == {"before"} and set(values[asked:changed]) <= {"before", "after"}
    assert set(values[changed:]) == {"after"}
    assert max(each["number"] for each in serving.running()) == before + 1


def test_a_secret_is_only_in_the_file_of_its_generation(serving):
    """Not in the environment or the arguments of a process, nor in logs, reports, verdicts or the agent's own files."""
    change(serving.aws, A=URL)
    found = [path for path in serving.root.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    serves = [each["number"] for each in serving.running() if each["role"] == "serving"]
    files = [serving.root / f"run/devopsctl/generations/{number}/token" for number in serves]
    assert found == files and all(path.stat().st_mode & 0o077 == 0 for path in found)
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            try:
                assert PASSWORD.encode() not in (process / name).read_bytes(), process
            except OSError:
                continue
    assert not any(PASSWORD in text for _, _, text in serving.aws.reports)


def test_a_secret_that_the_app_prints_is_masked_in_reports(serving):
    aws, healthy = serving.aws, serving.aws.tags["devopsctl:release"]
    change(aws, A=URL)
    source = "import os\nprint(os.environ['A'])\nraise ValueError(os.environ['A'].split(':')[2].split('@')[0])\n"
    aws.tags["devopsctl:release"] = broken = aws.put_release(release(app=source, flask=False))
    aws.wait_report(lambda report: report["phase"] == "failed" and report["wanted"]["release"] == broken, 60)
    shown = [text for _, _, text in aws.reports]
    assert any("ValueError: ***" in text for text in shown) and not any(PASSWORD in text for text in shown)
    assert PASSWORD not in serving.console() and PASSWORD in serving.app_log(), "the app's log is its own"
    aws.tags["devopsctl:release"] = healthy
    change(aws, A="x")


def test_a_release_waits_for_the_secret_that_was_set_for_it(serving):
    aws = serving.aws
    change(aws, B=None)
    aws.tags["devopsctl:release"] = name = aws.put_release(release(app=TELLS, secrets=["B"], flask=False))
    report = aws.wait_report(lambda report: report["phase"] == "failed" and report["wanted"]["release"] == name, 60)
    assert report["error"] == "the secret B is not set: devopsctl secrets set B"
    assert report["healthy"] and serving.get(TOKEN)[0] == 200
    change(aws, B="now it is")
    assert given(serving)["B"] == "now it is"


def test_an_agent_takes_over_what_one_without_secrets_left_running(serving):
    """The record of an earlier agent has no `secrets`: its generation has none, and serves on."""
    aws = serving.aws
    aws.tags["devopsctl:release"] = aws.put_release(release(app=TELLS, flask=False))
    change(aws, **dict.fromkeys(aws.secrets.held))
    until(lambda: [each["role"] for each in serving.running()] == ["serving"])
    before = serving.pid()
    changed = (AGENT / "orders/report.py").read_text().replace('"v": 1,', '"v": 1, "generation": "next",')
    taken = (AGENT / "processes/generation.py").read_text()
    old = '"target": self.target._asdict()'
    assert old in taken
    forgets = taken.replace(old, '"target": {k: v for k, v in self.target._asdict().items() if k != "secrets"}')
    for files in ({"processes/generation.py": forgets}, {"orders/report.py": changed}):
        name = aws.put_release(release(app=TELLS, agent=files, flask=False))
        aws.tags["devopsctl:release"] = name
        aws.wait_report(lambda report, name=name: report["phase"] == "healthy" and report["release"] == name, 60)
    aws.wait_report(lambda report: report.get("generation") == "next" and report["phase"] == "healthy", 60)
    assert serving.pid() != before and serving.get(TOKEN)[0] == 200


def test_an_old_record_is_a_generation_without_secrets(tmp_path):
    from processes.generation import Generation

    paths = Paths(str(tmp_path))
    paths.prepare()
    folder = pathlib.Path(paths.release("a" * 64))
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    target = {"release": "a" * 64, "token": 1, "grace": False}
    record = {"number": 1, "target": target, "pid": None, "until": 0.0, "role": "serving"}
    assert Generation.from_record(paths, record).target.secrets == "none"
    record["target"] = {**target, "secrets": "0123456789abcdef"}
    made = Generation.from_record(paths, record)
    assert made.target.secrets == "0123456789abcdef" and made.target.references == "none"
    known = {"secrets": "0123456789abcdef", "references": "fedcba9876543210"}
    record["target"] = {**target, **known, "volume": None}
    assert Generation.from_record(paths, record).record()["target"] == record["target"]
    for wrong in ("", "../..", 7, None, "0123456789ABCDEF"):
        with pytest.raises(ValueError, match="fingerprint"):
            Generation.from_record(paths, {**record, "target": {**target, "secrets": wrong}})
        with pytest.raises(ValueError, match="fingerprint"):
            Generation.from_record(paths, {**record, "target": {**target, "references": wrong}})


def test_more_secrets_than_the_agent_can_mask_are_refused():
    def shown(count):
        value = "x" * (4 << 10)
        held = [{"Name": f"/devopsctl/shop/secrets/S{at}", "Version": 1, "Value": value} for at in range(count)]
        return lambda request: {"Parameters": [each | {"LastModifiedDate": 1.0} for each in held]}

    assert len(look(shown(8)).values) == 8
    with pytest.raises(secrets.BadSecret, match="32 KiB in all.*secrets unset"):
        look(shown(9))


def test_the_secrets_of_two_generations_are_masked_and_the_oldest_are_forgotten(tmp_path):
    paths = Paths(str(tmp_path))
    generations = Generations(paths, None, State(), time)
    half = secrets.MOST_BYTES
    for digit in "123":
        generations.hide([digit * half])
    masked = [generations.mask(digit * 100) for digit in "123"]
    assert masked == ["1" * 100, "***", "***"]
    # One generation's own are masked, however long they are.
    generations.hide(["4" * 3 * half, "5" * half])
    assert [generations.mask(digit * 100) for digit in "345"] == ["3" * 100, "***", "***"]
