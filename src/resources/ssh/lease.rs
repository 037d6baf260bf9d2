//! Leases and doors, as they are written into AWS, and which of them are over: pure.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use crate::base::names;
use crate::resources::Tags;

/// For how long a lease is taken or renewed, in seconds. Clocks may differ: AWS refuses calls that are 5 minutes off.
const LASTS: i64 = 600;
/// An end that is further away was not set by devopsctl. The agent holds to the same.
const LONGEST: i64 = 3600;

/// Somebody is connected, or about to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Random: which one it is.
    pub id: String,
    /// When it ends, in seconds since 1970.
    pub until: i64,
    /// Where he comes from.
    pub source: Ipv4Net,
    /// The public half of his key, as OpenSSH writes it.
    pub key: String,
}

impl Lease {
    /// A new one.
    pub fn new(id: &str, source: Ipv4Net, key: &str, now: i64) -> Self {
        Self { id: id.to_owned(), until: now + LASTS, source, key: key.to_owned() }
    }

    /// The same, for longer.
    #[must_use]
    pub fn renewed(&self, now: i64) -> Self {
        Self { until: now + LASTS, ..self.clone() }
    }

    /// The tag that says so; `agent/ssh/keys.py` reads it.
    pub fn tag(&self) -> (String, String) {
        (tag_of(&self.id), format!("{} {} {}", self.until, self.source, self.key))
    }

    fn of(key: &str, value: &str) -> Option<Self> {
        let id = key.strip_prefix(names::TAG_SSH)?.to_owned();
        let mut words = value.splitn(3, ' ');
        let (until, source) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { id, until, source, key: words.next()?.to_owned() })
    }

    /// All that stand in an instance's tags and can be read.
    pub fn all(tags: &Tags) -> impl Iterator<Item = Self> {
        tags.iter().filter_map(|(key, value)| Self::of(key, value))
    }

    /// Whether it is not over.
    pub fn lasts(&self, now: i64) -> bool {
        lasts(self.until, now)
    }

    /// The door that it needs.
    pub fn door(&self) -> Door {
        Door { id: self.id.clone(), until: self.until, source: self.source }
    }
}

fn lasts(until: i64, now: i64) -> bool {
    now < until && until <= now + LONGEST
}

/// The tag of a lease.
pub fn tag_of(id: &str) -> String {
    format!("{}{id}", names::TAG_SSH)
}

/// A rule of the security group that lets somebody in at port 22.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Door {
    /// The lease that it was made for.
    pub id: String,
    /// When that ended at first: until then it stays, also where the lease cannot be seen yet.
    pub until: i64,
    /// Whom it lets in.
    pub source: Ipv4Net,
}

impl Door {
    /// What the rule bears, by which it is known.
    pub fn description(&self) -> String {
        format!("{} until {}", tag_of(&self.id), self.until)
    }

    /// The door that a rule with this description is.
    pub fn of(description: &str, source: Ipv4Net) -> Option<Self> {
        let (id, until) = description.strip_prefix(names::TAG_SSH)?.split_once(" until ")?;
        Some(Self { id: id.to_owned(), until: until.parse().ok()?, source })
    }
}

/// What is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// The tags of each instance that bore a lease, whether it could be read or not.
    pub tags: Vec<(String, Vec<String>)>,
    /// Doors that no lease keeps.
    pub doors: Vec<Door>,
}

/// What of all that stands is over. `instances`: their ids and tags; `gone`: the leases of which it is known that nobody
/// holds them any more.
pub fn stale(doors: &[Door], instances: &[(&str, &Tags)], gone: &BTreeSet<String>, now: i64) -> Stale {
    let counts = |id: &str, until: i64| !gone.contains(id) && lasts(until, now);
    let live: Vec<Lease> = instances
        .iter()
        .flat_map(|(_, tags)| Lease::all(tags))
        .filter(|lease| counts(&lease.id, lease.until))
        .collect();
    let kept = |tag: &String| live.iter().any(|lease| tag_of(&lease.id) == *tag);
    let tags = instances.iter().map(|(instance, tags)| {
        let ended = tags.keys().filter(|tag| tag.starts_with(names::TAG_SSH) && !kept(tag)).cloned().collect();
        ((*instance).to_owned(), ended)
    });
    let shut = |door: &&Door| !counts(&door.id, door.until) && !live.iter().any(|lease| lease.source == door.source);
    Stale {
        tags: tags.filter(|(_, ended): &(String, Vec<String>)| !ended.is_empty()).collect(),
        doors: doors.iter().filter(shut).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_790_000_000;
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA";

    fn lease(id: &str, host: u8, until: i64) -> Lease {
        Lease {
            id: id.into(),
            until,
            source: Ipv4Net::from(std::net::Ipv4Addr::new(203, 0, 113, host)),
            key: KEY.into(),
        }
    }

    fn tags(leases: &[Lease]) -> Tags {
        leases.iter().map(Lease::tag).chain([("devopsctl:name".to_owned(), "hello".to_owned())]).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let lease = lease("abcd", 7, NOW);
        let (key, value) = lease.tag();
        assert_eq!(key, "devopsctl:ssh:abcd");
        assert_eq!(value, format!("{NOW} 203.0.113.7/32 {KEY}"));
        assert_eq!(Lease::of(&key, &value), Some(lease.clone()));
        assert_eq!(lease.door().description(), format!("devopsctl:ssh:abcd until {NOW}"));
        assert_eq!(Door::of(&lease.door().description(), lease.source), Some(lease.door()));
        for other in ["", "devopsctl:ssh:abcd", "the office", "devopsctl:ssh:abcd until tomorrow"] {
            assert_eq!(Door::of(other, lease.source), None, "{other}");
        }
    }

    #[test]
    fn a_door_stays_for_the_other_who_comes_from_the_same_address() {
        let (first, second) = (lease("aaaa", 7, NOW + 10), lease("bbbb", 7, NOW + 500));
        let both = tags(&[first.clone(), second.clone()]);
        let look = |tags: &Tags, now| stale(&[first.door()], &[("i-1", tags)], &BTreeSet::new(), now);
        assert_eq!(look(&both, NOW), Stale::default());
        let later = look(&both, NOW + 11);
        assert_eq!(later.tags, [("i-1".to_owned(), vec!["devopsctl:ssh:aaaa".to_owned()])]);
        assert_eq!(later.doors, []);
        assert_eq!(look(&both, NOW + 501).doors, [first.door()]);
    }

    #[test]
    fn who_is_known_to_be_gone_keeps_nothing() {
        let lease = lease("aaaa", 7, NOW + 500);
        let gone = BTreeSet::from(["aaaa".to_owned()]);
        let found = stale(&[lease.door()], &[("i-1", &tags(std::slice::from_ref(&lease)))], &gone, NOW);
        assert_eq!((found.doors, found.tags.len()), (vec![lease.door()], 1));
    }

    #[test]
    fn a_door_whose_lease_is_in_no_list_yet_stays_for_its_first_time() {
        let door = lease("aaaa", 7, NOW + 500).door();
        let look = |now| stale(std::slice::from_ref(&door), &[("i-1", &Tags::new())], &BTreeSet::new(), now).doors;
        assert_eq!(look(NOW), vec![]);
        assert_eq!(look(NOW + 500), vec![door.clone()]);
        let forged = Door { until: NOW + 1_000_000, ..door };
        assert_eq!(stale(std::slice::from_ref(&forged), &[], &BTreeSet::new(), NOW).doors, [forged]);
    }

    #[test]
    fn a_tag_that_cannot_be_read_goes() {
        let tags = Tags::from([("devopsctl:ssh:aaaa".into(), "x".into()), ("devopsctl:sshd".into(), "x".into())]);
        let found = stale(&[], &[("i-1", &tags)], &BTreeSet::new(), NOW);
        assert_eq!(found.tags, [("i-1".to_owned(), vec!["devopsctl:ssh:aaaa".to_owned()])]);
    }

    proptest! {
        /// Whoever is connected keeps his lease and a door for his address; an hour later nothing is left of all.
        #[test]
        fn nobody_is_shut_out_and_nothing_stays_for_ever(
            some in proptest::collection::vec((0..4_u8, -700..700_i64, any::<bool>(), any::<bool>()), 0..8),
        ) {
            let leases: Vec<Lease> =
                some.iter().enumerate().map(|(n, (host, left, ..))| lease(&format!("{n:04x}"), *host, NOW + left)).collect();
            let gone: BTreeSet<String> =
                leases.iter().zip(&some).filter(|(_, one)| one.2).map(|(lease, _)| lease.id.clone()).collect();
            // Of several from one address, one has made the door; and some have none.
            let mut doors: Vec<Door> = leases.iter().zip(&some).filter(|(_, one)| one.3).map(|(lease, _)| lease.door()).collect();
            doors.sort_by_key(|door| door.source);
            doors.dedup_by_key(|door| door.source);
            let tags = tags(&leases);
            let found = stale(&doors, &[("i-1", &tags)], &gone, NOW);
            let ended: Vec<&String> = found.tags.iter().flat_map(|(_, tags)| tags).collect();
            for lease in &leases {
                let lives = !gone.contains(&lease.id) && lease.until > NOW;
                prop_assert_eq!(!ended.contains(&&tag_of(&lease.id)), lives);
                if lives {
                    prop_assert!(found.doors.iter().all(|door| door.source != lease.source));
                }
            }
            let later = stale(&doors, &[("i-1", &tags)], &BTreeSet::new(), NOW + 700);
            prop_assert_eq!(later.doors.len(), doors.len());
            prop_assert_eq!(later.tags.iter().map(|(_, tags)| tags.len()).sum::<usize>(), leases.len());
        }
    }
}
