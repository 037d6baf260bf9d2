//! Records of others are never changed; our records become as wanted, or are deleted.

use proptest::prelude::*;

use super::*;
use crate::resources::Observed;

const DOMAIN: &str = "app.example.com";
const IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const REGION: &str = "eu-central-1";

/// A name without records in the zone.
pub fn nothing(domain: &str) -> State {
    let zone = Zone { id: "Z1".into(), name: "example.com".into() };
    State { zone, domain: domain.into(), sets: Vec::new(), mark: Mark::None }
}

/// The state after [`lead`]: a creation requires that neither record exists, an update overwrites both.
pub fn led(mut state: State, name: &str, region: &str, ip: Ipv4Addr) -> State {
    let [(at, record), (beside, mark)] = both(&state.domain, &text(name, region, ip), ip);
    assert_eq!((at.as_str(), beside), (state.domain.as_str(), format!("_devopsctl.{at}")));
    match state.judge(Some(ip)) {
        Verdict::Keep => return state,
        Verdict::Create => assert!(state.sets.is_empty() && state.mark == Mark::None, "{state:?}"),
        Verdict::Update(_) => assert!(state.sets.iter().all(|set| set.kind == "A" && set.form != Form::Routed)),
        Verdict::Refuse(obstacle) => panic!("{obstacle:?}"),
    }
    state.sets = vec![record];
    state.mark = Mark::read(Some(mark), name, region);
    state
}

/// The state after [`remove`].
pub fn removed(mut state: State) -> State {
    let gone: Vec<Set> = state.ours().into_iter().map(|(_, set)| set.clone()).collect();
    if !gone.is_empty() {
        state.sets.retain(|set| !gone.contains(set));
        state.mark = Mark::None;
    }
    state
}

fn set(kind: &str, values: &[&str]) -> Set {
    let values = values.iter().map(|&value| value.to_owned()).collect();
    Set { kind: kind.into(), ttl: TTL, values, form: Form::Plain }
}

/// The records that a name can have, alone and in combination.
fn holdings() -> Vec<Vec<Set>> {
    let (right, wrong) = (IP.to_string(), OTHER.to_string());
    let alias = Set { values: Vec::new(), form: Form::Alias("lb.example.net".into()), ..set("A", &[]) };
    let singles = [
        set("A", &[&right]),
        Set { ttl: 300, ..set("A", &[&right]) },
        set("A", &[&wrong]),
        set("A", &[&right, &wrong]),
        alias.clone(),
        Set { form: Form::Routed, ..set("A", &[&right]) },
        set("AAAA", &["2001:db8::1"]),
        Set { kind: "AAAA".into(), ..alias },
        set("CNAME", &["elsewhere.example.net"]),
        set("NS", &["ns.example.net."]),
    ];
    let beside = [(0, 6), (2, 6), (4, 6), (5, 6), (0, 9)].map(|(a, b)| vec![singles[a].clone(), singles[b].clone()]);
    let routed = vec![singles[5].clone(), Set { values: vec![wrong], ..singles[5].clone() }];
    let singles = singles.map(|single| vec![single]);
    [vec![Vec::new()], singles.to_vec(), beside.to_vec(), vec![routed]].concat()
}

fn marks() -> Vec<Mark> {
    let read = |value: String| Mark::read(Some(set("TXT", &[&value])), "hello", REGION);
    let ours = |ip| read(quoted(&text("hello", REGION, ip)));
    let Mark::Ours(mark, ip) = ours(IP) else { panic!("this is the format of our mark") };
    let slow = Mark::Ours(Set { ttl: 300, ..mark }, ip);
    let theirs = [text("shop", REGION, IP), text("hello", "us-east-1", IP), "v=spf1 -all".into(), String::new()];
    [vec![Mark::None, ours(IP), ours(OTHER), slow], theirs.map(|text| read(quoted(&text))).to_vec()].concat()
}

fn every(mut visit: impl FnMut(State)) {
    for sets in holdings() {
        for mark in marks() {
            visit(State { sets: sets.clone(), mark, ..nothing(DOMAIN) });
        }
    }
}

/// The steps that delete unwanted records.
fn removal(domain: Option<&str>, state: &State) -> Vec<Step> {
    let wanted = domain.map(|domain| super::super::Wanted::from(Wanted { domain: domain.to_owned() }));
    let have = Observed { records: vec![state.clone()], ..Observed::default() };
    Wanted::surplus(&Sight::new(wanted.as_slice(), &have)).unwrap()
}

fn is_ours(state: &State) -> bool {
    matches!(state.mark, Mark::Ours(..))
}

#[test]
fn records_of_others_are_neither_written_nor_deleted() {
    every(|state| {
        if is_ours(&state) {
            return;
        }
        for ip in [None, Some(IP)] {
            match state.judge(ip) {
                Verdict::Create => assert!(state.sets.is_empty() && state.mark == Mark::None, "{state:?}"),
                Verdict::Update(_) => panic!("{state:?}"),
                // Correct, and created by hand.
                Verdict::Keep => assert!(state.sets[0].leads_to(IP) && state.sets.len() == 1, "{state:?}"),
                Verdict::Refuse(_) => assert!(!state.sets.is_empty() || state.mark != Mark::None, "{state:?}"),
            }
        }
        assert_eq!(removal(None, &state), []);
    });
}

#[test]
fn our_records_become_as_wanted_in_one_run() {
    let mut led_somewhere = 0;
    every(|state| {
        for ip in [IP, OTHER] {
            if matches!(state.judge(Some(ip)), Verdict::Refuse(_)) {
                assert_eq!(diff(Some(ip), &state), None);
                continue;
            }
            let after = led(state.clone(), "hello", REGION, ip);
            assert!(after.sets.len() == 1 && after.sets[0].leads_to(ip), "{after:?}");
            assert_eq!(diff(Some(ip), &after), None, "{state:?}");
            led_somewhere += 1;
        }
    });
    assert!(led_somewhere > 30, "{led_somewhere}");
}

#[test]
fn a_conflict_is_the_same_before_the_address_exists() {
    every(|state| {
        let before = matches!(state.judge(None), Verdict::Refuse(_));
        let later = matches!(state.judge(Some(Ipv4Addr::new(192, 0, 2, 1))), Verdict::Refuse(_));
        assert_eq!(before, later, "{state:?}");
    });
}

#[test]
fn ipv6_delegation_and_routing_policies_are_conflicts() {
    every(|state| {
        let blocked = state
            .sets
            .iter()
            .any(|set| ["AAAA", "CNAME", "NS"].contains(&set.kind.as_str()) || set.form == Form::Routed);
        assert!(!blocked || matches!(state.judge(Some(IP)), Verdict::Refuse(_)), "{state:?}");
    });
}

#[test]
fn only_our_records_are_deleted() {
    every(|state| {
        let after = removed(state.clone());
        assert!(!is_ours(&after) && removal(None, &after).is_empty(), "{after:?}");
        let Mark::Ours(mark, ip) = &state.mark else {
            assert_eq!(state, after);
            return;
        };
        assert_eq!(removal(None, &state).iter().map(|step| step.action).collect::<Vec<_>>(), [Action::Delete]);
        assert_eq!(state.ours().last(), Some(&("_devopsctl.app.example.com".to_owned(), mark)));
        for set in state.sets.iter().filter(|set| !after.sets.contains(set)) {
            assert!(set.leads_to(*ip), "{state:?}");
        }
        // The wanted record is not deleted.
        assert_eq!(removal(Some(&state.domain), &state), []);
    });
}

#[test]
fn a_name_belongs_to_one_zone() {
    let there = nothing(DOMAIN);
    let second = State { zone: Zone { id: "Z2".into(), ..there.zone.clone() }, ..there.clone() };
    let above = State { zone: Zone { id: "Z3".into(), name: "com.example".into() }, ..there.clone() };
    assert_eq!(target(Some(DOMAIN), &[there.clone(), above.clone()]), Some(&there));
    assert_eq!(target(None, std::slice::from_ref(&there)), None);
    let what = |found: &[State]| check(DOMAIN, None, found).map_err(|failure| failure.what().to_owned());
    assert_eq!(what(&[there.clone(), above]), Ok(()));
    assert_eq!(what(&[]), Err("this account's Route 53 has no public zone for app.example.com".into()));
    assert_eq!(what(&[there, second]), Err("this account's Route 53 has 2 public zones named example.com".into()));
}

#[test]
fn every_refusal_says_what_it_is_and_what_to_do() {
    let state = |sets: Vec<Set>, mark| State { sets, mark, ..nothing(DOMAIN) };
    let said = [
        state(vec![set("CNAME", &["elsewhere.example.net"])], Mark::None),
        state(vec![set("AAAA", &["2001:db8::1"])], Mark::None),
        state(Vec::new(), Mark::Theirs(quoted(&text("shop", "eu-west-1", OTHER)))),
    ];
    let said = said.map(|state| crate::ui::render(&check(DOMAIN, Some(IP), &[state]).unwrap_err(), 100, false));
    insta::assert_snapshot!(said.join("\n"));
    insta::assert_snapshot!(crate::ui::render(&check(DOMAIN, None, &[]).unwrap_err(), 100, false));
}

proptest! {
    #[test]
    fn a_mark_is_read_only_by_its_own_deployment(
        name in "[a-z][a-z0-9-]{0,30}", other in "[a-z][a-z0-9-]{0,30}", ip in any::<u32>(),
    ) {
        let ip = Ipv4Addr::from(ip);
        let [_, (_, mark)] = both(DOMAIN, &text(&name, REGION, ip), ip);
        prop_assert_eq!(Mark::read(Some(mark.clone()), &name, REGION), Mark::Ours(mark.clone(), ip));
        if other != name {
            prop_assert!(matches!(Mark::read(Some(mark.clone()), &other, REGION), Mark::Theirs(_)));
        }
        prop_assert!(matches!(Mark::read(Some(mark), &name, "us-east-1"), Mark::Theirs(_)));
    }

    #[test]
    fn any_other_text_belongs_to_others(said in "\\PC{0,80}") {
        let read = Mark::read(Some(set("TXT", &[&said])), "hello", REGION);
        let theirs = matches!(read, Mark::Theirs(_));
        prop_assert!(theirs);
    }
}
