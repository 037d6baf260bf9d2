//! `schedule`: commands that run at certain times.

use std::collections::BTreeMap;

use super::check::{self, ensure};
use super::processes::{Process, program};
use super::reader::{Reader, Section, Wrong};
use super::{Cron, table};

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

/// Reads `schedule`. `processes`: their logs have names, too.
pub(super) fn section(
    reader: &mut Reader,
    top: &mut Section,
    processes: &BTreeMap<String, Process>,
) -> BTreeMap<String, Run> {
    let mut runs = BTreeMap::new();
    for (key, section) in reader.sections(top, &table::SCHEDULE, &table::RUN) {
        let free = ensure(!processes.contains_key(&key.name), "is the name of a process, too", "choose another name");
        if let Err(Wrong { what, hint }) = program(&key.name).and(free) {
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
