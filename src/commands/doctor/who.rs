//! Who asks, of which account, by what, and until when.

use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::{Config, Region};

use super::{Check, ask};
use crate::aws::{ApiError, Aws, Identity, explain, told};
use crate::base::error::{Exit, Failure, Result};
use crate::base::grace;

/// Who asks.
pub struct Who {
    /// He and his account.
    pub(super) identity: Identity,
    /// What the region said, where it does not know him and another one does.
    pub(super) off: Option<ApiError>,
    end: Option<End>,
}

/// When the credentials end.
struct End {
    left: Duration,
    words: String,
}

/// What services say to credentials that they do not know.
pub const UNKNOWN: [&str; 4] = ["AuthFailure", "InvalidClientTokenId", "OptInRequired", "UnrecognizedClientException"];

/// Asked once. A region that is not switched on knows nobody, so one is asked that always is on.
///
/// # Errors
/// That AWS does not know who asks.
pub async fn look(aws: &Aws) -> Result<Who> {
    const ACTION: &str = "sts:GetCallerIdentity";
    const ALWAYS_ON: &str = "us-east-1";
    let (here, end) = tokio::join!(ask(ACTION, || aws.sts.get_caller_identity().send()), end(aws.until));
    let (answer, off) = match here {
        Ok(answer) => (answer, None),
        Err(error) if error.is(&UNKNOWN) => {
            let there = || {
                let config = Config::builder().region(Region::new(ALWAYS_ON));
                aws.sts.get_caller_identity().customize().config_override(config).send()
            };
            match ask(ACTION, there).await {
                Ok(answer) => (answer, Some(error)),
                Err(_) => return Err(explain(STRANGER, &error)),
            }
        }
        Err(error) => return Err(explain(STRANGER, &error)),
    };
    Ok(Who { identity: told(answer)?, off, end })
}

const STRANGER: &str = "AWS does not know who you are";

async fn end(until: Option<SystemTime>) -> Option<End> {
    let until = until?;
    let at = until.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    Some(End { left, words: grace::words(i64::try_from(at).ok()?).await })
}

/// Less than this is soon.
const SOON: Duration = Duration::from_secs(3600);

const CREDENTIALS: &str = "credentials";

/// `source`: where the credentials were found, if that is known.
pub fn judge(who: &Who, source: Option<&str>) -> Check {
    let Who { identity, end, .. } = who;
    let source = source.map(|source| format!(", by {source}")).unwrap_or_default();
    let who = format!("{} in account {}{source}", identity.by, identity.account);
    match end {
        None => Check::pass(CREDENTIALS, who),
        Some(end) if end.left >= SOON => Check::pass(CREDENTIALS, format!("{who}, until {}", end.words)),
        Some(end) => Check::warn(
            CREDENTIALS,
            format!("{who}; they end at {}, unless they renew themselves", end.words),
            "get new ones if they do not: aws sso login, or aws login",
        ),
    }
}

/// Who asks, where nothing else can be asked.
pub async fn known(aws: &Aws) -> Check {
    match look(aws).await {
        Ok(who) => judge(&who, aws.source),
        Err(failure) => unknown(&failure),
    }
}

/// That there are none, or none that work: what [`Aws::account`] said before anything could be asked.
pub fn without(failure: &Failure) -> Option<Check> {
    (failure.exit() == Exit::Denied).then(|| unknown(failure))
}

/// That AWS does not know who asks.
pub fn unknown(failure: &Failure) -> Check {
    Check::failed(CREDENTIALS, failure)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn ann(minutes: Option<u64>) -> Who {
        let identity = Identity { account: "123456789012".into(), partition: "aws".into(), by: "ann".into() };
        let end = minutes.map(|minutes| End { left: Duration::from_secs(minutes * 60), words: "14:30".into() });
        Who { identity, off: None, end }
    }

    #[test]
    fn credentials_that_end_within_the_hour_are_a_warning() {
        let seen = judge(&ann(None), Some("SSO")).seen;
        assert_eq!(seen, "ann in account 123456789012, by SSO");
        assert_eq!(judge(&ann(Some(61)), None).state, State::Pass);
        assert_eq!(judge(&ann(Some(59)), None).state, State::Warn);
    }
}
