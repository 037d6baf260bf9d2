//! Custom endpoints in the user's AWS settings. Plain HTTP is allowed on loopback only, because the app's token passes through
//! them.

use std::net::IpAddr;

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use reqwest::Url;

use crate::base::error::{Exit, Failure, Result};

/// The services that are called, as the SDK names them, including those that it gets credentials from.
const SERVICES: [&str; 11] =
    ["EC2", "FreeTier", "IAM", "Route 53", "S3", "Service Quotas", "Signin", "SSM", "SSO", "SSO OIDC", "STS"];

/// Checks every custom endpoint: `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`, and `endpoint_url` in the profile and in its
/// `services` section.
pub(super) fn check(config: &SdkConfig) -> Result<()> {
    let named = SERVICES.into_iter().filter_map(|service| of_service(config, service));
    match config.endpoint_url().map(str::to_owned).into_iter().chain(named).find(|endpoint| !is_private(endpoint)) {
        None => Ok(()),
        Some(endpoint) => Err(Failure::new(Exit::Usage, format!("the AWS endpoint {} is not HTTPS", shown(&endpoint)))
            .because("anyone on the network path could read the app's token; plain HTTP is allowed on loopback only")
            .standing("No call was made.")
            .next(
                "use an https:// URL in AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_<SERVICE> and endpoint_url, or unset them",
            )),
    }
}

/// The custom endpoint of a service.
pub(super) fn named(config: &SdkConfig, service: &str) -> Option<String> {
    of_service(config, service).or_else(|| config.endpoint_url().map(str::to_owned))
}

fn of_service(config: &SdkConfig, service: &str) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url");
    config.service_config()?.load_config(key.build().ok()?)
}

/// Whether the traffic to an endpoint is private: TLS, or loopback.
fn is_private(endpoint: &str) -> bool {
    let Ok(url) = Url::parse(endpoint) else { return false };
    url.scheme() == "https" || (url.scheme() == "http" && url.host_str().is_some_and(is_loopback))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The endpoint without user name and password.
fn shown(endpoint: &str) -> String {
    match Url::parse(endpoint) {
        Ok(url) => format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()),
        Err(_) => "in your AWS settings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_allowed_on_loopback_only() {
        for endpoint in [
            "https://10.0.0.1",
            "http://127.0.0.1:4566",
            "http://127.8.9.1",
            "http://localhost:4566",
            "http://[::1]:1",
            "HTTPS://ssm.example",
        ] {
            assert!(is_private(endpoint), "{endpoint}");
        }
        for endpoint in [
            "http://10.0.0.1",
            "HTTP://10.0.0.1",
            "http://169.254.169.254",
            "http://169.254.169.2",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1@10.0.0.1",
            "http://[::ffff:10.0.0.1]",
            "http://0.0.0.0",
            "ftp://127.0.0.1",
            "10.0.0.1",
            "",
        ] {
            assert!(!is_private(endpoint), "{endpoint}");
        }
        assert_eq!(shown("http://user:word@10.0.0.1/x"), "http://10.0.0.1");
    }
}
