//! The account: the region, the network, addresses, vCPUs and the image.

use std::collections::BTreeSet;

use super::identity::{self, Caller};
use super::quota::{self, Quota, Wanted};
use super::{Check, instance_type, plan};
use crate::aws::{ApiError, Aws, Machine, explain};
use crate::base::error::Result;
use crate::config::{Deployment, Network};
use crate::resources::elastic_ip;
use crate::resources::instance::{self, Credits, Image};
use crate::resources::preflight::{self, InstanceType, Subnet, UNKNOWN_CREDENTIALS};
use crate::resources::route::Way;

/// What was observed.
pub struct Seen {
    caller: Caller,
    subnets: Result<Vec<Subnet>, ApiError>,
    /// The mode of VPC Block Public Access.
    block: Result<String, ApiError>,
    /// The way to the internet.
    way: Result<Way>,
    /// How many Elastic IPs the region allows.
    limit: Result<Option<usize>, ApiError>,
    /// How many are in use, and how many of them by this deployment.
    addresses: Result<(usize, usize)>,
    /// The image that would boot.
    pub image: Result<Image>,
    instance_type: Result<InstanceType, ApiError>,
    /// The vCPU quota and its use, if the type's quota is known.
    quota: Option<Quota>,
    plan: plan::Answer,
}

/// Observes everything concurrently. A failure to identify the caller ends it at once.
pub async fn observe(aws: &Aws, deployment: &Deployment, machine: &Machine) -> Result<Seen> {
    let image = preflight::soon(async {
        let id = instance::newest(aws, &machine.parameter).await?;
        instance::image(aws, machine, id.as_deref()).await
    });
    let rest = async {
        Ok(tokio::join!(
            preflight::subnets(aws, deployment.network.subnet.as_deref()),
            preflight::block_public_access(aws),
            preflight::elastic_ip_limit(aws),
            preflight::soon(elastic_ip::count(aws, &deployment.name)),
            image,
            preflight::instance_type(aws, &deployment.instance.kind),
            quota::observe(aws, &deployment.instance.kind),
            preflight::account_plan(aws),
        ))
    };
    let (caller, ((subnets, way), block, limit, addresses, image, instance_type, quota, plan)) =
        tokio::try_join!(identity::observe(aws), rest)?;
    Ok(Seen { caller, subnets, block, way, limit, addresses, image, instance_type, quota, plan })
}

impl Seen {
    /// The checks.
    pub fn judge(&self, aws: &Aws, deployment: &Deployment, machine: &Machine) -> Vec<Check> {
        let region = &aws.region;
        let mut checks = vec![identity::judge(&self.caller, aws.source), enabled(region, self.refusal())];
        if !self.answers() {
            return checks;
        }
        checks.extend(plan::judge(&self.plan));
        let free = plan::is_free(&self.plan);
        let network = network(&deployment.network, region, &self.subnets, &self.block);
        let shut = self.way.as_ref().ok().filter(|_| !network.is_failed()).and_then(|way| way.check().err());
        checks.push(shut.map_or(network, |failure| Check::failed(NETWORK, &failure)));
        checks.extend(addresses(&deployment.network, &self.limit, &self.addresses));
        checks.push(image(machine, &self.image, free));
        let place = instance_type::Place { region, zones: &self.zones(), free };
        let name = &deployment.instance.kind;
        checks.push(instance_type::judge(name, &place, &machine.target, &self.instance_type));
        checks.extend(self.vcpus(region, deployment, machine));
        checks
    }

    /// `None` if the quota is unknown, or if the check of the type already fails.
    fn vcpus(&self, region: &str, deployment: &Deployment, machine: &Machine) -> Option<Check> {
        let vcpus = self.instance_type.as_ref().ok()?.about.as_ref()?.vcpus.map(i64::from)?;
        let spec = instance::spec(&deployment.instance, &machine.image, deployment.network.subnet.as_deref());
        let wanted = Wanted { name: &deployment.name, kind: &deployment.instance.kind, vcpus, spec: &spec };
        self.quota.as_ref()?.judge(region, &wanted)
    }

    /// The zones that an instance could be launched in.
    fn zones(&self) -> BTreeSet<&str> {
        self.subnets.iter().flatten().filter_map(|subnet| subnet.zone.as_deref()).collect()
    }

    /// Whether the region is enabled; otherwise it answers no call.
    pub fn answers(&self) -> bool {
        !enabled("", self.refusal()).is_failed()
    }

    fn refusal(&self) -> Option<&ApiError> {
        self.caller.not_enabled.as_ref().or(self.subnets.as_ref().err())
    }

    /// The account's id.
    pub fn account(&self) -> &str {
        &self.caller.identity.account
    }

    /// The CPU credits that an instance would have.
    pub fn credits(&self, deployment: &Deployment) -> Option<Credits> {
        let about = self.instance_type.as_ref().ok().and_then(|found| found.about.as_ref());
        let burstable = about.is_some_and(|about| about.burstable);
        burstable.then(|| Credits::at_launch(deployment.instance.cpu_credits))
    }

    /// Whether there is a subnet for an instance.
    pub fn has_network(&self) -> bool {
        self.subnets.as_ref().is_ok_and(|subnets| !subnets.is_empty())
    }

    /// The VPC of that subnet.
    pub fn vpc(&self) -> Option<&str> {
        self.subnets.as_ref().ok()?.first().map(|subnet| subnet.vpc.as_str())
    }
}

const NETWORK: &str = "network";

/// A region that is not enabled knows no credentials.
fn enabled(region: &str, error: Option<&ApiError>) -> Check {
    const REGION: &str = "region";
    match error {
        Some(error) if error.is(&UNKNOWN_CREDENTIALS) => Check::fail(
            REGION,
            format!("{region} is not enabled in this account ({})", error.code),
            format!("aws account enable-region --region-name {region}; or choose another one with --region"),
        ),
        Some(error) if error.code.is_empty() => {
            Check::failed(REGION, &explain(format!("EC2 in {region} does not answer"), error))
        }
        _ => Check::pass(REGION, region),
    }
}

fn network(
    network: &Network,
    region: &str,
    subnets: &Result<Vec<Subnet>, ApiError>,
    block: &Result<String, ApiError>,
) -> Check {
    let subnets = match subnets {
        Ok(subnets) => subnets,
        Err(error) => {
            let failure = explain("cannot read the subnets", error);
            // Without `network.subnet`, EC2 chooses the subnet, and `up` needs no permission to read them.
            return if network.subnet.is_some() {
                Check::failed(NETWORK, &failure)
            } else {
                Check::unseen(NETWORK, &failure)
            };
        }
    };
    let Some(vpc) = subnets.first().map(|subnet| subnet.vpc.as_str()) else {
        return Check::fail(
            NETWORK,
            format!("no default VPC with subnets in {region}"),
            format!("aws ec2 create-default-vpc --region {region}; or name a subnet as network.subnet in deploy.yaml"),
        );
    };
    let place = match &network.subnet {
        Some(subnet) => format!("{subnet} in {vpc}"),
        None => format!("the default VPC {vpc}"),
    };
    if subnets.iter().all(|subnet| subnet.free <= 0) {
        return Check::fail(
            NETWORK,
            format!("{place} has no free address"),
            "name another subnet as network.subnet in deploy.yaml",
        );
    }
    let excluded = || subnets.iter().all(|subnet| subnet.block.as_deref() == Some("off"));
    match block {
        Ok(mode) if mode.starts_with("block") && excluded() => {
            Check::pass(NETWORK, format!("{place}, which is excluded from VPC Block Public Access ({mode})"))
        }
        Ok(mode) if mode.starts_with("block") => Check::fail(
            NETWORK,
            format!("VPC Block Public Access ({mode}) blocks {place}, which is not excluded"),
            format!(
                "aws ec2 create-vpc-block-public-access-exclusion --region {region} --vpc-id {vpc} \
                 --internet-gateway-exclusion-mode allow-bidirectional; or ask your administrator"
            ),
        ),
        Ok(_) => Check::pass(NETWORK, place),
        Err(error) => Check::unseen(NETWORK, &explain("cannot read VPC Block Public Access", error)),
    }
}

/// `None` if no Elastic IP is needed.
fn addresses(
    network: &Network,
    limit: &Result<Option<usize>, ApiError>,
    have: &Result<(usize, usize)>,
) -> Option<Check> {
    const ADDRESSES: &str = "addresses";
    if !network.static_ip {
        return None;
    }
    Some(match (have, limit) {
        (Err(failure), _) => Check::failed(ADDRESSES, failure),
        (Ok((_, ours)), _) if *ours > 0 => Check::pass(ADDRESSES, "this deployment has its Elastic IP"),
        (_, Err(error)) => Check::unseen(ADDRESSES, &explain("cannot read the account's limits", error)),
        (Ok((have, _)), Ok(Some(limit))) if have >= limit => Check::fail(
            ADDRESSES,
            format!("{have} of {limit} Elastic IPs are in use, and one more is needed"),
            "release one, request more in the Service Quotas console, or set network.static_ip: false",
        ),
        (Ok((have, _)), Ok(Some(limit))) => Check::pass(ADDRESSES, format!("{have} of {limit} Elastic IPs in use")),
        (Ok((have, _)), Ok(None)) => Check::pass(ADDRESSES, format!("{have} Elastic IPs in use; the limit is unknown")),
    })
}

/// `on_free`: whether the account is on the free plan, if that is known.
fn image(machine: &Machine, image: &Result<Image>, on_free: Option<bool>) -> Check {
    const IMAGE: &str = "image";
    match image {
        Ok(Image { id, free: Some(false), .. }) if on_free == Some(true) => Check::fail(
            IMAGE,
            format!("{} as {id} is not free-tier eligible, and this account is on the free plan", machine.image),
            "choose another instance.image in deploy.yaml; or upgrade to the paid plan (Billing console)",
        ),
        Ok(Image { id, free: Some(false), .. }) if on_free.is_none() => Check::warn(
            IMAGE,
            format!("{} as {id} is not free-tier eligible: the free plan does not allow it", machine.image),
            "on the free plan, choose another instance.image; otherwise do nothing",
        ),
        Ok(image) => Check::pass(IMAGE, format!("{} as {}", machine.image, image.id)),
        Err(failure) => Check::failed(IMAGE, failure),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::base::error::Exit;
    use crate::config;

    fn error(code: &str) -> ApiError {
        ApiError {
            action: "ec2:DescribeSubnets",
            code: code.into(),
            message: "no".into(),
            status: Some(403),
            ahead: None,
        }
    }

    fn deployment() -> Deployment {
        config::named("hello").unwrap()
    }

    fn subnets(free: &[i32]) -> Result<Vec<Subnet>, ApiError> {
        let subnet = |free: &i32| Subnet { vpc: "vpc-1".into(), zone: None, free: *free, block: None };
        Ok(free.iter().map(subnet).collect())
    }

    #[test]
    fn a_region_that_is_not_enabled_differs_from_one_that_denies() {
        assert!(enabled("ap-east-1", Some(&error("AuthFailure"))).next.unwrap().to_string().contains("enable-region"));
        assert!(enabled("eu-west-9", Some(&error(""))).is_failed());
        assert_eq!(enabled("eu-west-1", Some(&error("UnauthorizedOperation"))).state, State::Pass);
    }

    #[test]
    fn a_network_needs_a_subnet_with_free_addresses_and_no_block() {
        let state = |free: &[i32], mode: &str| {
            network(&deployment().network, "eu-west-1", &subnets(free), &Ok(mode.to_owned())).state
        };
        let fails = State::Fail(Exit::Failed);
        assert_eq!(state(&[0, 7], "off"), State::Pass);
        assert_eq!(state(&[], "off"), fails);
        assert_eq!(state(&[0], "off"), fails);
        assert_eq!(state(&[7], "block-ingress"), fails);
        assert_eq!(state(&[7], "block-bidirectional"), fails);
    }

    #[test]
    fn an_excluded_subnet_passes() {
        let state = |modes: &[&str]| {
            let subnet = |mode: &&str| Subnet { vpc: "v".into(), zone: None, free: 1, block: Some((*mode).into()) };
            let subnets = Ok(modes.iter().map(subnet).collect());
            network(&deployment().network, "eu-west-1", &subnets, &Ok("block-ingress".into())).state
        };
        assert_eq!(state(&["off", "off"]), State::Pass);
        // EC2 may choose either of them.
        assert_eq!(state(&["off", "block-ingress"]), State::Fail(Exit::Failed));
    }

    #[test]
    fn denied_subnets_fail_only_if_one_is_named() {
        let denied = || Err(error("UnauthorizedOperation"));
        let mut wanted = deployment().network;
        assert_eq!(network(&wanted, "eu-west-1", &denied(), &Ok("off".into())).state, State::Warn);
        wanted.subnet = Some("subnet-1".into());
        assert_eq!(network(&wanted, "eu-west-1", &denied(), &Ok("off".into())).state, State::Fail(Exit::Denied));
    }

    #[test]
    fn a_full_quota_fails_without_an_address() {
        let state = |have, limit| addresses(&deployment().network, &Ok(limit), &Ok(have)).unwrap().state;
        assert_eq!(state((4, 0), Some(5)), State::Pass);
        assert_eq!(state((5, 0), Some(5)), State::Fail(Exit::Failed));
        assert_eq!(state((5, 1), Some(5)), State::Pass);
        assert_eq!(state((9, 0), None), State::Pass);
        let mut network = deployment().network;
        network.static_ip = false;
        assert_eq!(addresses(&network, &Ok(Some(0)), &Ok((0, 0))), None);
    }
}
