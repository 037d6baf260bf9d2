//! Error snapshots: errors that are provoked through the real binary and stored as they are printed at 80 columns.
//! docs/TROUBLESHOOTING.md is generated from them ([`document`]).

pub mod account;
mod app;
mod calls;
mod codes;
mod data;
mod document;
mod here;
mod local;
mod sections;
mod stands;

use std::path::Path;
use std::process::{Command, Stdio};

use crate::project::{Project, Ran, filters};

/// Replaces the list of the steps that were done, which varies.
const PROGRESS: &str = "Done in this run: […]. The same command continues from here.";
/// The folder of the snapshots.
const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/error_snapshots/snapshots");

/// Runs a command at 80 columns and stores its error under that name.
#[track_caller]
fn shown(project: &Project, name: &str, line: &str, code: i32) {
    shown_after(project, name, line, code, |_| {});
}

/// [`shown`], with further preparation of the command.
#[track_caller]
fn shown_after(project: &Project, name: &str, line: &str, code: i32, prepare: impl FnOnce(&mut Command)) {
    let mut command = typed(project, line);
    prepare(&mut command);
    keep(project, name, Ran::new(line, &command.output().unwrap()).code(code));
}

/// A command at 80 columns.
fn typed(project: &Project, line: &str) -> Command {
    let mut command = project.command(line);
    command.arg("--quiet").env("COLUMNS", "80").stdin(Stdio::null());
    command
}

/// Stores an error, which must have a next step.
#[track_caller]
fn keep(project: &Project, name: &str, ran: Ran) {
    assert!(ran.stderr.contains("help: ") || ran.stderr.contains("tip: "), "no next step:\n{}", ran.shown());
    snapshot(project, name, &ran.shown());
}

#[track_caller]
fn snapshot(project: &Project, name: &str, text: &str) {
    assert!(sections::has(name), "{name} is not listed in a section");
    let mut settings = insta::Settings::clone_current();
    let more = [
        // The progress of the other steps varies.
        (r"(?s)Done in this run: .*?continues\s+from\s+here\.", PROGRESS),
        (r"hello/releases/[0-9a-f]+\.tar\.gz", "hello/releases/[release].tar.gz"),
        (r"hostedzone/[A-Z0-9]+", "hostedzone/[zone]"),
        (r"locks/[0-9a-f]+\.txt", "locks/[key].txt"),
        (r"\bdebian-13-[0-9a-f]{16}\b", "debian-13-[recipe]"),
        (r"\[age\] ago +", "[age] ago  "),
        (r"/tmp/dt\w{6}", "[folder]"),
        (r"\b127\.[1-9]\d*\.\d+\.\d+\b", "[ip]"),
        (r"\bport [3-6]\d{4}\b", "port [port]"),
        (r"\b(i|sg|subnet|vpc|key|iip-assoc|eipalloc)-[0-9a-f]{17}\b", "$1-[id]"),
    ];
    // The version of Python does not vary here.
    let steady = |pattern: &str| !pattern.contains("Python");
    for (pattern, word) in filters(project).into_iter().filter(|(pattern, _)| steady(pattern)) {
        settings.add_filter(&pattern, word);
    }
    for (pattern, word) in more {
        settings.add_filter(pattern, word);
    }
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(Path::new(SNAPSHOTS));
    settings.bind(|| insta::assert_snapshot!(name, text));
}
