//! What stands in AWS: every kind looked at at once; only what lies in the bucket takes a second round, because the
//! bucket's name holds the account's number.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;

use crate::aws::{Aws, Identity, identity};
use crate::base::clock::now;
use crate::base::error::Result;
use crate::base::names;
use crate::release::proxy::Build;
pub use crate::resources::observed::{Observed, Store};
use crate::resources::{
    Lookup, bucket, dns_record, elastic_ip, instance, key_pair, proxy, release, reports, role, route, security_group,
    token,
};

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
        image(aws, ask.image),
        launch(aws, ask.launch),
        security_group::observe(aws, name),
        key_pair::observe(aws, name),
        role::observe(aws, name),
        token::observe(aws, name),
        instance::observe(aws, name),
        elastic_ip::observe(aws, name),
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
    /// Looks at the bucket, and at what is in it: the releases, and this build of Caddy.
    ///
    /// # Errors
    /// What S3 says.
    pub async fn look_into_store(&mut self, aws: &Aws, name: &str, build: Build) -> Result<()> {
        let (bucket, releases, proxy) = tokio::try_join!(
            bucket::observe(aws, &self.account),
            release::observe(aws, &self.account, name),
            proxy::observe(aws, &self.account, build)
        )?;
        self.store = Some(Store { bucket, releases, proxy });
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
        let found = try_join_all(more.into_iter().map(|domain| dns_record::observe(aws, name, domain))).await?;
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

async fn image(aws: &Aws, parameter: Option<&str>) -> Result<Lookup<String>> {
    match parameter {
        Some(parameter) => Ok(instance::newest(aws, parameter).await?.into()),
        None => Ok(Lookup::NotAsked),
    }
}

/// The type, the way to the internet, and whose CPU credits are unlimited: `down` needs none of them.
async fn launch(
    aws: &Aws,
    launch: Option<Launch<'_>>,
) -> Result<(Lookup<instance::Kind>, route::Way, Option<BTreeSet<String>>)> {
    match launch {
        Some(Launch { kind, subnet }) => {
            let kind = async { Ok(instance::observe_kind(aws, kind).await?.into()) };
            let unlimited = async { Ok(instance::unlimited(aws).await) };
            tokio::try_join!(kind, route::observe(aws, subnet), unlimited)
        }
        None => Ok(<_>::default()),
    }
}

async fn records(aws: &Aws, name: &str, domain: Option<&str>) -> Result<Vec<dns_record::State>> {
    match domain {
        Some(domain) => dns_record::observe(aws, name, domain).await,
        None => Ok(Vec::new()),
    }
}
