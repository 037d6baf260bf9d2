//! Times, as seconds since 1970 and in words.

use std::time::{Duration, SystemTime};

use crate::base::child;

/// The current time, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A future time by this machine's clock: `14:30:05, 10 minutes from now`.
pub async fn until(at: i64) -> String {
    let left = u64::try_from(at - now()).unwrap_or_default();
    let left = format!("{} from now", indicatif::HumanDuration(Duration::from_secs(left)));
    match local(at, if at - now() < 12 * 3600 { "+%H:%M:%S" } else { "+%a %d %b %H:%M" }).await {
        Some(clock) => format!("{clock}, {left}"),
        None => left,
    }
}

/// The local time. `date` knows the time zone; GNU's and BSD's take the time in different options.
async fn local(at: i64, form: &str) -> Option<String> {
    for moment in [vec!["-d".to_owned(), format!("@{at}")], vec!["-r".to_owned(), at.to_string()]] {
        let ran = child::command("date").args(moment).arg(form).env("LC_ALL", "C").output().await.ok()?;
        let text = String::from_utf8(ran.stdout).unwrap_or_default().trim().to_owned();
        if ran.status.success() && !text.is_empty() {
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_future_time_is_shown_by_the_clock_and_from_now() {
        let words = until(now() + 600).await;
        assert!(words.ends_with("10 minutes from now") || words.ends_with("599 seconds from now"), "{words}");
    }
}
