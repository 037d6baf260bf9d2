//! The instance type: offered by the region, in a zone with a subnet, with the image's architecture, allowed by the plan.

use std::collections::BTreeSet;

use super::Check;
use crate::aws::{ApiError, Target, explain};
use crate::resources::instance;
use crate::resources::preflight::InstanceType;

/// Where the instance would be launched.
pub struct Place<'a> {
    /// The region.
    pub region: &'a str,
    /// The zones with a subnet, as far as they are known.
    pub zones: &'a BTreeSet<&'a str>,
    /// Whether the account is on the free plan, if that is known.
    pub free: Option<bool>,
}

const TYPE: &str = "type";

/// Judges the type `name`.
pub fn judge(name: &str, place: &Place, target: &Target, found: &Result<InstanceType, ApiError>) -> Check {
    let Place { region, zones, .. } = *place;
    let found = match found {
        Ok(found) => found,
        Err(error) => return Check::unseen(TYPE, &explain("cannot read the instance type", error)),
    };
    let Some(about) = &found.about else {
        return Check::fail(
            TYPE,
            format!("{name} is not offered in {region}"),
            "choose another instance.type in deploy.yaml, for example t3.micro, or another region",
        );
    };
    if !zones.is_empty() && !zones.iter().any(|zone| found.zones.contains(*zone)) {
        let offered = found.zones.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let here = zones.iter().copied().collect::<Vec<_>>().join(", ");
        return Check::fail(
            TYPE,
            format!("{name} is offered in {offered}, but the subnets are in {here}"),
            "choose another instance.type or network.subnet in deploy.yaml",
        );
    }
    let needed = match target.machine().1 {
        "aarch64" => "arm64",
        other => other,
    };
    // A process of the sandbox runs on this machine's architecture.
    if matches!(target, Target::Image { .. }) && !about.architectures.iter().any(|one| one == needed) {
        return Check::fail(
            TYPE,
            format!("{name} is {}, but the image is {needed}", about.architectures.join(" or ")),
            "choose another instance.type in deploy.yaml, for example t3.micro or t4g.small",
        );
    }
    match about.check(name) {
        Ok(()) => by_plan(name, place, (about, needed), &found.free),
        Err(failure) => Check::failed(TYPE, &failure),
    }
}

/// `needed`: the image's architecture; `eligible`: the types of the free plan.
fn by_plan(
    name: &str,
    place: &Place,
    (about, needed): (&instance::Kind, &str),
    eligible: &[(String, instance::Kind)],
) -> Check {
    let region = place.region;
    match (about.free, place.free) {
        (true, _) => Check::pass(TYPE, format!("{name} is offered in {region}, free-tier eligible")),
        (false, Some(false)) => Check::pass(TYPE, format!("{name} is offered in {region}")),
        (false, Some(true)) => Check::fail(
            TYPE,
            format!("{name} is not free-tier eligible, and this account is on the free plan"),
            format!("{}; or upgrade to the paid plan (Billing console)", suggestion(eligible, needed)),
        ),
        (false, None) => Check::warn(
            TYPE,
            format!("{name} is offered, but not free-tier eligible: the free plan does not allow it"),
            format!("on the free plan, {}; otherwise do nothing", suggestion(eligible, needed)),
        ),
    }
}

/// The types of the free plan that can boot the image, the smallest first.
fn suggestion(eligible: &[(String, instance::Kind)], needed: &str) -> String {
    let fits = |kind: &instance::Kind| kind.architectures.iter().any(|one| one == needed) && !kind.xen;
    let mut fitting: Vec<_> = eligible.iter().filter(|(_, kind)| fits(kind)).collect();
    fitting.sort_by_key(|(name, kind)| (kind.memory, name));
    let names: Vec<&str> = fitting.into_iter().map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [] => "choose another region: none of its eligible types can boot the image".to_owned(),
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
        let found = InstanceType { about, zones: ["eu-west-1a".to_owned()].into(), free: vec![] };
        let zones = zones.iter().copied().collect();
        judge("x1.y", &Place { region: "eu-west-1", zones: &zones, free: plan }, &target, &Ok(found)).state
    }

    #[test]
    fn a_type_must_be_offered_and_have_the_images_architecture() {
        assert_eq!(state(Some(("arm64", true)), &[]), State::Pass);
        assert_eq!(state(Some(("arm64", false)), &[]), State::Warn);
        assert_eq!(state(Some(("x86_64", true)), &[]), FAILS);
        assert_eq!(state(None, &[]), FAILS);
    }

    #[test]
    fn a_type_that_is_not_eligible_fails_only_on_the_free_plan() {
        let other = Some(("arm64", false));
        assert_eq!(on(Some(true), other, &[]), FAILS);
        assert_eq!(on(Some(false), other, &[]), State::Pass);
        assert_eq!(on(None, other, &[]), State::Warn);
        assert_eq!(on(Some(true), Some(("arm64", true)), &[]), State::Pass);
    }

    #[test]
    fn a_type_is_suggested_that_boots_the_image() {
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
        assert_eq!(suggestion(&all, "x86_64"), "set instance.type to t3.micro (or t3.small)");
        assert_eq!(suggestion(&all, "arm64"), "set instance.type to t4g.micro");
        assert!(suggestion(&all[..2], "arm64").contains("another region"));
    }

    #[test]
    fn one_zone_that_offers_it_is_enough() {
        assert_eq!(state(Some(("arm64", true)), &["eu-west-1a", "eu-west-1b"]), State::Pass);
        assert_eq!(state(Some(("arm64", true)), &["eu-west-1b"]), FAILS);
    }
}
