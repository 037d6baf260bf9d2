//! Completions, man pages, `--help`, and suggestions for typing errors.

use std::process::Command;

use crate::project::{Project, Ran};
use crate::snapshot;

#[test]
fn completions_need_no_file_and_no_credentials() {
    let project = Project::empty();
    for (shell, mark) in [
        ("bash", "complete -F _devopsctl"),
        ("zsh", "#compdef devopsctl"),
        ("fish", "complete -c devopsctl"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion:arg-completer[devopsctl]"),
    ] {
        let script = project.ok(&format!("completions {shell}"));
        assert!(!script.contains("supervise"), "a hidden command is offered:\n{script}");
        for word in [mark, "set-token", "--grace", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    project.run("completions tcsh").code(2).says("bash, elvish, fish, powershell, zsh");
    project.run("completions").code(2).says("<SHELL>");
}

#[test]
fn bash_completes_commands_and_options() {
    let project = Project::empty();
    project.file("devopsctl.bash", &project.ok("completions bash"));
    let complete = |words: &[&str]| {
        let line = format!(
            "source devopsctl.bash; COMP_WORDS=(devopsctl {}); COMP_CWORD={}; _devopsctl devopsctl {:?} {:?}; echo ${{COMPREPLY[@]}}",
            words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "),
            words.len(),
            words.last().unwrap(),
            words.iter().rev().nth(1).unwrap_or(&"devopsctl"),
        );
        let mut bash = Command::new("bash");
        project.settle(&mut bash);
        let ran = Ran::new(&line, &bash.args(["-c", &line]).output().unwrap()).ok();
        ran.stdout.trim_end().to_owned()
    };
    assert_eq!(complete(&["set"]), "set-token");
    assert_eq!(complete(&["set-token", "--gen"]), "--generate");
}

#[test]
fn man_pages_exist_for_every_visible_command() {
    let project = Project::empty();
    project.run("man share/man1").ok().says("share/man1");
    let folder = project.folder().join("share/man1");
    let mut pages: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    snapshot!(project, pages.join("\n"));
    let up = std::fs::read_to_string(folder.join("devopsctl-up.1")).unwrap();
    for words in [".TH", "no\\-wait", "Resolve unpinned requirements again, and run", "devopsctl up \\-\\-sandbox"] {
        assert!(up.contains(words), "{words} is missing in:\n{up}");
    }
    // A file has the folder's name.
    project.file("taken", "");
    project.run("man taken").code(1).says("cannot write the man pages to taken");
}

#[test]
fn help_shows_commands_and_an_example() {
    let project = Project::empty();
    snapshot!(project, project.run("--help").ok().shown());
    snapshot!(project, project.run("down --help").ok().shown());
}

#[test]
fn typing_errors_get_a_suggestion() {
    let project = Project::empty();
    project.run("stauts").code(2).says("'status'");
    project.run("up --sandbx").code(2).says("'--sandbox'");
    // A synonym, not a typing error.
    snapshot!(project, project.run("destroy").code(2).shown());
    project.run("up --dry-run").code(2).says("'plan' shows what 'up' would do");
    snapshot!(project, project.run("set-token --genrate").code(2).shown());
}
