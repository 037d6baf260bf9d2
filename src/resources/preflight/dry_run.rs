//! Creations that `up` would make, sent with EC2's `DryRun`: EC2 checks the permissions and creates nothing.

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{DomainType, ResourceType};

use super::ask;
use crate::aws::{ApiError, Aws};
use crate::base::names;
use crate::config::Deployment;
use crate::resources::instance::{Credits, Image, Order};
use crate::resources::{Tags, key_pair, tagged};

/// A launch as far as it is known before `up`.
pub struct Launch<'a> {
    /// The image.
    pub image: Option<&'a Image>,
    /// The CPU credits of the instance type.
    pub credits: Option<Credits>,
    /// Whether there is a network to launch in.
    pub network: bool,
    /// The VPC.
    pub vpc: Option<&'a str>,
    /// The deployment's security group, if it exists.
    pub group: Option<&'a str>,
    /// Whether the deployment's key pair exists.
    pub key_pair: bool,
}

/// Checks whether the creations of `up` are permitted; those that cannot be checked yet are omitted.
pub async fn dry_runs(aws: &Aws, deployment: &Deployment, launch: &Launch<'_>) -> Vec<Result<(), ApiError>> {
    let common = names::common(&deployment.name);
    let tags = Tags::from([(names::TAG_NAME.to_owned(), deployment.name.clone())]);
    let (run, group, key_pair, address) = tokio::join!(
        run_instances(aws, deployment, launch, (&common, &tags)),
        create_group(aws, launch, (&common, &tags)),
        import_key_pair(aws, (&common, &tags)),
        allocate_address(aws, deployment, &tags),
    );
    [run, group, key_pair, address].into_iter().flatten().map(permitted).collect()
}

async fn run_instances(
    aws: &Aws,
    deployment: &Deployment,
    launch: &Launch<'_>,
    (common, tags): (&str, &Tags),
) -> Option<Result<(), ApiError>> {
    let image = launch.image.filter(|_| launch.network)?;
    let order = Order {
        image,
        kind: &deployment.instance.kind,
        disk_gib: deployment.instance.disk_gib,
        credits: launch.credits,
        subnet: deployment.network.subnet.as_deref(),
        zone: None,
        group: launch.group,
        key_pair: launch.key_pair.then(|| common.to_owned()),
        tags,
    };
    let request = || order.request(&aws.ec2).dry_run(true).send();
    Some(ask("ec2:RunInstances", request).await.map(drop))
}

async fn create_group(aws: &Aws, launch: &Launch<'_>, (common, tags): (&str, &Tags)) -> Option<Result<(), ApiError>> {
    let request = || {
        let create = aws.ec2.create_security_group().dry_run(true).group_name(common).description(common);
        let create = create.set_vpc_id(launch.vpc.map(str::to_owned));
        create.tag_specifications(tagged(ResourceType::SecurityGroup, tags)).send()
    };
    match launch.network {
        true => Some(ask("ec2:CreateSecurityGroup", request).await.map(drop)),
        false => None,
    }
}

async fn import_key_pair(aws: &Aws, (common, tags): (&str, &Tags)) -> Option<Result<(), ApiError>> {
    let key = key_pair::nobodys()?;
    let request = || {
        let import = aws.ec2.import_key_pair().dry_run(true).key_name(common);
        let import = import.public_key_material(Blob::new(key.clone().into_bytes()));
        import.tag_specifications(tagged(ResourceType::KeyPair, tags)).send()
    };
    Some(ask("ec2:ImportKeyPair", request).await.map(drop))
}

async fn allocate_address(aws: &Aws, deployment: &Deployment, tags: &Tags) -> Option<Result<(), ApiError>> {
    let request = || {
        let allocate = aws.ec2.allocate_address().dry_run(true).domain(DomainType::Vpc);
        allocate.tag_specifications(tagged(ResourceType::ElasticIp, tags)).send()
    };
    match deployment.network.static_ip {
        true => Some(ask("ec2:AllocateAddress", request).await.map(drop)),
        false => None,
    }
}

/// EC2 reports a successful dry run as an error (`DryRunOperation`). Errors with another cause than the permissions are reported
/// by other checks.
fn permitted(answer: Result<(), ApiError>) -> Result<(), ApiError> {
    const OTHER: [&str; 4] =
        ["DryRunOperation", "InvalidGroup.Duplicate", "InvalidKeyPair.Duplicate", "AddressLimitExceeded"];
    match answer {
        Err(error) if error.is(&OTHER) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successful_dry_run_is_an_error_that_permits() {
        let error = |code: &str| {
            let message = "You are not authorized".into();
            Err(ApiError { action: "ec2:RunInstances", code: code.into(), message, status: Some(403), ahead: None })
        };
        assert!(permitted(error("DryRunOperation")).is_ok());
        assert!(permitted(error("AddressLimitExceeded")).is_ok());
        assert!(permitted(error("UnauthorizedOperation")).is_err());
    }
}
