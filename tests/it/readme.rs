//! The README's session, run as it stands: what it shows is what a reader gets.

use std::process::{Command, Stdio};
use std::{env, fs};

use crate::project::{Project, filters, install_emulator};

/// Each command of the session with what is shown below it.
fn session() -> Vec<(String, String)> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let block = readme.split("<!-- session -->\n```console\n").nth(1).unwrap().split("\n```").next().unwrap();
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push((command.to_owned(), String::new())),
            None => {
                let shown = &mut steps.last_mut().unwrap().1;
                shown.push_str(line);
                shown.push('\n');
            }
        }
    }
    steps
}

/// Without what differs from run to run: ids, how often it was waited for what, the order of steps that run at once.
fn settled(project: &Project, text: &str) -> Vec<String> {
    let mut text = text.to_owned();
    for (pattern, word) in filters(project) {
        text = regex::Regex::new(&pattern).unwrap().replace_all(&text, word).into_owned();
    }
    let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with("  ")).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn the_session_is_what_a_reader_gets() {
    install_emulator();
    let project = Project::example();
    let steps = session();
    assert!(steps.len() >= 6);
    // The port is whichever is free; from the first URL on, the commands name it.
    let mut address = String::new();
    for (command, shown) in steps {
        let command = command.replace("cargo run -q --", "\"$BINARY\"");
        let command = if address.is_empty() { command } else { command.replace("127.0.0.1:18080", &address) };
        let mut shell = Command::new("sh");
        project.settle(&mut shell);
        // As in a session by `cargo run`.
        shell.env("CARGO", "cargo").env("BINARY", env!("CARGO_BIN_EXE_devopsctl"));
        let command = command.replace("curl ", "curl -sS ");
        let ran = shell.args(["-c", &format!("{command} 2>&1")]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{command}\n{said}");
        if let (true, Some(url)) = (address.is_empty(), said.lines().last()) {
            address = url.trim_start_matches("http://").to_owned();
        }
        let shown = shown.replace("~/.local/state", project.state().to_str().unwrap());
        assert_eq!(settled(&project, &said), settled(&project, &shown), "{command}");
    }
}

#[test]
fn both_commands_for_a_newcomer_are_in_it() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for command in ["\ncargo run -- up --sandbox\n", "\ncargo test\n"] {
        assert!(readme.contains(command), "{command}");
    }
}
