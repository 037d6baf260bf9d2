//! The one cloud that devopsctl knows: an AWS endpoint.
//!
//! The sandbox is another endpoint, not another implementation. What differs there (endpoint, credentials, the image
//! that boots, how an address is reached) is decided here, once, and nowhere else.

mod address;
mod call;
mod endpoints;
mod explain;
mod free_tier;
mod identity;
mod images;
pub mod retry;
mod source;

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
pub use identity::{Identity, identity, told};
pub use images::{Machine, Target};

/// Clients for one account's region.
#[derive(Clone)]
pub struct Aws {
    /// Instances, security groups, key pairs, addresses.
    pub ec2: aws_sdk_ec2::Client,
    /// The account's plan.
    pub free_tier: FreeTier,
    /// Role, policy, instance profile.
    pub iam: aws_sdk_iam::Client,
    /// How much the account may have.
    pub quotas: aws_sdk_servicequotas::Client,
    /// The domain's record.
    pub route53: aws_sdk_route53::Client,
    /// Releases and logs.
    pub s3: aws_sdk_s3::Client,
    /// Token and reports.
    pub ssm: aws_sdk_ssm::Client,
    /// Whose account this is.
    pub sts: aws_sdk_sts::Client,
    /// The region's code.
    pub region: String,
    /// When the credentials end, if that is known.
    pub until: Option<SystemTime>,
    /// Where they were found, if that is known.
    pub source: Option<&'static str>,
    sandbox: Option<sandbox::Handle>,
}

/// Which AWS to talk to, as the command line says it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--region`, else `deploy.yaml`'s, else as the AWS CLI finds it.
    pub region: Option<String>,
    /// `--profile`
    pub profile: Option<String>,
}

/// What serves an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The port.
    pub port: u16,
    /// With HTTPS, whom the certificate is for.
    pub host: Option<String>,
}

impl Aws {
    /// The account that the usual AWS settings name, found as the AWS CLI finds them.
    ///
    /// # Errors
    /// No region, no credentials, credentials that cannot be renewed, an endpoint that others could listen to.
    pub async fn account(settings: &Settings) -> Result<Self> {
        let metadata = patient_with_no_one();
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

    /// The local AWS.
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
            // One endpoint for all regions of a partition, which the SDK knows.
            route53: aws_sdk_route53::Client::new(config),
            s3: aws_sdk_s3::Client::new(config),
            ssm: aws_sdk_ssm::Client::new(config),
            sts: aws_sdk_sts::Client::new(config),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            until: None,
            source: None,
            sandbox,
        }
    }

    /// Where a browser finds the app that a public address leads to.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn url(&self, address: Ipv4Addr, network: &Network) -> Result<String> {
        let (port, host) = (network.front(), network.host(address));
        self.front(address, Front { port, host: network.https.then_some(host) }).await
    }

    /// The same for whoever knows no more of the app than what it is served at.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn front(&self, address: Ipv4Addr, front: Front) -> Result<String> {
        let Front { port, host } = front;
        match (&self.sandbox, host) {
            (Some(handle), host) => handle.url(address, port, host).await,
            (None, Some(host)) => Ok(format!("https://{host}")),
            (None, None) if port == 80 => Ok(format!("http://{address}")),
            (None, None) => Ok(format!("http://{address}:{port}")),
        }
    }

    /// [`Aws::url`], where there is an address.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn url_of(&self, address: Option<Ipv4Addr>, network: &Network) -> Result<Option<String>> {
        match address {
            Some(address) => self.url(address, network).await.map(Some),
            None => Ok(None),
        }
    }

    /// Where whoever asks in clear for an app that is served over HTTPS is sent on to [`Aws::url`].
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn clear_url(&self, address: Ipv4Addr, network: &Network) -> Result<String> {
        match &self.sandbox {
            Some(handle) => handle.url(address, 80, None).await,
            None => Ok(format!("http://{}", network.host(address))),
        }
    }

    /// Host and port at which an instance's SSH server is found.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn shell(&self, address: Ipv4Addr) -> Result<(String, String)> {
        let Some(handle) = &self.sandbox else { return Ok((address.to_string(), "22".to_owned())) };
        let place = handle.local_address(address, 22).await?;
        Ok(place.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap_or_default())
    }

    /// The address that this machine comes from, as an instance sees it.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub async fn own_address(&self) -> Result<Ipv4Addr> {
        if self.sandbox.is_some() { Ok(Ipv4Addr::LOCALHOST) } else { address::own().await }
    }

    /// Whether the app can have a certificate: no public authority reaches what the sandbox boots.
    pub fn has_authority(&self, network: &Network) -> bool {
        self.sandbox.is_none() || network.acme.directory.is_some()
    }

    /// The operating system an instance boots, and what a release must be built for.
    pub fn machine(&self, instance: &crate::config::Instance) -> Machine {
        images::machine(instance, self.sandbox.as_ref())
    }

    /// Whether such an instance can boot there.
    ///
    /// # Errors
    /// When it is another than the sandbox's virtual machines can be.
    pub fn can_boot(&self, instance: &crate::config::Instance) -> Result<()> {
        match self.sandbox.as_ref().map(|handle| handle.machines) {
            Some(sandbox::Machines::Qemu) => images::fits_a_virtual_machine(instance),
            _ => Ok(()),
        }
    }

    /// What to add to a command that is shown, so that it goes to the same place.
    pub fn flag(&self) -> &'static str {
        if self.sandbox.is_some() { " --sandbox" } else { "" }
    }
}

/// Instance metadata comes last and answers at once where there is any: on a laptop nobody waits for it.
fn patient_with_no_one() -> imds::Client {
    imds::Client::builder()
        .max_attempts(1)
        .connect_timeout(Duration::from_millis(250))
        .read_timeout(Duration::from_millis(1000))
        .build()
}

/// Retries are ours (`engine::retry`), so that each is counted, bounded and shown.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(120))
        .build()
}

/// The region that an account's settings name; nothing is called but, where nobody names one, instance metadata.
///
/// # Errors
/// When there is none.
pub async fn region(settings: &Settings) -> Result<String> {
    region_by(settings, patient_with_no_one()).await
}

/// The region of the local AWS.
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
        Failure::new(Exit::Usage, "no region is named")
            .because("neither --region, nor deploy.yaml, nor AWS_REGION, nor the AWS profile has one")
            .next("add a line such as `region: eu-central-1` to deploy.yaml, or give --region")
    })
}
