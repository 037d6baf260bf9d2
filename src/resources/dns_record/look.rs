//! Reads the records of a name in Route 53.

use aws_sdk_route53::types::{HostedZone, ResourceRecordSet, RrType};
use futures_util::future::try_join_all;

use super::{Form, Mark, Set, State, Zone};
use crate::aws::{Aws, call, explain};
use crate::base::error::Result;
use crate::base::names;

/// Record types that resolve a name. NS, a delegation to other servers, counts only below the zone's own name.
const LEADING: [&str; 3] = ["A", "AAAA", "CNAME"];
const ELSEWHERE: &str = "NS";

/// Reads a name in every public zone of this account that could contain it, longest name first.
///
/// # Errors
/// A call to Route 53 fails.
pub async fn observe(aws: &Aws, name: &str, domain: &str) -> Result<Vec<State>> {
    let zones = try_join_all(suffixes(domain).map(|suffix| zones(aws, suffix))).await?;
    try_join_all(zones.into_iter().flatten().map(|zone| state(aws, name, zone, domain))).await
}

/// Reads the name in the same zone again.
pub async fn again(aws: &Aws, name: &str, before: State) -> Result<State> {
    state(aws, name, before.zone, &before.domain).await
}

/// The names of zones that could contain the name, without top-level domains.
fn suffixes(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| name.split_once('.').map(|(_, parent)| parent))
        .filter(|name| name.contains('.'))
}

/// The public zones with exactly this name: a private zone is only visible inside its VPCs.
///
/// The list is sorted and starts at the name, so the zones of that name, of which there may be many, come first.
/// <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHostedZonesByName.html>
async fn zones(aws: &Aws, name: &str) -> Result<Vec<Zone>> {
    let answer =
        call("route53:ListHostedZonesByName", || aws.route53.list_hosted_zones_by_name().dns_name(name).send());
    let answer =
        answer.await.map_err(|error| explain(format!("cannot look up the zone {name} in Route 53"), &error))?;
    let public = |zone: &HostedZone| zone.config.as_ref().is_none_or(|config| !config.private_zone);
    let named = answer.hosted_zones.into_iter().filter(|zone| same(&zone.name, name) && public(zone));
    Ok(named
        .map(|zone| Zone { id: zone.id.trim_start_matches("/hostedzone/").to_owned(), name: name.to_owned() })
        .collect())
}

async fn state(aws: &Aws, name: &str, zone: Zone, domain: &str) -> Result<State> {
    let mark = names::record_mark(domain);
    let (sets, marks) = tokio::try_join!(sets(aws, &zone, domain, None), sets(aws, &zone, &mark, Some(RrType::Txt)))?;
    let counts = |kind: &str| LEADING.contains(&kind) || (kind == ELSEWHERE && zone.name != domain);
    let sets = sets.into_iter().filter(|set| counts(&set.kind)).collect();
    let mark = marks.into_iter().find(|set| set.kind == "TXT");
    Ok(State { zone, domain: domain.to_owned(), sets, mark: Mark::read(mark, name, &aws.region) })
}

/// The record sets of a name, starting with the type. A page has 300 entries, more than a name can have before its
/// CNAME; later entries belong to other names.
async fn sets(aws: &Aws, zone: &Zone, name: &str, from: Option<RrType>) -> Result<Vec<Set>> {
    let request = || {
        let list = aws.route53.list_resource_record_sets().hosted_zone_id(&zone.id).start_record_name(name);
        list.set_start_record_type(from.clone()).send()
    };
    let answer = call("route53:ListResourceRecordSets", request).await;
    let answer =
        answer.map_err(|error| explain(format!("cannot list the records of the zone {}", zone.name), &error))?;
    Ok(answer.resource_record_sets.into_iter().filter(|set| same(&set.name, name)).map(from_route53).collect())
}

fn from_route53(set: ResourceRecordSet) -> Set {
    let form = match set.alias_target {
        _ if set.set_identifier.is_some() || set.traffic_policy_instance_id.is_some() => Form::Routed,
        Some(target) => Form::Alias(target.dns_name.trim_end_matches('.').to_owned()),
        None => Form::Plain,
    };
    let values = set.resource_records.unwrap_or_default().into_iter().map(|record| record.value).collect();
    Set { kind: set.r#type.as_str().to_owned(), ttl: set.ttl.unwrap_or_default(), values, form }
}

/// Route 53 returns names in lowercase with a trailing dot, and other characters than a-z, 0-9, `-`, `_` and `.` as
/// octal escapes. Our names have no such characters, so an escaped name is never ours.
/// <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html>
fn same(answered: &str, name: &str) -> bool {
    answered.strip_suffix('.').unwrap_or(answered).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_of_a_zone_comes_first_and_none_is_a_top_level_domain() {
        assert_eq!(
            suffixes("a.b.example.com").collect::<Vec<_>>(),
            ["a.b.example.com", "b.example.com", "example.com"]
        );
        assert_eq!(suffixes("example.com").collect::<Vec<_>>(), ["example.com"]);
    }

    #[test]
    fn names_come_back_with_a_dot_and_escapes() {
        for (answered, is) in [
            ("app.example.com.", true),
            ("app.example.com", true),
            ("APP.example.com.", true),
            ("\\052.example.com.", false),
            ("app.example.com..", false),
            ("xapp.example.com.", false),
            ("example.com.", false),
        ] {
            assert_eq!(same(answered, "app.example.com"), is, "{answered}");
        }
        assert!(same("_devopsctl.app.example.com.", "_devopsctl.app.example.com"));
    }
}
