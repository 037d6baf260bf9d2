//! docs/TROUBLESHOOTING.md, made of the snapshots: a test writes it with `INSTA_UPDATE=always`, and else says when it is old.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::PICTURES;
use super::list::{COMMON, REFUSED, ROOMS, names};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/TROUBLESHOOTING.md");

const HEAD: &str = "\
# When something goes wrong

Every error that devopsctl can give, as it is printed (what was printed on the way to it is left out). It says what failed, why,
what stands now, and what to type next; most often that is the same command again, which goes on from there.

This page is made of the tests that provoke each error (`tests/it/gallery`). Search it for the words that you see.
";

const MOST: &str = "
## What goes wrong most often

| you see | why | type or do |
| --- | --- | --- |
";

const CODES: [(i32, &str); 5] = [
    (1, "failed: AWS, the network or this machine refused"),
    (2, "the command line or `deploy.yaml` is wrong; nothing was called"),
    (4, "the app is not healthy"),
    (5, "no credentials, expired ones, or ones that may not do this"),
    (130, "stopped by Ctrl-C"),
];

const CALLS: &str = "\
## Calls that AWS refuses

What is said when one call is refused for want of a permission: the headline for each call. The rest is as in
[Not allowed](#not-allowed): the exit code is 5, and nothing that stands is lost.

| command | call | headline |
| --- | --- | --- |
";

/// What is in a snapshot, below insta's head.
pub fn picture(name: &str) -> String {
    let path = Path::new(PICTURES).join(format!("{name}.snap"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.splitn(3, "---\n").nth(2).unwrap_or_default().to_owned()
}

/// As GitHub names a heading's place.
fn anchor(title: &str) -> String {
    let word = |letter: char| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || "-_".contains(letter) => Some(letter.to_ascii_lowercase()),
        _ => None,
    };
    title.chars().filter_map(word).collect()
}

fn code(text: &str) -> i32 {
    let code = text.rsplit("(exit code ").next().and_then(|rest| rest.split(')').next());
    code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no exit code in:\n{text}"))
}

/// The calls of a picture that holds many: command, call, headline.
fn calls(name: &str) -> Vec<(String, String, String)> {
    let text = picture(name);
    let each = text.split("(exit code 5)").filter(|part| !part.trim().is_empty());
    each.map(|part| {
        let lines: Vec<&str> = part.trim().lines().collect();
        let headline: Vec<&str> =
            lines[2..].iter().take_while(|line| !line.contains("─▶")).map(|line| line.trim()).collect();
        let headline = headline.join(" ").trim_start_matches('×').trim().replace("│ ", "");
        (lines[1].trim_start_matches("$ ").to_owned(), lines[0].to_owned(), headline)
    })
    .collect()
}

/// The links of one exit code, by what the user was doing.
type Links = Vec<(&'static str, Vec<String>)>;

fn document() -> String {
    let (mut text, mut by_code) = (String::new(), BTreeMap::<i32, Links>::new());
    for room in &ROOMS {
        write!(text, "\n## {}\n", room.doing).unwrap();
        for (name, title, note) in room.pictures {
            let shown = picture(name);
            let rooms = by_code.entry(code(&shown)).or_default();
            if rooms.last().is_none_or(|(doing, _)| *doing != room.doing) {
                rooms.push((room.doing, Vec::new()));
            }
            rooms.last_mut().unwrap().1.push(format!("[{title}](#{})", anchor(title)));
            write!(text, "\n### {title}\n\n```text\n{}\n```\n", shown.trim_end()).unwrap();
            if !note.is_empty() {
                write!(text, "\n{note}\n").unwrap();
            }
        }
    }
    let mut page = HEAD.to_owned() + MOST;
    let pictures = || ROOMS.iter().flat_map(|room| room.pictures);
    for (name, words, why, next) in COMMON {
        let (_, title, _) = pictures().find(|(known, ..)| *known == name).unwrap();
        writeln!(page, "| [`{words}`](#{}) | {why} | {next} |", anchor(title)).unwrap();
    }
    page += "\n## By exit code\n";
    for (code, means) in CODES {
        write!(page, "\n**Exit code {code}**: {means}\n\n").unwrap();
        for (doing, links) in by_code.remove(&code).unwrap_or_default() {
            writeln!(page, "- {doing}: {}", links.join(", ")).unwrap();
        }
    }
    assert!(by_code.is_empty(), "exit codes that the page does not explain: {by_code:?}");
    page += &text;
    page += "\n";
    page += CALLS;
    for (name, _) in REFUSED {
        for (command, call, headline) in calls(name) {
            writeln!(page, "| `{command}` | `{call}` | {headline} |").unwrap();
        }
    }
    page
}

#[test]
fn the_document_is_made_of_the_pictures() {
    let page = document();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(FILE, &page).unwrap();
    }
    let there = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        there == page,
        "docs/TROUBLESHOOTING.md is old: INSTA_UPDATE=always cargo test --test it gallery::document"
    );
}

#[test]
fn every_picture_hangs_once_and_titles_differ() {
    let all: Vec<&str> = names().collect();
    let known: BTreeSet<String> = all.iter().map(|name| format!("{name}.snap")).collect();
    assert_eq!(known.len(), all.len(), "a name is there twice");
    let files: BTreeSet<String> =
        fs::read_dir(PICTURES).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let files: BTreeSet<String> = files.into_iter().filter(|name| name.ends_with(".snap")).collect();
    assert_eq!(files, known);
    let titles: Vec<String> = ROOMS.iter().flat_map(|room| room.pictures).map(|(_, title, _)| anchor(title)).collect();
    assert_eq!(titles.iter().collect::<BTreeSet<_>>().len(), titles.len(), "two headings would have one place");
}
