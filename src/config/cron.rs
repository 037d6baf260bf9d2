//! A cron expression as lists of values, so that the instance needs no parser (`agent/schedule/cron.py`).

use croner::parser::{CronParser, Seconds, Year};
use croner::{CronComponent, CronPattern};
use serde::{Deserialize, Serialize};

use super::reader::Wrong;

const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const FIELDS: [&str; 5] = ["minute", "hour", "day of the month", "month", "weekday"];
const LONGEST_MONTHS: [u16; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const HINT: &str =
    "write minute, hour, day of the month, month and weekday, in UTC, such as \"15 3 * * mon-fri\"; or @daily";

/// When a run is due: all values of each field. Sunday is 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    /// The minutes of the hour.
    pub minutes: Vec<u16>,
    /// The hours of the day.
    pub hours: Vec<u16>,
    /// The days of the month.
    pub days: Vec<u16>,
    /// The months.
    pub months: Vec<u16>,
    /// The weekdays.
    pub weekdays: Vec<u16>,
    /// Whether a day of the month or a weekday is enough: cron's rule if neither field starts with `*`.
    pub either: bool,
}

impl Cron {
    /// Parses an expression of five fields, or one of cron's nicknames.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let text = text.trim().to_ascii_lowercase();
        let fields = fields(&text)?;
        let pattern = pattern(&text).ok_or_else(|| Wrong::new("is not a cron expression", HINT))?;
        let restricted = |at: usize| fields.get(at).is_some_and(|field| !field.starts_with('*'));
        let cron = Self {
            minutes: pattern.minutes.values(),
            hours: pattern.hours.values(),
            days: pattern.days.values(),
            months: pattern.months.values(),
            weekdays: pattern.days_of_week.values(),
            either: restricted(2) && restricted(4),
        };
        if cron.comes() {
            Ok(cron)
        } else {
            Err(Wrong::new("is a day that never comes", "correct the day or the month"))
        }
    }

    /// Whether it is ever due. Each weekday comes on each date, also on 29 February.
    fn comes(&self) -> bool {
        let has = |month: &u16| self.days.first() <= LONGEST_MONTHS.get(usize::from(*month) - 1);
        self.either || self.months.iter().any(has)
    }
}

/// The five fields, or none for a nickname.
fn fields(text: &str) -> Result<Vec<&str>, Wrong> {
    if NICKNAMES.contains(&text) {
        return Ok(Vec::new());
    }
    if text.starts_with('@') {
        return Err(Wrong::new("is not a known word", format!("write one of: {}", NICKNAMES.join(", "))));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(Wrong::new(format!("has {} fields instead of five", fields.len()), HINT));
    }
    match fields.iter().zip(FIELDS).enumerate().find(|(at, (field, _))| !is_field(*at, field)) {
        Some((_, (field, name))) => Err(Wrong::new(format!("has a wrong {name}: {field}"), HINT)),
        None => Ok(fields),
    }
}

/// Whether cron accepts this as its field with that number. croner accepts more: names and modifiers everywhere, and empty values.
fn is_field(at: usize, field: &str) -> bool {
    let letters = at >= 3;
    let known = |c: char| matches!(c, '0'..='9' | '*' | ',' | '/' | '-') || (letters && c.is_ascii_lowercase());
    let mut alone = ["*"; FIELDS.len()];
    alone[at] = field;
    field.chars().all(known) && field.split(',').all(|part| !part.is_empty()) && pattern(&alone.join(" ")).is_some()
}

fn pattern(text: &str) -> Option<CronPattern> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    // croner does not know this nickname.
    let found = parser.parse(if text == "@midnight" { "@daily" } else { text }).ok()?.pattern;
    let parts = [&found.minutes, &found.hours, &found.days, &found.months, &found.days_of_week];
    let modified = parts.into_iter().any(CronComponent::has_modifiers);
    (!modified).then_some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The cases were made with cronsim, which follows Debian's cron; `agent/tests/test_cron.py` reads them as well.
    #[test]
    fn an_expression_has_the_values_of_debians_cron() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/schedule/cron.json")).unwrap();
        for case in cases {
            let text = case["cron"].as_str().unwrap();
            let found = Cron::parse(text).unwrap_or_else(|wrong| panic!("{text} {}", wrong.what));
            assert_eq!(serde_json::to_value(found).unwrap(), case["times"], "{text}");
        }
    }

    #[test]
    fn what_cron_refuses_is_refused_with_its_place() {
        let of = |text: &str| Cron::parse(text).unwrap_err().what;
        for (text, what) in [
            ("", "has 0 fields instead of five"),
            ("15 3 * *", "has 4 fields instead of five"),
            ("15 3 * * * 2026", "has 6 fields instead of five"),
            ("60 3 * * *", "has a wrong minute: 60"),
            ("mon 3 * * *", "has a wrong minute: mon"),
            ("*/0 3 * * *", "has a wrong minute: */0"),
            ("5/10 3 * * *", "has a wrong minute: 5/10"),
            ("1,,2 3 * * *", "has a wrong minute: 1,,2"),
            ("10-5 3 * * *", "has a wrong minute: 10-5"),
            ("0 24 * * *", "has a wrong hour: 24"),
            ("0 3 L * *", "has a wrong day of the month: l"),
            ("0 3 ? * *", "has a wrong day of the month: ?"),
            ("0 3 15w * *", "has a wrong day of the month: 15w"),
            ("0 3 * january *", "has a wrong month: january"),
            ("0 3 * 13 *", "has a wrong month: 13"),
            ("0 3 * * fril", "has a wrong weekday: fril"),
            ("0 3 * * 5#2", "has a wrong weekday: 5#2"),
            ("0 3 * * 8", "has a wrong weekday: 8"),
            ("0 3 * * +1", "has a wrong weekday: +1"),
            ("@reboot", "is not a known word"),
            ("@daily x", "is not a known word"),
            ("0 3 30 2 *", "is a day that never comes"),
            ("0 3 31 4,6,9,11 */2", "is a day that never comes"),
        ] {
            assert_eq!(of(text), what, "{text:?}");
        }
        assert!(Cron::parse("0 3 29 2 *").is_ok() && Cron::parse("0 3 30 2 mon").is_ok());
    }
}
