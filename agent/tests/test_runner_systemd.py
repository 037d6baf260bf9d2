"""The systemd runner where there is no systemd: what it decides from what systemd says. `tests/vm` has the real one."""

import socket

import decide
import generation
import probe
import pytest
import runner_systemd
import systemd as sd
from places import Places


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A systemd that only remembers what it was told; `systemd.fails` names what it refuses."""

    class Systemd:
        def __init__(self):
            self.told, self.fails, self.shows = [], (), {}

        def control(self, *words, check=True):
            self.told.append(words)
            if check and any(word in self.fails for word in words):
                raise OSError(f"systemctl {' '.join(words)} failed: as asked for")

    double = Systemd()
    monkeypatch.setattr(probe, "systemctl", double.control)
    monkeypatch.setattr(probe, "show", lambda unit, *names: {name: double.shows.get(name, "") for name in names})
    monkeypatch.setattr(probe, "UNITS", str(tmp_path))
    (tmp_path / "app-80@.service").write_text("[Service]\nIPAddressDeny=169.254.169.254\n")
    return double


@pytest.fixture
def places(tmp_path):
    places = Places(str(tmp_path))
    places.prepare()
    return places


def test_an_app_that_could_reach_the_credentials_is_not_started(systemd, places):
    systemd.fails, systemd.shows = ("app-80@probe.service",), {"ExecMainStatus": probe.REACHED}
    with pytest.raises(OSError, match="not started: it could reach the instance's credentials"):
        probe.Probe(places, 80).passed()


def test_an_app_is_not_started_when_nobody_can_tell(systemd, places):
    systemd.fails, systemd.shows = ("app-80@probe.service",), {"ExecMainStatus": "203"}
    with pytest.raises(OSError, match="can't be told .the probe ended with 203"):
        probe.Probe(places, 80).passed()


def test_it_is_tried_once_a_boot_and_again_when_the_rules_change(systemd, places, tmp_path):
    probe.Probe(places, 80).passed()
    probe.Probe(places, 80).passed()
    assert systemd.told == [("start", "app-80@probe.service")]
    (tmp_path / "app-80@.service").write_text("[Service]\n")
    probe.Probe(places, 80).passed()
    assert len(systemd.told) == 2


def test_the_probe_finds_what_listens_and_only_that(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = runner_systemd.text_of("imds_probe.py")
        assert '"169.254.169.254", "fd00:ec2::254"' in text
        text = text.replace("169.254.169.254", "127.0.0.1").replace("(address, 80)", f"(address, {port})")
        with pytest.raises(SystemExit) as ended:
            exec(compile(text, "imds_probe.py", "exec"), {})
        assert str(ended.value.code) == probe.REACHED
    exec(compile(text, "imds_probe.py", "exec"), {})


def test_what_an_earlier_generation_said_is_not_taken_for_anothers_word(places, tmp_path, monkeypatch):
    """Its folder is systemd's to remove, which may come later than the next generation."""
    monkeypatch.setattr(places, "verdict", lambda number: f"{tmp_path}/app-{number}/verdict")
    release = tmp_path / "opt/devopsctl/releases/r1"
    release.mkdir(parents=True)
    release.joinpath("manifest.json").write_text('{"health": {"timeout": 30}, "token": {"env": "T"}}')
    (tmp_path / "private-1").mkdir()
    (tmp_path / "app-1").symlink_to(tmp_path / "private-1")
    (tmp_path / "app-2").symlink_to(tmp_path / "nowhere")
    token = decide.Token(1, "some-token-of-a-test")
    assert generation.Generation.create(places, decide.Target("r1", 1), token, 0.0).number == 3


def test_units_have_no_gaps_and_bear_the_rules_that_count():
    text = runner_systemd.text_of("app@.service").replace("@PORT@", "80")
    assert "@PORT@" not in text
    for rule in ("IPAddressDeny=169.254.169.254 fd00:ec2::254", "DynamicUser=yes", "StartLimitIntervalSec=0"):
        assert rule in text.splitlines()
    assert "@" not in runner_systemd.text_of("app.socket").replace("@PORT@", "80")


@pytest.mark.parametrize(
    ("shown", "lacked", "words"),
    [
        ({"Result": "exit-code", "ExecMainCode": "1", "ExecMainStatus": "3"}, False, "exit code 3"),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"}, False, "signal 9"),
        (
            {"Result": "oom-kill", "ExecMainCode": "2", "ExecMainStatus": "9"},
            False,
            "it took more memory than there is",
        ),
        ({"Result": "signal", "ExecMainCode": "2", "ExecMainStatus": "9"}, True, "it took more memory than there is"),
        ({"Result": "resources", "ExecMainCode": "0", "ExecMainStatus": "0"}, False, "resources"),
    ],
)
def test_how_a_generation_ended_is_said_in_words(shown, lacked, words):
    assert runner_systemd.ending(shown, lacked) == words


def test_a_sign_of_life_goes_where_systemd_listens(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "n"))
        ear.settimeout(5)
        sd.notify("READY=1", str(tmp_path / "n"))
        assert ear.recv(100) == b"READY=1"
    sd.notify("READY=1", None)
