//! Reads the state of all kinds in AWS concurrently. Only the content of the bucket takes a second round trip, because
//! the bucket's name contains the account's number.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::aws::{Aws, Identity, identity};
use crate::base::clock::now;
use crate::base::error::Result;
use crate::base::names;
use crate::config::App;
use crate::release::proxy::Build;
pub use crate::resources::observed::{Observed, Store};
use crate::resources::{
    Lookup, app_role, bucket, dns_record, elastic_ip, instance, key_pair, proxy, references, release, reports, role,
    route, secrets, security_group, token, volume,
};

/// What to read besides the resources themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The public parameter that contains the image's id.
    pub image: Option<&'a str>,
    /// What only a launch needs.
    pub launch: Option<Launch<'a>>,
    /// The domain whose record is in Route 53.
    pub domain: Option<&'a str>,
    /// The app, for the secrets to which it refers.
    pub app: Option<&'a App>,
}

/// The type and subnet of a new instance.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// EC2's name of the instance type.
    pub kind: &'a str,
    /// The subnet, if one is configured.
    pub subnet: Option<&'a str>,
}

/// Reads the caller's account, and everything that does not need the account's number.
///
/// # Errors
/// The first failed read.
pub async fn observe(aws: &Aws, name: &str, ask: Ask<'_>) -> Result<Observed> {
    let (
        identity,
        image,
        (kind, (way, subnet_zone), unlimited),
        security_group,
        key_pair,
        (role, app_role),
        token,
        secrets,
        references,
        instances,
        addresses,
        records,
        volumes,
        reports,
    ) = tokio::try_join!(
        identity(aws),
        image(aws, ask.image),
        launch(aws, ask.launch),
        security_group::observe(aws, name),
        key_pair::observe(aws, name),
        roles(aws, name),
        token::observe(aws, name),
        secrets::observe(aws, name),
        references(aws, ask.app),
        instance::observe(aws, name),
        elastic_ip::observe(aws, name),
        records(aws, name, ask.domain),
        volume::observe(aws, name),
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
        subnet_zone,
        way,
        unlimited,
        security_group,
        key_pair,
        role,
        app_role,
        token,
        secrets,
        references,
        store: Lookup::NotAsked,
        contents: Lookup::NotAsked,
        instances,
        addresses,
        records,
        volumes: Lookup::Present(volumes),
        reports,
    })
}

impl Observed {
    /// Reads the bucket and its content: the releases, and this build of Caddy.
    ///
    /// # Errors
    /// A call to S3 fails.
    pub async fn look_into_store(&mut self, aws: &Aws, name: &str, build: Build) -> Result<()> {
        let (bucket, releases, proxy) = tokio::try_join!(
            bucket::observe(aws, &self.account),
            release::observe(aws, &self.account, name),
            proxy::observe(aws, &self.account, build)
        )?;
        self.store = Lookup::Present(Store { bucket, releases, proxy });
        Ok(())
    }

    /// Reads the records of earlier domains of the address, besides the configured one.
    ///
    /// # Errors
    /// A call to Route 53 fails.
    pub async fn look_for_records(&mut self, aws: &Aws, name: &str, ask: Ask<'_>) -> Result<()> {
        let noted = self.addresses.iter().filter_map(|address| address.tags.get(names::TAG_DOMAIN));
        let more: BTreeSet<&String> =
            noted.filter(|domain| !domain.is_empty() && Some(domain.as_str()) != ask.domain).collect();
        let found = try_join_all(more.into_iter().map(|domain| dns_record::observe(aws, name, domain))).await?;
        self.records.extend(found.into_iter().flatten());
        Ok(())
    }

    /// Reads which deployments have objects in the bucket.
    ///
    /// # Errors
    /// A call to S3 fails.
    pub async fn look_into_bucket(&mut self, aws: &Aws, name: &str) -> Result<()> {
        self.contents = bucket::contents(aws, &self.account, name).await?;
        Ok(())
    }
}

/// Reads only the instances, their orders and the ingress rules.
///
/// # Errors
/// The first failed read.
pub async fn running(aws: &Aws, name: &str) -> Result<Observed> {
    let (identity, security_group, token, instances, addresses, reports) = tokio::try_join!(
        identity(aws),
        security_group::observe(aws, name),
        token::observe(aws, name),
        instance::observe(aws, name),
        elastic_ip::observe(aws, name),
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

/// The instance's role and the app's. The same call reads both, so the error does not depend on which fails first.
async fn roles(aws: &Aws, name: &str) -> Result<(Lookup<role::State>, Lookup<app_role::State>)> {
    let (role, app_role) = tokio::join!(role::observe(aws, name), app_role::observe(aws, name));
    Ok((role?, app_role?))
}

async fn image(aws: &Aws, parameter: Option<&str>) -> Result<Lookup<String>> {
    match parameter {
        Some(parameter) => Ok(instance::newest(aws, parameter).await?.into()),
        None => Ok(Lookup::NotAsked),
    }
}

/// The type, the route to the internet, and the instances with unlimited CPU credits; `down` needs none of them.
async fn launch(
    aws: &Aws,
    launch: Option<Launch<'_>>,
) -> Result<(Lookup<instance::Kind>, (route::Way, Option<String>), Lookup<BTreeSet<String>>)> {
    match launch {
        Some(Launch { kind, subnet }) => {
            let kind = async { Ok(instance::observe_kind(aws, kind).await?.into()) };
            let unlimited = async { Ok(instance::unlimited(aws).await.map_or(Lookup::NotAsked, Lookup::Present)) };
            tokio::try_join!(kind, route::observe(aws, subnet), unlimited)
        }
        None => Ok(<_>::default()),
    }
}

/// The secrets to which an app refers.
///
/// # Errors
/// A call fails for another reason than a missing permission.
pub async fn references(aws: &Aws, app: Option<&App>) -> Result<Lookup<references::Found>> {
    let Some(app) = app else { return Ok(Lookup::NotAsked) };
    references::observe(aws, &app.sources()).await.map(Lookup::Present)
}

async fn records(aws: &Aws, name: &str, domain: Option<&str>) -> Result<Vec<dns_record::State>> {
    match domain {
        Some(domain) => dns_record::observe(aws, name, domain).await,
        None => Ok(Vec::new()),
    }
}
