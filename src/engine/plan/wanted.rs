//! What is wanted, made concrete, and whether it can be had.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::config::Deployment;
use crate::engine::history;
use crate::engine::observe::Observed;
use crate::release::edge::Build;
use crate::resources::document::Document;
use crate::resources::ingress::Rule;
use crate::resources::instance::{Credits, Origin};
use crate::resources::orders::Orders;
use crate::resources::{Tags, address, bucket, instance, record, role};

/// What is wanted: the deployment, made concrete.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// `deploy.yaml`
    pub deployment: &'a Deployment,
    /// The region's code.
    pub region: &'a str,
    /// The name of the image.
    pub image: &'a str,
    /// The release that is to run.
    pub release: &'a str,
    /// What stands before it.
    pub edge: Build,
    /// The policies of the role and of the bucket.
    pub policies: &'a Policies,
    /// Whether a new instance must be healthy before it takes over from an old one.
    pub wait: bool,
    /// Whether an instance of an older image is replaced.
    pub refresh: bool,
}

/// The policies of one deployment. They depend on what never changes while a command runs.
#[derive(Clone, Debug)]
pub struct Policies {
    pub(super) role: Document,
    pub(super) bucket: Document,
}

impl Policies {
    /// For the deployment `name`.
    pub fn new(partition: &str, account: &str, region: &str, name: &str) -> Self {
        let (bucket, _) = names::bucket(account, region);
        Self {
            role: Document::from(&role::policy(partition, account, region, name, &bucket)),
            bucket: Document::from(&bucket::policy(partition, account, region)),
        }
    }
}

impl Wanted<'_> {
    /// What every resource carries.
    pub fn tags(&self) -> Tags {
        let mut tags: Tags = self.deployment.tags.clone();
        tags.insert(names::TAG_NAME.into(), self.deployment.name.clone());
        tags
    }

    pub(super) fn named_tags(&self) -> Tags {
        let mut tags = self.tags();
        tags.insert("Name".into(), names::common(&self.deployment.name));
        tags
    }

    pub(super) fn spec(&self) -> String {
        instance::spec(&self.deployment.instance, self.image, self.deployment.network.subnet.as_deref())
    }

    pub(super) fn instance_tags(&self) -> Tags {
        let mut tags = self.named_tags();
        tags.insert(names::TAG_SPEC.into(), self.spec());
        tags
    }

    /// What the instance is to be asked for, the token's version apart. `address`: a machine that takes over from another
    /// knows it beforehand, and has its certificate when the address moves to it.
    pub(super) fn orders(&self, have: &Observed) -> Orders {
        Orders {
            release: Some(self.release.to_owned()),
            previous: history::before(have, self.release),
            address: self.kept_address(have).map(|address| address.ip),
            ..Orders::default()
        }
    }

    /// Of which name there is a record, too; where there is none any more, that is said in place of what was.
    pub(super) fn address_tags(&self, have: &Observed) -> Tags {
        let mut tags = self.named_tags();
        let known = have.addresses.iter().any(|address| address.tags.contains_key(names::TAG_DOMAIN));
        if let Some(domain) = self.deployment.network.record().or(known.then_some("")) {
            tags.insert(names::TAG_DOMAIN.into(), domain.to_owned());
        }
        tags
    }

    pub(super) fn rules(&self) -> BTreeSet<Rule> {
        let network = &self.deployment.network;
        let ports: &[(&str, u16)] = match network.https {
            // Port 80 for whoever asks in clear, who is sent on, and for the authority; UDP for HTTP/3.
            true => &[("tcp", 80), ("tcp", 443), ("udp", 443)],
            false => &[("tcp", network.port)],
        };
        let rules = |block: IpNet| ports.iter().map(move |(protocol, port)| Rule::new(protocol, *port, block));
        network.allow.iter().copied().flat_map(rules).collect()
    }

    /// What CPU credits the instance is to have that it has not.
    pub(super) fn credits(&self, have: &Observed, current: Option<&instance::State>) -> Option<Credits> {
        let current = current.filter(|_| have.kind.as_ref().is_some_and(|kind| kind.burstable))?;
        let healthy = have.report_of(&current.id).is_some_and(|report| report.healthy);
        let wanted = Credits::wanted(self.deployment.instance.cpu_credits, healthy)?;
        let unlimited = have.unlimited.as_ref()?.contains(&current.id);
        (unlimited != (wanted == Credits::Unlimited)).then_some(wanted)
    }

    /// The Elastic IP that stays.
    pub(super) fn kept_address<'a>(&self, have: &'a Observed) -> Option<&'a address::State> {
        let lives = |id: &str| instance::alive(&have.instances).any(|instance| instance.id == id);
        address::pick(&have.addresses, lives).filter(|_| self.deployment.network.static_ip)
    }

    /// Which image the instance is to have.
    pub(super) fn origin<'a>(&self, have: &'a Observed) -> Origin<'a> {
        match have.image.as_deref() {
            Some(newest) if self.refresh => Origin::Refresh(newest),
            newest => Origin::Keep(newest),
        }
    }

    /// Whether an instance has to be launched, or would have to be if there were an image.
    pub(super) fn launches(&self, have: &Observed) -> bool {
        let spec = self.spec();
        let fits = |instance: &instance::State| {
            instance.tags.get(names::TAG_SPEC) == Some(&spec)
                && (!self.refresh || have.image.as_ref() == Some(&instance.image))
        };
        !instance::alive(&have.instances).any(fits)
    }

    pub(super) fn check_kind(&self, have: &Observed) -> Result<()> {
        let name = &self.deployment.instance.kind;
        match &have.kind {
            Some(kind) => kind.check(name),
            None => Err(Failure::failed(format!("{name} is not offered in {}", self.region))
                .because("EC2 knows no such instance type there")
                .standing("Nothing was changed.")
                .next("choose another instance.type in deploy.yaml, for example t3.micro, or another region")),
        }
    }

    /// That nothing is in the way which only a person can remove.
    ///
    /// # Errors
    /// What is.
    pub fn check(&self, have: &Observed) -> Result<()> {
        if let Some(foreign) = have.foreign().next() {
            return Err(foreign.refuse());
        }
        if self.launches(have) {
            have.image
                .as_ref()
                .ok_or_else(|| instance::not_there(self.image, self.region).standing("Nothing was changed."))?;
            self.check_kind(have)?;
            have.way.check()?;
        }
        let ip = self.kept_address(have).map(|address| address.ip);
        self.deployment.network.record().map_or(Ok(()), |domain| record::check(domain, ip, &have.records))
    }
}
