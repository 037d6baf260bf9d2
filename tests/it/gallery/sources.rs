//! That no error is missing: each headline in the source is in a picture, or is named here with why it is not.

use std::fs;
use std::path::Path;

use regex::Regex;

use super::document::picture;
use super::list::names;

/// Headlines of which there is no picture, and why.
const UNSEEN: [(&str, &str); 62] = [
    // What this machine would have to lack.
    ("this machine gives no threads", MACHINE),
    ("this system gives no random numbers", MACHINE),
    ("cannot tell where your home folder is", MACHINE),
    ("cannot look into the folder {}", MACHINE),
    ("there is no edge for {system} on {processor}", MACHINE),
    ("no port on loopback leads to {address}:{port}", MACHINE),
    ("the sandbox cannot start a program", MACHINE),
    ("uv cannot be started", MACHINE),
    ("no key can be made", MACHINE),
    ("this system gives no signals", MACHINE),
    ("{} cannot be run", MACHINE),
    ("it cannot be found out which address you come from", MACHINE),
    // What takes minutes.
    ("no certificate was requested within {} minutes", MINUTES),
    ("the proxy (Caddy) does not serve the app", MINUTES),
    ("the instance {id} has not reported for {minutes} minutes", MINUTES),
    ("the instance {id} is stuck for {minutes} minutes: {}", MINUTES),
    ("the instance {id} does not get to run", MINUTES),
    ("{} is still shutting down after ten minutes", MINUTES),
    ("the security group {id} is still in use", MINUTES),
    ("the instance's report reappears after each deletion", MINUTES),
    ("{url} cannot be reached from here", MINUTES),
    ("the sandbox does not end", MINUTES),
    // What another one does at the very moment.
    ("another step has failed", MOMENT),
    ("the address {} cannot be detached", MOMENT),
    ("something of {} is there again: {}", MOMENT),
    ("the token of {name} is gone", MOMENT),
    ("the token is being changed by others at the same time", MOMENT),
    ("the sandbox ended as soon as it had started", MOMENT),
    ("{id} does not boot", MOMENT),
    ("a sandbox already runs", MOMENT),
    // What AWS, the emulator or this program does not do.
    ("AWS does not say which account this is", NEVER),
    ("EC2 gave an address that cannot be read", NEVER),
    ("the image {} is not in {}", NEVER),
    ("the image {id} has no root device", NEVER),
    ("the subnet {subnet} is in no VPC", NEVER),
    ("the {what} is not known", NEVER),
    ("there is no release to upload", NEVER),
    ("the emulator does not answer {call}", NEVER),
    ("the sandbox's status is unreadable", NEVER),
    ("{asked} answers {} and not 308, the way to HTTPS", NEVER),
    ("{} has no public address", NEVER),
    // What has the same permission as a call before it.
    ("cannot read the token's version", BEFORE),
    ("cannot look at the instance {id}", BEFORE),
    ("cannot look for the edge in the bucket", BEFORE),
    // What stories of their own provoke: tests/it/ssh.rs, tests/it/launch.rs, and what `doctor` tells in lines of its own, tests/it/doctor.rs.
    ("port 22 may still be open for {}", STORY),
    ("the upload of the {topic} has stalled", STORY),
    ("the tag {} of {} cannot be taken away", STORY),
    ("{instance} bears the tag of an ssh that has ended", STORY),
    ("port 22 is still open for {}", STORY),
    ("{} has no security group of ours", STORY),
    ("the instance {} allows no SSH", STORY),
    ("the instance {} does not take the key", STORY),
    ("stopped by {by}", STORY),
    ("EC2 in {} does not answer", STORY),
    ("the subnets cannot be looked up", STORY),
    ("VPC Block Public Access cannot be looked up", STORY),
    ("the account's limits cannot be looked up", STORY),
    ("the quota cannot be looked up", STORY),
    ("{} cannot be done", STORY),
    ("not allowed to you: {}", STORY),
    // What is asked on a terminal: tests/it/terminal.rs.
    ("nothing was changed, as you asked", TERMINAL),
    ("the question was not answered", TERMINAL),
];
const MACHINE: &str = "this machine does not fail so";
const MINUTES: &str = "it is waited for longer than a test can be";
const MOMENT: &str = "it takes another one at the very moment";
const NEVER: &str = "what would have to answer so does not";
const BEFORE: &str = "a call before it, or beside it, needs the same permission";
const STORY: &str = "it is in a story of its own";
const TERMINAL: &str = "it is asked on a terminal, and printed among its questions";

/// The source without its tests and comments, file by file.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let walk = ignore::WalkBuilder::new(&root).build().map(Result::unwrap);
    let files = walk.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "rs"));
    let read = |entry: ignore::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap().lines().filter(|line| !line.trim().starts_with("//"));
        let name = entry.path().strip_prefix(&root).unwrap().display().to_string();
        (name, code.collect::<Vec<_>>().join("\n"))
    };
    files.map(read).filter(|(name, _)| !name.ends_with("tests.rs") && name != "base/error.rs").collect()
}

/// The text between a call's bracket, which is the first thing here, and its end.
fn inside(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    for (place, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[1..place];
        }
    }
    text
}

/// The headlines that a call to make an error can have, as patterns of what is printed. Where a variable holds it, that
/// is looked up above.
fn headlines(before: &str, arguments: &str) -> Vec<String> {
    // What is compared with is not said.
    let literal = Regex::new(r#"(== )?"((?:[^"\\]|\\.)*)"(\s*(?:=>|\|))?"#).unwrap();
    let said = |found: &regex::Captures<'_>| found.get(1).is_none() && found.get(3).is_none();
    let found =
        |text: &str| literal.captures_iter(text).filter(said).map(|found| pattern(&found[2])).collect::<Vec<_>>();
    let first = arguments.trim_start_matches("Exit::Usage,").trim_start_matches("Exit::Unhealthy,");
    let first = first.trim_start_matches("Exit::Interrupted,").trim_start_matches("Exit::Denied,");
    let first = first.trim_start_matches("Exit::Failed,").trim();
    let name = first.split([',', ')']).next().unwrap_or_default().trim();
    if !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') {
        let end = before
            .rfind(&format!("let {name} = "))
            .or_else(|| before.rfind(&format!("let ({name}, ")))
            .unwrap_or(before.len());
        let said = &before[end..];
        return found(said.split("};").next().unwrap_or_default().split(";\n").next().unwrap_or_default());
    }
    // What follows the headline in the same call is no headline.
    found(first).into_iter().take(1).collect()
}

/// A format string as a pattern of what is printed: whatever is put in may be anything, and white space may be a new line.
fn pattern(literal: &str) -> String {
    let literal = literal.replace("\\\"", "\"").replace("\\n", " ");
    let holes = Regex::new(r"\\?\{[^{}]*\\?\}").unwrap();
    let parts: Vec<String> = holes.split(&literal).map(regex::escape).collect();
    parts.join("[^×]{0,160}?").replace(' ', r"\s+(?:│\s+)?")
}

#[test]
fn every_headline_in_the_source_is_in_a_picture() {
    let pictures: String = names().map(picture).collect();
    let call = Regex::new(r"(?:Failure::(?:new|failed)|\b(?:explain|refuse|odd))\(").unwrap();
    let (mut all, mut unseen) = (0, Vec::new());
    for (file, code) in sources() {
        for found in call.find_iter(&code) {
            // The function itself, or what is handed on.
            if code[..found.start()].ends_with("fn ") {
                continue;
            }
            let arguments = inside(&code[found.end() - 1..]);
            for headline in headlines(&code[..found.start()], arguments) {
                all += 1;
                if !Regex::new(&format!("(?s){headline}")).unwrap().is_match(&pictures) {
                    unseen.push(format!("{file}: {headline}"));
                }
            }
        }
    }
    assert!(all > 150, "only {all} were found");
    let known = |headline: &String| UNSEEN.iter().any(|(words, _)| headline.contains(&pattern(words)));
    let (expected, missing): (Vec<_>, Vec<_>) = unseen.into_iter().partition(known);
    assert!(missing.is_empty(), "no picture shows:\n{}", missing.join("\n"));
    let shown = UNSEEN.iter().filter(|(words, _)| !expected.iter().any(|headline| headline.contains(&pattern(words))));
    let shown: Vec<&str> = shown.map(|(words, _)| *words).collect();
    assert!(shown.is_empty(), "these are shown after all, or are no more: {shown:#?}");
}
