//! The AWS clients.
//!
//! The sandbox is another endpoint, not another implementation. Its differences (endpoint, credentials, image, how an address is
//! reached) are handled only in this module.

mod address;
mod call;
mod endpoints;
mod explain;
mod free_tier;
mod identity;
mod images;
mod instance_size;
pub mod retry;
mod source;
pub mod time;

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig, environment, imds, profile};
use aws_sdk_ec2::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};

use crate::base::error::{Exit, Failure, Result};
use crate::config::Network;
use crate::sandbox;
pub use call::{ApiError, Fault, call, once};
pub use explain::explain;
pub use free_tier::{AccountPlan, FreeTier, has_plans};
pub use identity::{Identity, identity, read as read_identity};
pub use images::{Machine, Target};
pub use instance_size::{Size, size};

/// The clients for one account and region.
#[derive(Clone)]
pub struct Aws {
    /// Instances, security groups, key pairs, addresses.
    pub ec2: aws_sdk_ec2::Client,
    /// The account's plan.
    pub free_tier: FreeTier,
    /// Role, policy, instance profile.
    pub iam: aws_sdk_iam::Client,
    /// The account's quotas.
    pub quotas: aws_sdk_servicequotas::Client,
    /// The domain's DNS record.
    pub route53: aws_sdk_route53::Client,
    /// Releases and logs.
    pub s3: aws_sdk_s3::Client,
    /// Secrets that `app.secrets` refers to.
    pub secrets_manager: aws_sdk_secretsmanager::Client,
    /// Token and reports.
    pub ssm: aws_sdk_ssm::Client,
    /// The account's id.
    pub sts: aws_sdk_sts::Client,
    /// The region's code.
    pub region: String,
    /// When the credentials expire, if that is known.
    pub until: Option<SystemTime>,
    /// Where the credentials come from, if that is known.
    pub source: Option<&'static str>,
    sandbox: Option<sandbox::Handle>,
}

/// The region and the profile to use.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// From `--region` or `deploy.yaml`; `None`: from the AWS settings.
    pub region: Option<String>,
    /// `--profile`
    pub profile: Option<String>,
}

/// Where an app is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The port.
    pub port: u16,
    /// With HTTPS, the host name or address in the certificate.
    pub host: Option<String>,
}

impl Aws {
    /// Connects to an account, with region and credentials from the same sources as the AWS CLI.
    ///
    /// # Errors
    /// There is no region, there are no valid credentials, or an endpoint is not private.
    pub async fn account(settings: &Settings) -> Result<Self> {
        let metadata = quick_metadata();
        let region = Region::new(region_by(settings, metadata.clone()).await?);
        let mut chain = DefaultCredentialsChain::builder().region(region.clone()).imds_client(metadata);
        if let Some(profile) = &settings.profile {
            chain = chain.profile_name(profile);
        }
        let credentials = SharedCredentialsProvider::new(chain.build().await);
        let mut loader = aws_config::from_env().region(region).credentials_provider(credentials.clone());
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.retry_config(RetryConfig::disabled()).timeout_config(timeouts()).load().await;
        endpoints::check(&config)?;
        let found = credentials.provide_credentials().await;
        let found = found.map_err(|error| explain::no_credentials(settings, &error))?;
        Ok(Self { until: found.expiry(), source: source::of(&found), ..Self::new(&config, None) })
    }

    /// Connects to the local AWS.
    pub fn sandbox(settings: &Settings, handle: sandbox::Handle) -> Self {
        let region = sandbox_region(settings);
        let keys = Credentials::new(&handle.user.access_key, &handle.user.secret_key, None, None, "sandbox");
        let config = SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(Region::new(region))
            .endpoint_url(&handle.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            .build();
        Self::new(&config, Some(handle))
    }

    fn new(config: &SdkConfig, sandbox: Option<sandbox::Handle>) -> Self {
        Self {
            ec2: aws_sdk_ec2::Client::new(config),
            free_tier: FreeTier::new(config),
            iam: aws_sdk_iam::Client::new(config),
            quotas: aws_sdk_servicequotas::Client::new(config),
            // The SDK knows the one endpoint of each partition.
            route53: aws_sdk_route53::Client::new(config),
            s3: aws_sdk_s3::Client::new(config),
            secrets_manager: aws_sdk_secretsmanager::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            until: None,
            source: None,
            sandbox,
        }
    }

    /// The URL of the app at a public address.
    pub async fn url(&self, address: Ipv4Addr, network: &Network) -> Result<String> {
        let (port, host) = (network.front(), network.host(address));
        self.front(address, Front { port, host: network.https.then_some(host) }).await
    }

    /// [`Aws::url`] without the deployment's settings.
    pub async fn front(&self, address: Ipv4Addr, front: Front) -> Result<String> {
        let Front { port, host } = front;
        match (&self.sandbox, host) {
            (Some(handle), host) => handle.url(address, port, host).await,
            (None, Some(host)) => Ok(format!("https://{host}")),
            (None, None) if port == 80 => Ok(format!("http://{address}")),
            (None, None) => Ok(format!("http://{address}:{port}")),
        }
    }

    /// [`Aws::url`], if there is an address.
    pub async fn url_of(&self, address: Option<Ipv4Addr>, network: &Network) -> Result<Option<String>> {
        match address {
            Some(address) => self.url(address, network).await.map(Some),
            None => Ok(None),
        }
    }

    /// The HTTP URL that redirects to [`Aws::url`] when the app is served over HTTPS.
    pub async fn clear_url(&self, address: Ipv4Addr, network: &Network) -> Result<String> {
        match &self.sandbox {
            Some(handle) => handle.url(address, 80, None).await,
            None => Ok(format!("http://{}", network.host(address))),
        }
    }

    /// The host and port of an instance's SSH server.
    pub async fn shell(&self, address: Ipv4Addr) -> Result<(String, String)> {
        let Some(handle) = &self.sandbox else { return Ok((address.to_string(), "22".to_owned())) };
        let place = handle.local_address(address, 22).await?;
        Ok(place.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap_or_default())
    }

    /// This machine's address as an instance sees it.
    pub async fn own_address(&self) -> Result<Ipv4Addr> {
        if self.sandbox.is_some() { Ok(Ipv4Addr::LOCALHOST) } else { address::own().await }
    }

    /// Whether the app can get a certificate: a public authority cannot reach the sandbox.
    pub fn has_authority(&self, network: &Network) -> bool {
        self.sandbox.is_none() || network.acme.directory.is_some()
    }

    /// The image that an instance boots, and the build target of its releases.
    pub fn machine(&self, instance: &crate::config::Instance) -> Machine {
        images::machine(instance, self.sandbox.as_ref())
    }

    /// Checks that such an instance can boot.
    pub fn can_boot(&self, instance: &crate::config::Instance) -> Result<()> {
        match self.sandbox.as_ref().map(|handle| handle.machines) {
            Some(sandbox::Machines::Qemu) => images::fits_a_virtual_machine(instance),
            _ => Ok(()),
        }
    }

    /// The option for the sandbox, for a shown command.
    pub fn flag(&self) -> &'static str {
        if self.sandbox.is_some() { " --sandbox" } else { "" }
    }
}

/// Instance metadata is the last source of credentials. On EC2 it answers at once, so that a laptop need not wait for it.
fn quick_metadata() -> imds::Client {
    imds::Client::builder()
        .max_attempts(1)
        .connect_timeout(Duration::from_millis(250))
        .read_timeout(Duration::from_millis(1000))
        .build()
}

/// Retries are in [`retry`], so that each is bounded and logged; the SDK's own are disabled.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(120))
        .build()
}

/// The region from the settings. The only call, if no setting has one, is to instance metadata.
pub async fn region(settings: &Settings) -> Result<String> {
    region_by(settings, quick_metadata()).await
}

/// The region in the local AWS.
pub fn sandbox_region(settings: &Settings) -> String {
    settings.region.clone().unwrap_or_else(|| "us-east-1".to_owned())
}

async fn region_by(settings: &Settings, metadata: imds::Client) -> Result<String> {
    if let Some(region) = &settings.region {
        return Ok(region.clone());
    }
    let mut file = profile::region::ProfileFileRegionProvider::builder();
    if let Some(profile) = &settings.profile {
        file = file.profile_name(profile);
    }
    let found = RegionProviderChain::first_try(environment::region::EnvironmentVariableRegionProvider::new())
        .or_else(file.build())
        .or_else(imds::region::ImdsRegionProvider::builder().imds_client(metadata).build());
    found.region().await.map(|region| region.to_string()).ok_or_else(|| {
        Failure::new(Exit::Usage, "no region is set")
            .because("--region, deploy.yaml, AWS_REGION and the AWS profile name none")
            .next("add a line such as `region: eu-central-1` to deploy.yaml, or pass --region")
    })
}
