//! How long a token answers beside the one that took its place: as it is typed, and as it is told.

use std::time::{Duration, SystemTime};

use crate::base::child;

/// The longest: a token that is to go must not be forgotten.
const LONGEST: u64 = 7 * 24 * 3600;
/// Each unit and its seconds, the greatest first.
const UNITS: [(char, u64); 4] = [('d', 24 * 3600), ('h', 3600), ('m', 60), ('s', 1)];

/// Reads `10m`, `90s`, `1h30m`, `7d` or `0`.
///
/// # Errors
/// What is wrong with it, as clap shows it.
pub fn parse(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write it as 90s, 10m, 1h or 1h30m; 0 for none";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total, mut units) = (text, 0_u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(FORM)?;
        let (number, behind) = rest.split_at(digits);
        let unit = behind.chars().next().unwrap_or_default();
        // Each unit once, and none before a greater one: anything else is a slip of the hand.
        let (_, seconds) = units.find(|(name, _)| *name == unit).ok_or(FORM)?;
        let number = number.parse::<u64>().ok().filter(|_| digits > 0).ok_or(FORM)?;
        total = number.checked_mul(*seconds).and_then(|more| total.checked_add(more)).ok_or(FORM)?;
        rest = &behind[unit.len_utf8()..];
    }
    match total {
        _ if text.is_empty() => Err(FORM.into()),
        0..=LONGEST => Ok(Duration::from_secs(total)),
        _ => Err("at most 7 days (7d)".into()),
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A moment to come, by this machine's clock: `14:30:05, 10 minutes from now`.
pub async fn words(until: i64) -> String {
    let left = u64::try_from(until - now()).unwrap_or_default();
    let left = format!("{} from now", indicatif::HumanDuration(Duration::from_secs(left)));
    match local(until, if until - now() < 12 * 3600 { "+%H:%M:%S" } else { "+%a %d %b %H:%M" }).await {
        Some(clock) => format!("{clock}, {left}"),
        None => left,
    }
}

/// The local time. Only the system's own program knows its zone; GNU's and BSD's take the moment differently.
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

    fn seconds(text: &str) -> Option<u64> {
        parse(text).ok().map(|length| length.as_secs())
    }

    #[test]
    fn each_unit_alone_and_together() {
        let right = [
            ("0", 0),
            ("0s", 0),
            ("0m", 0),
            ("1s", 1),
            ("90s", 90),
            ("010s", 10),
            ("10m", 600),
            ("1h", 3600),
            ("24h", 86_400),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("1d2h3m4s", 93_784),
            ("1d4s", 86_404),
            ("7d", 604_800),
            ("168h", 604_800),
            ("604800s", 604_800),
            ("6d23h59m60s", 604_800),
        ];
        for (text, expected) in right {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time() {
        let wrong = [
            "",
            " ",
            "1",
            "00",
            "10",
            "s",
            "m",
            "hm",
            "1x",
            "1M",
            "1H",
            "1w",
            "ten minutes",
            "10 m",
            " 10m",
            "10m ",
            "-1m",
            "+1m",
            "1.5h",
            "1,5h",
            "1m1h",
            "1m1m",
            "1s1s",
            "1h30",
            "10m5",
            "m10",
            "1ms",
            "1µ",
            "١m",
            "1h 30m",
            "0x1s",
            "1e3s",
        ];
        for text in wrong {
            let error = parse(text).expect_err(text);
            assert!(error.contains("write it as"), "{text}: {error}");
        }
    }

    #[test]
    fn more_than_a_week_is_too_long_and_nothing_overflows() {
        for text in ["7d1s", "8d", "169h", "604801s", "10081m", "18446744073709551615s"] {
            assert!(parse(text).expect_err(text).contains("7 days"), "{text}");
        }
        for text in ["18446744073709551616s", "18446744073709551615d", "213503982334601d18446744073709551615s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    /// Whatever is typed, nothing breaks; and what is written from a number is read as that number.
    #[test]
    fn every_length_is_read_as_it_is_written() {
        for total in (0..=LONGEST).step_by(37) {
            let (mut rest, mut text) = (total, String::new());
            for (unit, size) in UNITS {
                if rest / size > 0 {
                    text.push_str(&format!("{}{unit}", rest / size));
                }
                rest %= size;
            }
            let text = if text.is_empty() { "0".to_owned() } else { text };
            assert_eq!(seconds(&text), Some(total), "{text}");
            assert_eq!(seconds(&format!("{total}s")), Some(total));
        }
    }

    #[tokio::test]
    async fn a_moment_is_told_by_the_clock_and_from_now() {
        let words = words(now() + 600).await;
        assert!(words.ends_with("10 minutes from now") || words.ends_with("599 seconds from now"), "{words}");
    }
}
