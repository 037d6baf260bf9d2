//! One AWS call: sent, retried if that is safe, and its error in one form.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use super::time::ahead;
use crate::aws::retry::{Backoff, Retry};
use crate::base::error::innermost;

/// How long throttled and transient errors are retried.
const PATIENCE: Duration = Duration::from_secs(60);

/// An error of AWS, or of the network.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The IAM name of the call, for example `ec2:RunInstances`.
    pub action: &'static str,
    /// The error code as the API returns it; empty without an answer.
    pub code: String,
    /// The error message.
    pub message: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How many seconds this machine's clock is ahead of the answer's `Date` header, if it has one.
    pub ahead: Option<i64>,
}

/// How an error is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// AWS throttles the caller.
    Throttled,
    /// Transient: the answer was lost or broken, or AWS failed. The call may have been executed.
    Passing,
    /// The same call would get the same answer.
    Final,
}

impl ApiError {
    fn new<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let ahead = error.raw_response().and_then(|response| ahead(response.headers().get("date")?));
        let metadata = error.as_service_error();
        let code = metadata.and_then(|service| service.code()).unwrap_or_default().to_owned();
        let message = match metadata.and_then(|service| service.message()) {
            Some(message) => message.to_owned(),
            None if !code.is_empty() => code.clone(),
            // The answer to a HEAD request has no body.
            None if metadata.is_some() && status.is_some() => format!("HTTP {}", status.unwrap_or_default()),
            None => innermost(error),
        };
        Self { action, code, message, status, ahead }
    }

    /// There is no answer; `message` is the reason.
    pub fn silent(action: &'static str, message: String) -> Self {
        Self { action, code: String::new(), message, status: None, ahead: None }
    }

    /// Whether the code is one of these.
    pub fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// Whether the code is this one and the message contains these words: some of EC2's codes have several meanings.
    pub fn says(&self, code: &str, words: &str) -> bool {
        self.code == code && self.message.to_lowercase().contains(&words.to_lowercase())
    }

    /// Whether the resource does not exist.
    pub fn absent(&self) -> bool {
        let code = self.code.as_str();
        self.is(&["NoSuchEntity", "ParameterNotFound", "NoSuchBucket", "NoSuchKey", "NoSuchBucketPolicy", "NotFound"])
            || self.is(&["NoSuchPublicAccessBlockConfiguration", "InvalidKeyPair.NotFound"])
            || (code.starts_with("Invalid") && code.ends_with(".NotFound"))
    }

    /// How the error is retried.
    pub fn fault(&self) -> Fault {
        const THROTTLED: [&str; 12] = [
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "TooManyRequestsException",
            "TooManyUpdates",
            "RequestThrottled",
            "RequestThrottledException",
            "SlowDown",
            "PriorRequestNotComplete",
            "BandwidthLimitExceeded",
            "EC2ThrottledException",
        ];
        // A lack of capacity is a 5xx, but a retry gets the same answer.
        const FINAL: [&str; 4] = [
            "InsufficientInstanceCapacity",
            "InsufficientHostCapacity",
            "InsufficientCapacity",
            "InsufficientAddressCapacity",
        ];
        if self.is(&THROTTLED) {
            Fault::Throttled
        } else if self.is(&FINAL) {
            Fault::Final
        } else if self.is(&[
            "ConcurrentModification",
            "ConcurrentTagAccess",
            "RequestTimeout",
            "RequestTimeoutException",
            "Unavailable",
            "InternalError",
        ]) {
            Fault::Passing
        } else {
            match self.status {
                None => Fault::Passing,
                Some(status) if status >= 500 => Fault::Passing,
                // The object is unchanged: the answer to a condition, without a body.
                Some(304) => Fault::Final,
                // A truncated answer has a status but no readable body.
                Some(status) if status < 300 || self.code.is_empty() => Fault::Passing,
                Some(_) => Fault::Final,
            }
        }
    }
}

/// Sends an idempotent call, and retries throttled and transient errors.
pub async fn call<T, E, F>(action: &'static str, send: impl Fn() -> F) -> Result<T, ApiError>
where
    E: Error + ProvideErrorMetadata + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut backoff = Backoff::new(PATIENCE);
    loop {
        let error = match send().await {
            Ok(answer) => return Ok(answer),
            Err(error) => ApiError::new(action, &error),
        };
        tracing::debug!(action, code = error.code, status = error.status, "{}", error.message);
        if error.fault() == Fault::Final || backoff.wait().await == Retry::Enough {
            return Err(error);
        }
    }
}

/// Sends a call that is not idempotent. Only throttled calls, which AWS did not execute, are retried.
pub async fn once<T, E, F>(action: &'static str, send: impl Fn() -> F) -> Result<T, ApiError>
where
    E: Error + ProvideErrorMetadata + 'static,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut backoff = Backoff::new(PATIENCE);
    loop {
        let error = match send().await {
            Ok(answer) => return Ok(answer),
            Err(error) => ApiError::new(action, &error),
        };
        if error.fault() != Fault::Throttled || backoff.wait().await == Retry::Enough {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, status: Option<u16>) -> ApiError {
        ApiError { action: "ec2:RunInstances", code: code.into(), message: String::new(), status, ahead: None }
    }

    #[test]
    fn throttling_is_recognised_also_as_a_400() {
        assert_eq!(error("RequestLimitExceeded", Some(503)).fault(), Fault::Throttled);
        assert_eq!(error("ThrottlingException", Some(400)).fault(), Fault::Throttled);
        assert_eq!(error("RequestThrottledException", Some(400)).fault(), Fault::Throttled);
    }

    #[test]
    fn a_lack_of_capacity_is_final_although_it_is_a_500() {
        assert_eq!(error("InsufficientInstanceCapacity", Some(500)).fault(), Fault::Final);
    }

    #[test]
    fn lost_and_broken_answers_are_transient() {
        assert_eq!(error("", None).fault(), Fault::Passing);
        assert_eq!(error("", Some(200)).fault(), Fault::Passing);
        assert_eq!(error("", Some(400)).fault(), Fault::Passing);
        assert_eq!(error("", Some(404)).fault(), Fault::Passing);
        assert_eq!(error("InternalFailure", Some(500)).fault(), Fault::Passing);
        assert_eq!(error("RequestTimeoutException", Some(400)).fault(), Fault::Passing);
    }

    #[test]
    fn an_unchanged_object_is_not_asked_for_again() {
        assert_eq!(error("", Some(304)).fault(), Fault::Final);
    }

    #[test]
    fn refusals_are_final() {
        assert_eq!(error("UnauthorizedOperation", Some(403)).fault(), Fault::Final);
        assert_eq!(error("InvalidParameterValue", Some(400)).fault(), Fault::Final);
    }

    #[test]
    fn every_code_for_an_absent_resource_is_known() {
        for code in [
            "NoSuchEntity",
            "ParameterNotFound",
            "InvalidInstanceID.NotFound",
            "InvalidGroup.NotFound",
            "NoSuchBucket",
            "InvalidSecurityGroupID.NotFound",
        ] {
            assert!(error(code, Some(400)).absent(), "{code}");
        }
        assert!(!error("AccessDenied", Some(403)).absent());
    }
}
