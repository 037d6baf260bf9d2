//! Asks the running app from outside: healthy with the token, guarded without.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::redirect::Policy;

use crate::config::{Deployment, Root};
use crate::engine::retry::{Backoff, Retry};
use crate::error::{Exit, Failing, Failure, Result};
use crate::secret;

/// What the probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It answers as it should.
    Yes,
    /// The security group lets only others in.
    NotFromHere,
}

/// Asks with the token, without one and with a wrong one.
///
/// # Errors
/// That it does not answer, or not as it should.
pub async fn check(deployment: &Deployment, url: &str, token: &str) -> Result<Seen> {
    let health = format!("{url}{}", deployment.health.path);
    let status = match reach(&health, Some(token), deployment).await? {
        Some(status) => status,
        None => return Ok(Seen::NotFromHere),
    };
    if !(status.is_success() || status.is_redirection()) {
        return Err(odd(format!("{health} answers {} to the right token", status.as_u16()))
            .because("the instance says that the app is healthy, so something between here and there answers instead")
            .next(yourself(&health)));
    }
    if deployment.token.enforce {
        let guarded = format!("{url}{}", deployment.token.path);
        refuses(&guarded, None, "no token", deployment).await?;
        refuses(&guarded, Some(&secret::generate()?), "a wrong token", deployment).await?;
    }
    Ok(Seen::Yes)
}

/// That whoever asks in clear is sent on, and told nothing.
///
/// # Errors
/// That it is otherwise.
pub async fn sent_on(deployment: &Deployment, url: &str) -> Result<()> {
    let asked = format!("{url}{}", deployment.health.path);
    match reach(&asked, None, deployment).await? {
        Some(StatusCode::PERMANENT_REDIRECT) | None => Ok(()),
        Some(status) => Err(odd(format!("{asked} answers {} and not 308, the way to HTTPS", status.as_u16()))
            .because("something between here and there answers instead")
            .next(yourself(&asked))),
    }
}

/// That a token is no longer taken.
///
/// # Errors
/// That it is.
pub async fn refused(deployment: &Deployment, url: &str, old: &str) -> Result<()> {
    refuses(&format!("{url}{}", deployment.token.path), Some(old), "the old token", deployment).await
}

/// Whether another token is answered as the current one is; nothing when this machine is not let in.
///
/// # Errors
/// That nothing answers.
pub async fn takes(deployment: &Deployment, url: &str, current: &str, other: &str) -> Result<Option<bool>> {
    let guarded = format!("{url}{}", deployment.token.path);
    let right = reach(&guarded, Some(current), deployment).await?;
    let answer = reach(&guarded, Some(other), deployment).await?;
    Ok(right.zip(answer).map(|(right, answer)| right == answer))
}

async fn refuses(url: &str, token: Option<&str>, which: &str, deployment: &Deployment) -> Result<()> {
    match reach(url, token, deployment).await? {
        Some(status) if status.is_success() => Err(odd(format!("{url} answers {} to {which}", status.as_u16()))
            .because("whoever knows the address can use the app")
            .next("have the app refuse it; or, if this app is meant to be public, set token.enforce: false in deploy.yaml")),
        _ => Ok(()),
    }
}

fn odd(what: String) -> Failing {
    Failure::new(Exit::Unhealthy, what)
}

fn yourself(url: &str) -> String {
    format!("see who answers there, from here and from another network: curl -i {url}")
}

/// How long an instance that answers 503 is asked again: its proxy does so while the app is not running for a moment.
const UNAVAILABLE: Duration = Duration::from_secs(15);

/// One GET. An address that was only just attached may take some seconds until it leads there.
async fn reach(url: &str, token: Option<&str>, deployment: &Deployment) -> Result<Option<StatusCode>> {
    let open = deployment.network.allow.iter().any(|block| block.prefix_len() == 0);
    let patience = Duration::from_secs(if open { 60 } else { 8 });
    let mut backoff = Backoff::polling(patience, Duration::from_secs(2));
    let mut unavailable = Backoff::polling(UNAVAILABLE, Duration::from_secs(1));
    loop {
        let error = match get(url, token, deployment.network.acme.root.as_ref()).await {
            Ok(StatusCode::SERVICE_UNAVAILABLE) if unavailable.wait().await == Retry::Again => continue,
            Ok(status) => return Ok(Some(status)),
            Err(error) => error,
        };
        if backoff.wait().await == Retry::Again {
            continue;
        }
        if !open {
            return Ok(None);
        }
        return Err(Failure::new(Exit::Unhealthy, format!("{url} cannot be reached from here"))
            .because(plain(&error))
            .because("the instance says that the app is healthy, so the way to it is closed: this network's firewall, a network ACL, \
                      the subnet's route to the internet, or VPC Block Public Access")
            .next("try it from another network; then look at the subnet's route table and network ACL in the VPC console"));
    }
}

/// `root`: the certificates that a private authority's go back to.
async fn get(url: &str, token: Option<&str>, root: Option<&Root>) -> reqwest::Result<StatusCode> {
    // A client of its own for each request: no connection is used again, so each one may come to another process.
    let mut client = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(15));
    if let Some(root) = root {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(root.pem.as_bytes())?);
    }
    let mut request = client.build()?.get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Token {token}"));
    }
    Ok(request.send().await?.status())
}

/// The last cause says it plainest, and the URL is named already.
pub(crate) fn plain(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
