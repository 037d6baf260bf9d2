"""Schedules on a machine whose minutes are shorter: the agent starts each run once, in the app's environment, and reports it."""

import json
import os
import signal
import time

import pytest
from machine import agent_file, release, until
from running_machine import TOKEN, bring_up, healthy
from test_cron import CASES
from test_release_command import agent_pid, order, ran, running

from schedule.entry import LOST

SECRET = "the-secret-of-a-schedule-0123"
TIMES = {case["cron"]: case["times"] for case in CASES}
QUICK = {"schedule/cron.py": agent_file("schedule/cron.py", MINUTE=2)}
RECORD = "shop/schedule/{}.json"
NOTE = "echo {} >> $TMPDIR/ran"
# Waits for the test's sign.
SLOW = NOTE.format("begun") + "; while ! test -e $TMPDIR/go; do sleep 0.05; done; " + NOTE.format("done")
ASKS = (
    "import os, urllib.request as web; uri = os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI'];"
    "token = os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN'];"
    "print('credentials:', web.urlopen(web.Request(uri, headers={'Authorization': token})).status, token)"
)


def run(command, cron="* * * * *", timeout=60, catch_up=False):
    return {"cron": cron, "times": TIMES[cron], "commands": [command], "timeout": timeout, "catch_up": catch_up}


def with_schedule(agent=QUICK, more=None, **runs):
    return release(schedule=runs, agent=agent, **(more or {}))


def told(name, condition):
    return lambda report: condition((report["schedule"] or {}).get(name) or {"last": None})


def said(aws, name="tick"):
    return json.loads(aws.objects[RECORD.format(name)])


def lines(aws, source):
    shown = aws.objects.get(f"shop/logs/i-0123456789abcdef0/{source}.json")
    return shown and [text for _, _, text in json.loads(shown)["lines"]]


def test_a_run_has_the_apps_environment_and_its_end_is_reported(aws, machine):
    aws.put_secrets(DATABASE_URL=SECRET)
    fails = f'flask --version && python -c "{ASKS}" && echo $DATABASE_URL in $PWD; touch own.txt; exit 7'
    more = {"secrets": ["DATABASE_URL"], "permissions": True, "env": {"GREETING": "Hello"}}
    archive = with_schedule(more=more, tick=run(fails), yearly=run("exit 1", "@yearly"))
    name, _ = bring_up(aws, machine, archive)
    report = aws.wait_report(told("tick", lambda run: run.get("code") == 7))
    tick, yearly = report["schedule"]["tick"], report["schedule"]["yearly"]
    assert tick["error"] is None and tick["last"] < tick["next"] <= time.time() + 2
    assert [yearly[key] for key in ("last", "code", "error", "skipped")] == [None, None, None, 0]
    aws.tags["devopsctl:logs"] = f"tick/{int(time.time())}-abc"
    shown = until(
        lambda: [line for line in lines(aws, "tick") or [] if line.startswith("*** in ")] and lines(aws, "tick")
    )
    assert f"*** in {machine.root}/opt/devopsctl/releases/{name}/app" in shown
    assert "credentials: 200 ***" in shown and any(line.startswith("Flask ") for line in shown)
    assert any("Read-only" in line or "Permission denied" in line for line in shown), "the release is read-only"
    assert lines(aws, "yearly") is None and lines(aws, "app") is None
    assert not [key for key, held in aws.objects.items() if SECRET.encode() in held or TOKEN.encode() in held]
    assert said(aws)["code"] == 7 or said(aws)["ended"] is None
    assert aws.calls.count(("s3", f"/devopsctl-123456789012-eu-central-1-an/{RECORD.format('yearly')}")) <= 2


def test_a_run_that_goes_on_is_never_started_again(aws, machine):
    """Not at its next due times, not by the next agent, and not by another release, which gets the run after it."""
    _, version = bring_up(aws, machine, with_schedule(tick=run(SLOW)))
    report = aws.wait_report(told("tick", lambda run: run.get("skipped", 0) >= 2))
    began = report["schedule"]["tick"]["last"]
    os.kill(agent_pid(machine), signal.SIGKILL)
    machine.program.wait()
    del aws.reports[:]
    machine.boot()
    aws.wait_report(told("tick", lambda run: run["last"] == began and run["skipped"] >= 1))
    other = order(aws, with_schedule(tick=run(NOTE.format("other"))))
    aws.wait_report(healthy(other, version))
    assert ran(machine) == ["begun"]
    (machine.root / "tmp/go").touch()
    until(lambda: ran(machine)[:3] == ["begun", "done", "other"])
    aws.wait_report(told("tick", lambda run: (run["last"] or 0) > began))
    none = order(aws, release(agent=QUICK))
    aws.wait_report(lambda report: healthy(none, version)(report) and report["schedule"] is None)


def test_without_a_claim_nothing_runs(aws, machine):
    aws.faults["/schedule/"] = 503, "<Error><Code>SlowDown</Code><Message>later</Message></Error>"
    bring_up(aws, machine, with_schedule(tick=run(NOTE.format("one"))))
    aws.wait_report(told("tick", lambda run: "SlowDown" in (run.get("error") or "")))
    assert ran(machine) == []
    del aws.faults["/schedule/"]
    aws.wait_report(told("tick", lambda run: run.get("code") == 0 and run["error"] is None))


def test_a_run_that_hangs_is_ended_with_all_its_processes(aws, machine):
    script = "trap '' TERM; (trap '' TERM; sleep 987) & sleep 987"
    agent = {**QUICK, "processes/command.py": agent_file("processes/command.py", STOP_SECONDS=0.5)}
    bring_up(aws, machine, with_schedule(agent, hang=run(script, timeout=1)))
    report = aws.wait_report(told("hang", lambda run: run.get("error")))
    assert report["schedule"]["hang"]["error"] == "not done within 1 seconds (schedule.hang.timeout)"
    until(lambda: (said(aws, "hang")["error"] or "").startswith("not done") or said(aws, "hang")["ended"] is None)
    machine.stop()
    assert not running(machine, "987")


@pytest.mark.parametrize("catch_up", [True, False])
def test_a_missed_run_is_caught_up_by_choice(aws, machine, catch_up):
    name, version = bring_up(aws, machine, with_schedule({}, daily=run(SLOW, "@daily", catch_up=catch_up)))
    aws.wait_report(told("daily", lambda run: run.get("next")))
    machine.stop()
    assert ran(machine) == []
    # As if it was off for two days.
    aws.objects[RECORD.format("daily")] = json.dumps(
        {**said(aws, "daily"), "due": said(aws, "daily")["due"] - 2 * 86400}
    ).encode()
    del aws.reports[:]
    machine.boot()
    aws.wait_report(healthy(name, version))
    if not catch_up:
        report = aws.wait_report(told("daily", lambda run: run.get("next", 0) and run["next"] > time.time()))
        assert report["schedule"]["daily"]["last"] is None and ran(machine) == []
        return
    until(lambda: ran(machine) == ["begun"])
    # The machine stops during the run, which is not repeated.
    machine.stop()
    (machine.root / "tmp/go").touch()
    del aws.reports[:]
    machine.boot()
    report = aws.wait_report(told("daily", lambda run: run.get("error")))
    assert report["schedule"]["daily"]["error"] in (LOST, "it was killed") and ran(machine) == ["begun"]
    until(lambda: said(aws, "daily")["ended"])
