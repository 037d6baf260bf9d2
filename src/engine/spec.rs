//! The wanted state: the deployment with all values resolved. Pure.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::base::error::{Exit, Failure, Result};
use crate::base::names;
use crate::config::{Deployment, SecretOrigin, Source};
use crate::engine::observe::Observed;
use crate::release::proxy::Build;
use crate::resources::document::Document;
use crate::resources::ingress::Rule;
use crate::resources::references::{self, Place};
use crate::resources::secrets::Stored;
use crate::resources::{Tags, app_role, bucket, dns_record, elastic_ip, instance, role, volume};

mod data;

/// The wanted state: the deployment with all values resolved.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    /// The content of `deploy.yaml`.
    pub deployment: &'a Deployment,
    /// The region's code.
    pub region: &'a str,
    /// The name of the image.
    pub image: &'a str,
    /// The release to run.
    pub release: &'a str,
    /// The build of the proxy.
    pub proxy: Build,
    /// The policies of the roles and of the bucket.
    pub policies: &'a Policies,
    /// Whether a new instance must be healthy before it replaces an old one.
    pub wait: bool,
    /// Whether an instance with an older image is replaced.
    pub refresh: bool,
}

/// The maximum length of the inline policies of a role, without white space:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const LARGEST_POLICY: usize = 10_240;

/// The policies of one deployment. They are constant while a command runs.
#[derive(Clone, Debug)]
pub struct Policies {
    pub(super) role: Document,
    /// Of the app's role: which role may assume it.
    pub(super) trust: Document,
    pub(super) bucket: Document,
}

impl Policies {
    /// The policies of the deployment `name`, whose instance reads these sources of secrets.
    pub fn new(place: Place<'_>, name: &str, sources: &BTreeSet<Source>) -> Self {
        let Place { partition, account, region } = place;
        let (bucket, _) = names::bucket(account, region);
        let mut role = role::policy(partition, account, region, name, &bucket);
        if let Some(statements) = role["Statement"].as_array_mut() {
            statements.extend(references::statements(place, sources));
        }
        Self {
            role: Document::from(&role),
            trust: Document::from(&app_role::trust(partition, account, region, name)),
            bucket: Document::from(&bucket::policy(partition, account, region)),
        }
    }
}

impl<'a> Spec<'a> {
    /// The tags of every resource.
    pub fn tags(&self) -> Tags {
        let mut tags: Tags = self.deployment.tags.clone();
        tags.insert(names::TAG_NAME.into(), self.deployment.name.clone());
        tags
    }

    /// The same tags, plus the `Name` that the console lists.
    pub(in crate::engine) fn named_tags(&self) -> Tags {
        let mut tags = self.tags();
        tags.insert("Name".into(), names::common(&self.deployment.name));
        tags
    }

    /// A hash of the settings that only a new instance can change.
    pub(super) fn instance_spec(&self) -> String {
        instance::spec(&self.deployment.instance, self.image, self.deployment.network.subnet.as_deref())
    }

    /// All ingress rules.
    pub(super) fn rules(&self) -> BTreeSet<Rule> {
        let network = &self.deployment.network;
        let ports: &[(&str, u16)] = match network.https {
            // Port 80 for plain HTTP, which is redirected, and for the certificate authority; UDP for HTTP/3.
            true => &[("tcp", 80), ("tcp", 443), ("udp", 443)],
            false => &[("tcp", network.port)],
        };
        let rules = |block: IpNet| ports.iter().map(move |(protocol, port)| Rule::new(protocol, *port, block));
        network.allow.iter().copied().flat_map(rules).collect()
    }

    /// Whether an instance must be launched, or would be if the image existed.
    fn launches(&self, have: &Observed) -> bool {
        let spec = self.instance_spec();
        let zone = volume::kept(have).filter(|_| self.deployment.data.is_some()).map(|volume| &volume.zone);
        let fits = |instance: &instance::State| {
            instance.tags.get(names::TAG_SPEC) == Some(&spec)
                && zone.is_none_or(|zone| instance.zone == *zone)
                && (!self.refresh || have.image.present() == Some(&instance.image))
        };
        !instance::alive(&have.instances).any(fits)
    }

    fn check_kind(&self, have: &Observed) -> Result<()> {
        let name = &self.deployment.instance.kind;
        match have.kind.looked()? {
            Some(kind) => kind.check(name),
            None => Err(Failure::failed(format!("{name} is not offered in {}", self.region))
                .because("EC2 has no such instance type there")
                .standing("Nothing was changed.")
                .next("choose another instance.type in deploy.yaml, for example t3.micro, or another region")),
        }
    }

    /// Each reference to a secret makes the policy of the instance's role longer.
    fn check_role(&self) -> Result<()> {
        let length = self.policies.role.as_str().len();
        if length <= LARGEST_POLICY {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, format!("the policy of the instance's role would have {length} characters"))
            .because(format!("AWS allows {LARGEST_POLICY}, and the policy names each secret of app.secrets that is kept elsewhere"))
            .standing("Nothing was changed.")
            .next("keep several values as the keys of one secret in Secrets Manager, and refer to them as secretsmanager:name#key"))
    }

    /// Checks for problems that only a user can fix.
    ///
    /// # Errors
    /// The first problem.
    pub fn check(&self, have: &Observed) -> Result<()> {
        if let Some(conflict) = have.conflicts().next() {
            return Err(conflict.refuse());
        }
        if self.launches(have) {
            have.image
                .looked()?
                .ok_or_else(|| instance::not_there(self.image, self.region).standing("Nothing was changed."))?;
            self.check_kind(have)?;
            have.way.check()?;
        }
        data::check(self.deployment, have, self.launches(have))?;
        self.check_role()?;
        let network = &self.deployment.network;
        let kept = elastic_ip::kept(have).filter(|_| network.static_ip);
        let ip = kept.map(|address| address.ip);
        network.record().map_or(Ok(()), |domain| dns_record::check(domain, ip, &have.records))
    }
}

/// The secrets that a user must set before the app can start.
///
/// # Errors
/// The secrets were not read.
pub fn missing_secrets<'a>(deployment: &'a Deployment, have: &Observed) -> Result<Vec<&'a str>> {
    Ok(unset_secrets(deployment, have.secrets.looked()?, &SecretOrigin::Set))
}

/// The secrets of this origin that the app needs and that are not stored.
pub fn unset_secrets<'a>(deployment: &'a Deployment, stored: Option<&Stored>, origin: &SecretOrigin) -> Vec<&'a str> {
    let unset = |name: &str| !stored.is_some_and(|stored| stored.contains_key(name));
    let wanted = deployment.app.secrets.iter().filter(|(_, of)| *of == origin);
    wanted.map(|(name, _)| name.as_str()).filter(|name| unset(name)).collect()
}
