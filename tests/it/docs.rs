//! The README and the documents are correct: every block of commands is run, or listed in [`NOT_RUN`] with the reason; every
//! command in a sentence is valid; every file that they name exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use clap::CommandFactory;
use devopsctl::commands::cli::Cli;
use devopsctl::config;
use serde_json::Value;

use crate::project::{Project, filters, install_emulator};

/// The blocks that are not run: file, first words, reason.
const NOT_RUN: [(&str, &str, &str); 9] = [
    ("README.md", "cd shop\ndevopsctl init     ", "it takes an account, and a terminal to type the secret on"),
    ("README.md", "cargo test", "it is what runs this"),
    (
        "README.md",
        "cargo install --locked --path .",
        "an optimised build takes minutes; tests/wheel installs another one",
    ),
    ("README.md", "aws login", "it takes an account"),
    ("README.md", "cd app && pip install", "port 8000 may be taken; app/test_app.py asks the same app"),
    ("docs/CI.md", "aws iam create-open-id-connect-provider", "it takes an account and AWS's own command line"),
    ("docs/CI.md", "devopsctl policy --account", "it takes an account and AWS's own command line"),
    ("docs/SECURITY.md", "devopsctl policy --boundary-document", "it takes an account and AWS's own command line"),
    ("docs/SECURITY.md", "aws iam create-policy", "it takes an account and AWS's own command line"),
];

/// A file that a document names because it is missing.
const NOT_HERE: &str = "part-2/diagram.png";

/// A fenced block of a document.
struct Block {
    file: String,
    line: usize,
    language: String,
    text: String,
}

impl Block {
    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// The index of the reason why it is not run.
    fn excused(&self) -> Option<usize> {
        NOT_RUN.iter().position(|(file, begins, _)| *file == self.file && self.text.starts_with(begins))
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document with its path in the repository.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["", "docs", "part-2"] {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let name = path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(found.len() >= 8);
    found
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (file, text) in documents() {
        let mut inside = false;
        for (index, line) in text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), inside) {
                (Some(language), false) => {
                    let (file, language) = (file.clone(), language.to_owned());
                    blocks.push(Block { file, line: index + 1, language, text: String::new() });
                    inside = true;
                }
                (Some(_), true) => inside = false,
                (None, true) => {
                    let text = &mut blocks.last_mut().unwrap().text;
                    text.push_str(line);
                    text.push('\n');
                }
                (None, false) => {
                    let command = ["$ ", "aws ", "cargo ", "curl ", "devopsctl "].map(|word| format!("    {word}"));
                    let hidden = command.iter().any(|start| line.starts_with(start));
                    assert!(!hidden, "{file}:{}: commands are in a block with ``` around it: {line}", index + 1);
                }
            }
        }
        assert!(!inside, "{file}: a block has no end");
    }
    blocks
}

/// A reader's shell: a home folder, the example of the repository, another app in `shop`, and the binary as `devopsctl` and
/// behind `cargo run`.
struct Reader {
    project: Project,
}

impl Reader {
    fn new() -> Self {
        install_emulator();
        let project = Project::alone().with_example();
        let app = fs::read_to_string(repository().join("app/app.py")).unwrap();
        project.file("shop/app.py", &app).file("shop/requirements.txt", "flask\n");
        let reader = Self { project };
        let binary = env!("CARGO_BIN_EXE_devopsctl");
        reader.program("bin/devopsctl", &format!("exec '{binary}' \"$@\""));
        let run = "while [ $# -gt 0 ] && [ \"$1\" != -- ]; do shift; done; shift || exit 64; export CARGO=cargo";
        reader.program("bin/cargo", &format!("{run}; exec '{binary}' \"$@\""));
        // For a job in CI, where the sandbox replaces the account.
        reader.program("ci/devopsctl", &format!("exec '{binary}' \"$@\" --sandbox"));
        reader
    }

    fn home(&self) -> PathBuf {
        self.project.state().with_file_name("h")
    }

    fn program(&self, name: &str, line: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn shell(&self, programs: &str, script: &str) -> Command {
        let mut shell = Command::new("bash");
        self.project.settle(&mut shell);
        let path = format!("{}:{}", self.home().join(programs).display(), env::var("PATH").unwrap_or_default());
        // The shared cache saves downloads.
        let cache = env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{}/.cache", env::var("HOME").unwrap()));
        shell.env("PATH", path).env("HOME", self.home()).env("XDG_CACHE_HOME", cache);
        shell.args(["-e", "-c", script]).stdin(Stdio::null());
        shell
    }

    #[track_caller]
    fn types(&self, script: &str, place: &str) -> String {
        said(self.shell("bin", script).output().unwrap(), place)
    }

    /// The summary that a step of a workflow writes.
    #[track_caller]
    fn step(&self, workflow: &Value, job: &str, name: &str) -> String {
        let steps = workflow["jobs"][job]["steps"].as_array().unwrap();
        let script = steps.iter().find(|step| step["name"] == name).unwrap()["run"].as_str().unwrap();
        let summary = self.home().join("summary");
        fs::write(&summary, "").unwrap();
        let mut shell = self.shell("ci", script);
        said(shell.env("GITHUB_STEP_SUMMARY", &summary).output().unwrap(), name);
        fs::read_to_string(summary).unwrap()
    }
}

#[track_caller]
fn said(output: Output, what: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
    stdout
}

#[test]
fn every_block_has_a_language_and_every_exception_is_needed() {
    let mut needed = BTreeSet::new();
    for block in blocks() {
        let place = block.place();
        match block.language.as_str() {
            "sh" | "console" => needed.extend(block.excused()),
            "json" => {
                drop(serde_json::from_str::<Value>(&block.text).unwrap_or_else(|error| panic!("{place}: {error}")))
            }
            "yaml" if block.text.starts_with("name:") => {
                let project = Project::empty();
                project.file("app/requirements.txt", "flask\n");
                let read = config::parse(&block.text, Path::new(&place), &project.folder());
                assert!(read.is_ok(), "{place}: {read:?}");
            }
            "yaml" => {
                drop(serde_yaml::from_str::<Value>(&block.text).unwrap_or_else(|error| panic!("{place}: {error}")))
            }
            "mermaid" | "text" => {}
            other => panic!("{place}: a block of {other:?}; commands are `sh`, or `console` with what they print"),
        }
    }
    let idle: Vec<_> = (0..NOT_RUN.len()).filter(|index| !needed.contains(index)).map(|index| NOT_RUN[index]).collect();
    assert!(idle.is_empty(), "no such block: {idle:?}");
}

/// In reading order, in one project and one sandbox, after the example for CI.
#[test]
#[ignore = "slow"]
fn every_block_of_commands_runs() {
    let reader = Reader::new();
    let workflow = fs::read_to_string(repository().join("examples/github-actions.yml")).unwrap();
    let workflow: Value = serde_yaml::from_str(&workflow).unwrap();
    // A plan with changes is no failure.
    let planned = reader.step(&workflow, "plan", "Plan");
    assert!(planned.contains("+ security group"), "{planned}");
    let url = reader.step(&workflow, "up", "Up");
    assert!(url.starts_with("### http://127.0.0.1:"), "{url}");
    let planned = reader.step(&workflow, "plan", "Plan");
    assert!(planned.contains("already up to date"), "{planned}");
    let mut ran = 0;
    for block in blocks().iter().filter(|block| block.language == "sh" && block.excused().is_none()) {
        reader.types(&block.text, &block.place());
        ran += 1;
    }
    assert!(ran >= 4, "{ran}");
    assert!(reader.home().join(".local/share/bash-completion/completions/devopsctl").is_file());
}

/// Removes what differs between runs: ids, waits, and the order of concurrent steps.
fn settled(project: &Project, text: &str) -> Vec<String> {
    let mut text = text.to_owned();
    for (pattern, word) in filters(project) {
        text = regex::Regex::new(&pattern).unwrap().replace_all(&text, word).into_owned();
    }
    let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with("  ")).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The commands of a session with their output.
fn steps(session: &str) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in session.lines() {
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

#[test]
fn every_session_shows_the_real_output() {
    let blocks = blocks();
    let sessions = blocks.iter().filter(|block| block.language == "console" && block.excused().is_none());
    let mut commands = 0;
    for session in sessions {
        let reader = Reader::new();
        // Any free port is used; after the first URL the commands contain it.
        let mut address = String::new();
        for (command, shown) in steps(&session.text) {
            commands += 1;
            let command = if address.is_empty() { command } else { command.replace("127.0.0.1:18080", &address) };
            let typed = command.replace("curl ", "curl -sS ");
            let said = reader.types(&format!("exec 2>&1; {typed}"), &format!("{}: {command}", session.place()));
            if let (true, Some(url)) = (address.is_empty(), said.lines().last()) {
                address = url.trim_start_matches("http://").to_owned();
            }
            let shown = shown.replace("~/.local/state", reader.project.state().to_str().unwrap());
            assert_eq!(settled(&reader.project, &said), settled(&reader.project, &shown), "{command}");
        }
    }
    assert!(commands >= 6, "{commands}");
}

#[test]
fn the_readme_contains_the_first_two_commands() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    for command in ["\ncargo run -- up --sandbox\n", "\ncargo test\n"] {
        assert!(readme.contains(command), "{command}");
    }
}

#[test]
fn every_command_in_a_sentence_is_valid() {
    let quoted = regex::Regex::new(r"`devopsctl ([^`]+)`").unwrap();
    let mut seen = 0;
    for (file, text) in documents() {
        for found in quoted.captures_iter(&text) {
            let typed = found[1].split(['|', '>', ')']).next().unwrap();
            let words = ["devopsctl"].into_iter().chain(typed.split_whitespace());
            if let Err(error) = Cli::command().try_get_matches_from(words) {
                assert_eq!(error.exit_code(), 0, "{file}: {}\n{error}", &found[0]);
            }
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen}");
}

/// The message without its frame and line breaks.
fn plain(printed: &str) -> String {
    let frame = |c: char| "×│├╰─▶".contains(c);
    printed.replace(frame, " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_quoted_message_exists() {
    let text = fs::read_to_string(repository().join("docs/TROUBLESHOOTING.md")).unwrap();
    let table = text.split("## Most common errors\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let quoted = regex::Regex::new(r"(?m)^\| \[`([^`]+)`\]\(#[\w-]+\) \| [^|]+ \| [^|]+ \|$").unwrap();
    let messages: Vec<&str> = quoted.captures_iter(table).map(|found| found.get(1).unwrap().as_str()).collect();
    let rows = table.lines().filter(|line| line.starts_with("| [")).count();
    assert!(messages.len() == rows && (10..=15).contains(&rows), "{rows} rows: {messages:?}");
    let pictures = fs::read_dir(repository().join("tests/it/error_snapshots/snapshots")).unwrap();
    let printed: Vec<String> =
        pictures.map(|entry| plain(&fs::read_to_string(entry.unwrap().path()).unwrap())).collect();
    for message in messages {
        assert!(printed.iter().any(|picture| picture.contains(message)), "no snapshot shows {message:?}");
    }
}

#[test]
fn every_named_file_exists() {
    let quoted =
        regex::Regex::new(r"`((?:src|agent|app|benches|docs|examples|part-2|tests|\.ci|\.github)/[\w./@-]+)`").unwrap();
    let linked = regex::Regex::new(r"\]\(([^):#]+)(?:#[^)]*)?\)").unwrap();
    let mut seen = 0;
    for (file, text) in documents() {
        let beside = Path::new(&file).parent().unwrap().to_owned();
        let quoted = quoted.captures_iter(&text).map(|found| PathBuf::from(&found[1]));
        let linked = linked.captures_iter(&text).map(|found| beside.join(&found[1]));
        for path in quoted.chain(linked) {
            let there = repository().join(&path).exists() != (path.as_os_str() == NOT_HERE);
            assert!(there, "{file} names {}, which is not there", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 40, "{seen}");
}
