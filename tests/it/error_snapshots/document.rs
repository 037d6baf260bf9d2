//! docs/TROUBLESHOOTING.md, generated from the snapshots: a test writes it with `INSTA_UPDATE=always`, and fails when it is stale.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::sections::{COMMON, SECTIONS, names};
use super::{PROGRESS, SNAPSHOTS};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/TROUBLESHOOTING.md");

const HEAD: &str = "\
# Troubleshooting

Search this page for the error message. An error says what failed, why, what state it left and what to do next. Most often that is
to run the same command again, which continues from there. Text in `[brackets]` varies.

This page is generated from the tests of each error (`tests/it/error_snapshots`).

| exit code | meaning |
| --- | --- |
| 1 | AWS, the network or this machine failed |
| 2 | the command line or `deploy.yaml` is wrong; no call was made |
| 4 | the app is not healthy |
| 5 | the credentials are missing, expired or lack a permission |
| 130 | stopped by Ctrl-C |

## Most common errors

| error | cause | fix |
| --- | --- | --- |
";

/// The text of a snapshot, without insta's header.
fn text(name: &str) -> String {
    let path = Path::new(SNAPSHOTS).join(format!("{name}.snap"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.splitn(3, "---\n").nth(2).unwrap_or_default().to_owned()
}

/// The anchor of a heading on GitHub.
fn anchor(title: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || "-_".contains(letter) => Some(letter.to_ascii_lowercase()),
        _ => None,
    };
    title.chars().filter_map(letter).collect()
}

/// A printed error.
struct Printed {
    headline: String,
    /// The first reason; empty where there is none.
    reason: String,
    next: String,
    code: String,
}

/// Takes an error apart that miette or clap has printed.
fn printed(text: &str) -> Printed {
    let (mut headline, mut reason, mut next, mut code) = (Vec::new(), Vec::new(), Vec::new(), "");
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let (parts, first, more) = match () {
            () if headline.is_empty() && start.starts_with("× ") => (&mut headline, &start["× ".len()..], "  │ "),
            () if headline.is_empty() && line.starts_with("error: ") => {
                (&mut headline, &line["error: ".len()..], "  │ ")
            }
            () if reason.is_empty() && start.starts_with("├─▶ ") => {
                (&mut reason, &start["├─▶ ".len()..], "  │   ")
            }
            () if reason.is_empty() && start.starts_with("╰─▶ ") => {
                (&mut reason, &start["╰─▶ ".len()..], "      ")
            }
            () if next.is_empty() && start.starts_with("help: ") => (&mut next, &start["help: ".len()..], "        "),
            () if next.is_empty() && start.starts_with("tip: ") => (&mut next, &start["tip: ".len()..], "        "),
            () => {
                code = line.strip_prefix("(exit code ").and_then(|rest| rest.strip_suffix(')')).unwrap_or(code);
                continue;
            }
        };
        parts.push(first.trim());
        while let Some(line) = lines.next_if(|line| line.starts_with(more)) {
            parts.push(line[more.len()..].trim());
        }
    }
    assert!(!headline.is_empty() && !next.is_empty() && !code.is_empty(), "{text}");
    let next = next.join(" ").replace(PROGRESS, "").trim().to_owned();
    Printed { headline: headline.join(" "), reason: shortened(&reason.join(" ")), next, code: code.to_owned() }
}

/// At most a line of it.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn document() -> String {
    let mut page = HEAD.to_owned();
    for (name, words, cause, fix) in COMMON {
        let section = SECTIONS.iter().find(|section| section.errors.iter().any(|(known, _)| *known == name)).unwrap();
        writeln!(page, "| [`{words}`](#{}) | {cause} | {fix} |", anchor(section.title)).unwrap();
    }
    for section in &SECTIONS {
        write!(
            page,
            "\n## {}\n\n| error | reason | exit code | next step |\n| --- | --- | --- | --- |\n",
            section.title
        )
        .unwrap();
        for (name, note) in section.errors {
            let Printed { headline, reason, next, code } = printed(&text(name));
            let note = if note.is_empty() { String::new() } else { format!(". {note}") };
            let row = [&headline, &reason].map(|text| cell(text)).join(" | ");
            writeln!(page, "| {row} | {code} | {}{note} |", cell(&next)).unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_generated_from_the_snapshots() {
    let page = document();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(FILE, &page).unwrap();
    }
    let current = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        current == page,
        "docs/TROUBLESHOOTING.md is stale: INSTA_UPDATE=always cargo test --test it error_snapshots::document"
    );
}

#[test]
fn every_snapshot_is_listed_once() {
    let all: Vec<&str> = names().collect();
    let known: BTreeSet<String> = all.iter().map(|name| format!("{name}.snap")).collect();
    assert_eq!(known.len(), all.len(), "a name is listed twice");
    let files: BTreeSet<String> =
        fs::read_dir(SNAPSHOTS).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let files: BTreeSet<String> = files.into_iter().filter(|name| name.ends_with(".snap")).collect();
    assert_eq!(files, known);
}
