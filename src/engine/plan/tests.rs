//! Every state that a deployment can be found in leads to what is wanted, and to nothing.

mod states;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use states::*;
use world::*;
use world::{down, rollback, rotation, up};

use super::*;
use crate::config::Deployment;
use crate::resources::Lookup;
use crate::resources::instance::Phase;

#[test]
fn no_plan_is_made_on_a_look_that_never_happened() {
    let looks: [fn(&mut Observed); 5] = [
        |seen| seen.security_group = Lookup::NotAsked,
        |seen| seen.key_pair = Lookup::NotAsked,
        |seen| seen.role = Lookup::NotAsked,
        |seen| seen.token = Lookup::NotAsked,
        |seen| seen.contents = Lookup::NotAsked,
    ];
    for (place, forget) in looks.into_iter().enumerate() {
        let mut seen = World::complete().seen;
        forget(&mut seen);
        assert!(super::down(&seen).is_err(), "{place}");
        // What lies in the bucket is nothing that `up` goes by.
        assert_eq!(super::up(&wanted(&DEPLOYMENT), &seen).is_err(), place < 4, "{place}");
        assert_eq!(super::rotation(&Tags::new(), &seen, token::Rotation::EndGrace).is_err(), place == 3, "{place}");
    }
}

#[test]
fn what_is_complete_needs_nothing() {
    let deployment = deployment();
    let world = World::complete();
    assert_eq!(up(&wanted(&deployment), &world.seen).steps, []);
    assert_eq!(down(&World::empty().seen), Plan::default());
}

/// Nothing is left to do, everything is there once, and the instance gets its role's credentials.
fn assert_complete(world: World, before: &dyn std::fmt::Debug) {
    let world = world.looked();
    let again = up(&wanted(&DEPLOYMENT), &world.seen);
    assert!(again.is_empty(), "{:?}\nis still to be done after\n{before:?}", again.steps);
    assert_eq!(world.seen.addresses.len(), 1);
    let alive: Vec<_> = instance::alive(&world.seen.instances).collect();
    assert_eq!(alive.len(), 1, "{alive:?}");
    let token = world.seen.token.present().unwrap().version;
    assert!(token >= 1 && alive[0].orders().token == Some(token), "{alive:?}");
    assert!(world.served.contains(&alive[0].id), "the instance has no credentials, after\n{before:?}");
    assert_ne!(alive[0].orders().previous.as_deref(), Some(BROKEN), "after\n{before:?}");
}

#[test]
fn up_converges_from_every_state_and_then_has_nothing_to_do() {
    let count = AtomicUsize::new(0);
    every(&|before| {
        count.fetch_add(1, Ordering::Relaxed);
        let mut world = before.clone();
        world.run(up(&wanted(&DEPLOYMENT), &world.seen));
        assert_complete(world, before);
    });
    assert_eq!(count.into_inner(), 5 * 3 * 8 * 4 * 4 * 15 * 5);
}

#[test]
fn down_leads_from_every_state_to_nothing() {
    every(&|before| {
        let mut world = before.clone();
        world.run(down(&world.seen));
        let world = world.looked();
        assert!(down(&world.seen).is_empty(), "{:?}", world.seen);
        assert!(world.seen.nothing() && world.store.bucket.is_none(), "{:?}", world.seen);
    });
}

/// Which of the steps that are ready comes next.
fn order(seed: Vec<usize>) -> impl FnMut(usize) -> usize {
    let mut seed = seed.into_iter().cycle();
    move |ready| seed.next().unwrap_or_default() % ready
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// The heart of crash safety: wherever a run ends, and in whatever order its steps were done, the next one completes it.
    #[test]
    fn an_up_that_is_killed_anywhere_is_completed_by_the_next(
        mut world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize,
    ) {
        let (deployment, before) = (deployment(), world.clone());
        world.run_some(up(&wanted(&deployment), &world.seen), most, &mut order(seed));
        let mut world = world.looked();
        world.run(up(&wanted(&deployment), &world.seen));
        assert_complete(world, &before);
    }

    /// It goes on with the instance that the first run has launched, whether it is told to refresh the image as well or not.
    #[test]
    fn a_refresh_that_is_killed_anywhere_is_completed_by_the_next(
        mut world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize, again: bool,
    ) {
        let (deployment, before) = (deployment(), world.clone());
        let refresh = |refresh| Wanted { refresh, ..wanted(&deployment) };
        world.seen.image = Some("ami-3".into());
        world.run_some(up(&refresh(true), &world.seen), most, &mut order(seed));
        let mut world = world.looked();
        let fresh = |state: &&instance::State| state.phase != Phase::Dying && state.image == "ami-3";
        let launched = world.seen.instances.iter().find(fresh).map(|state| state.id.clone());
        world.run(up(&refresh(again), &world.seen));
        let mut world = world.looked();
        let current = world.current().clone();
        prop_assert_eq!(up(&refresh(again), &world.seen).steps, [], "after\n{:?}", before);
        prop_assert!(current.image == "ami-3" || !again && launched.is_none(), "{:?}", current);
        prop_assert!(launched.is_none_or(|id| id == current.id), "another was launched after\n{:?}", before);
        assert_complete(world, &before);
    }

    #[test]
    fn a_down_that_is_killed_anywhere_is_completed_by_the_next(
        world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..8_usize,
    ) {
        let mut world = world.looked();
        world.run_some(down(&world.seen), most, &mut order(seed));
        let mut world = world.looked();
        world.run(down(&world.seen));
        prop_assert!(world.seen.nothing() && world.store.bucket.is_none(), "{:?}", world.seen);
    }

    /// Whoever changes his mind in the middle gets what he wants in the end.
    #[test]
    fn a_down_in_the_middle_of_an_up_leaves_nothing(
        mut world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize,
    ) {
        let deployment = deployment();
        world.run_some(up(&wanted(&deployment), &world.seen), most, &mut order(seed));
        let mut world = world.looked();
        world.run(down(&world.seen));
        prop_assert!(world.seen.nothing() && world.store.bucket.is_none(), "{:?}", world.seen);
    }
}

/// A deployment with a name of its own, if any, whose record is kept.
fn named(domain: Option<&str>) -> Deployment {
    let mut deployment = deployment();
    deployment.network.domain = domain.map(str::to_owned);
    deployment.network.route53 = domain.is_some();
    deployment
}

/// As the next command sees it: of the names of which there is a record, those that are looked at.
fn looks_for(world: World, deployment: &Deployment) -> World {
    let noted = world.seen.addresses.iter().filter_map(|address| address.tags.get(names::TAG_DOMAIN)).cloned();
    let asked: Vec<String> = noted.chain(deployment.network.record().map(str::to_owned)).collect();
    for led in world.led() {
        assert!(asked.iter().any(|domain| domain == led), "nobody would find {led} again");
    }
    world.looked()
}

/// A name is taken, changed, and given up, and any of the runs ends anywhere.
#[derive(Clone, Debug)]
struct Run {
    domain: Option<&'static str>,
    up: bool,
    most: usize,
    order: Vec<usize>,
}

fn run() -> impl Strategy<Value = Run> {
    let domain = prop::sample::select(vec![None, Some("a.example.com"), Some("b.example.com")]);
    let parts = (domain, prop::bool::weighted(0.7), 0..18_usize, prop::collection::vec(0..100_usize, 1..20));
    parts.prop_map(|(domain, up, most, order)| Run { domain, up, most, order })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Of all that was made under whatever name, the last run leaves what it says and no more.
    #[test]
    fn names_come_and_go_whatever_is_killed(runs in prop::collection::vec(run(), 1..6), last in run()) {
        let mut world = World::empty();
        world.seen.records = ["a.example.com", "b.example.com"].map(record::tests::nothing).to_vec();
        for Run { domain, up: wanted_up, most, order: seed } in runs {
            let deployment = named(domain);
            world = looks_for(world, &deployment);
            let plan = if wanted_up { up(&wanted(&deployment), &world.seen) } else { down(&world.seen) };
            world.run_some(plan, most, &mut order(seed));
        }
        let deployment = named(last.domain);
        let mut world = looks_for(world, &deployment);
        if last.up {
            world.run(up(&wanted(&deployment), &world.seen));
            let world = looks_for(world, &deployment);
            prop_assert_eq!(up(&wanted(&deployment), &world.seen).steps, []);
            prop_assert_eq!(world.led(), last.domain.into_iter().collect::<Vec<_>>());
        } else {
            world.run(down(&world.seen));
            let world = looks_for(world, &deployment);
            prop_assert!(down(&world.seen).is_empty() && world.led().is_empty(), "{:?}", world.seen);
        }
    }
}

#[test]
fn a_name_is_led_to_the_address_and_goes_before_it() {
    let deployment = named(Some("a.example.com"));
    let mut world = World::empty();
    world.seen.records = vec![record::tests::nothing("a.example.com")];
    let plan = up(&wanted(&deployment), &world.seen);
    let needs = |plan: &Plan, kind| plan.steps.iter().find(|step| step.kind == kind).unwrap().needs.clone();
    assert_eq!(needs(&plan, Kind::Record), [Kind::Address]);
    world.run(plan);
    assert_eq!(world.led(), ["a.example.com"]);
    assert_eq!(needs(&down(&world.seen), Kind::Address), [Kind::Record]);
    // Another name: the old one goes before the address forgets it.
    let mut world = world.looked();
    world.seen.records.push(record::tests::nothing("b.example.com"));
    let plan = up(&wanted(&named(Some("b.example.com"))), &world.seen);
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.kind, step.action)).collect();
    let expected = [(Kind::OldRecord, Action::Delete), (Kind::Address, Action::Update), (Kind::Record, Action::Create)];
    assert_eq!(steps, expected);
    // An address that somebody took away: the name is led to the next one.
    world.seen.addresses.clear();
    world.seen.records.truncate(1);
    let plan = up(&wanted(&deployment), &world.seen);
    assert!(plan.steps.iter().any(|step| step.kind == Kind::Record && step.action == Action::Update), "{plan:?}");
}

#[test]
fn another_token_is_told_to_all_that_live_and_then_there_is_nothing_to_do() {
    every(&|before| {
        let mut world = before.clone();
        let known = world.seen.known_token();
        let version = world.seen.token.present().map_or(0, |token| token.version);
        world.run(rotation(&Tags::new(), &world.seen, token::Rotation::Replace { grace: Duration::ZERO }));
        let now = world.seen.token.present().unwrap().version;
        assert!(now > version && now > known);
        for state in instance::alive(&world.seen.instances) {
            assert_eq!(state.orders().token, Some(now), "{world:?}");
        }
        assert_eq!(rotation(&Tags::new(), &world.seen, token::Rotation::Stored(now)).steps, []);
        world.run(rotation(&Tags::new(), &world.seen, token::Rotation::EndGrace));
        let ended = world.seen.token.present().unwrap().version;
        assert!(ended > now);
        for state in instance::alive(&world.seen.instances) {
            assert_eq!(state.orders().token, Some(ended), "{world:?}");
        }
    });
}

/// Wherever a run is cut off, what is gone back to is what served.
#[test]
fn what_served_is_what_is_gone_back_to_and_says_so_once() {
    let deployment = deployment();
    for broken in [false, true] {
        for most in 0..4 {
            let mut world = World::complete();
            let wanted_before = if broken { BROKEN } else { BEFORE };
            world.current().tell(to_run(wanted_before));
            says(&mut world, BEFORE);
            world.store.releases = vec![stored(BEFORE)];
            let mut world = world.looked();
            world.run_some(up(&wanted(&deployment), &world.seen), most, &mut |ready| ready - 1);
            let mut world = world.looked();
            world.run(up(&wanted(&deployment), &world.seen));
            assert_eq!(world.current().orders().previous.as_deref(), Some(BEFORE));
            assert_complete(world, &"another release");
        }
    }
}

#[test]
fn a_rollback_changes_two_tags_and_a_second_one_goes_forward_again() {
    let mut world = World::complete();
    world.current().tell(Orders { previous: Some(BEFORE.into()), ..Orders::default() });
    world.store.releases.push(stored(BEFORE));
    says(&mut world, RELEASE);
    let mut world = world.looked();
    for (from, to) in [(RELEASE, BEFORE), (BEFORE, RELEASE), (RELEASE, BEFORE)] {
        assert_eq!(history::History::of(&world.seen).back(), Some(to));
        let plan = rollback(&world.seen, to);
        assert_eq!(plan.steps.iter().map(|step| step.kind).collect::<Vec<_>>(), [Kind::Orders]);
        let unchanged = (world.seen.clone(), world.store.clone());
        world.run(plan);
        let tags = world.current().tags.clone();
        let orders = Orders::of(&tags);
        assert_eq!((orders.release.as_deref(), orders.previous.as_deref()), (Some(to), Some(from)));
        let (mut before, store) = unchanged;
        before.instances[0].tags = tags;
        assert_eq!((format!("{before:?}"), store), (format!("{:?}", world.seen), world.store.clone()));
        says(&mut world, to);
        assert!(rollback(&world.seen, to).is_empty(), "it is there already");
    }
}

const OLDER: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";

#[test]
fn a_replacement_knows_what_its_predecessor_would_have_gone_back_to() {
    let deployment = deployment();
    for (runs, previous) in [(RELEASE, OLDER), (BEFORE, BEFORE)] {
        let mut world = World::complete();
        world.current().tell(Orders { previous: Some(OLDER.into()), ..to_run(runs) });
        says(&mut world, runs);
        world.current().tags.insert(names::TAG_SPEC.into(), "another".into());
        let mut world = world.looked();
        world.run(up(&wanted(&deployment), &world.seen));
        assert_eq!(world.current().orders().previous.as_deref(), Some(previous));
        assert!(up(&wanted(&deployment), &world.looked().seen).is_empty());
    }
}

#[test]
fn another_deployment_in_the_bucket_keeps_it() {
    let mut world = World::complete();
    world.seen.contents = Lookup::Present(bucket::Contents { ours: false, any: true });
    world.seen.instances.clear();
    assert!(!down(&world.seen).steps.iter().any(|step| step.kind == Kind::Bucket));
}

#[test]
fn nothing_that_is_not_asked_for_is_replaced_or_deleted() {
    let deployment = deployment();
    let mut world = World::complete();
    spoil_role(&mut world, |role| role.profile = None);
    world.seen.security_group.present_mut().unwrap().ingress.clear();
    world.current().phase = Phase::Stopped;
    let plan = up(&wanted(&deployment), &world.seen);
    assert!(!plan.steps.iter().any(|step| step.action.grave()), "{plan:?}");
}

#[test]
fn what_was_given_up_is_tried_again() {
    let (deployment, mut world) = (deployment(), World::complete());
    let report = reports::Report { phase: reports::Phase::Failed, orders: to_run(RELEASE), ..Default::default() };
    let id = world.current().id.clone();
    world.seen.reports = vec![(id, report)];
    let plan = up(&wanted(&deployment), &world.seen);
    assert_eq!(plan.steps.len(), 1);
    assert!(matches!(&plan.steps[0].change, Change::Orders(orders::Change { retry: true, .. })));
}

/// Its machine may never boot, so that nothing is ever reported.
#[test]
fn a_refresh_that_says_nothing_is_carried_on_for_a_time_and_then_taken_back() {
    let mut world = World::complete();
    world.seen.image = Some("ami-2".into());
    world.run_some(super::up(&Wanted { refresh: true, ..wanted(&DEPLOYMENT) }, &world.seen).unwrap(), 1, &mut |_| 0);
    let launched = world.seen.instances.iter().find(|state| state.image == "ami-2").expect("it is launched first");
    let (new, at) = (launched.id.clone(), launched.launched);
    for (at, goes_on) in [(at + 60, true), (at + HOPELESS, true), (at + HOPELESS + 1, false)] {
        world.seen.at = at;
        let plan = up(&wanted(&DEPLOYMENT), &world.seen);
        assert_eq!(plan.instance.as_ref() == Some(&new), goes_on, "{plan:?}");
    }
}

#[test]
fn a_replacement_takes_over_when_it_is_healthy_and_only_then_the_old_one_goes() {
    let (deployment, mut world) = (deployment(), World::complete());
    world.current().tags.insert(names::TAG_SPEC.into(), "another".into());
    let plan = up(&wanted(&deployment), &world.seen);
    let kinds: Vec<Kind> = plan.steps.iter().map(|step| step.kind).collect();
    let expected = [Kind::Instance, Kind::Attachment, Kind::Orders, Kind::Ready, Kind::Association, Kind::Leftovers];
    assert_eq!(kinds, expected);
    let needs = |kind| &plan.steps.iter().find(|step| step.kind == kind).unwrap().needs;
    assert!(needs(Kind::Association).contains(&Kind::Ready));
    assert!(needs(Kind::Leftovers).contains(&Kind::Association));
    // Who does not want to wait gets no such step.
    let plan = up(&Wanted { wait: false, ..wanted(&deployment) }, &world.seen);
    assert!(!plan.steps.iter().any(|step| step.kind == Kind::Ready));
}

#[test]
fn a_launch_waits_for_nothing_but_group_key_and_token() {
    let (deployment, world) = (deployment(), World::empty());
    let unseen = Observed { store: None, ..world.seen };
    let plan = up(&wanted(&deployment), &unseen);
    let launch = plan.steps.iter().find(|step| step.kind == Kind::Instance).unwrap();
    assert_eq!(launch.needs, [Kind::SecurityGroup, Kind::KeyPair, Kind::Token]);
    for need in &launch.needs {
        assert!(plan.steps.iter().find(|step| step.kind == *need).unwrap().needs.is_empty());
    }
}

#[test]
fn what_cannot_be_launched_is_refused_before_anything_is_made() {
    let deployment = deployment();
    let want = wanted(&deployment);
    let fits =
        || Observed { image: Some("ami-1".into()), kind: Some(instance::Kind::default()), ..World::empty().seen };
    assert!(want.check(&fits()).is_ok());
    let closed = crate::resources::route::Way::Closed { subnet: "subnet-1".into(), table: "rtb-1".into() };
    let xen = instance::Kind { xen: true, ..instance::Kind::default() };
    let cases = [
        (Observed { image: None, ..fits() }, "the image debian-13 is not in eu-central-1"),
        (Observed { kind: None, ..fits() }, "t3.micro is not offered in eu-central-1"),
        (Observed { kind: Some(xen), ..fits() }, "t3.micro is not a Nitro type, and cannot be told what to run"),
        (Observed { way: closed, ..fits() }, "an instance in subnet-1 cannot be reached from the internet"),
    ];
    for (have, what) in cases {
        let failure = want.check(&have).unwrap_err();
        assert_eq!(failure.what(), what);
        // One that runs already is left alone, unless it is to be replaced.
        let running = instance::State { image: "ami-0".into(), ..World::complete().seen.instances.remove(0) };
        let have = Observed { instances: vec![running], ..have };
        assert!(want.check(&have).is_ok(), "{what}");
        assert_eq!(Wanted { refresh: true, ..wanted(&deployment) }.check(&have).unwrap_err().what(), what);
    }
}
