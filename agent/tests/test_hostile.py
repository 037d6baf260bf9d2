"""Hostile input of the app, of the proxy and in tags: it costs that value, and nothing else.

test_untrusted_files.py has the attacks by files of other users.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import AGENT
from simulated_processes import GOOD
from simulation import simulated

from boot import aws, bootstrap, validate
from logs import publisher
from orders import decide, tasks
from processes import generation, generations, runner_process, runner_systemd, supervisor
from proxy import certificates, proxy
from system import systemd
from system.paths import Paths

DEEP = b"[" * 200_000
RELEASE, CLIMBING = "a" * 64, "../../../tmp/" + "a" * 51
often = settings(max_examples=80, derandomize=True, deadline=None)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner), max_leaves=8)
KEYS = ("failed", "detail", "worker", "proved", "MESSAGE", "__REALTIME_TIMESTAMP", "__CURSOR", "level", "error", "msg")
KEYS += ("generations", "token", "number", "target", "role", "pid", "until", "release", "grace")
entries = st.dictionaries(st.sampled_from(KEYS), values)
written = (entries | values).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=80)
ATTACKS = [
    DEEP,
    b'{"a":' * 40_000,
    b"9" * 100_000,
    b"NaN",
    b"\xff\xfe",
    b'{"worker": true}',
    b"null",
    b'"\\ud800"',
    b"",
]


@pytest.mark.parametrize("data", [*ATTACKS[:5], b"[" * 40 + b"]" * 40, b" " * (validate.JSON_BYTES + 1)])
def test_every_json_error_is_of_one_kind(data):
    with pytest.raises(validate.Invalid):
        validate.parse(data)


@often
@given(st.binary(max_size=200) | written)
def test_json_from_outside_is_parsed_or_invalid(data):
    try:
        validate.parse(data)
    except validate.Invalid:
        pass


# Identifiers


@pytest.mark.parametrize("value", [CLIMBING, "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 65, "", None, 7, ["a" * 64]])
def test_only_an_id_becomes_the_path_of_a_release(tmp_path, value):
    with pytest.raises(ValueError, match="not a valid release"):
        Paths(str(tmp_path)).release(value)
    with pytest.raises(ValueError, match="not a valid release"):
        bootstrap.fetch(None, "shop", value, str(tmp_path))
    with pytest.raises(ValueError, match="not a valid sha384"):
        bootstrap.fetch_tool(None, value, str(tmp_path))


@pytest.mark.parametrize("state", [json.dumps({"agent": CLIMBING}).encode(), json.dumps([1]).encode(), DEEP])
def test_a_boot_runs_no_folder_outside_of_the_releases(tmp_path, monkeypatch, state):
    """The attack: a tag named a folder, the agent kept it, and the next boot ran it as root."""
    path = tmp_path / "var/lib/devopsctl/state.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(state)
    evil = tmp_path / "opt/devopsctl/releases" / CLIMBING / "agent"
    pathlib.Path(os.path.normpath(evil)).mkdir(parents=True)
    pathlib.Path(os.path.normpath(evil), "agent.py").write_text("raise SystemExit('it ran')")

    class Asked(BaseException):
        pass

    def attempt(*_):
        raise Asked

    monkeypatch.setattr(bootstrap, "attempt", attempt)
    with pytest.raises(Asked):
        bootstrap.become_agent(None, str(tmp_path))


def test_a_boot_refuses_and_reports_an_invalid_release(capsys):
    metadata = SimpleNamespace(name=lambda: "shop", tag=lambda key: CLIMBING if key == "release" else "\u00b2")
    metadata.tag_names = lambda: ["name", "release", "token"]
    metadata.identity = lambda: {"instanceId": "i-0123456789abcdef0"}
    said = []
    fake = SimpleNamespace(metadata=metadata, credentials=dict, ssm=lambda action, **request: said.append(request))
    with pytest.raises(bootstrap.BadRelease, match="64 hexadecimal digits"):
        bootstrap.attempt(fake, "/nowhere")
    report = json.loads(said[-1]["Value"])
    assert report["phase"] == "failed" and "devopsctl:release" in report["error"]
    assert report["wanted"]["token"] is None


@pytest.mark.parametrize("bad", ["\u00b2", "12x", "-1", "9" * 13, "\u0663"])
def test_an_invalid_tag_costs_that_tag_alone(bad):
    """The attack: `"²".isdigit()` is true and `int` raises, and the agent read no tag any more."""
    with simulated() as it:
        it.new_token()
        it.want(token=bad, secrets=bad, release=GOOD[0].name, logs=f"app/{bad}")
        it.want(**{"ssh:abcd": "\u0663" * 9, "ssh:../..": "x"})
        it.run(10, 0.2)
        assert it.agent.state.orders.answered() == {"release": GOOD[0].name} | dict.fromkeys(
            ("token", "try", "secrets", "references", "data")
        )
        assert it.reporter.last["healthy"] and "devopsctl:token" in it.reporter.last["error"]
        it.want(release=CLIMBING)
        it.run(10, 0.2)
        assert it.reporter.last["healthy"] and it.reporter.last["release"] == GOOD[0].name
        assert "devopsctl:release is not the id of a release" in it.reporter.last["error"]
        assert it.agent.kept["healthy"] == GOOD[0].name
        it.want(release=GOOD[1].name, token="1", secrets="none")
        it.run(10, 0.2)
        assert it.reporter.last["release"] == GOOD[1].name and it.reporter.last["error"] is None


def test_a_tag_that_is_not_utf_8_costs_that_tag_alone():
    with simulated() as it:
        it.new_token()
        it.want(release=GOOD[0].name)
        tag = it.aws.tag

        def read(key):
            return b"\xff".decode() if key == "logs" else tag(key)

        it.aws.tag = read
        it.want(logs="x")
        it.run(10, 0.2)
        assert it.reporter.last["healthy"] and it.reporter.last["error"] == "the tag devopsctl:logs is not UTF-8"


@pytest.mark.parametrize("key", ["accountId", "region", "instanceId"])
@pytest.mark.parametrize("value", ["../x", "", None, "a b", {"x": 1}])
def test_the_facts_of_an_instance_have_their_form(key, value):
    facts = {"accountId": "123456789012", "region": "eu-central-1", "instanceId": "i-0123456789abcdef0"}
    place = "dynamic/instance-identity/document"
    assert aws.Metadata(known={place: json.dumps(facts)}).identity() == facts
    with pytest.raises(ValueError, match="not a valid"):
        aws.Metadata(known={place: json.dumps({**facts, key: value})}).identity()


@pytest.mark.parametrize("until", ["1e400", "NaN", '"x"', "true", "-1", "1e300"])
def test_a_token_with_an_invalid_end_is_refused(until):
    value = f'{{"current": "a-token-of-this-test", "previous": "b", "previous_until": {until}}}'
    fake = SimpleNamespace(ssm=lambda *_, **__: {"Parameter": {"Version": 1, "Value": value}})
    with pytest.raises(aws.AwsError, match="does not have the form"):
        tasks.read_token(fake, "shop")


# The app's verdict, its processes, its sockets


@pytest.fixture
def paths(tmp_path):
    paths = Paths(str(tmp_path))
    paths.prepare()
    folder = pathlib.Path(paths.release(RELEASE))
    folder.mkdir()
    manifest = {"workers": 1, "health": {"path": "/", "timeout": 30}, "token": {"env": "T"}, "env": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return paths


@pytest.fixture
def made(paths):
    return create(paths)


def create(paths):
    token, secrets = decide.Token(1, "a-token-of-this-test"), decide.Secrets("none", {})
    return generation.Generation.create(paths, decide.Target(RELEASE, 1), token, secrets, 0.0)


def judged(made, verdict):
    pathlib.Path(made.verdict).write_bytes(verdict)
    made.proved()
    failure = made.failure()
    assert failure is None or all(part.encode() is not None for part in failure)
    assert all(2 <= each <= validate.LARGEST_PID for each in made.workers())


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_invalid_verdict_does_not_count(made, attack):
    """The attack: 200,000 `[` raised RecursionError, and ended the agent and each one after it."""
    judged(made, attack + b"\n" + b'{"proved": 77}\n')
    assert made.proved()


def test_any_verdict_can_be_read(paths):
    made = create(paths)

    @often
    @given(st.lists(written, max_size=4))
    def check(lines):
        judged(made, b"\n".join(lines) + b"\n")

    check()


def test_an_agent_starts_with_any_state_of_an_earlier_one(paths):
    runner = SimpleNamespace(take_over=lambda written: True, record=dict, ended=lambda each: "gone")

    @often
    @given(written | st.fixed_dictionaries({"generations": st.lists(entries)}).map(lambda v: json.dumps(v).encode()))
    def check(text):
        pathlib.Path(paths.running).write_bytes(text)
        generations.Generations(paths, runner, decide.State(), SimpleNamespace(monotonic=lambda: 0.0)).adopt()

    check()


def test_a_socket_name_cannot_forge_an_entry_of_the_kernels_list():
    """The attack: a name with a line break ended the agent; one that is not UTF-8 did so, too."""
    ours = f"/run/ours-{os.getpid()}"  # Short: a name has 107 bytes at most.
    forged = [b"\0\nx 0 0 zz 0 0 0 " + ours.encode(), b"\0\xff\xfe\n1 2 3 00010000 0 0 no-inode " + ours.encode()]
    made = [socket.socket(socket.AF_UNIX) for _ in forged]
    try:
        for each, name in zip(made, forged):
            each.bind(name)
        assert runner_systemd.listening(ours) == set()
    finally:
        for each in made:
            each.close()


def test_a_signal_without_a_name_is_reported_by_number():
    assert runner_process.signal_name(9) == "SIGKILL" and runner_process.signal_name(40) == "signal 40"


def test_only_the_end_of_a_programs_output_is_kept():
    command = [sys.executable, "-S", "-c", "print('x' * 5_000_000); print('end')"]
    assert systemd.last_output(command, 100, 60) == b"x" * 95 + b"\nend\n"


# The journal, Caddy's log


@pytest.mark.parametrize("message", [["a", "b"], [300], [-1], [True], {"a": 1}, 7, [[]], "\ud800", 1e300])
def test_a_journal_entry_with_other_types_ends_nothing(message):
    """The attack: `MESSAGE: ["a","b"]` ended the thread that publishes logs."""
    said = {"__REALTIME_TIMESTAMP": "17", "MESSAGE": message}
    for _, text in publisher.entry(publisher.fields(json.dumps(said))):
        text.encode()


@often
@given(written)
def test_any_line_of_a_journal_can_be_read(line):
    for at, text in publisher.entry(publisher.fields(line)):
        assert at >= 0 and text.encode() is not None


@often
@given(st.lists(written))
def test_any_log_of_the_proxy_can_be_read(lines):
    found = proxy.last_refusal(b"\n".join(lines))
    assert found is None or found.encode() is not None


def test_a_line_without_end_does_not_block_a_log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    file = publisher.File(str(path))
    path.write_bytes(b"x" * (publisher.BYTES * 4 + 10) + b"\nnext\n")
    assert len(file.read()) == 1
    assert [text for _, text in file.read()] == ["x" * 10, "next"]


# The certificates in the bucket


@pytest.mark.parametrize(
    "document", [DEEP, b"[]", b"{torn", b'{"certificates/../x": "eA=="}', b'{"etc/x": "eA=="}', b'{"acme/x": 7}']
)
def test_stored_certificates_are_checked(document):
    with pytest.raises(validate.Invalid):
        certificates.checked(document)
    assert certificates.checked(b'{"acme/x": "eA=="}') == {"acme/x": "eA=="}


# The agent's own threads


class Enough(BaseException):
    pass


def test_a_thread_that_ends_is_restarted_and_reported(capsys):
    now, sleeps = [0.0], []

    def sleep(seconds):
        now[0] += seconds
        sleeps.append(seconds)
        if len(sleeps) == 8:
            raise Enough

    kept = supervisor.Supervisor(SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    ends = iter([RecursionError("deep"), SystemExit(3), *([KeyError("x")] * 9)])

    def work():
        raise next(ends)

    with pytest.raises(Enough):
        kept.keep("logs", work)
    assert sleeps[-1] > 4 * sleeps[0], "a longer and longer pause"
    assert "logs: KeyError" in kept.said()
    assert "RecursionError" in capsys.readouterr().out
    now[0] += supervisor.SHOWN_SECONDS
    assert kept.said() is None


def test_an_unexpected_error_in_the_main_loop_ends_nothing_and_is_reported():
    with simulated() as it:
        it.new_token()
        it.want(release=GOOD[0].name)
        it.run(10, 0.2)
        before = it.agent.generations.look

        def look():
            raise RecursionError("too deep")

        it.agent.generations.look = look
        assert not it.agent.guarded(it.agent.turn)
        it.agent.generations.look = before
        it.run(5, 0.5)
        report = it.reporter.last
        assert report["healthy"] and "main loop: RecursionError" in report["agent"] == report["error"]


def test_no_core_dump_is_left():
    code = "import resource; from system import kernel; kernel.no_core_dumps(); kernel.not_dumpable();"
    code += "import ctypes; print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=AGENT, capture_output=True, text=True, check=True)
    assert ran.stdout == "(0, 0) 0\n"
    for name in ("units/sandbox.conf", "units/proxy.service", "units/devopsctl-agent.service", "boot/install.sh"):
        assert "LimitCORE=0" in (AGENT / name).read_text().splitlines()
