"""After any sequence of events, the machine follows its last orders, or reports why not.

The whole agent runs in a simulation without real time (see simulation.py): with any sequence of changed tags, of secrets that are
set, unset and shown late, of generations that die, of agents that are killed at any point, of failures of S3, SSM and the metadata service, and of releases that cannot be
fetched, do not start or hang. `Simulation.check` has the invariants.
"""

import random
import shutil
from unittest.mock import Mock

from hypothesis import given, note, settings
from hypothesis import strategies as st
from simulated_processes import BAD, FULL, GOOD, KEEPS, NEEDY, READ_ONLY, RELEASES, SECRETS, VOLUMES
from simulation import simulated

from agent import REST_SECONDS
from orders import tasks
from orders.decide import Target


def event(name, *arguments):
    return st.tuples(st.just(name), *arguments)


events = st.one_of(
    event("run", st.just(1)),
    event("release", st.sampled_from(GOOD)),
    event("release", st.sampled_from([*BAD, NEEDY])),
    event("release", st.sampled_from(KEEPS)),
    event("volume", st.sampled_from(["none", *VOLUMES])),
    event("attach", st.sampled_from(VOLUMES), st.integers(0, 3)),
    event("token", st.sampled_from([0, 0, 8, 90]), st.booleans()),
    event("forged token tag", st.integers(1, 99)),
    event("set secret", st.sampled_from(SECRETS), st.booleans()),
    event("unset secret", st.sampled_from(SECRETS), st.booleans()),
    event("forged secrets tag", st.sampled_from(["none", "0123456789abcdef"])),
    event("late secrets", st.integers(1, 4)),
    event("bad secret", st.sampled_from(["a-b", "a.b"])),
    event("try", st.integers(0, 3)),
    event("kill", st.sampled_from(["serving", "starting"])),
    event("kill worker"),
    event("crash", st.integers(0, 12)),
    event("power failure"),
    event("trouble", st.sampled_from(["imds", "s3", "ssm"]), st.integers(1, 9)),
    event("an old token", st.integers(1, 9)),
    event("pace", st.booleans(), st.integers(0, 6)),
    event("calendar", st.integers(-4000, 4000)),
    event("run", st.integers(1, 8)),
    event("run", st.integers(1, 80)),
)


def happens(simulation, what, *values):
    if what == "release":
        simulation.want(release=values[0].name)
    elif what == "token":
        simulation.new_token(*values)
    elif what == "forged token tag":
        simulation.want(token=str(values[0]))
    elif what == "set secret":
        simulation.set_secret(*values)
    elif what == "unset secret":
        simulation.unset_secret(*values)
    elif what == "forged secrets tag":
        simulation.want(secrets=values[0])
    elif what == "late secrets":
        simulation.aws.secrets.late = values[0]
    elif what == "bad secret":
        simulation.aws.secrets.write(values[0], "x")
    elif what == "volume":
        simulation.want(data=values[0])
    elif what == "attach":
        simulation.attach(*values)
    elif what == "try":
        simulation.want(**{"try": str(values[0])})
    elif what == "kill":
        simulation.kill(*values)
    elif what == "kill worker":
        simulation.kill_worker()
    elif what == "crash":
        simulation.crash_in = values[0]
    elif what == "power failure":
        simulation.power_failure()
    elif what == "trouble":
        simulation.aws.troubles[values[0]] = values[1]
    elif what == "an old token":
        simulation.aws.stale = values[0]
        simulation.want(token="99")
    elif what == "pace":
        simulation.pace = values
    elif what == "calendar":
        simulation.clock.ahead += values[0]
    else:
        for _ in range(values[0]):
            simulation.turn()
    simulation.turn()


@settings(max_examples=60, deadline=None)
@given(st.lists(events, min_size=12, max_size=25), st.integers(0, 2**32))
def test_any_history_ends_with_the_last_orders_or_the_last_healthy_release(history, seed):
    random.seed(seed)
    with simulated() as it:
        for what, *values in history:
            happens(it, what, *values)
        it.crash_in, it.aws.troubles, it.aws.stale = None, dict.fromkeys(it.aws.troubles, 0), 0
        if it.aws.versions:
            it.ring()
        it.aws.secrets.late = 0
        for name in set(it.aws.secrets.held) - set(SECRETS):
            it.unset_secret(name)
        it.ring_secrets()
        for volume in VOLUMES:
            it.attach(volume, 3)
        it.want(**{"try": "the-last-one"})
        it.clock.ahead += 1e6  # All grace periods are over, so that none ends during the check.
        it.run(100, 0.5)
        ended_as_asked(it)
        it.run(1500, 10)
        it.run(50, 0.5)
        ended_as_asked(it)


def why_not(it, release):
    """Why a release cannot serve."""
    if release.data and not it.volume_of(release):
        return "no volume"
    lacks = release.needs and release.needs not in it.aws.secrets.held
    return f"the secret {release.needs} is not set" if lacks else release.why


def ended_as_asked(it):
    said, wanted, token = it.reporter.last, RELEASES.get(it.aws.tags.get("release")), len(it.aws.versions)
    serving, secrets = it.agent.state.serving, it.aws.secrets.fingerprint()
    why = wanted and why_not(it, wanted)
    note(f"{wanted and wanted.kind} {said}")
    assert not any(each.served for each in it.agent.generations.old), "what served before is gone"
    if serving:
        runs = [serving.release] if RELEASES[serving.release].worker else []
        assert [each.release.name for each in it.runner.alive_workers()] == runs, "what serves has its own worker"
    if not wanted:
        assert said["phase"] == "booting" and said["error"]
    elif why == "no volume":
        assert (said["phase"], said["error"]) == ("data", None) and said["data"]["volume"] is None
    elif why and (token or wanted.fetch):
        assert said["phase"] == "failed" and why in said["error"]
    elif token:
        assert (said["phase"], said["error"]) == ("healthy", None)
        assert serving == Target(wanted.name, token, False, secrets, volume=it.volume_of(wanted))
        assert said["secrets"] == secrets
    else:
        assert said["phase"] == "token" and "ParameterNotFound" in said["error"]
    if why and token and it.healthy and not why_not(it, RELEASES[it.healthy]):
        volume = it.volume_of(RELEASES[it.healthy])
        assert serving == Target(it.healthy, token, False, secrets, volume=volume)


def up(it, release=GOOD[0], **token):
    it.want(release=release.name)
    it.new_token(**token)
    it.run(10, 0.2)
    assert it.reporter.last["phase"] == "healthy"
    return it


def test_the_next_agent_goes_on_wherever_one_is_killed():
    """At each point of a rotation, of a change of secrets, and of a deployment with another one; afterwards the last healthy release serves if a new one is broken."""
    crashed, point = True, 0
    while crashed:
        with simulated() as it:
            up(it)
            it.stride, it.crash_in = 0.5, point
            it.new_token()
            until_serves(it, Target(GOOD[0].name, 2))
            it.set_secret("A")
            until_serves(it, Target(GOOD[0].name, 2, False, it.aws.secrets.fingerprint()))
            it.set_secret("B")
            it.want(release=NEEDY.name)
            last = Target(NEEDY.name, 2, False, it.aws.secrets.fingerprint())
            until_serves(it, last)
            crashed, it.crash_in = it.crash_in is None, None
            it.want(release=BAD[0].name)
            until(it, lambda: it.reporter.last and it.reporter.last["phase"] == "failed")
            assert it.agent.state.serving == last
        point += 1
    assert point > 20, "or nothing of this was shown"


def test_the_next_agent_goes_on_with_processes_wherever_one_is_killed():
    """At each point of a deployment with other processes, and of one whose process fails."""
    worker, clings = (each for each in GOOD if each.worker)
    ends = next(each for each in BAD if each.worker)
    crashed, point = True, 0
    while crashed:
        with simulated() as it:
            up(it)
            it.stride, it.crash_in = 0.5, point
            for release in (worker, clings):
                it.want(release=release.name)
                until(it, lambda name=release.name: it.agent.state.serving.release == name, 40)
            it.want(release=ends.name)
            until(it, lambda: it.reporter.last and it.reporter.last["phase"] == "failed", 60)
            assert it.agent.state.serving.release == clings.name
            crashed = it.crash_in is None
            until(it, lambda: [each.release for each in it.runner.alive_workers()] == [clings])
        point += 1
    assert point > 20, "or nothing of this was shown"


def until_serves(it, target):
    until(it, lambda: it.agent.state.serving == target)


def until(it, condition, seconds=12):
    """Soon: without waiting for a retry."""
    end = it.clock.now + seconds
    while not condition():
        assert it.clock.now < end, it.reporter.last
        it.turn()


def test_the_next_agent_goes_on_wherever_one_is_killed_while_data_moves():
    """From no volume to one, to a larger one, to none and back."""
    one, crashed, point = VOLUMES[0], True, 0
    while crashed:
        with simulated() as it:
            up(it)
            it.stride, it.crash_in = 0.5, point
            it.want(release=KEEPS[0].name)
            until(it, lambda: said(it, "phase") == "data")
            assert it.agent.state.serving.release == GOOD[0].name, "what ran before serves meanwhile"
            it.want(data=one)
            it.run(3, 0.5)
            assert said(it, "data")["volume"] is None
            it.attach(one, 1)
            has_data = Target(KEEPS[0].name, 1, volume=one)
            until_serves(it, has_data)
            it.attach(one, 2)
            until(it, lambda: said(it, "data") == {"volume": one, "error": None, "gib": 2, "used": 1})
            it.new_token()
            until_serves(it, has_data._replace(token=2))
            it.want(data="none")
            until(it, lambda: said(it, "wanted")["data"] == "none" and said(it, "data")["volume"] is None)
            assert not it.runner.admits and it.agent.state.serving is None and it.runner.volumes.mounted is None
            it.want(data=one)
            until_serves(it, has_data._replace(token=2))
            crashed = it.crash_in is None
        point += 1
    assert point > 20, "or nothing of this was shown"


def said(it, part):
    """A part of the last report. A new agent waits a moment with its first one."""
    while not it.reporter.last:
        it.turn()
    return it.reporter.last[part]


def test_a_volume_that_cannot_be_mounted_is_reported_and_tried_again():
    with simulated() as it:
        up(it)
        broken, it.runner.volumes.mount = it.runner.volumes.mount, Mock(side_effect=OSError("it is not blank"))
        it.attach(VOLUMES[0], 1)
        it.want(release=KEEPS[0].name, data=VOLUMES[0])
        it.run(20, 0.5)
        said = it.reporter.last
        assert (said["phase"], said["error"], said["data"]["error"]) == ("data", "it is not blank", "it is not blank")
        assert said["release"] == GOOD[0].name
        it.runner.volumes.mount = broken
        it.want(**{"try": "2"})
        it.run(5, 0.5)
        assert it.reporter.last["phase"] == "healthy" and it.reporter.last["data"]["error"] is None


def test_a_grace_period_ends_by_itself():
    with simulated() as it:
        up(it)
        it.new_token(grace=60)
        it.run(30, 0.2)
        assert it.agent.state.serving == Target(GOOD[0].name, 2, True)
        tags = dict(it.aws.tags)
        it.run(20, 0.2)
        assert it.agent.state.serving.grace
        it.run(20, 0.2)
        assert it.agent.state.serving == Target(GOOD[0].name, 2, False)
        assert it.aws.tags == tags


def test_without_space_for_a_release_the_old_one_serves_and_the_report_says_why():
    for release, trouble in (("full", FULL), ("read-only", READ_ONLY)):
        with simulated() as it:
            up(it)
            it.want(release=next(each.name for each in BAD if each.kind == release))
            it.run(10, 0.2)
            said = it.reporter.last
            assert said["phase"] == "failed" and trouble.strerror in said["error"]
            assert (said["release"], said["healthy"]) == (GOOD[0].name, True)


def test_a_full_disk_is_reported_before_its_consequences(monkeypatch):
    """A program that cannot write may just hang."""
    hangs = next(each for each in BAD if each.kind == "hangs")
    with simulated() as it:
        up(it)
        monkeypatch.setattr(it.paths, "are_full", lambda: True)
        it.want(release=hangs.name)
        it.run(200, 1)
        said = it.reporter.last
        assert (
            said["phase"] == "failed" and said["error"].startswith("the disk is full: ") and hangs.why in said["error"]
        )
        it.want(release=GOOD[1].name)
        it.run(20, 0.5)
        assert (it.reporter.last["phase"], it.reporter.last["error"]) == ("healthy", None)


def test_a_crash_loop_slows_down():
    """A generation that dies soon after it became healthy is not restarted each second."""
    with simulated() as it:
        up(it)
        before = it.runner.starts
        for _ in range(3000):
            it.kill("serving")
            it.turn()
        assert it.runner.starts - before < 20


def test_a_corrected_calendar_delays_nothing():
    with simulated() as it:
        it.clock.ahead += 36000
        it.want(release=GOOD[0].name)
        it.run(5, 0.2)
        it.clock.ahead -= 36000
        it.new_token()
        it.run(70, 0.5)
        assert it.reporter.last["phase"] == "healthy"


def test_a_token_older_than_ordered_is_read_less_and_less_often():
    with simulated() as it:
        up(it)
        before = it.aws.asked
        it.want(token="7")
        it.run(120, 0.2)
        assert it.aws.asked - before < 20
        assert "the tag devopsctl:token names 7" in it.reporter.last["error"]


def test_a_release_that_is_gone_from_the_disk_is_fetched_again():
    with simulated() as it:
        up(it)
        up(it, GOOD[1])
        shutil.rmtree(it.paths.release(GOOD[0].name))
        it.want(release=GOOD[0].name)
        it.run(60, 0.5)
        assert it.reporter.last["phase"] == "healthy"


def test_a_whole_release_is_compiled_only_after_it_has_served():
    with simulated() as it:
        for release in GOOD[:2]:  # The first one is replaced too early to be compiled.
            up(it, release)
            it.run(REST_SECONDS - 12, 0.5)
            assert tasks.on_disk(it.paths) == set()
        it.run(12, 0.5)
        assert tasks.on_disk(it.paths) == {GOOD[1].name}


def test_changed_orders_retry_at_once():
    with simulated() as it:
        up(it)
        it.want(release=BAD[0].name)
        it.run(2000, 5)
        before = it.runner.starts
        while it.runner.starts == before:
            it.turn()
        it.run(30, 0.5)
        starts = it.runner.starts
        assert starts == before + 1, "by now it is tried every few minutes"
        it.want(**{"try": "2"})
        it.run(5, 0.5)
        assert it.runner.starts == starts + 1


def test_a_revoked_token_never_serves_again():
    """SSM shows an old version again to a new agent, while no generation runs."""
    with simulated() as it:
        up(it)
        it.new_token()
        it.run(10, 0.2)
        it.kill("serving")
        it.run(1, 0.2)
        it.kill("starting")
        it.runner.processes.clear()
        it.born()
        it.aws.stale = 3
        it.want(token="99")
        until(it, lambda: it.aws.stale == 0)
        it.ring()
        it.run(60, 0.5)
        assert it.reporter.last["phase"] == "healthy"
        assert [target.token for target in it.served] == sorted(target.token for target in it.served)
