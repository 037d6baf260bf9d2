//! The resources of all deployments in an account's region: all kinds are listed concurrently, by our tag or our path.
//! The content of tokens is not read.
//!
//! Roles are not listed: IAM can list only all roles of an account, possibly thousands, in pages of a hundred. They
//! cost nothing, and `down` finds them by name.

use std::net::Ipv4Addr;

use aws_sdk_ssm::types::Parameter;

use super::reports::{self, Report};
use super::{Tags, elastic_ip, instance, key_pair, parameter, security_group, volume};
use crate::aws::{Aws, call, explain};
use crate::base::error::Result;
use crate::base::names;

/// All resources, each with its deployment's name.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Instances, the current one first.
    pub instances: Vec<instance::State>,
    /// Elastic IPs.
    pub addresses: Vec<elastic_ip::State>,
    /// Disks and data volumes.
    pub disks: Vec<Disk>,
    /// Security groups.
    pub groups: Vec<security_group::State>,
    /// Key pairs.
    pub key_pairs: Vec<key_pair::State>,
    /// Deployments with a token's parameter.
    pub tokens: Vec<String>,
    /// Deployments with secrets.
    pub secrets: Vec<String>,
    /// The agents' reports: deployment, instance, report.
    pub reports: Vec<(String, String, Report)>,
    /// Deployments with objects in the bucket.
    pub stored: Vec<String>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The deployment.
    pub name: String,
    /// Its size.
    pub gib: u32,
    /// `vol-…`, if it is a data volume, which outlives its instance.
    pub data: Option<String>,
}

/// Lists everything except for the bucket, whose name contains the account's number.
///
/// # Errors
/// The first failed read.
pub async fn observe(aws: &Aws) -> Result<Inventory> {
    let (instances, addresses, disks, groups, key_pairs, (tokens, secrets, reports)) = tokio::try_join!(
        instance::observe_all(aws),
        elastic_ip::observe_all(aws),
        disks(aws),
        security_group::observe_all(aws),
        key_pair::observe_all(aws),
        parameters(aws),
    )?;
    Ok(Inventory { instances, addresses, disks, groups, key_pairs, tokens, secrets, reports, stored: Vec::new() })
}

/// The deployments with objects in the bucket, if there is one. Each prefix is listed once.
///
/// # Errors
/// A call to S3 fails.
pub async fn stored(aws: &Aws, account: &str) -> Result<Vec<String>> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let list = aws.s3.list_objects_v2().bucket(&bucket).expected_bucket_owner(account).delimiter("/");
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let request = list.clone().set_continuation_token(page);
        let answer = match call("s3:ListBucket", || request.clone().send()).await {
            Ok(answer) => answer,
            Err(error) if error.is(&["NoSuchBucket"]) => return Ok(Vec::new()),
            Err(error) => return Err(super::bucket::unreadable(&bucket, &error)),
        };
        let prefixes = answer.common_prefixes.unwrap_or_default().into_iter().filter_map(|one| one.prefix);
        found.extend(prefixes.filter(|prefix| prefix != names::TOOLS_PREFIX).map(|prefix| prefix.replace('/', "")));
        page = answer.next_continuation_token;
        if page.is_none() {
            return Ok(found);
        }
    }
}

/// The deployment in its tag.
pub fn owner(tags: &Tags) -> Option<&String> {
    tags.get(names::TAG_NAME)
}

async fn disks(aws: &Aws) -> Result<Vec<Disk>> {
    Ok(volume::observe_all(aws).await?.into_iter().filter_map(disk).collect())
}

fn disk(volume: volume::State) -> Option<Disk> {
    let data = volume.tags.contains_key(names::TAG_DATA).then_some(volume.id);
    Some(Disk { name: owner(&volume.tags)?.clone(), gib: volume.gib, data })
}

/// Tokens, secrets and reports have a common path. Tokens and secrets are returned encrypted, and are dropped unread.
async fn parameters(aws: &Aws) -> Result<(Vec<String>, Vec<String>, Vec<(String, String, Report)>)> {
    let found = parameter::below(aws, names::PARAMETERS, true).await;
    let found = found.map_err(|error| explain("cannot list the tokens, secrets and reports", &error))?;
    let (tokens, secrets) = (found.iter().filter_map(token).collect(), found.iter().filter_map(secret).collect());
    Ok((tokens, secrets, found.into_iter().filter_map(report).collect()))
}

/// The deployment of the token.
fn token(parameter: &Parameter) -> Option<String> {
    let (name, rest) = names::of_parameter(parameter.name.as_deref()?)?;
    (rest == "token").then(|| name.to_owned())
}

/// The deployment of the secret.
fn secret(parameter: &Parameter) -> Option<String> {
    let (name, rest) = names::of_parameter(parameter.name.as_deref()?)?;
    rest.strip_prefix("secrets/").map(|_| name.to_owned())
}

/// Deployment, instance and report. An unreadable report is from another version: it exists, but without content.
fn report(parameter: Parameter) -> Option<(String, String, Report)> {
    let (name, rest) = names::of_parameter(parameter.name.as_deref()?)?;
    let instance = rest.strip_prefix("report/")?;
    Some((name.to_owned(), instance.to_owned(), reports::parsed(&parameter).unwrap_or_default()))
}

/// The instance's address, preferably the Elastic IP.
pub fn ip(instance: &instance::State, addresses: &[elastic_ip::State]) -> Option<Ipv4Addr> {
    let leads = |address: &&elastic_ip::State| address.instance.as_deref() == Some(&instance.id);
    addresses.iter().find(leads).map(|address| address.ip).or(instance.ip)
}
