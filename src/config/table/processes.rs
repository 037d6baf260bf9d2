//! The keys of `processes`.

use super::super::keys::{Entries, Number, Section, Text};
use super::patterns::{ANY, PROGRAM};

pub static PROCESSES: Entries = Entries {
    name: "processes",
    path: "processes",
    about: "processes beside the web server, such as `{worker: celery -A shop worker}`: by name a shell command, or `{run: …, stop_seconds: …}` with the seconds that it may take to end (1 to 900, default 30)",
    names: PROGRAM,
    section: &PROCESS,
    text: &PROCESS_RUN,
    most: (8, "each takes memory of the one instance"),
};

pub static PROCESS: Section = Section {
    name: "process",
    path: "processes",
    about: "a process beside the web server",
    keys: &[&PROCESS_RUN, &STOP_SECONDS],
    needs: &["run"],
};

pub static PROCESS_RUN: Text = Text { name: "run", about: "shell command of the process", default: None, pattern: ANY };

pub static STOP_SECONDS: Number = Number {
    name: "stop_seconds",
    about: "seconds that it may take to end after SIGTERM, before it is killed",
    least: 1,
    most: 900,
    default: 30,
};
