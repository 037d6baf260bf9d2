//! What of all deployments stands in an account's region: each kind is looked for at once, by the presence of our tag or
//! below our folder. Nothing of what is in a token is asked for.
//!
//! Roles are not looked for: IAM lists them only all together, an account's thousands in pages of a hundred. They cost
//! nothing, and `down` finds them by their names.

use std::net::Ipv4Addr;

use aws_sdk_ec2::types::Volume;
use aws_sdk_ssm::types::Parameter;

use super::reports::{self, Report};
use super::{Tags, any_name_tag, elastic_ip, from_ec2, instance, key_pair, security_group};
use crate::aws::{Aws, call, explain};
use crate::base::error::Result;
use crate::base::names;

/// Everything that stands, each with the deployment's name that it bears.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Instances, the one that counts first.
    pub instances: Vec<instance::State>,
    /// Elastic IPs.
    pub addresses: Vec<elastic_ip::State>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// Security groups.
    pub groups: Vec<security_group::State>,
    /// Key pairs.
    pub key_pairs: Vec<key_pair::State>,
    /// Whose parameter holds a token.
    pub tokens: Vec<String>,
    /// What the agents report: the deployment, the instance, the report.
    pub reports: Vec<(String, String, Report)>,
    /// Who has something in the bucket.
    pub stored: Vec<String>,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The deployment.
    pub name: String,
    /// How large it is.
    pub gib: u32,
}

/// Looks at everything but the bucket, whose name takes the account's number.
///
/// # Errors
/// The first thing that cannot be looked at.
pub async fn observe(aws: &Aws) -> Result<Inventory> {
    let (instances, addresses, disks, groups, key_pairs, (tokens, reports)) = tokio::try_join!(
        instance::observe_all(aws),
        elastic_ip::observe_all(aws),
        disks(aws),
        security_group::observe_all(aws),
        key_pair::observe_all(aws),
        parameters(aws),
    )?;
    Ok(Inventory { instances, addresses, disks, groups, key_pairs, tokens, reports, stored: Vec::new() })
}

/// Who has something in the bucket, if there is one. One name stands for all that is below it.
///
/// # Errors
/// What S3 says.
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

/// The deployment whose tag it bears.
pub fn owner(tags: &Tags) -> Option<&String> {
    tags.get(names::TAG_NAME)
}

async fn disks(aws: &Aws) -> Result<Vec<Disk>> {
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let request = aws.ec2.describe_volumes().filters(any_name_tag()).set_next_token(page);
        let answer = call("ec2:DescribeVolumes", || request.clone().send())
            .await
            .map_err(|error| explain("cannot list the disks", &error))?;
        found.extend(answer.volumes.unwrap_or_default().into_iter().filter_map(disk));
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(found);
        }
    }
}

fn disk(volume: Volume) -> Option<Disk> {
    Some(Disk {
        name: owner(&from_ec2(volume.tags))?.clone(),
        gib: volume.size.and_then(|size| u32::try_from(size).ok())?,
    })
}

/// Tokens and reports are in one folder. The values of the former come encrypted, and are dropped unseen.
async fn parameters(aws: &Aws) -> Result<(Vec<String>, Vec<(String, String, Report)>)> {
    let (mut tokens, mut reports, mut page) = (Vec::new(), Vec::new(), None);
    loop {
        let request = aws.ssm.get_parameters_by_path().path(names::PARAMETERS).recursive(true).set_next_token(page);
        let answer = call("ssm:GetParametersByPath", || request.clone().send())
            .await
            .map_err(|error| explain("cannot list the tokens and reports", &error))?;
        let parameters = answer.parameters.unwrap_or_default();
        tokens.extend(parameters.iter().filter_map(token));
        reports.extend(parameters.into_iter().filter_map(report));
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok((tokens, reports));
        }
    }
}

/// Whose token that is.
fn token(parameter: &Parameter) -> Option<String> {
    let (name, rest) = names::of_parameter(parameter.name.as_deref()?)?;
    (rest == "token").then(|| name.to_owned())
}

/// The deployment, the instance and what it reports. What cannot be read is from another time: it is there, and says
/// nothing.
fn report(parameter: Parameter) -> Option<(String, String, Report)> {
    let (name, rest) = names::of_parameter(parameter.name.as_deref()?)?;
    let instance = rest.strip_prefix("report/")?;
    Some((name.to_owned(), instance.to_owned(), reports::parsed(&parameter).unwrap_or_default()))
}

/// The address that an instance has, the Elastic IP first.
pub fn ip(instance: &instance::State, addresses: &[elastic_ip::State]) -> Option<Ipv4Addr> {
    let leads = |address: &&elastic_ip::State| address.instance.as_deref() == Some(&instance.id);
    addresses.iter().find(leads).map(|address| address.ip).or(instance.ip)
}
