//! `schedule`: commands that run at certain times.

use std::collections::BTreeMap;

use super::check::{self, ensure};
use super::reader::{Reader, Section, Wrong};
use super::{Cron, table};

/// Names that the agent uses itself: of logs, and of what runs on the instance.
const RESERVED: [&str; 6] = ["access", "agent", "app", "release", "run", "web"];

/// A command, and when it runs.
#[derive(Clone, Debug)]
pub struct Run {
    /// The cron expression.
    pub text: String,
    /// Its values.
    pub cron: Cron,
    /// The shell command.
    pub command: String,
    /// How long a run may take, in seconds.
    pub timeout: u32,
    /// Whether a missed run is caught up.
    pub catch_up: bool,
}

/// Reads `schedule`.
pub(super) fn section(reader: &mut Reader, top: &mut Section) -> BTreeMap<String, Run> {
    let mut runs = BTreeMap::new();
    for (key, section) in reader.sections(top, &table::SCHEDULE, &table::RUN) {
        if let Err(Wrong { what, hint }) = program(&key.name) {
            reader.find(key.span, format!("`schedule`: `{}` {what}", key.name), "here", hint);
        }
        runs.extend(run(reader, section, key.span).map(|run| (key.name, run)));
    }
    runs
}

fn run(reader: &mut Reader, mut section: Section, at: miette::SourceSpan) -> Option<Run> {
    for (key, line) in
        [(&table::CRON, "cron: \"15 3 * * *\""), (&table::RUN_COMMAND, "run: python manage.py clearsessions")]
    {
        if section.given(key).is_none() {
            let what = format!("`{}.{}` is missing", section.path(), key.name);
            reader.find(at, what, "here", format!("add a line such as `{line}`"));
        }
    }
    let text = reader.text(&mut section, &table::CRON, |text| Cron::parse(text).map(drop));
    let command = reader.text(&mut section, &table::RUN_COMMAND, check::command);
    let timeout = reader.number(&mut section, &table::RUN_TIMEOUT);
    let catch_up = reader.flag(&mut section, &table::CATCH_UP);
    section.finish(reader);
    let text = text?;
    Some(Run { cron: Cron::parse(&text).ok()?, text, command: command?, timeout, catch_up })
}

/// Checks the name of what runs beside the app.
fn program(name: &str) -> Result<(), Wrong> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let formed = name.len() <= 20 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(letters);
    ensure(formed, "is not a valid name", "write at most 20 lowercase letters, digits and hyphens, a letter first")?;
    ensure(!RESERVED.contains(&name), "is a name that devopsctl uses itself", "choose another name")
}
