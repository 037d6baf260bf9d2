"""SSH access: tags authorize the right keys, until their end; and a real sshd enforces it."""

import base64
import getpass
import os
import shutil
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine import release, until

from ssh import keys, sshd

NOW = 1_790_000_000


def key(letter):
    """A public key in OpenSSH's format, without a private key."""
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0 " + letter.encode() * 32
    return "ssh-ed25519 " + base64.b64encode(blob).decode()


def tag(end, letter="a", block="203.0.113.7/32"):
    return f"{end} {block} {key(letter)}"


class Sshd:
    """Records the last configuration; it may refuse."""

    def __init__(self):
        self.lines, self.times, self.fails = None, 0, None

    def allow(self, lines):
        if self.fails:
            raise OSError(self.fails)
        self.lines, self.times = lines, self.times + 1
        return {"user": "somebody", "host_key": key("h")} if lines else {}


class Clock:
    def __init__(self):
        self.now = NOW

    def time(self):
        return self.now


@pytest.fixture
def it():
    return keys.Ssh(Sshd(), Clock())


ends = st.one_of(st.integers(NOW - 7200, NOW + 7200), st.integers(0, 10**13))
values = st.one_of(st.builds(tag, ends, st.sampled_from("abc")), st.text(max_size=140))


@given(st.dictionaries(st.from_regex("[0-9a-f]{4,8}", fullmatch=True), values, max_size=8), st.integers(0, 7200))
def test_a_key_is_valid_only_in_the_hour_before_its_end(tags, later):
    for word, (end, text) in keys.authorised(tags, NOW + later).items():
        assert NOW + later < end <= NOW + later + 3600
        assert tags[word].split() == [str(end), "203.0.113.7/32", *text.split()]
    for word, value in tags.items():
        alone = keys.authorised({word: value}, NOW + later).get(word)
        assert keys.authorised(tags, NOW + later).get(word) == alone, "it depends on the others"


@pytest.mark.parametrize(
    "value",
    [
        tag(NOW),
        tag(NOW + 3601),
        tag(NOW + 60) + "\nssh-ed25519 AAAA",
        tag(NOW + 60) + ' command="x"',
        f"{NOW + 60} 203.0.113.7/32 no-pty {key('a')}",
        f"{NOW + 60} {key('a')}",
        tag(-NOW),
        "",
    ],
)
def test_a_lease_of_another_form_authorizes_no_key(value):
    assert keys.authorised({"abcd": value}, NOW) == {}
    assert keys.authorised({"../../x": tag(NOW + 60), "ABCD": tag(NOW + 60)}, NOW) == {}


def test_sshd_is_configured_once_and_when_a_key_expires(it):
    it.heard({})
    assert (it.sshd.lines, it.said) == ([], None)
    asked = {"aaaa": tag(NOW + 100, "a"), "bbbb": tag(NOW + 50, "b")}
    for _ in range(3):
        it.heard(asked)
    assert it.sshd.times == 2
    facts = {"user": "somebody", "host_key": key("h"), "run": True}
    assert it.said == {"keys": ["aaaa", "bbbb"], **facts, "error": None}
    it.clock.now += 50
    it.heard(asked)
    assert it.said["keys"] == ["aaaa"] and len(it.sshd.lines) == 1
    # A connected session extends its end.
    it.heard({"aaaa": tag(NOW + 200, "a")})
    it.clock.now += 149
    it.heard({"aaaa": tag(NOW + 200, "a")})
    assert it.said["keys"] == ["aaaa"]
    it.heard({})
    assert (it.sshd.lines, it.said) == ([], None)


def test_the_end_is_in_the_machines_time_zone(it):
    it.heard({"aaaa": tag(NOW + 100)})
    moment = it.sshd.lines[0].split('"')[1]
    assert time.mktime(time.strptime(moment, "%Y%m%d%H%M%S")) == NOW + 100


def test_an_error_of_sshd_is_reported_and_retried(it, capsys):
    it.sshd.fails = "no sshd here"
    for _ in range(3):
        it.heard({"aaaa": tag(NOW + 100)})
    assert it.said == {"keys": [], "error": "no sshd here"}
    assert capsys.readouterr().out.count("no sshd here") == 1
    it.sshd.fails = None
    it.heard({"aaaa": tag(NOW + 100)})
    assert it.said["keys"] == ["aaaa"]


class SystemSshd(sshd.SystemdSshd):
    """The system's sshd, with another folder in place of /."""

    def __init__(self, root):
        super().__init__()
        self.folder = f"{root}/run/devopsctl-ssh"
        self.host_key, self.config = f"{root}/ssh/host.pub", f"{root}/ssh/sshd_config.d/10-devopsctl.conf"
        self.program = shutil.which("true")


@pytest.fixture
def systemd(monkeypatch):
    """Records the calls; Debian's unit, which has two names, is active."""
    calls = []
    monkeypatch.setattr(sshd, "systemctl", lambda *words: calls.append(words))
    monkeypatch.setattr(sshd, "show", lambda unit, *_: {"Id": "ssh.service", "ActiveState": "active"})
    monkeypatch.setattr(sshd, "login_user", lambda: "somebody")
    return calls


def test_the_systems_sshd_is_unchanged_until_the_first_request(tmp_path, systemd):
    (tmp_path / "ssh/sshd_config.d").mkdir(parents=True)
    (tmp_path / "ssh/host.pub").write_text(key("h") + " root@host\n")
    system = SystemSshd(tmp_path)
    assert system.allow([]) == {}
    assert not (tmp_path / "run").exists() and not list((tmp_path / "ssh/sshd_config.d").iterdir())
    assert system.allow(["one\n"]) == {"user": "somebody", "host_key": key("h")}
    keys = tmp_path / "run/devopsctl-ssh/somebody"
    assert keys.read_text() == "one\n"
    assert systemd == [("restart", "ssh.service")]
    assert (tmp_path / "ssh/sshd_config.d/10-devopsctl.conf").read_text().split()[0] == "AuthorizedKeysFile"
    system.allow(["two\n"])
    assert len(systemd) == 1, "it reads the keys each time anew"
    # After a crash, the next agent makes sshd read its settings again, and removes the keys.
    after = SystemSshd(tmp_path)
    after.allow([])
    assert keys.read_text() == "" and len(systemd) == 1
    after.allow(["three\n"])
    assert len(systemd) == 2


def test_the_systems_sshd_is_not_restarted_with_an_invalid_configuration(tmp_path, systemd, monkeypatch):
    (tmp_path / "ssh/sshd_config.d").mkdir(parents=True)
    system = SystemSshd(tmp_path)
    system.program = shutil.which("false")
    with pytest.raises(OSError, match="sshd rejects its configuration"):
        system.allow(["one\n"])
    assert systemd == []
    # An inactive unit is not started: an administrator stopped it.
    monkeypatch.setattr(sshd, "show", lambda unit, *_: {"Id": unit, "ActiveState": "inactive"})
    (tmp_path / "ssh/host.pub").write_text(key("h") + " root@host\n")
    system.allow(["one\n"])
    assert systemd == []


def test_a_machine_without_sshd_reports_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sshd, "login_user", lambda: "somebody")
    with pytest.raises(OSError, match="this image has no .*sshd_config.d"):
        SystemSshd(tmp_path).allow(["one\n"])
    monkeypatch.undo()
    monkeypatch.setattr(sshd.pwd, "getpwall", list)
    with pytest.raises(OSError, match="no user to log in as"):
        SystemSshd(tmp_path).allow(["one\n"])


@pytest.fixture
def made(tmp_path):
    """A key like the command line makes one."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def test_a_real_sshd_accepts_the_key_until_its_end(aws, machine, made, tmp_path):
    if not shutil.which("sshd", path="/usr/sbin:/usr/bin"):
        pytest.fail("this test needs Debian's openssh-server")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # It is missing where sshd was never started.
    aws.tags["devopsctl:release"] = aws.put_release(release())
    aws.put_token("the-token-of-this-test-0123")
    machine.boot()
    aws.wait_report(lambda report: report["healthy"])
    assert not (machine.root / "net/22.sock").exists()
    public = " ".join(made.with_suffix(".pub").read_text().split()[:2])
    aws.tags["devopsctl:ssh:abcd"] = f"{int(time.time()) + 300} 127.0.0.1/32 {public}"
    said = aws.wait_report(lambda report: (report.get("ssh") or {}).get("keys") == ["abcd"])["ssh"]
    assert (said["user"], said["error"]) == (getpass.getuser(), None)

    def run(host_key):
        hosts = tmp_path / "known_hosts"
        hosts.write_text(f"machine {host_key}\n")
        settings = [f"UserKnownHostsFile={hosts}", "StrictHostKeyChecking=yes", "HostKeyAlias=machine", "BatchMode=yes"]
        settings += ["IdentitiesOnly=yes", "IdentityAgent=none", "HostKeyAlgorithms=ssh-ed25519"]
        settings += [f"ProxyCommand={shutil.which('python3')} -c '{JOIN}' {machine.root}/net 22.sock"]
        options = [part for setting in settings for part in ("-o", setting)]
        command = ["ssh", "-F", "/dev/null", "-i", made, *options, "-l", said["user"], "machine", "echo $((6 * 7))"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    ran = run(said["host_key"])
    assert (ran.returncode, ran.stdout) == (0, "42\n"), ran.stderr
    ran = run(key("x"))
    assert ran.returncode == 255 and "Host key verification failed" in ran.stderr
    # The agent cannot read its tags now, but sshd enforces the end itself.
    aws.tags["devopsctl:ssh:abcd"] = f"{int(time.time()) + 2} 127.0.0.1/32 {public}"
    keys = machine.root / "run/ssh/authorized_keys"
    before = keys.read_text()
    until(lambda: keys.read_text() != before, what="the new end")
    aws.faults["imds"] = (500, "")
    until(lambda: "Permission denied" in run(said["host_key"]).stderr, what="the end of the key")
    assert keys.read_text() != "", "nobody took it away"
    since = int(time.time())
    del aws.faults["imds"]
    until(lambda: keys.read_text() == "", what="its end")
    aws.wait_report(lambda report: report["healthy"] and not report["ssh"] and report["at"] >= since)


# Connects ssh to a Unix socket whose path may be too long.
JOIN = (
    "import os, socket, sys, threading; os.chdir(sys.argv[1]); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[2])\n"
    "def up():\n"
    "    while True:\n"
    "        d = os.read(0, 65536)\n"
    "        if not d: return s.shutdown(1)\n"
    "        s.sendall(d)\n"
    "threading.Thread(target=up, daemon=True).start()\n"
    "while True:\n"
    "    d = s.recv(65536)\n"
    "    if not d: break\n"
    "    os.write(1, d)\n"
)
