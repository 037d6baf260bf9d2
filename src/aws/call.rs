//! One AWS call: sent, retried where that is safe, and its error in one shape.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};

use crate::aws::retry::{Backoff, Retry};
use crate::base::error::innermost;
use crate::base::grace::now;

/// How long throttling and passing faults are waited out.
const PATIENCE: Duration = Duration::from_secs(60);

/// What AWS, or the way to it, answered instead of a result.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The IAM name of the call, for example `ec2:RunInstances`.
    pub action: &'static str,
    /// The error code as the API returns it; empty when nothing came back.
    pub code: String,
    /// The words beside it.
    pub message: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How many seconds this machine's clock is ahead of the answer's `Date`, where it has one.
    pub ahead: Option<i64>,
}

/// What can be done about an error without a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// AWS asks for patience.
    Throttled,
    /// The answer was lost or broken, or AWS failed: the call may have been carried out.
    Passing,
    /// Anything else: the same call would get the same answer.
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
            // Who asks by HEAD gets no words.
            None if metadata.is_some() && status.is_some() => format!("HTTP {}", status.unwrap_or_default()),
            None => innermost(error),
        };
        Self { action, code, message, status, ahead }
    }

    /// That there is no answer, and why.
    pub fn silent(action: &'static str, message: String) -> Self {
        Self { action, code: String::new(), message, status: None, ahead: None }
    }

    /// Whether the code is one of these.
    pub fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    /// Whether the code is this one and the message holds these words: EC2 has codes that mean many things.
    pub fn says(&self, code: &str, words: &str) -> bool {
        self.code == code && self.message.to_lowercase().contains(&words.to_lowercase())
    }

    /// Whether what was asked for is not there.
    pub fn absent(&self) -> bool {
        let code = self.code.as_str();
        self.is(&["NoSuchEntity", "ParameterNotFound", "NoSuchBucket", "NoSuchKey", "NoSuchBucketPolicy", "NotFound"])
            || self.is(&["NoSuchPublicAccessBlockConfiguration", "InvalidKeyPair.NotFound"])
            || (code.starts_with("Invalid") && code.ends_with(".NotFound"))
    }

    /// What can be done about it.
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
        // Capacity is answered with a 5xx, but asking again at once gets the same answer.
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
                // An answer that was cut off has a status but nothing in it that can be read.
                Some(status) if status < 300 || self.code.is_empty() => Fault::Passing,
                Some(_) => Fault::Final,
            }
        }
    }
}

/// How far this machine's clock is ahead of a `Date` header, in seconds.
pub(super) fn ahead(date: &str) -> Option<i64> {
    Some(now() - DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?.secs())
}

/// Sends a call that may be sent twice: one that reads, or that AWS makes safe to repeat.
///
/// # Errors
/// The last answer, when patience is at its end or the error will not pass.
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

/// Sends a call that must not be sent twice: a lost answer may have been carried out. Only throttling, which AWS
/// answers before it acts, is waited out.
///
/// # Errors
/// The last answer.
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
    fn a_date_tells_how_far_the_clock_is_ahead() {
        let date = |at: i64| DateTime::from_secs(at).fmt(DateTimeFormat::HttpDate).unwrap();
        assert!((600..605).contains(&ahead(&date(now() - 600)).unwrap()));
        assert!((-600..-595).contains(&ahead(&date(now() + 600)).unwrap()));
        assert_eq!(ahead("soon"), None);
    }

    #[test]
    fn throttling_is_waited_out_also_as_a_400() {
        assert_eq!(error("RequestLimitExceeded", Some(503)).fault(), Fault::Throttled);
        assert_eq!(error("ThrottlingException", Some(400)).fault(), Fault::Throttled);
        assert_eq!(error("RequestThrottledException", Some(400)).fault(), Fault::Throttled);
    }

    #[test]
    fn a_lack_of_capacity_is_final_though_it_is_a_500() {
        assert_eq!(error("InsufficientInstanceCapacity", Some(500)).fault(), Fault::Final);
    }

    #[test]
    fn what_was_lost_or_broken_may_pass() {
        assert_eq!(error("", None).fault(), Fault::Passing);
        assert_eq!(error("", Some(200)).fault(), Fault::Passing);
        assert_eq!(error("", Some(400)).fault(), Fault::Passing);
        assert_eq!(error("", Some(404)).fault(), Fault::Passing);
        assert_eq!(error("InternalFailure", Some(500)).fault(), Fault::Passing);
        assert_eq!(error("RequestTimeoutException", Some(400)).fault(), Fault::Passing);
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        assert_eq!(error("UnauthorizedOperation", Some(403)).fault(), Fault::Final);
        assert_eq!(error("InvalidParameterValue", Some(400)).fault(), Fault::Final);
    }

    #[test]
    fn absence_has_many_names() {
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
