//! Leases and SSH rules in AWS's tags and descriptions, and which of them have ended: pure.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use crate::base::names;
use crate::resources::Tags;

/// How long a lease lasts from its creation or renewal, in seconds. Clocks may differ: AWS refuses calls that are 5
/// minutes off.
const LASTS: i64 = 600;
/// A later end was not set by devopsctl. The agent has the same limit.
const LONGEST: i64 = 3600;

/// The lease of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its random id.
    pub id: String,
    /// When it ends, in seconds since 1970.
    pub until: i64,
    /// The user's address.
    pub source: Ipv4Net,
    /// The session's public key in OpenSSH's format.
    pub key: String,
}

impl Lease {
    /// Creates a lease.
    pub fn new(id: &str, source: Ipv4Net, key: &str, now: i64) -> Self {
        Self { id: id.to_owned(), until: now + LASTS, source, key: key.to_owned() }
    }

    /// The same lease, renewed.
    #[must_use]
    pub fn renewed(&self, now: i64) -> Self {
        Self { until: now + LASTS, ..self.clone() }
    }

    /// The tag for this lease; `agent/ssh/keys.py` reads it.
    pub fn tag(&self) -> (String, String) {
        (tag_of(&self.id), format!("{} {} {}", self.until, self.source, self.key))
    }

    fn of(key: &str, value: &str) -> Option<Self> {
        let id = key.strip_prefix(names::TAG_SSH)?.to_owned();
        let mut words = value.splitn(3, ' ');
        let (until, source) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Self { id, until, source, key: words.next()?.to_owned() })
    }

    /// All valid leases in an instance's tags.
    pub fn all(tags: &Tags) -> impl Iterator<Item = Self> {
        tags.iter().filter_map(|(key, value)| Self::of(key, value))
    }

    /// Whether it has not ended.
    pub fn lasts(&self, now: i64) -> bool {
        lasts(self.until, now)
    }

    /// The SSH rule for it.
    pub fn ssh_rule(&self) -> SshRule {
        SshRule { id: self.id.clone(), until: self.until, source: self.source }
    }
}

fn lasts(until: i64, now: i64) -> bool {
    now < until && until <= now + LONGEST
}

/// The key of a lease's tag.
pub fn tag_of(id: &str) -> String {
    format!("{}{id}", names::TAG_SSH)
}

/// A rule of the security group that allows port 22 from one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SshRule {
    /// The id of the lease for which it was created.
    pub id: String,
    /// The lease's first end: until then the rule stays, even if the lease is not visible yet.
    pub until: i64,
    /// The allowed source.
    pub source: Ipv4Net,
}

impl SshRule {
    /// The description by which the rule is known.
    pub fn description(&self) -> String {
        format!("{} until {}", tag_of(&self.id), self.until)
    }

    /// Reads the description of a rule.
    pub fn of(description: &str, source: Ipv4Net) -> Option<Self> {
        let (id, until) = description.strip_prefix(names::TAG_SSH)?.split_once(" until ")?;
        Some(Self { id: id.to_owned(), until: until.parse().ok()?, source })
    }
}

/// Leases and rules that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// The tags of ended or invalid leases, by instance.
    pub tags: Vec<(String, Vec<String>)>,
    /// Rules without a lease.
    pub ssh_rules: Vec<SshRule>,
}

/// Finds the leases and rules that have ended. `instances`: ids and tags; `gone`: leases whose sessions are known to be
/// killed.
pub fn stale(ssh_rules: &[SshRule], instances: &[(&str, &Tags)], gone: &BTreeSet<String>, now: i64) -> Stale {
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
    let shut = |rule: &&SshRule| !counts(&rule.id, rule.until) && !live.iter().any(|lease| lease.source == rule.source);
    Stale {
        tags: tags.filter(|(_, ended): &(String, Vec<String>)| !ended.is_empty()).collect(),
        ssh_rules: ssh_rules.iter().filter(shut).cloned().collect(),
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
    fn leases_and_rules_are_read_as_written() {
        let lease = lease("abcd", 7, NOW);
        let (key, value) = lease.tag();
        assert_eq!(key, "devopsctl:ssh:abcd");
        assert_eq!(value, format!("{NOW} 203.0.113.7/32 {KEY}"));
        assert_eq!(Lease::of(&key, &value), Some(lease.clone()));
        assert_eq!(lease.ssh_rule().description(), format!("devopsctl:ssh:abcd until {NOW}"));
        assert_eq!(SshRule::of(&lease.ssh_rule().description(), lease.source), Some(lease.ssh_rule()));
        for other in ["", "devopsctl:ssh:abcd", "the office", "devopsctl:ssh:abcd until tomorrow"] {
            assert_eq!(SshRule::of(other, lease.source), None, "{other}");
        }
    }

    #[test]
    fn a_rule_stays_for_another_session_from_the_same_address() {
        let (first, second) = (lease("aaaa", 7, NOW + 10), lease("bbbb", 7, NOW + 500));
        let both = tags(&[first.clone(), second.clone()]);
        let look = |tags: &Tags, now| stale(&[first.ssh_rule()], &[("i-1", tags)], &BTreeSet::new(), now);
        assert_eq!(look(&both, NOW), Stale::default());
        let later = look(&both, NOW + 11);
        assert_eq!(later.tags, [("i-1".to_owned(), vec!["devopsctl:ssh:aaaa".to_owned()])]);
        assert_eq!(later.ssh_rules, []);
        assert_eq!(look(&both, NOW + 501).ssh_rules, [first.ssh_rule()]);
    }

    #[test]
    fn a_session_that_was_killed_keeps_nothing() {
        let lease = lease("aaaa", 7, NOW + 500);
        let gone = BTreeSet::from(["aaaa".to_owned()]);
        let found = stale(&[lease.ssh_rule()], &[("i-1", &tags(std::slice::from_ref(&lease)))], &gone, NOW);
        assert_eq!((found.ssh_rules, found.tags.len()), (vec![lease.ssh_rule()], 1));
    }

    #[test]
    fn a_rule_whose_lease_is_not_listed_yet_stays_until_its_first_end() {
        let ssh_rule = lease("aaaa", 7, NOW + 500).ssh_rule();
        let look =
            |now| stale(std::slice::from_ref(&ssh_rule), &[("i-1", &Tags::new())], &BTreeSet::new(), now).ssh_rules;
        assert_eq!(look(NOW), vec![]);
        assert_eq!(look(NOW + 500), vec![ssh_rule.clone()]);
        let forged = SshRule { until: NOW + 1_000_000, ..ssh_rule };
        assert_eq!(stale(std::slice::from_ref(&forged), &[], &BTreeSet::new(), NOW).ssh_rules, [forged]);
    }

    #[test]
    fn an_invalid_tag_is_deleted() {
        let tags = Tags::from([("devopsctl:ssh:aaaa".into(), "x".into()), ("devopsctl:sshd".into(), "x".into())]);
        let found = stale(&[], &[("i-1", &tags)], &BTreeSet::new(), NOW);
        assert_eq!(found.tags, [("i-1".to_owned(), vec!["devopsctl:ssh:aaaa".to_owned()])]);
    }

    proptest! {
        /// A connected session keeps its lease and a rule for its address; an hour later nothing is left.
        #[test]
        fn sessions_stay_connected_and_leave_nothing(
            some in proptest::collection::vec((0..4_u8, -700..700_i64, any::<bool>(), any::<bool>()), 0..8),
        ) {
            let leases: Vec<Lease> =
                some.iter().enumerate().map(|(n, (host, left, ..))| lease(&format!("{n:04x}"), *host, NOW + left)).collect();
            let gone: BTreeSet<String> =
                leases.iter().zip(&some).filter(|(_, one)| one.2).map(|(lease, _)| lease.id.clone()).collect();
            // Of several sessions from one address, one has created the rule; some have none.
            let mut ssh_rules: Vec<SshRule> = leases.iter().zip(&some).filter(|(_, one)| one.3).map(|(lease, _)| lease.ssh_rule()).collect();
            ssh_rules.sort_by_key(|rule| rule.source);
            ssh_rules.dedup_by_key(|rule| rule.source);
            let tags = tags(&leases);
            let found = stale(&ssh_rules, &[("i-1", &tags)], &gone, NOW);
            let ended: Vec<&String> = found.tags.iter().flat_map(|(_, tags)| tags).collect();
            for lease in &leases {
                let lives = !gone.contains(&lease.id) && lease.until > NOW;
                prop_assert_eq!(!ended.contains(&&tag_of(&lease.id)), lives);
                if lives {
                    prop_assert!(found.ssh_rules.iter().all(|rule| rule.source != lease.source));
                }
            }
            let later = stale(&ssh_rules, &[("i-1", &tags)], &BTreeSet::new(), NOW + 700);
            prop_assert_eq!(later.ssh_rules.len(), ssh_rules.len());
            prop_assert_eq!(later.tags.iter().map(|(_, tags)| tags.len()).sum::<usize>(), leases.len());
        }
    }
}
