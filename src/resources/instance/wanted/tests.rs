use super::*;
use crate::resources::instance::spec;
use crate::resources::orders::tests::id;

fn wanted(spec: &str) -> Tags {
    Tags::from([(names::TAG_NAME.into(), "hello".into()), (names::TAG_SPEC.into(), spec.into())])
}

fn orders(release: &str, previous: Option<&str>) -> Orders {
    Orders { release: Some(id(release)), previous: previous.map(id), ..Orders::default() }
}

fn state(id: &str, phase: Phase, launched: i64) -> State {
    State {
        id: id.into(),
        phase,
        kind: "t3.micro".into(),
        image: "ami-1".into(),
        zone: "a".into(),
        ip: None,
        profile: None,
        metadata: true,
        tags: wanted("s1").into_iter().chain(orders("1", None).tags()).collect(),
        launched,
    }
}

const KEEP: Origin<'_> = Origin::Keep(Some("ami-1"));
/// No instance is hopeless.
const NONE: fn(&State) -> bool = |_| false;

/// Whether an instance has the spec of these tags.
fn spec_of(tags: &Tags) -> impl Fn(&State) -> bool {
    |state| state.tags.get(names::TAG_SPEC) == tags.get(names::TAG_SPEC)
}

/// The change without a data volume.
fn diff(
    tags: &Tags,
    origin: Origin<'_>,
    orders: &Orders,
    credits: Option<Credits>,
    current: Option<&State>,
    have: &[State],
) -> Option<Planned<Change>> {
    let launch = |image: Option<&str>| launch(tags, orders, (image, None), have);
    super::diff(tags, origin, orders.address, credits, current, &launch)
}

#[test]
fn no_instance_or_a_terminating_one_means_launch() {
    let dying = [state("i-1", Phase::Dying, 1)];
    assert_eq!(pick(spec_of(&wanted("s1")), KEEP, |_| true, NONE, &dying), None);
    let Change::Launch { dying, .. } =
        diff(&wanted("s1"), KEEP, &orders("1", None), None, None, &dying).unwrap().change
    else {
        panic!()
    };
    assert_eq!(dying, ["i-1"]);
}

#[test]
fn another_release_is_a_step_of_its_own() {
    let other = state("i-1", Phase::Running, 1);
    assert_eq!(diff(&wanted("s1"), KEEP, &orders("2", Some("1")), None, Some(&other), &[]), None);
}

#[test]
fn a_new_spec_replaces_the_instance() {
    let have = [state("i-1", Phase::Running, 1)];
    assert_eq!(
        diff(&wanted("s2"), KEEP, &orders("1", None), None, Some(&have[0]), &have).unwrap().action,
        Action::Replace
    );
    let launch = diff(&wanted("s2"), KEEP, &orders("1", Some("0")), None, Some(&have[0]), &have).unwrap().change;
    let Change::Launch { tags, .. } = launch else { panic!() };
    assert_eq!(Orders::of(&tags), orders("1", Some("0")));
}

#[test]
fn the_wanted_spec_counts_first_then_the_serving_one_then_the_newest() {
    let mut new = state("i-2", Phase::Running, 2);
    new.tags.extend(wanted("s2"));
    let have = [new, state("i-1", Phase::Running, 1), state("i-0", Phase::Running, 0)];
    let (one, two) = (wanted("s1"), wanted("s2"));
    assert_eq!(pick(spec_of(&two), KEEP, |id| id == "i-1", NONE, &have).unwrap().id, "i-2");
    assert_eq!(pick(spec_of(&one), KEEP, |_| false, NONE, &have).unwrap().id, "i-1");
    assert_eq!(pick(spec_of(&one), KEEP, |id| id == "i-0", NONE, &have).unwrap().id, "i-0");
    assert_eq!(pick(|_| false, KEEP, |_| false, NONE, &have).unwrap().id, "i-2");
}

#[test]
fn an_image_is_kept_until_a_refresh() {
    let (tags, old) = (wanted("s1"), state("i-1", Phase::Running, 1));
    let newer = "ami-2";
    assert_eq!(diff(&tags, Origin::Keep(Some(newer)), &orders("1", None), None, Some(&old), &[]), None);
    assert_eq!(diff(&tags, Origin::Keep(None), &orders("1", None), None, Some(&old), &[]), None);
    assert_eq!(diff(&tags, Origin::Refresh("ami-1"), &orders("1", None), None, Some(&old), &[]), None);
    let planned = diff(&tags, Origin::Refresh(newer), &orders("1", None), None, Some(&old), &[]).unwrap();
    assert_eq!(planned.action, Action::Replace);
    assert!(["ami-1", "ami-2"].iter().all(|image| planned.reasons[0].contains(image)), "{:?}", planned.reasons);
    assert!(matches!(planned.change, Change::Launch { image: Some(image), .. } if image == newer));
    // A different spec distinguishes the launches already.
    let other = diff(&wanted("s2"), Origin::Refresh(newer), &orders("1", None), None, Some(&old), &[]).unwrap();
    assert!(matches!(other.change, Change::Launch { image: None, .. }));
}

/// With or without the flag, the next run continues with the launched instance, although the other one serves.
#[test]
fn of_two_the_one_with_the_newest_image_counts() {
    let new = State { image: "ami-2".into(), ..state("i-2", Phase::Running, 2) };
    let have = [new, state("i-1", Phase::Running, 1)];
    let (tags, serves) = (wanted("s1"), |id: &str| id == "i-1");
    for origin in [Origin::Keep(Some("ami-2")), Origin::Refresh("ami-2")] {
        assert_eq!(pick(spec_of(&tags), origin, serves, NONE, &have).unwrap().id, "i-2", "{origin:?}");
    }
    assert_eq!(pick(spec_of(&tags), Origin::Keep(None), serves, NONE, &have).unwrap().id, "i-1");
}

#[test]
fn a_refresh_whose_app_failed_is_reverted_unless_it_is_requested_again() {
    let new = State { image: "ami-2".into(), ..state("i-2", Phase::Running, 2) };
    let have = [new, state("i-1", Phase::Running, 1)];
    let (tags, newest) = (wanted("s1"), "ami-2");
    let picked = |origin, serving: &str| {
        pick(spec_of(&tags), origin, |id| id == serving, |state| state.id == "i-2", &have).unwrap().id.clone()
    };
    assert_eq!(picked(Origin::Keep(Some(newest)), "i-1"), "i-1");
    assert_eq!(picked(Origin::Refresh(newest), "i-1"), "i-2");
    // Without an Elastic IP, the serving instance is unknown.
    assert_eq!(picked(Origin::Keep(Some(newest)), "no one"), "i-1");
    // It serves by now, and failed with a later release.
    assert_eq!(picked(Origin::Keep(Some(newest)), "i-2"), "i-2");
}

#[test]
fn a_stopped_instance_is_started() {
    let planned =
        diff(&wanted("s1"), KEEP, &orders("1", None), None, Some(&state("i-1", Phase::Stopped, 1)), &[]).unwrap();
    assert_eq!(planned.reasons, ["it is stopped"]);
    assert!(matches!(planned.change, Change::Update { start: true, .. }));
}

#[test]
fn the_spec_distinguishes_the_relevant_settings() {
    let instance = config::Instance {
        kind: "t3.micro".into(),
        image: config::Image::Debian13,
        disk_gib: 8,
        cpu_credits: config::CpuCredits::Auto,
    };
    let base = spec(&instance, "debian-13", None);
    assert_eq!(base, spec(&instance, "debian-13", None));
    assert_ne!(base, spec(&instance, "al2023", None));
    assert_ne!(base, spec(&config::Instance { disk_gib: 9, ..instance.clone() }, "debian-13", None));
    assert_ne!(base, spec(&config::Instance { kind: "t3.small".into(), ..instance.clone() }, "debian-13", None));
    assert_ne!(base, spec(&instance, "debian-13", Some("subnet-1")));
}
