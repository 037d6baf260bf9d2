//! Conflicts in DNS, in words.

use std::net::Ipv4Addr;

use super::{State, Verdict, target};
use crate::base::error::{Failure, Result};
use crate::base::names;

/// A conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A record that is not ours.
    NameConflict(String),
    /// An IPv6 address: clients with IPv6 would not use our A record.
    Ipv6(String),
    /// The mark of another deployment, or another TXT record.
    Theirs(String),
}

/// Checks for a conflict before anything is created. `ip`: the address, if it exists.
///
/// # Errors
/// There is no zone or more than one, or the name has records that are not ours.
pub fn check(domain: &str, ip: Option<Ipv4Addr>, found: &[State]) -> Result<()> {
    let Some(state) = target(Some(domain), found) else { return Err(no_zone(domain)) };
    let of_that_name = |other: &&State| other.domain == domain && other.zone.name == state.zone.name;
    let ids: Vec<&str> = found.iter().filter(of_that_name).map(|state| state.zone.id.as_str()).collect();
    if ids.len() > 1 {
        return Err(many_zones(&state.zone.name, &ids));
    }
    match state.judge(ip) {
        Verdict::Refuse(obstacle) => Err(obstacle.refuse(state)),
        _ => Ok(()),
    }
}

const BY_HAND: &str = "remove `dns: route53` from deploy.yaml and create the record yourself; up prints it";

fn no_zone(domain: &str) -> Failure {
    let zone = domain.split_once('.').map(|(_, parent)| parent).filter(|parent| parent.contains('.')).unwrap_or(domain);
    Failure::failed(format!("this account's Route 53 has no public zone for {domain}"))
        .because("network.dns is route53, so the record would be created there")
        .standing("Nothing was changed.")
        .next(format!(
            "create one, and delegate the name to its name servers at the registrar:\n  \
             aws route53 create-hosted-zone --name {zone} --caller-reference {zone}\nor {BY_HAND}"
        ))
}

fn many_zones(zone: &str, ids: &[&str]) -> Failure {
    Failure::failed(format!("this account's Route 53 has {} public zones named {zone}", ids.len()))
        .because(format!(
            "resolvers use only one of {}: the zone whose name servers are set at the registrar",
            ids.join(", ")
        ))
        .standing("Nothing was changed.")
        .next(format!("delete the unused ones; or {BY_HAND}"))
}

impl Obstacle {
    /// The error, with the next steps.
    pub(super) fn refuse(&self, state: &State) -> Failure {
        let (domain, mark) = (&state.domain, names::record_mark(&state.domain));
        let place = format!("Route 53, zone {} ({})", state.zone.name, state.zone.id);
        let (what, why, next) = match self {
            Obstacle::NameConflict(record) => (
                format!("{domain} has a record that does not belong to this deployment"),
                format!("{place}, has {domain}. {record}; and no {mark} marks it as this deployment's"),
                format!("delete it there if it is unused, or choose another network.domain; or {BY_HAND}"),
            ),
            Obstacle::Ipv6(record) => (
                format!("{domain} has an IPv6 address, and this deployment has none"),
                format!(
                    "{place}, has {domain}. {record}; certificate authorities and clients with IPv6 would connect there"
                ),
                "delete it there, or choose another network.domain".to_owned(),
            ),
            Obstacle::Theirs(said) => (
                format!("{domain} belongs to another deployment"),
                format!("{place}, has {mark}. TXT {said}"),
                format!(
                    "choose another network.domain; or run down for that deployment first; if it no longer exists, delete \
                     {mark} and {domain} there"
                ),
            ),
        };
        Failure::failed(what).because(why).standing("It was not changed.").next(next)
    }
}
