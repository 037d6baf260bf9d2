//! `processes`: programs that run beside the web server, such as workers of a queue.

use std::collections::BTreeMap;

use super::check::{self, Checked, ensure};
use super::reader::{Reader, Section};
use super::table;

/// Names that the agent uses itself: of logs, and of what runs on the instance.
const RESERVED: [&str; 6] = ["access", "agent", "app", "release", "run", "web"];

/// A process beside the web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its shell command.
    pub run: String,
    /// How long it may take to end, in seconds.
    pub stop_seconds: u32,
}

/// Reads `processes`.
pub(super) fn section(reader: &mut Reader, top: &mut Section) -> BTreeMap<String, Process> {
    let mut processes = BTreeMap::new();
    for (key, mut section) in reader.sections(top, &table::PROCESSES, &table::PROCESS) {
        if let Err(wrong) = program(&key.name) {
            reader.find(key.span, format!("`processes`: `{}` {}", key.name, wrong.what), "here", wrong.hint);
        }
        if section.given(&table::PROCESS_RUN).is_none() {
            let what = format!("`processes.{}` has no command", key.name);
            reader.find(key.span, what, "here", format!("write `{}: celery -A shop worker`, or its `run`", key.name));
        }
        let run = reader.text(&mut section, &table::PROCESS_RUN, check::command);
        let stop_seconds = reader.number(&mut section, &table::STOP_SECONDS);
        section.finish(reader);
        processes.extend(run.map(|run| (key.name, Process { run, stop_seconds })));
    }
    processes
}

/// The name of a program beside the web server, which becomes part of names on the instance.
pub(super) fn program(name: &str) -> Checked {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let formed = name.len() <= 20 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(letters);
    ensure(formed, "is not a valid name", "write at most 20 lowercase letters, digits and hyphens, a letter first")?;
    ensure(!RESERVED.contains(&name), "is a name that devopsctl uses itself", "choose another name")
}

/// Whether a program beside the web server can have this name.
pub fn is_program(name: &str) -> bool {
    program(name).is_ok()
}
