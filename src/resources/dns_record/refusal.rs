//! What keeps a name from being led to the address, in words.

use std::net::Ipv4Addr;

use super::{State, Verdict, target};
use crate::base::error::{Failure, Result};
use crate::base::names;

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Somebody else's record.
    Foreign(String),
    /// An address of IPv6, beside which ours would not be asked for.
    Ipv6(String),
    /// Another deployment's mark, or what nobody here has written.
    Theirs(String),
}

/// What is in the way of a domain's record, told before anything is made. `ip`: the address, if there is one already.
///
/// # Errors
/// That there is no zone, or more than one; or what the name has that is not ours.
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

const BY_HAND: &str = "take `dns: route53` out of deploy.yaml and make the record yourself; up says which";

fn no_zone(domain: &str) -> Failure {
    let zone = domain.split_once('.').map(|(_, parent)| parent).filter(|parent| parent.contains('.')).unwrap_or(domain);
    Failure::failed(format!("this account's Route 53 has no public zone for {domain}"))
        .because("network.dns is route53, so the record would be made there")
        .standing("Nothing was changed.")
        .next(format!(
            "make one, and have whoever registered the name point to its name servers:\n  \
             aws route53 create-hosted-zone --name {zone} --caller-reference {zone}\nor {BY_HAND}"
        ))
}

fn many_zones(zone: &str, ids: &[&str]) -> Failure {
    Failure::failed(format!("this account's Route 53 has {} public zones {zone}", ids.len()))
        .because(format!(
            "the world asks one of {} only: the one whose name servers the registrar names",
            ids.join(", ")
        ))
        .standing("Nothing was changed.")
        .next(format!("remove those that nobody asks; or {BY_HAND}"))
}

impl Obstacle {
    /// That it is in the way, and what can be done.
    pub(super) fn refuse(&self, state: &State) -> Failure {
        let (domain, mark) = (&state.domain, names::record_mark(&state.domain));
        let place = format!("Route 53, zone {} ({})", state.zone.name, state.zone.id);
        let (what, why, next) = match self {
            Obstacle::Foreign(record) => (
                format!("{domain} has a record that is not ours"),
                format!("{place}, has {domain}. {record}; and no {mark} says that this deployment made it"),
                format!("remove it there if nobody needs it, or choose another network.domain; or {BY_HAND}"),
            ),
            Obstacle::Ipv6(record) => (
                format!("{domain} has an IPv6 address, and this deployment has none"),
                format!("{place}, has {domain}. {record}; authorities and clients that have IPv6 would go there"),
                "remove it there, or choose another network.domain".to_owned(),
            ),
            Obstacle::Theirs(said) => (
                format!("{domain} is another deployment's"),
                format!("{place}, has {mark}. TXT {said}"),
                format!(
                    "choose another network.domain; or take that deployment down first; if it is no more, remove {mark} and \
                     {domain} there"
                ),
            ),
        };
        Failure::failed(what).because(why).standing("It was left alone.").next(next)
    }
}
