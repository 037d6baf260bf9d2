//! Delayed tags: AWS documents no limit, and two minutes were measured.

use devopsctl::aws::retry::HASTE;

use crate::console::fault;
use crate::http::get;
use crate::project::{Project, Ran, install_emulator};
use crate::ssh_session::has_sshd;

/// The factor by which a command's clock is faster.
const FAST: &str = "13";
/// The delay of a tag in seconds: 130 for a command.
const LAG: &str = "10";

#[track_caller]
fn hasty(project: &Project, line: &str) -> Ran {
    Ran::new(line, &project.command(line).env(HASTE, FAST).output().unwrap()).ok()
}

#[test]
#[ignore = "slow"]
fn every_command_waits_for_more_than_two_minutes() {
    install_emulator();
    let project = Project::example();
    let url = project.up();
    fault(&project, &format!("delays?metadata-tags={LAG}"));
    let answer = |token: &str| get(&url, Some(token)).status;

    hasty(&project, "set-token --sandbox --generate").says("app: waiting until AWS shows the instance its new orders");
    assert_eq!(answer(&project.token()), 200);
    let old = project.token();
    hasty(&project, "set-token --sandbox --generate --grace 1h");
    assert_eq!((answer(&old), answer(&project.token())), (200, 200));

    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    project.file("app/app.py", &format!("{app}\n# Another one.\n"));
    hasty(&project, "up --sandbox").says("app: waiting until AWS shows the instance its new orders");
    hasty(&project, "rollback --sandbox --yes").says("app: waiting until AWS shows the instance its new orders");

    let waiting = "which can take minutes";
    hasty(&project, "logs --sandbox --agent").says(waiting).says("generation 1 serves");
    if has_sshd() {
        let ran = hasty(&project, "ssh --sandbox -- echo in").says(waiting);
        assert_eq!(ran.stdout, "in\n");
    }
}
