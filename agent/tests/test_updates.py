"""Security updates: the tool is enabled, its result and a pending reboot are reported, and nothing reboots."""

import configparser
import json
import os
import re
import stat
import subprocess
import sys

import pytest
from machine import AGENT

from system import updates
from system.updates import Apt, Dnf, Updates

RELEASES = {
    "debian": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n',
    "ubuntu": "NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\n",
    "amzn": 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\n',
}


class Disk:
    """The relevant part of a machine's disk, and a systemd that enables units."""

    def __init__(self, root, system, *programs):
        self.root, self.told, self.masked = root, [], False
        self.put("etc/os-release", RELEASES[system])
        for program in programs:
            self.put(program.lstrip("/"), "")

    def put(self, path, text=""):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def text(self, path):
        return (self.root / path.lstrip("/")).read_text()

    def systemctl(self, *words):
        self.told.append(words)
        if words[0] == "enable":
            if self.masked:
                raise OSError("systemctl enable failed: Unit apt-daily.timer is masked")
            wants = self.root / "etc/systemd/system/timers.target.wants"
            wants.mkdir(parents=True, exist_ok=True)
            for name in words[2:]:
                (wants / name).symlink_to("/usr/lib/systemd/system/" + name)

    def updates(self):
        made = Updates(str(self.root))
        if made.tool:
            made.tool.tell = self.systemctl
        return made


@pytest.mark.parametrize("system", ["debian", "ubuntu"])
def test_unattended_upgrades_is_enabled(tmp_path, system):
    disk = Disk(tmp_path, system, Apt.program)
    it = disk.updates()
    assert it.said == {"by": "unattended-upgrades", "on": False, "at": None, "reboot": False, "error": None}
    assert it.keep()
    it.look()
    assert it.said["on"] is True and it.said["error"] is None
    assert disk.told == [("enable", "--now", "apt-daily.timer", "apt-daily-upgrade.timer")]
    settings = disk.text(Apt.settings)
    assert re.findall('^([A-Za-z:-]+) "([a-z0-9]+)";$', settings, re.M) == [
        ("APT::Periodic::Enable", "1"),
        ("APT::Periodic::Update-Package-Lists", "1"),
        ("APT::Periodic::Unattended-Upgrade", "1"),
        ("Unattended-Upgrade::Automatic-Reboot", "false"),
    ]
    # It is enabled now: nothing is repeated. A manual change is reverted.
    disk.told.clear()
    assert it.keep() and not disk.told
    disk.put(Apt.settings.lstrip("/"), "")
    it.look()
    assert it.said["on"] is False
    assert it.keep() and disk.text(Apt.settings) == settings


def test_a_masked_timer_is_reported_as_the_reason(tmp_path):
    disk = Disk(tmp_path, "debian", Apt.program)
    disk.masked = True
    it = disk.updates()
    assert not it.keep()
    it.look()
    assert it.said["on"] is False and it.said["error"].endswith("Unit apt-daily.timer is masked")


def test_a_missing_tool_is_reported_and_nothing_is_written(tmp_path):
    for system, name in (("debian", "unattended-upgrades"), ("amzn", "dnf")):
        disk = Disk(tmp_path / system, system)
        it = disk.updates()
        assert it.keep() and not disk.told
        it.look()
        said = {"by": None, "on": False, "at": None, "reboot": False, "error": f"{name} is not installed"}
        assert it.said == said
        assert sorted(os.listdir(disk.root)) == ["etc"]


def test_the_newest_stamp_is_the_last_update(tmp_path):
    disk = Disk(tmp_path, "debian", Apt.program)
    it = disk.updates()
    for path, at in zip(Apt.stamps, (1_700_000_000, 1_700_000_100)):
        os.utime(disk.put(path.lstrip("/")), (at, at))
        it.look()
        assert it.said["at"] == at


@pytest.mark.parametrize("path", updates.REBOOT)
def test_a_pending_reboot_is_reported(tmp_path, path):
    disk = Disk(tmp_path, "debian", Apt.program)
    it = disk.updates()
    disk.put(path.lstrip("/"), "*** System restart required ***\n")
    it.look()
    assert it.said["reboot"] is True


def test_a_process_machine_reports_no_updates(tmp_path):
    it = Updates(str(tmp_path))
    assert it.said is None and it.keep() and os.listdir(tmp_path) == []


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    disk = Disk(tmp_path, "debian", Apt.program)
    it = disk.updates()

    def full(path, text):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(updates, "write", full)
    assert not it.keep()
    it.look()
    assert it.said["error"].startswith("the disk is full")


def test_needrestart_never_restarts_the_agents_services(tmp_path):
    """Its settings are Perl. Python reads this pattern in the same way."""
    disk = Disk(tmp_path, "ubuntu", Apt.program)
    (tmp_path / "etc/needrestart/conf.d").mkdir(parents=True)
    assert disk.updates().keep()
    text = disk.text("/etc/needrestart/conf.d/devopsctl.conf")
    pattern = re.fullmatch(r"\$nrconf\{override_rc\}->\{qr\((.*)\)\} = 0;\n", text)[1]
    units = {path.name for path in AGENT.glob("units/*.*") if path.suffix in (".service", ".socket", ".timer")}
    units.remove("proxy.service")
    for unit in {*units, "app@17.service", "schedule@schedule-nightly.service", "devopsctl-edge.service"}:
        assert re.match(pattern, unit), unit
    for unit in ("ssh.service", "apparmor.service", "apt-daily.service", "systemd-resolved.service"):
        assert not re.match(pattern, unit), unit


# Amazon Linux


def test_on_amazon_linux_our_timer_is_started(tmp_path):
    disk = Disk(tmp_path, "amzn", Dnf.program)
    it = disk.updates()
    assert it.said["on"] is False
    assert it.keep()
    it.look()
    assert it.said == {"by": "dnf", "on": True, "at": None, "reboot": False, "error": None}
    assert disk.told == [("daemon-reload",), ("start", "devopsctl-updates.timer")]
    assert disk.text(Dnf.copy) == (AGENT / "system/apply_updates.py").read_text()
    disk.told.clear()
    assert it.keep() and disk.told == [("start", "devopsctl-updates.timer")]


def test_a_masked_timer_counts_as_off(tmp_path):
    disk = Disk(tmp_path, "amzn", Dnf.program)
    it = disk.updates()
    assert it.keep()
    (disk.put("etc/systemd/system/x").parent / "devopsctl-updates.timer").symlink_to("/dev/null")
    told = list(disk.told)
    assert it.keep() and disk.told == told, "what a person has masked stays as it is"
    it.look()
    assert (it.said["on"], it.said["error"]) == (False, "its timer is masked")


def test_updates_are_enabled_also_if_needrestart_cannot_be_configured(tmp_path, capsys):
    disk = Disk(tmp_path, "debian", Apt.program)
    # Instead of a read-only file system.
    disk.put("etc/needrestart/conf.d/devopsctl.conf.new/x")
    it = disk.updates()
    assert not it.keep() and not it.keep()
    it.look()
    assert it.said["on"] is True and "devopsctl.conf" in it.said["error"]
    assert capsys.readouterr().out.count("cannot enable security updates") == 1


def test_its_units_run_it_daily_at_low_priority():
    def unit(name):
        parsed = configparser.ConfigParser(strict=False, interpolation=None)
        parsed.optionxform = str
        parsed.read_string((AGENT / "units" / name).read_text())
        return parsed

    service, timer = unit(Dnf.units[0])["Service"], unit(Dnf.units[1])["Timer"]
    assert service["ExecStart"] == f"/usr/bin/python3 -S {Dnf.copy}"
    app = unit("app@.service")["Service"]
    assert int(service["OOMScoreAdjust"]) > 500 and int(service["OOMScoreAdjust"]) < int(app["OOMScoreAdjust"])
    assert timer["OnCalendar"] == "*-*-* 00:00:00" and timer["RandomizedDelaySec"] == "24h"
    assert timer["Persistent"] == "yes"


@pytest.fixture
def amazon(tmp_path):
    """Runs the timer's program with a simulated dnf -> the arguments of its calls."""
    disk = Disk(tmp_path, "amzn", Dnf.program)
    disk.put("run/x")
    disk.put("var/lib/devopsctl/x")
    disk.put("bin/x")

    def run(upgrade=0, hint=0, said=""):
        calls = tmp_path / "calls"
        dnf = tmp_path / "bin/dnf"
        dnf.write_text(
            f"#!/bin/sh\necho \"$LC_ALL $@\" >> '{calls}'\n"
            f"case $1 in needs-restarting) cat <<'END'\n{said}\nEND\nexit {hint};; esac\nexit {upgrade}\n"
        )
        dnf.chmod(dnf.stat().st_mode | stat.S_IXUSR)
        environment = {**os.environ, "DEVOPSCTL_ROOT": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        command = [sys.executable, "-S", str(AGENT / "system/apply_updates.py")]
        run.code = subprocess.run(command, env=environment, check=False).returncode
        return calls.read_text().splitlines()

    run.disk = disk
    return run


NEEDED = "Core libraries or services have been updated since boot-up:\n  * kernel\n\nReboot is required to fully utilize these updates."


def test_security_updates_of_the_newest_release_are_applied(amazon):
    calls = amazon()
    assert calls == [
        "C.UTF-8 --assumeyes --refresh --releasever=latest --security upgrade",
        "C.UTF-8 needs-restarting -r",
    ]
    said = amazon.disk.updates().said
    assert amazon.code == 0 and said["at"] > 1_700_000_000 and (said["error"], said["reboot"]) == (None, False)


def test_a_failure_is_reported_with_its_exit_code(amazon):
    amazon(upgrade=1)
    assert amazon.code == 1
    assert amazon.disk.updates().said["error"] == "dnf exited with code 1"


def test_only_dnfs_text_means_a_pending_reboot(amazon):
    """dnf also exits with 1 if it has no such command."""
    for hint, said, needed in ((1, NEEDED, True), (0, "Reboot should not be necessary.", False)):
        amazon(hint=hint, said=said)
        assert amazon.disk.updates().said["reboot"] is needed
    for hint, said in ((1, "No such command: needs-restarting."), (1, ""), (0, NEEDED)):
        amazon(hint=hint, said=said)
        assert amazon.disk.updates().said["reboot"] is False, said


@pytest.mark.parametrize("text", ["", "[]", "{", '{"at": "x", "code": 0}', '{"at": 1, "code": {}}', "9" * 5000])
def test_a_damaged_file_is_ignored(tmp_path, text):
    disk = Disk(tmp_path, "amzn", Dnf.program)
    disk.put(Dnf.said.lstrip("/"), text)
    assert disk.updates().said["at"] is None


def test_the_reported_error_is_short(tmp_path):
    disk = Disk(tmp_path, "debian", Apt.program)
    it = disk.updates()
    it.trouble = "x\n" * 5000
    it.look()
    assert len(it.said["error"]) <= 300 and "\n" not in it.said["error"]
    assert len(json.dumps(it.said)) < 500
