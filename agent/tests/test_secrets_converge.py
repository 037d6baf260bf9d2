"""Changed secrets reach the app with one generation, whatever SSM shows and whenever; in the simulation of test_converges.py."""

from simulated_processes import GOOD, NEEDY, SECRETS
from simulation import simulated
from test_converges import until, up

from orders.decide import Target


def test_changed_secrets_are_one_generation():
    with simulated() as it:
        up(it)
        starts = it.runner.starts
        for name in SECRETS:
            it.set_secret(name, ring=False)
        it.run(30, 0.5)
        assert it.runner.starts == starts, "stored only"
        it.ring_secrets()
        it.run(5, 0.2)
        assert it.reporter.last["secrets"] == it.aws.secrets.fingerprint()
        assert (it.runner.starts, it.reporter.last["phase"]) == (starts + 1, "healthy")


def test_secrets_stored_without_an_order_are_used_by_the_next_agent_at_once():
    with simulated() as it:
        up(it)
        it.set_secret("A")
        it.run(5, 0.2)
        it.set_secret("B", ring=False)
        it.power_failure()
        it.pace = False, 3
        starts, asked = it.runner.starts, it.aws.asked
        until(it, lambda: it.runner.starts > starts)
        assert it.aws.asked == asked + 2, "it read token and secrets once"
        it.run(30, 0.5)
        assert it.reporter.last["secrets"] == it.aws.secrets.fingerprint()
        assert it.reporter.last["phase"] == "healthy"


def test_ssm_shows_new_secrets_late():
    with simulated() as it:
        up(it)
        it.aws.secrets.late = 3
        it.set_secret("A")
        it.run(10, 0.5)
        assert [target.secrets for target in it.served] == ["none", it.aws.secrets.fingerprint()]


def test_a_release_gets_the_secret_that_was_set_for_it():
    """SSM shows it late, or refuses at first."""
    for hinder in (lambda it: setattr(it.aws.secrets, "late", 3), lambda it: it.aws.troubles.update(ssm=2)):
        with simulated() as it:
            up(it)
            it.set_secret("A")
            hinder(it)
            it.want(release=NEEDY.name)
            it.run(20, 0.2)
            assert it.reporter.last["phase"] == "healthy"
            assert it.served[-1] == Target(NEEDY.name, 1, False, it.aws.secrets.fingerprint())


def test_a_missing_secret_is_named_and_the_old_release_serves():
    with simulated() as it:
        up(it)
        it.want(release=NEEDY.name)
        it.run(40, 0.5)
        said = it.reporter.last
        assert (said["phase"], said["release"]) == ("failed", GOOD[0].name)
        assert said["error"] == "the secret A is not set: devopsctl secrets set A"
        starts = it.runner.starts
        it.set_secret("A")
        it.run(5, 0.2)
        assert (it.reporter.last["phase"], it.runner.starts) == ("healthy", starts + 1)


def test_a_parameter_that_is_no_variable_is_named_and_the_app_serves_on():
    with simulated() as it:
        up(it)
        it.aws.secrets.write("a-b", "x")
        it.ring_secrets()
        it.run(20, 0.5)
        said = it.reporter.last
        assert (said["phase"], said["healthy"]) == ("failed", True)
        assert "/devopsctl/shop/secrets/a-b" in said["error"] and "devopsctl secrets unset" in said["error"]
        assert said["error_code"] == "bad_secret"
        it.unset_secret("a-b")
        it.run(5, 0.2)
        assert it.reporter.last["phase"] == "healthy"


def test_an_unreadable_path_is_reported_and_retried():
    with simulated() as it:
        up(it)
        it.aws.troubles["ssm"] = 4
        it.set_secret("A")
        it.run(4, 0.2)
        assert "timed out" in it.reporter.last["error"] and it.reporter.last["healthy"]
        it.run(30, 0.2)
        assert it.reporter.last["phase"] == "healthy"


def test_a_secret_that_was_only_stored_and_then_removed_does_not_stay():
    """Its removal leaves the order as it was."""
    with simulated() as it:
        up(it)
        it.set_secret("A")
        it.run(5, 0.2)
        ordered = it.aws.tags["secrets"]
        it.set_secret("B", ring=False)
        it.power_failure()
        it.run(30, 0.5)
        assert it.reporter.last["secrets"] == it.aws.secrets.fingerprint() != ordered
        it.set_secret("a_b", ring=False)
        it.run(60, 0.5)
        assert it.agent.state.serving.secrets == it.reporter.last["secrets"] != it.aws.secrets.fingerprint(), (
            "stored only"
        )
        it.unset_secret("a_b", ring=False)
        it.unset_secret("B")
        it.run(30, 0.5)
        assert it.aws.tags["secrets"] == it.reporter.last["secrets"] == ordered
