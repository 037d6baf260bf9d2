//! The caller: its account, where the credentials come from and when they expire.

use std::time::{Duration, SystemTime};

use super::Check;
use crate::aws::{ApiError, Aws, Identity};
use crate::base::clock;
use crate::base::error::{Exit, Failure, Result};
use crate::resources::preflight;

/// The caller.
pub struct Caller {
    /// The caller and the account.
    pub(super) identity: Identity,
    /// The region's error, if only another region knows the caller.
    pub(super) not_enabled: Option<ApiError>,
    expiry: Option<Expiry>,
}

/// When the credentials expire.
struct Expiry {
    left: Duration,
    words: String,
}

/// Asks AWS for the caller.
pub async fn observe(aws: &Aws) -> Result<Caller> {
    let (caller, expiry) = tokio::join!(preflight::caller(aws), expiry(aws.until));
    let (identity, not_enabled) = caller?;
    Ok(Caller { identity, not_enabled, expiry })
}

async fn expiry(until: Option<SystemTime>) -> Option<Expiry> {
    let until = until?;
    let at = until.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    Some(Expiry { left, words: clock::until(i64::try_from(at).ok()?).await })
}

/// Credentials that expire in less than this time are a warning.
const SOON: Duration = Duration::from_secs(3600);

const CREDENTIALS: &str = "credentials";

/// `source`: where the credentials come from, if that is known.
pub fn judge(caller: &Caller, source: Option<&str>) -> Check {
    let Caller { identity, expiry, .. } = caller;
    let source = source.map(|source| format!(", from {source}")).unwrap_or_default();
    let seen = format!("{} in account {}{source}", identity.by, identity.account);
    match expiry {
        None => Check::pass(CREDENTIALS, seen),
        Some(expiry) if expiry.left >= SOON => Check::pass(CREDENTIALS, format!("{seen}, until {}", expiry.words)),
        Some(expiry) => Check::warn(
            CREDENTIALS,
            format!("{seen}; they expire at {}, unless they are renewed automatically", expiry.words),
            "renew them if necessary: aws sso login, or aws login",
        ),
    }
}

/// The check of the caller alone, if nothing else can be asked.
pub async fn check(aws: &Aws) -> Check {
    match observe(aws).await {
        Ok(caller) => judge(&caller, aws.source),
        Err(failure) => unknown(&failure),
    }
}

/// The check for a failure of [`Aws::account`], if it is about credentials.
pub fn without(failure: &Failure) -> Option<Check> {
    (failure.exit() == Exit::Denied).then(|| unknown(failure))
}

/// AWS does not know the caller.
pub fn unknown(failure: &Failure) -> Check {
    Check::failed(CREDENTIALS, failure)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn ann(minutes: Option<u64>) -> Caller {
        let identity = Identity { account: "123456789012".into(), partition: "aws".into(), by: "ann".into() };
        let expiry = minutes.map(|minutes| Expiry { left: Duration::from_secs(minutes * 60), words: "14:30".into() });
        Caller { identity, not_enabled: None, expiry }
    }

    #[test]
    fn credentials_that_expire_within_the_hour_are_a_warning() {
        let seen = judge(&ann(None), Some("SSO")).seen;
        assert_eq!(seen, "ann in account 123456789012, from SSO");
        assert_eq!(judge(&ann(Some(61)), None).state, State::Pass);
        assert_eq!(judge(&ann(Some(59)), None).state, State::Warn);
    }
}
