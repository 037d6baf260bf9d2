//! Times as AWS writes them.

use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};

use crate::base::clock::now;

/// How far this machine's clock is ahead of a `Date` header, in seconds.
pub(super) fn ahead(date: &str) -> Option<i64> {
    Some(now() - DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?.secs())
}

/// RFC 3339, of microseconds since 1970.
pub fn rfc3339(micros: u64) -> String {
    let time = DateTime::from_nanos(i128::from(micros) * 1000);
    time.ok().and_then(|time| time.fmt(DateTimeFormat::DateTime).ok()).unwrap_or_default()
}

/// The day, such as `2026-10-05`, of seconds since 1970.
pub fn day(seconds: i64) -> Option<String> {
    let time = DateTime::from_secs(seconds).fmt(DateTimeFormat::DateTime).ok()?;
    time.get(..10).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_shows_how_far_the_clock_is_ahead() {
        let date = |at: i64| DateTime::from_secs(at).fmt(DateTimeFormat::HttpDate).unwrap();
        assert!((600..605).contains(&ahead(&date(now() - 600)).unwrap()));
        assert!((-600..-595).contains(&ahead(&date(now() + 600)).unwrap()));
        assert_eq!(ahead("soon"), None);
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_790_000_000_250_000), "2026-09-21T14:13:20.25Z");
        assert_eq!(day(1_790_000_000).as_deref(), Some("2026-09-21"));
    }
}
