//! Killed with SIGKILL while real machines boot, serve and go: the same command again completes it. Every single call is
//! gone through in `tests/matrix`, where nothing boots.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::http::get;
use crate::project::{Project, until};

/// Runs a command line and kills it as soon as it says this.
#[track_caller]
fn kill_at(project: &Project, line: &str, moment: &str) {
    let mut child = project.command(line).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|said| said.contains(moment)), "{line} never says {moment:?}");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "{line} had ended before it was killed");
}

fn machines(project: &Project) -> usize {
    std::fs::read_dir(project.state().join("devopsctl/sandbox/machines")).unwrap().count()
}

#[test]
fn an_up_that_is_killed_is_completed_by_the_next() {
    crate::project::install_emulator();
    let project = Project::example();
    for moment in ["is launched, waiting", "✓ profile", "app: fetching"] {
        kill_at(&project, "up --sandbox", moment);
        let url = project.up();
        assert_eq!(get(&url, Some(&project.token())).status, 200, "killed at {moment:?}");
        assert_eq!(machines(&project), 1, "killed at {moment:?}");
        project.ok("down --sandbox --yes");
        until(30, "no machine is left", || (machines(&project) == 0).then_some(()));
    }
}

#[test]
fn a_set_token_and_a_down_that_are_killed_are_completed_by_the_next() {
    let project = Project::example();
    let url = project.up();
    kill_at(&project, "set-token --sandbox --generate", "✓ agent: told of");
    // What was stored counts, and comes into force by itself.
    let token = project.token();
    until(60, "the new token answers", || (get(&url, Some(&token)).status == 200).then_some(()));
    project.run_with("set-token --sandbox --stdin", &token).ok().says("this is the token already");
    project.run("up --sandbox").ok().says("nothing to do");

    kill_at(&project, "down --sandbox --yes", "waiting until it is gone");
    project.run("down --sandbox --yes").ok().says("nothing of hello");
    until(30, "no machine is left", || (machines(&project) == 0).then_some(()));
    project.run("status --sandbox").code(4).says("nothing");
}
