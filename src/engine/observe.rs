//! What stands in AWS: every kind looked at at once; only what lies in the bucket takes a second round, because the
//! bucket's name holds the account's number.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use super::plan::Plan;
use crate::aws::{Aws, Identity, identity};
use crate::base::error::Result;
use crate::base::grace::now;
use crate::base::names;
use crate::release::edge::Build;
use crate::resources::context::{Known, Start};
use crate::resources::{
    Foreign, Lookup, address, bucket, edge, instance, key_pair, record, release, reports, role, route, security_group,
    token,
};

/// Everything of one deployment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// When that was, in seconds since 1970.
    pub at: i64,
    /// The account's number.
    pub account: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// Who looks: the user's or the role session's name.
    pub by: String,
    /// The newest image, if the region has it and it was asked for.
    pub image: Option<String>,
    /// The instance type, if the region has it and it was asked for.
    pub kind: Option<instance::Kind>,
    /// The way to the internet from where an instance would go.
    pub way: route::Way,
    /// The ids of instances whose CPU credits are unlimited, others' among them; where EC2 tells.
    pub unlimited: Option<BTreeSet<String>>,
    /// The security group.
    pub security_group: Lookup<security_group::State>,
    /// The key pair.
    pub key_pair: Lookup<key_pair::State>,
    /// Role, policy and profile.
    pub role: Lookup<role::State>,
    /// The token's parameter.
    pub token: Lookup<token::State>,
    /// The bucket and the releases in it, if that was looked at: [`Observed::look_into_store`].
    pub store: Option<Store>,
    /// Whose things are in the bucket: [`Observed::look_into_bucket`].
    pub contents: Lookup<bucket::Contents>,
    /// Instances, the one that counts first.
    pub instances: Vec<instance::State>,
    /// Elastic IPs, the one that counts first.
    pub addresses: Vec<address::State>,
    /// The names that lead here or are to, in each zone that they could be in, where that was looked at: the one that was
    /// asked for, and those of [`Observed::look_for_records`].
    pub records: Vec<record::State>,
    /// What the agents report, by instance.
    pub reports: Vec<(String, reports::Report)>,
}

/// Where releases are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// The bucket.
    pub bucket: Option<bucket::State>,
    /// The releases of this deployment, the newest first.
    pub releases: Vec<release::Stored>,
    /// Whether Caddy is in it.
    pub edge: bool,
}

/// What is looked at beside the resources themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The public parameter with the image's id.
    pub image: Option<&'a str>,
    /// What only a launch asks for.
    pub launch: Option<Launch<'a>>,
    /// The name whose record is kept in Route 53.
    pub domain: Option<&'a str>,
}

/// What an instance would be, and where it would go.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// EC2's name of the instance type.
    pub kind: &'a str,
    /// The subnet, if one is named.
    pub subnet: Option<&'a str>,
}

/// Looks at everything that has no need of the account's number, and at whose account it is.
///
/// # Errors
/// The first thing that cannot be looked at.
pub async fn observe(aws: &Aws, name: &str, ask: Ask<'_>) -> Result<Observed> {
    let (
        identity,
        image,
        (kind, way, unlimited),
        security_group,
        key_pair,
        role,
        token,
        instances,
        addresses,
        records,
        reports,
    ) = tokio::try_join!(
        identity(aws),
        instance::newest(aws, ask.image),
        launch(aws, ask.launch),
        security_group::observe(aws, name),
        key_pair::observe(aws, name),
        role::observe(aws, name),
        token::observe(aws, name),
        instance::observe(aws, name),
        address::observe(aws, name),
        records(aws, name, ask.domain),
        reports::observe(aws, name),
    )?;
    let Identity { account, partition, by } = identity;
    Ok(Observed {
        at: now(),
        account,
        partition,
        by,
        image,
        kind,
        way,
        unlimited,
        security_group,
        key_pair,
        role,
        token,
        store: None,
        contents: Lookup::NotAsked,
        instances,
        addresses,
        records,
        reports,
    })
}

impl Observed {
    /// What the steps of a plan begin with. The plan says which instance and which address it is about.
    pub fn start(&self, plan: &Plan) -> Start {
        let current = self.instances.iter().find(|instance| plan.instance.as_ref() == Some(&instance.id));
        let known = Known {
            group: self.security_group.present().map(|group| group.id.clone()),
            nonce: self.security_group.present().and_then(|group| group.nonce.clone()),
            profile: self.role.present().and_then(|role| role.profile.as_ref()).map(|profile| profile.id.clone()),
            instance: plan.instance.clone(),
            since: current.map_or(0, |instance| instance.launched),
            unlimited: current.zip(self.unlimited.as_ref()).is_some_and(|(current, ids)| ids.contains(&current.id)),
            token: self.token.present().map(|token| token.version),
            address: plan.address.clone(),
            ..Known::default()
        };
        Start {
            account: self.account.clone(),
            partition: self.partition.clone(),
            by: self.by.clone(),
            burstable: self.kind.as_ref().is_some_and(|kind| kind.burstable),
            image: self.image.clone(),
            known,
        }
    }

    /// Looks at the bucket, and at what is in it: the releases, and this build of Caddy.
    ///
    /// # Errors
    /// What S3 says.
    pub async fn look_into_store(&mut self, aws: &Aws, name: &str, build: Build) -> Result<()> {
        let (bucket, releases, edge) = tokio::try_join!(
            bucket::observe(aws, &self.account),
            release::observe(aws, &self.account, name),
            edge::observe(aws, &self.account, build)
        )?;
        self.store = Some(Store { bucket, releases, edge });
        Ok(())
    }

    /// Looks for records of names that the address was known by, beside the one that was asked for.
    ///
    /// # Errors
    /// What Route 53 says.
    pub async fn look_for_records(&mut self, aws: &Aws, name: &str, ask: Ask<'_>) -> Result<()> {
        let noted = self.addresses.iter().filter_map(|address| address.tags.get(names::TAG_DOMAIN));
        let more: BTreeSet<&String> =
            noted.filter(|domain| !domain.is_empty() && Some(domain.as_str()) != ask.domain).collect();
        let found = try_join_all(more.into_iter().map(|domain| record::observe(aws, name, domain))).await?;
        self.records.extend(found.into_iter().flatten());
        Ok(())
    }

    /// Looks whose things are in the bucket.
    ///
    /// # Errors
    /// What S3 says.
    pub async fn look_into_bucket(&mut self, aws: &Aws, name: &str) -> Result<()> {
        self.contents = bucket::contents(aws, &self.account, name).await?;
        Ok(())
    }

    /// What bears our name but not our tag.
    pub fn foreign(&self) -> impl Iterator<Item = &Foreign> {
        let seen = [self.security_group.foreign(), self.key_pair.foreign(), self.role.foreign(), self.token.foreign()];
        seen.into_iter().flatten()
    }

    /// Whether nothing at all stands, the shared bucket aside.
    pub fn nothing(&self) -> bool {
        self.security_group.present().is_none()
            && self.key_pair.present().is_none()
            && self.role.present().is_none()
            && self.token.present().is_none()
            && self.instances.is_empty()
            && self.addresses.is_empty()
            && self.reports.is_empty()
    }

    /// The highest version of the token that an instance that lives has been told, or says to have.
    pub fn known_token(&self) -> i64 {
        let told = |state: &instance::State| state.orders().token;
        let has = |state: &instance::State| self.report_of(&state.id).and_then(|report| report.token);
        instance::alive(&self.instances).flat_map(|state| [told(state), has(state)]).flatten().max().unwrap_or_default()
    }

    /// The instance that answers requests, with what it reports.
    pub fn serving(&self) -> Option<(&instance::State, Option<&reports::Report>)> {
        let serving = instance::serving(&self.instances, &self.addresses)?;
        Some((serving, self.report_of(&serving.id)))
    }

    /// What the instance reports.
    pub fn report_of(&self, instance: &str) -> Option<&reports::Report> {
        self.reports.iter().find(|(id, _)| id == instance).map(|(_, report)| report)
    }
}

/// Looks only at what runs, what it is told to, and who is let in.
///
/// # Errors
/// The first thing that cannot be looked at.
pub async fn running(aws: &Aws, name: &str) -> Result<Observed> {
    let (identity, security_group, token, instances, addresses, reports) = tokio::try_join!(
        identity(aws),
        security_group::observe(aws, name),
        token::observe(aws, name),
        instance::observe(aws, name),
        address::observe(aws, name),
        reports::observe(aws, name),
    )?;
    let Identity { account, partition, by } = identity;
    Ok(Observed {
        at: now(),
        account,
        partition,
        by,
        security_group,
        token,
        instances,
        addresses,
        reports,
        ..Observed::default()
    })
}

/// The type, the way to the internet, and whose CPU credits are unlimited: `down` needs none of them.
async fn launch(
    aws: &Aws,
    launch: Option<Launch<'_>>,
) -> Result<(Option<instance::Kind>, route::Way, Option<BTreeSet<String>>)> {
    match launch {
        Some(Launch { kind, subnet }) => {
            tokio::try_join!(instance::observe_kind(aws, kind), route::observe(aws, subnet), async {
                Ok(instance::unlimited(aws).await)
            })
        }
        None => Ok(<_>::default()),
    }
}

async fn records(aws: &Aws, name: &str, domain: Option<&str>) -> Result<Vec<record::State>> {
    match domain {
        Some(domain) => record::observe(aws, name, domain).await,
        None => Ok(Vec::new()),
    }
}
