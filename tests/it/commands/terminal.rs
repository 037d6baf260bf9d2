//! Terminal and signals: the prompt without echo, the confirmation of `down`, Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::http::get;
use crate::project::{Project, install_emulator, until};
use crate::pseudo_terminal::at_a_terminal;

#[test]
fn a_token_is_typed_twice_and_not_shown() {
    let project = Project::example();
    let url = project.up();
    let (code, shown) = at_a_terminal(
        &project,
        "New token|Repeat the token",
        "typed-by-a-person|typed-by-a-person",
        "set-token --sandbox",
    );
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("typed-by-a-person"), "{shown}");
    assert!(shown.contains("the app accepts the new token and refuses the previous one"), "{shown}");
    assert_eq!(get(&url, Some("typed-by-a-person")).status, 200);
}

#[test]
fn different_entries_are_asked_for_again() {
    let project = Project::example();
    install_emulator();
    let (code, shown) = at_a_terminal(
        &project,
        "New token|Repeat the token|New token|Repeat the token",
        "typed-by-a-person|mistyped-by-a-person|typed-by-a-person|typed-by-a-person",
        "set-token --sandbox",
    );
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("The two tokens differ."), "{shown}");
    assert_eq!(project.token(), "typed-by-a-person");
}

#[test]
fn down_asks_for_confirmation() {
    let project = Project::example();
    project.up();
    let (code, shown) = at_a_terminal(&project, "Delete all of it?", "n", "down --sandbox");
    assert_eq!(code, 130, "{shown}");
    project.ok("status --sandbox");
    let (code, shown) = at_a_terminal(&project, "Delete all of it?", "y", "down --sandbox");
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("deleted hello"), "{shown}");
}

#[test]
#[ignore = "slow"]
fn the_first_ctrl_c_finishes_running_steps() {
    install_emulator();
    let project = Project::example();
    project.ok("sandbox start");
    // Slow enough that the signal arrives before the end.
    crate::console::fault(&project, "delays?pending=5");
    let mut child = project.command("up --sandbox").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("waiting until it runs") {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        }
        said.push(line);
    }
    let said = said.join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("stopping after the running steps"), "{said}");
    assert!(said.contains("Done in this run: security group"), "{said}");
    assert!(said.contains("run the same command again"), "{said}");
    crate::console::fault(&project, "delays?pending=0.3");
    let url = project.up();
    assert_eq!(get(&url, Some(&project.token())).status, 200);
    project.ok("down --sandbox --yes");
}

#[test]
fn the_second_ctrl_c_ends_at_once() {
    install_emulator();
    let project = Project::example();
    project.ok("sandbox start");
    crate::console::fault(&project, "delays?shutting-down=120");
    project.up();
    let mut child =
        project.command("down --sandbox --yes").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id().to_string();
    let stop = || assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting until it is terminated")));
    stop();
    stop();
    let status = until(30, "the command ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}
