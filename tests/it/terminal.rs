//! What needs a terminal or a signal: the prompt without echo, the question before `down`, Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::http::get;
use crate::project::{Project, install_emulator, until};

/// Plays a person at a terminal: waits for each text, then types the answer; prints all that the terminal has shown.
const PERSON: &str = r#"
import os, pty, select, signal, sys, termios, time
steps = list(zip(sys.argv[1].split("|"), sys.argv[2].split("|")))
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[3], sys.argv[3:])
shown, seen, deadline = b"", 0, time.monotonic() + 60
while time.monotonic() < deadline:
    # What is typed before the echo is off is thrown away.
    quiet = not termios.tcgetattr(terminal)[3] & termios.ECHO
    if quiet and steps and steps[0][0].encode() in shown[seen:]:
        seen = shown.index(steps[0][0].encode(), seen) + len(steps[0][0])
        os.write(terminal, steps.pop(0)[1].encode() + b"\r")
    if not select.select([terminal], [], [], 0.02)[0]:
        continue
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
else:
    os.kill(pid, signal.SIGKILL)
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
"#;

/// What the command has ended with, and all that the terminal has shown.
pub fn at_a_terminal(project: &Project, prompts: &str, answers: &str, line: &str) -> (i32, String) {
    with_settings(project, prompts, answers, line, &[])
}

/// The same with settings of the person's own.
pub fn with_settings(
    project: &Project,
    prompts: &str,
    answers: &str,
    line: &str,
    settings: &[(&str, &str)],
) -> (i32, String) {
    let mut command = Command::new("python3");
    command.args(["-c", PERSON, prompts, answers, env!("CARGO_BIN_EXE_devopsctl")]).args(line.split_whitespace());
    project.settle(&mut command);
    for screen in ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"] {
        command.env_remove(screen);
    }
    command.envs(settings.iter().copied());
    let output = command.env("TERM", "xterm").env_remove("NO_COLOR").output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

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
fn two_that_differ_are_asked_for_again() {
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
fn down_asks_and_a_no_changes_nothing() {
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
fn the_first_ctrl_c_finishes_what_is_under_way_and_says_what_stands() {
    install_emulator();
    let project = Project::example();
    project.ok("sandbox start");
    // Slow enough to be met in the middle.
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
fn the_second_ctrl_c_leaves_at_once() {
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
    assert!(lines.any(|line| line.contains("waiting until it is gone")));
    stop();
    stop();
    let status = until(30, "the command ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}
