//! The keys of `processes`.

use super::super::keys::{Number, Section, Sections, Text};
use super::patterns::{ANY, PROGRAM};

pub static PROCESSES: Sections = Sections {
    name: "processes",
    about: "processes beside the web server, by name",
    names: PROGRAM,
    each: &[&PROCESS],
    text: Some(&PROCESS_RUN),
    most: (8, "each takes memory of the one instance"),
};

pub static PROCESS: Section = Section {
    name: "NAME",
    path: "processes.NAME",
    about: "a process beside the web server",
    keys: &[&PROCESS_RUN, &STOP_SECONDS],
    needs: &["run"],
};

pub static PROCESS_RUN: Text = Text {
    name: "run",
    about: "shell command of a process beside the web server, with the app's settings and secrets; also as `{worker: celery -A shop worker}`",
    default: None,
    pattern: ANY,
};

pub static STOP_SECONDS: Number = Number {
    name: "stop_seconds",
    about: "seconds that it may take to end after SIGTERM, before it is killed",
    least: 1,
    most: 900,
    default: 30,
};
