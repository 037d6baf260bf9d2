//! From every state of a deployment, `up` reaches the wanted state, and `down` leaves nothing.

mod account;
mod account_secrets;
mod app_role;
mod data;
mod domains;
mod fixtures;
mod secrets_change;
mod states;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use account::*;
use fixtures::*;
use fixtures::{down, rollback, rotation, up};
use states::*;

use super::*;
use crate::base::names;
use crate::config::Source;
use crate::engine::spec::{Policies, Spec};
use crate::engine::topology;
use crate::resources::Lookup;
use crate::resources::instance::Phase;
use crate::resources::observed::HOPELESS;
use crate::resources::orders::Orders;
use crate::resources::references::Place;
use crate::resources::{bucket, history, reports};

#[test]
fn no_plan_is_made_from_a_kind_that_was_not_read() {
    let looks: [fn(&mut Observed); 7] = [
        |seen| seen.app_role = Lookup::NotAsked,
        |seen| seen.secrets = Lookup::NotAsked,
        |seen| seen.security_group = Lookup::NotAsked,
        |seen| seen.key_pair = Lookup::NotAsked,
        |seen| seen.role = Lookup::NotAsked,
        |seen| seen.token = Lookup::NotAsked,
        |seen| seen.contents = Lookup::NotAsked,
    ];
    for (place, forget) in looks.into_iter().enumerate() {
        let mut seen = Account::complete().seen;
        forget(&mut seen);
        assert!(super::down(&seen, false).is_err(), "{place}");
        // `up` does not depend on the content of the bucket.
        assert_eq!(super::up(&topology::single(&spec(&DEPLOYMENT)), &seen).is_err(), place < 6, "{place}");
        assert_eq!(super::rotation(&Tags::new(), &seen, token::Rotation::EndGrace).is_err(), place == 5, "{place}");
    }
}

#[test]
fn a_complete_deployment_needs_nothing() {
    let deployment = deployment();
    let account = Account::complete();
    assert_eq!(up(&spec(&deployment), &account.seen).steps, []);
    assert_eq!(down(&Account::empty().seen).steps, []);
}

/// Nothing is left to do, every resource exists once, and the instance gets its role's credentials.
fn assert_complete(account: Account, before: &dyn std::fmt::Debug) {
    let account = account.looked();
    let again = up(&spec(&DEPLOYMENT), &account.seen);
    assert!(again.is_empty(), "{:?}\nis left to do after\n{before:?}", again.steps);
    assert_eq!(account.seen.addresses.len(), 1);
    let alive: Vec<_> = instance::alive(&account.seen.instances).collect();
    assert_eq!(alive.len(), 1, "{alive:?}");
    let token = account.seen.token.present().unwrap().version;
    assert!(token >= 1 && alive[0].orders().token == Some(token), "{alive:?}");
    assert!(account.seen.secrets.present().unwrap().contains_key("SESSION_KEY"));
    assert_eq!(alive[0].orders().secrets, Some(account.fingerprint()));
    assert!(account.served.contains(&alive[0].id), "the instance has no credentials, after\n{before:?}");
    assert_ne!(alive[0].orders().previous.as_deref(), Some(BROKEN), "after\n{before:?}");
}

#[test]
fn up_converges_from_every_state_and_then_has_nothing_to_do() {
    let count = AtomicUsize::new(0);
    every(&|before| {
        count.fetch_add(1, Ordering::Relaxed);
        let mut account = before.clone();
        account.run(up(&spec(&DEPLOYMENT), &account.seen));
        assert_complete(account, before);
    });
    assert_eq!(count.into_inner(), (5 * 3 + 2) * 8 * 4 * 4 * 15 * 5);
}

#[test]
fn down_leaves_nothing_from_every_state() {
    every(&|before| {
        let mut account = before.clone();
        account.run(down(&account.seen));
        let account = account.looked();
        assert!(down(&account.seen).is_empty(), "{:?}", account.seen);
        assert!(account.seen.nothing() && account.store.bucket.is_none(), "{:?}", account.seen);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Crash safety: wherever a run ends, and in whatever order its steps ran, the next run completes it.
    #[test]
    fn an_up_that_is_killed_anywhere_is_completed_by_the_next(
        mut account in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize,
    ) {
        let (deployment, before) = (deployment(), account.clone());
        account.run_some(up(&spec(&deployment), &account.seen), most, &mut order(seed));
        let mut account = account.looked();
        account.run(up(&spec(&deployment), &account.seen));
        assert_complete(account, &before);
    }

    /// The next run continues with the launched instance, with or without a refresh of the image.
    #[test]
    fn a_refresh_that_is_killed_anywhere_is_completed_by_the_next(
        mut account in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize, again: bool,
    ) {
        let (deployment, before) = (deployment(), account.clone());
        let refresh = |refresh| Spec { refresh, ..spec(&deployment) };
        account.seen.image = Lookup::Present("ami-3".into());
        account.run_some(up(&refresh(true), &account.seen), most, &mut order(seed));
        let mut account = account.looked();
        let fresh = |state: &&instance::State| state.phase != Phase::Dying && state.image == "ami-3";
        let launched = account.seen.instances.iter().find(fresh).map(|state| state.id.clone());
        account.run(up(&refresh(again), &account.seen));
        let mut account = account.looked();
        let current = account.current().clone();
        prop_assert_eq!(up(&refresh(again), &account.seen).steps, [], "after\n{:?}", before);
        prop_assert!(current.image == "ami-3" || !again && launched.is_none(), "{:?}", current);
        prop_assert!(launched.is_none_or(|id| id == current.id), "another was launched after\n{:?}", before);
        assert_complete(account, &before);
    }

    #[test]
    fn a_down_that_is_killed_anywhere_is_completed_by_the_next(
        account in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..8_usize,
    ) {
        let mut account = account.looked();
        account.run_some(down(&account.seen), most, &mut order(seed));
        let mut account = account.looked();
        account.run(down(&account.seen));
        prop_assert!(account.seen.nothing() && account.store.bucket.is_none(), "{:?}", account.seen);
    }

    /// A change of plan in the middle still leads to the wanted end state.
    #[test]
    fn a_down_in_the_middle_of_an_up_leaves_nothing(
        mut account in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize,
    ) {
        let deployment = deployment();
        account.run_some(up(&spec(&deployment), &account.seen), most, &mut order(seed));
        let mut account = account.looked();
        account.run(down(&account.seen));
        prop_assert!(account.seen.nothing() && account.store.bucket.is_none(), "{:?}", account.seen);
    }
}

#[test]
fn a_new_token_is_ordered_on_all_live_instances_once() {
    every(&|before| {
        let mut account = before.clone();
        let known = account.seen.known_token();
        let version = account.seen.token.present().map_or(0, |token| token.version);
        account.run(rotation(&Tags::new(), &account.seen, token::Rotation::Replace { grace: Duration::ZERO }));
        let now = account.seen.token.present().unwrap().version;
        assert!(now > version && now > known);
        for state in instance::alive(&account.seen.instances) {
            assert_eq!(state.orders().token, Some(now), "{account:?}");
        }
        assert_eq!(rotation(&Tags::new(), &account.seen, token::Rotation::Stored(now)).steps, []);
        account.run(rotation(&Tags::new(), &account.seen, token::Rotation::EndGrace));
        let ended = account.seen.token.present().unwrap().version;
        assert!(ended > now);
        for state in instance::alive(&account.seen.instances) {
            assert_eq!(state.orders().token, Some(ended), "{account:?}");
        }
    });
}

/// Wherever a run is interrupted, a rollback goes to the release that served.
#[test]
fn a_rollback_goes_to_the_release_that_served() {
    let deployment = deployment();
    for broken in [false, true] {
        for most in 0..4 {
            let mut account = Account::complete();
            let wanted_before = if broken { BROKEN } else { BEFORE };
            account.current().tell(to_run(wanted_before));
            says(&mut account, BEFORE);
            account.store.releases = vec![stored(BEFORE)];
            let mut account = account.looked();
            account.run_some(up(&spec(&deployment), &account.seen), most, &mut |ready| ready - 1);
            let mut account = account.looked();
            account.run(up(&spec(&deployment), &account.seen));
            assert_eq!(account.current().orders().previous.as_deref(), Some(BEFORE));
            assert_complete(account, &"another release");
        }
    }
}

#[test]
fn a_rollback_changes_two_tags_and_a_second_one_goes_forward_again() {
    let mut account = Account::complete();
    account.current().tell(Orders { previous: Some(BEFORE.into()), ..Orders::default() });
    account.store.releases.push(stored(BEFORE));
    says(&mut account, RELEASE);
    let mut account = account.looked();
    for (from, to) in [(RELEASE, BEFORE), (BEFORE, RELEASE), (RELEASE, BEFORE)] {
        assert_eq!(history::History::of(&account.seen).back(), Some(to));
        let plan = rollback(&account.seen, to);
        assert_eq!(plan.steps.iter().map(|step| &step.id).collect::<Vec<_>>(), [&orders::ID]);
        let unchanged = (account.seen.clone(), account.store.clone());
        account.run(plan);
        let tags = account.current().tags.clone();
        let orders = Orders::of(&tags);
        assert_eq!((orders.release.as_deref(), orders.previous.as_deref()), (Some(to), Some(from)));
        let (mut before, store) = unchanged;
        before.instances[0].tags = tags;
        assert_eq!((format!("{before:?}"), store), (format!("{:?}", account.seen), account.store.clone()));
        says(&mut account, to);
        assert!(rollback(&account.seen, to).is_empty(), "it is already ordered");
    }
}

const OLDER: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";

#[test]
fn a_replacement_inherits_the_previous_release() {
    let deployment = deployment();
    for (runs, previous) in [(RELEASE, OLDER), (BEFORE, BEFORE)] {
        let mut account = Account::complete();
        account.current().tell(Orders { previous: Some(OLDER.into()), ..to_run(runs) });
        says(&mut account, runs);
        account.current().tags.insert(names::TAG_SPEC.into(), "another".into());
        let mut account = account.looked();
        account.run(up(&spec(&deployment), &account.seen));
        assert_eq!(account.current().orders().previous.as_deref(), Some(previous));
        assert!(up(&spec(&deployment), &account.looked().seen).is_empty());
    }
}

#[test]
fn another_deployment_in_the_bucket_keeps_it() {
    let mut account = Account::complete();
    account.seen.contents = Lookup::Present(bucket::Contents { ours: false, any: true });
    account.seen.instances.clear();
    assert!(!down(&account.seen).steps.iter().any(|step| step.id.kind == Kind::Bucket));
}

#[test]
fn nothing_is_replaced_or_deleted_without_a_reason() {
    let deployment = deployment();
    let mut account = Account::complete();
    spoil_role(&mut account, |role| role.profile = None);
    account.seen.security_group.present_mut().unwrap().ingress.clear();
    account.current().phase = Phase::Stopped;
    account.seen.addresses.push(elastic("eipalloc-2", None, Tags::new()));
    let plan = up(&spec(&deployment), &account.seen);
    assert!(!plan.steps.iter().any(|step| step.action.is_destructive()), "{plan:?}");
}

#[test]
fn a_failed_attempt_is_retried() {
    let (deployment, mut account) = (deployment(), Account::complete());
    let report = reports::Report { phase: reports::Phase::Failed, orders: to_run(RELEASE), ..Default::default() };
    let id = account.current().id.clone();
    account.seen.reports = vec![(id, report)];
    let plan = up(&spec(&deployment), &account.seen);
    assert_eq!(plan.steps.len(), 1);
    assert!(matches!(&plan.steps[0].change, Change::Orders(orders::Change { retry: true, .. })));
}

/// The instance may never boot, so it never reports.
#[test]
fn a_refresh_without_reports_continues_for_a_time_and_is_then_reverted() {
    let mut account = Account::complete();
    account.seen.image = Lookup::Present("ami-2".into());
    account.run_some(up(&Spec { refresh: true, ..spec(&DEPLOYMENT) }, &account.seen), 1, &mut |_| 0);
    let launched = account.seen.instances.iter().find(|state| state.image == "ami-2").expect("it is launched first");
    let (new, at) = (launched.id.clone(), launched.launched);
    for (at, goes_on) in [(at + 60, true), (at + HOPELESS, true), (at + HOPELESS + 1, false)] {
        account.seen.at = at;
        let plan = up(&spec(&DEPLOYMENT), &account.seen);
        let current = plan.outputs.get::<instance::Output>(&instance::ID);
        assert_eq!(current.is_some_and(|current| current.id == new), goes_on, "{plan:?}");
    }
}

#[test]
fn the_old_instance_is_terminated_only_after_the_new_one_is_healthy() {
    let (deployment, mut account) = (deployment(), Account::complete());
    account.current().tags.insert(names::TAG_SPEC.into(), "another".into());
    let plan = up(&spec(&deployment), &account.seen);
    let ids: Vec<&Id> = plan.steps.iter().map(|step| &step.id).collect();
    let [gate, association, attachment] = [Kind::HealthGate, Kind::EipAssociation, Kind::InstanceProfile].map(Id::of);
    let old = Id::named(Kind::Instance, "i-new0");
    assert_eq!(ids, [&instance::ID, &attachment, &orders::ID, &gate, &association, &old]);
    let needs = |id: &Id| &plan.steps.iter().find(|step| step.id == *id).unwrap().needs;
    assert!(needs(&association).contains(&gate));
    assert!(needs(&old).contains(&association));
    // With `--no-wait` there is no such step.
    let plan = up(&Spec { wait: false, ..spec(&deployment) }, &account.seen);
    assert!(!plan.steps.iter().any(|step| step.id.kind == Kind::HealthGate));
}

#[test]
fn a_launch_waits_only_for_group_key_token_and_secrets() {
    let (deployment, account) = (deployment(), Account::empty());
    let unseen = Observed { store: Lookup::NotAsked, ..account.seen };
    let plan = up(&spec(&deployment), &unseen);
    let launch = plan.steps.iter().find(|step| step.id == instance::ID).unwrap();
    let mut needs: Vec<Id> = [Kind::SecurityGroup, Kind::KeyPair, Kind::Token].map(Id::of).into();
    needs.push(secrets::id("SESSION_KEY"));
    assert_eq!(launch.needs, needs);
    for need in &launch.needs {
        assert!(plan.steps.iter().find(|step| step.id == *need).unwrap().needs.is_empty());
    }
}

#[test]
fn an_impossible_launch_is_refused_before_anything_is_created() {
    let deployment = deployment();
    let want = spec(&deployment);
    let fits = || Observed {
        image: Lookup::Present("ami-1".into()),
        kind: Lookup::Present(instance::Kind::default()),
        ..Account::empty().seen
    };
    assert!(want.check(&fits()).is_ok());
    let closed = crate::resources::route::Way::Closed { subnet: "subnet-1".into(), table: "rtb-1".into() };
    let xen = instance::Kind { xen: true, ..instance::Kind::default() };
    let cases = [
        (Observed { image: Lookup::Absent, ..fits() }, "the image debian-13 is not in eu-central-1"),
        (Observed { kind: Lookup::Absent, ..fits() }, "t3.micro is not offered in eu-central-1"),
        (
            Observed { kind: Lookup::Present(xen), ..fits() },
            "t3.micro is not a Nitro type, so it cannot receive orders",
        ),
        (Observed { way: closed, ..fits() }, "an instance in subnet-1 cannot be reached from the internet"),
    ];
    for (have, what) in cases {
        let failure = want.check(&have).unwrap_err();
        assert_eq!(failure.what(), what);
        // A running instance is kept, unless it must be replaced.
        let running = instance::State { image: "ami-0".into(), ..Account::complete().seen.instances.remove(0) };
        let have = Observed { instances: vec![running], ..have };
        assert!(want.check(&have).is_ok(), "{what}");
        assert_eq!(Spec { refresh: true, ..spec(&deployment) }.check(&have).unwrap_err().what(), what);
    }
}

#[test]
fn a_role_with_too_many_references_is_refused_before_anything_is_created() {
    let deployment = deployment();
    let complete = Account::complete().seen;
    let with = |count: usize| {
        let name = |n| Source::Parameter(format!("/company/production/shop/service-{n:03}"));
        let place = Place { partition: "aws", account: "123456789012", region: REGION };
        let policies = Policies::new(place, "hello", &(0..count).map(name).collect());
        Spec { policies: &policies, ..spec(&deployment) }.check(&complete).map_err(|failure| failure.what().to_owned())
    };
    assert_eq!(with(20), Ok(()));
    let refused = with(60).unwrap_err();
    assert!(refused.starts_with("the policy of the instance's role would have 1"), "{refused}");
}
