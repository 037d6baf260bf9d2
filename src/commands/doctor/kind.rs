//! The instance type: whether it is there, in a zone where an instance could go, and of the image's architecture.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::LocationType;

use super::{Check, ask};
use crate::aws::{ApiError, Aws, Target, explain};
use crate::resources::{filter, instance};

/// What EC2 says of an instance type.
#[derive(Debug, Default)]
pub struct Kind {
    /// None where the region does not have it.
    about: Option<instance::Kind>,
    /// The zones that have it.
    zones: BTreeSet<String>,
    /// What an account on the free plan may launch in the region.
    free: Vec<(String, instance::Kind)>,
}

impl Kind {
    /// Whether such an instance has CPU credits.
    pub fn is_burstable(&self) -> bool {
        self.about.as_ref().is_some_and(|about| about.burstable)
    }

    /// How many vCPUs such an instance has.
    pub fn vcpus(&self) -> Option<i64> {
        self.about.as_ref()?.vcpus.map(i64::from)
    }
}

/// Asked as `up` asks, and in which zones it is; and what the free plan has.
pub async fn look(aws: &Aws, kind: &str) -> Result<Kind, ApiError> {
    let types = ask("ec2:DescribeInstanceTypes", || instance::request_kind(aws, kind).send());
    let offerings = ask("ec2:DescribeInstanceTypeOfferings", || {
        let request = aws.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
        request.filters(filter("instance-type", kind)).send()
    });
    let free = ask("ec2:DescribeInstanceTypes", || instance::request_free_kinds(aws).send());
    let (types, offerings, free) = tokio::join!(types, offerings, free);
    let (types, offerings) = (types?, offerings?);
    // Without these nothing is missing but an advice.
    let free = free.ok().and_then(|free| free.instance_types).unwrap_or_default().into_iter();
    let free = free.filter_map(|one| Some((one.instance_type.as_ref()?.as_str().to_owned(), instance::Kind::of(one))));
    let zones = offerings.instance_type_offerings.unwrap_or_default().into_iter().filter_map(|one| one.location);
    Ok(Kind { about: instance::Kind::read(types), zones: zones.collect(), free: free.collect() })
}

/// Where the instance would be.
pub struct Place<'a> {
    /// The region.
    pub region: &'a str,
    /// The zones where it could go, as far as they are known.
    pub zones: &'a BTreeSet<&'a str>,
    /// Whether the account is on the free plan, if that is known.
    pub free: Option<bool>,
}

/// Judges the type `kind`.
pub fn judge(kind: &str, place: &Place, target: &Target, found: &Result<Kind, ApiError>) -> Check {
    const TYPE: &str = "type";
    let Place { region, zones, free } = *place;
    let found = match found {
        Ok(found) => found,
        Err(error) => return Check::unseen(TYPE, &explain("the instance type cannot be looked up", error)),
    };
    let Some(about) = &found.about else {
        return Check::fail(
            TYPE,
            format!("{kind} is not offered in {region}"),
            "choose another instance.type in deploy.yaml, for example t3.micro, or another region",
        );
    };
    if !zones.is_empty() && !zones.iter().any(|zone| found.zones.contains(*zone)) {
        let there = found.zones.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let here = zones.iter().copied().collect::<Vec<_>>().join(", ");
        return Check::fail(
            TYPE,
            format!("{kind} is offered in {there}, and the instance would go to {here}"),
            "choose another instance.type or network.subnet in deploy.yaml",
        );
    }
    let needed = match target.machine().1 {
        "aarch64" => "arm64",
        other => other,
    };
    // A process of the sandbox runs on whatever this machine has.
    if matches!(target, Target::Image { .. }) && !about.architectures.iter().any(|one| one == needed) {
        return Check::fail(
            TYPE,
            format!("{kind} is {}, and the image is {needed}", about.architectures.join(" or ")),
            "choose another instance.type in deploy.yaml, for example t3.micro or t4g.small",
        );
    }
    if let Err(failure) = about.check(kind) {
        return Check::failed(TYPE, &failure);
    }
    match (about.free, free) {
        (true, _) => Check::pass(TYPE, format!("{kind} is offered in {region}, free-tier eligible")),
        (false, Some(false)) => Check::pass(TYPE, format!("{kind} is offered in {region}")),
        (false, Some(true)) => Check::fail(
            TYPE,
            format!("{kind} is not free-tier eligible, and this account is on the free plan"),
            format!("{}; or take the paid plan (Billing console)", eligible(&found.free, needed)),
        ),
        (false, None) => Check::warn(
            TYPE,
            format!("{kind} is offered, but not free-tier eligible: accounts on the free plan are refused it"),
            format!("on the free plan, {}; otherwise nothing", eligible(&found.free, needed)),
        ),
    }
}

/// Which type to take on the free plan, the smallest first. `needed`: the image's architecture.
fn eligible(free: &[(String, instance::Kind)], needed: &str) -> String {
    let fits = |kind: &instance::Kind| kind.architectures.iter().any(|one| one == needed) && !kind.xen;
    let mut fitting: Vec<_> = free.iter().filter(|(_, kind)| fits(kind)).collect();
    fitting.sort_by_key(|(name, kind)| (kind.memory, name));
    let names: Vec<&str> = fitting.into_iter().map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [] => "choose another region: none of its types that are eligible can boot the image".to_owned(),
        [one] => format!("set instance.type to {one}"),
        [one, others @ ..] => format!("set instance.type to {one} (or {})", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::base::error::Exit;

    const FAILS: State = State::Fail(Exit::Failed);

    fn state(about: Option<(&str, bool)>, zones: &[&str]) -> State {
        on(None, about, zones)
    }

    /// `plan`: whether the account is on the free plan.
    fn on(plan: Option<bool>, about: Option<(&str, bool)>, zones: &[&str]) -> State {
        let target = Target::Image { python: "3.13", platform: "aarch64-manylinux_2_40" };
        let about = about.map(|(one, free)| instance::Kind {
            architectures: vec![one.to_owned()],
            free,
            ..instance::Kind::default()
        });
        let kind = Kind { about, zones: ["eu-west-1a".to_owned()].into(), free: vec![] };
        let zones = zones.iter().copied().collect();
        judge("x1.y", &Place { region: "eu-west-1", zones: &zones, free: plan }, &target, &Ok(kind)).state
    }

    #[test]
    fn a_type_must_be_there_and_of_the_images_architecture() {
        assert_eq!(state(Some(("arm64", true)), &[]), State::Pass);
        assert_eq!(state(Some(("arm64", false)), &[]), State::Warn);
        assert_eq!(state(Some(("x86_64", true)), &[]), FAILS);
        assert_eq!(state(None, &[]), FAILS);
    }

    #[test]
    fn what_is_not_eligible_is_an_obstacle_on_the_free_plan_alone() {
        let other = Some(("arm64", false));
        assert_eq!(on(Some(true), other, &[]), FAILS);
        assert_eq!(on(Some(false), other, &[]), State::Pass);
        assert_eq!(on(None, other, &[]), State::Warn);
        assert_eq!(on(Some(true), Some(("arm64", true)), &[]), State::Pass);
    }

    #[test]
    fn on_the_free_plan_a_type_is_named_that_boots_the_image() {
        let free = |name: &str, architecture: &str, memory, xen| {
            let architectures = vec![architecture.to_owned()];
            (name.to_owned(), instance::Kind { architectures, memory, xen, free: true, ..instance::Kind::default() })
        };
        let all = [
            free("t3.small", "x86_64", 2048, false),
            free("t3.micro", "x86_64", 1024, false),
            free("t4g.micro", "arm64", 1024, false),
            free("t2.micro", "x86_64", 1024, true),
        ];
        assert_eq!(eligible(&all, "x86_64"), "set instance.type to t3.micro (or t3.small)");
        assert_eq!(eligible(&all, "arm64"), "set instance.type to t4g.micro");
        assert!(eligible(&all[..2], "arm64").contains("another region"));
    }

    #[test]
    fn one_zone_that_has_it_is_enough() {
        assert_eq!(state(Some(("arm64", true)), &["eu-west-1a", "eu-west-1b"]), State::Pass);
        assert_eq!(state(Some(("arm64", true)), &["eu-west-1b"]), FAILS);
    }
}
