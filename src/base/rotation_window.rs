//! The rotation window: how long the previous token stays valid after a new one was set.

use std::time::Duration;

/// The longest window, so that a token that was replaced is not forgotten.
const LONGEST: u64 = 7 * 24 * 3600;
/// Each unit and its seconds, the greatest first.
const UNITS: [(char, u64); 4] = [('d', 24 * 3600), ('h', 3600), ('m', 60), ('s', 1)];

/// Parses `10m`, `90s`, `1h30m`, `7d` or `0`.
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
        // Each unit once, and greater units first: anything else is a typing mistake.
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
    fn other_texts_are_refused() {
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
    fn more_than_a_week_is_refused_and_nothing_overflows() {
        for text in ["7d1s", "8d", "169h", "604801s", "10081m", "18446744073709551615s"] {
            assert!(parse(text).expect_err(text).contains("7 days"), "{text}");
        }
        for text in ["18446744073709551616s", "18446744073709551615d", "213503982334601d18446744073709551615s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_length_is_parsed_as_it_is_written() {
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
}
