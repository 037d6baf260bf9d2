//! Orders as tags, and what reports answer, with the cases that the agent's tests read as well.

use serde_json::Value;

use super::*;

/// A release id for a test, made of this digit.
pub(crate) fn id(digit: &str) -> String {
    digit.repeat(64)
}

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

/// The orders and the tags of a case of `tests/orders`.
fn parts(case: &Value) -> (Orders, Tags) {
    let orders = &case["orders"];
    let text = |name: &str| orders[name].as_str().map(str::to_owned);
    let orders = Orders {
        release: text("release"),
        previous: text("previous"),
        token: orders["token"].as_i64(),
        attempt: text("attempt"),
        address: text("address").map(|address| address.parse().unwrap()),
        secrets: text("secrets"),
        references: text("references"),
        data: text("data"),
    };
    (orders, serde_json::from_value(case["tags"].clone()).unwrap())
}

#[test]
fn orders_become_tags_and_back() {
    for case in cases(include_str!("../../../tests/orders/written.json")) {
        let (orders, tags) = parts(&case);
        assert_eq!(orders.tags(), tags, "{}", case["name"]);
        assert_eq!(Orders::of(&tags), orders, "{}", case["name"]);
    }
}

#[test]
fn an_invalid_value_affects_its_own_tag_only() {
    for case in cases(include_str!("../../../tests/orders/read.json")) {
        let (orders, tags) = parts(&case);
        assert_eq!(Orders::of(&tags), orders, "{}", case["name"]);
    }
}

#[test]
fn an_instance_gets_orders_only_for_a_reason() {
    let orders = |release, token| Orders { release: Some(id(release)), token, ..Orders::default() };
    let wanted = Orders { previous: Some(id("0")), ..orders("1", Some(3)) };
    let diff = |wanted: &Orders, told: Option<&Orders>, retry| diff(wanted, told, retry, (OfSsm::Both, false));
    assert_eq!(diff(&wanted, Some(&orders("1", Some(3))), false), None);
    for (release, token, retry) in
        [("2", Some(3), false), ("1", Some(2), false), ("1", None, false), ("1", Some(3), true)]
    {
        let change = diff(&wanted, Some(&orders(release, token)), retry).unwrap().change;
        assert_eq!(
            change.tell.previous.is_some(),
            release == "2",
            "the previous release changes with the release only"
        );
    }
    assert!(diff(&orders("1", None), Some(&orders("1", Some(3))), false).is_some());
    let differ = super::diff(&wanted, Some(&orders("1", Some(3))), false, (OfSsm::Both, true)).unwrap();
    assert_eq!(differ.reasons, [NEW_SECRETS]);
}

/// A running instance with these orders.
pub(crate) fn instance(name: &str, orders: &Orders) -> instance::State {
    instance::State {
        id: name.into(),
        phase: instance::Phase::Running,
        kind: String::new(),
        image: String::new(),
        zone: "a".into(),
        ip: None,
        profile: None,
        metadata: true,
        tags: orders.tags(),
        launched: 0,
    }
}

#[test]
fn versions_of_references_are_ordered_when_they_differ() {
    let known = "0123456789abcdef".to_owned();
    let orders = |release, references: Option<&String>| {
        let references = references.cloned();
        Orders { release: Some(id(release)), token: Some(3), references, ..Orders::default() }
    };
    let none = secrets::NONE.to_owned();
    let diff = |wanted: Orders, told: Orders| diff(&wanted, Some(&told), false, (OfSsm::Both, false));
    assert_eq!(diff(orders("1", Some(&none)), orders("1", None)), None, "without references nothing is ordered");
    assert_eq!(diff(orders("1", Some(&known)), orders("1", Some(&known))), None);
    let changed = diff(orders("1", Some(&known)), orders("1", None)).unwrap();
    assert_eq!((changed.change.tell.references, changed.reasons), (Some(known.clone()), vec![NEW_REFERENCES.into()]));
    let other = diff(orders("2", Some(&none)), orders("1", Some(&known))).unwrap();
    assert_eq!(
        (other.change.tell.references, other.reasons.len()),
        (Some(none.clone()), 1),
        "the release is the reason"
    );
    // `secrets refresh` orders nothing else.
    let all = [instance("i-1", &orders("1", Some(&known))), instance("i-2", &orders("1", None))];
    let planned = references(&known, Some(&all[0]), &all).unwrap();
    assert_eq!((planned.change.of_ssm, planned.change.others), (OfSsm::Nothing, vec!["i-2".to_owned()]));
    assert_eq!(planned.change.tell, Orders { references: Some(known.clone()), ..Orders::default() });
    assert_eq!(references(&known, Some(&all[0]), &all[..1]), None);
    // The versions for the release of a rollback are not known.
    let have = Observed { token: super::super::Lookup::Absent, ..Observed::default() };
    let back = rollback(&id("2"), &have, &all[0]).unwrap().unwrap();
    assert_eq!(back.change.tell.references, Some(none));
    let same = rollback(&id("1"), &have, &all[0]).unwrap().unwrap();
    assert_eq!(same.change.tell.references, None);
}

#[test]
fn every_live_instance_gets_the_orders_of_a_rotation_once() {
    let instance = |name: &str, token| instance(name, &Orders { token: Some(token), ..Orders::default() });
    let all = [instance("i-1", 4), instance("i-2", 3)];
    let planned = rotation(Some(4), Some(&all[0]), &all).unwrap();
    assert_eq!(planned.change.others, ["i-2"]);
    assert_eq!(rotation(Some(4), Some(&all[0]), &all[..1]), None);
    assert!(rotation(None, Some(&all[0]), &all[..1]).is_some());
    assert_eq!(rotation(None, None, &[]), None);
}
