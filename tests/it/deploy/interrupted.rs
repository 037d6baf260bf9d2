//! Commands that are killed with SIGKILL while machines boot, serve and end: the same command completes the work.
//! `tests/matrix` does the same at every call, but boots no machine.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::console::aws;
use crate::http::get;
use crate::project::{Project, until};

/// Runs a command and kills it when it prints a text.
#[track_caller]
pub fn kill_at(project: &Project, line: &str, moment: &str) {
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
fn a_killed_up_is_completed_by_the_next() {
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
#[ignore = "slow"]
fn a_killed_set_token_or_down_is_completed_by_the_next() {
    let project = Project::example();
    let url = project.up();
    kill_at(&project, "set-token --sandbox --generate", "✓ orders: token version");
    // The stored token counts and takes effect without another command.
    let token = project.token();
    until(60, "the new token answers", || (get(&url, Some(&token)).status == 200).then_some(()));
    project.run_with("set-token --sandbox --stdin", &token).ok().says("this token is already set");
    project.run("up --sandbox").ok().says("already up to date");

    kill_at(&project, "down --sandbox --yes", "waiting until it is terminated");
    let down = project.run("down --sandbox --yes").ok();
    let ends = ["deleted hello", "hello has no resources"];
    assert!(ends.iter().any(|end| down.stderr.contains(end)), "{}", down.shown());
    until(30, "no machine is left", || (machines(&project) == 0).then_some(()));
    project.run("status --sandbox").code(4).says("not deployed");
}

/// A process machine has no systemd that would restart it.
#[test]
#[ignore = "slow"]
fn a_killed_agent_is_not_reported_as_healthy() {
    let project = Project::example();
    let url = project.up();
    let agents: Vec<String> =
        project.processes().into_iter().filter(|one| one.contains("/opt/devopsctl/bootstrap.py")).collect();
    let pid = agents.first().unwrap_or_else(|| panic!("no agent in {:?}", project.processes()));
    let pid = Pid::from_raw(pid.split(':').next().unwrap().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();

    // Its next report is overdue.
    let instance = aws(&project, async |aws| {
        let found = aws.ssm.get_parameters_by_path().path("/devopsctl/hello/report").send().await.unwrap();
        let parameter = &found.parameters()[0];
        let (name, text) = (parameter.name().unwrap(), parameter.value().unwrap());
        let mut report: Value = serde_json::from_str(text).unwrap();
        assert!(report["next_at"].as_i64() > report["at"].as_i64(), "{text}");
        report["next_at"] = json!(0);
        aws.ssm.put_parameter().name(name).value(report.to_string()).overwrite(true).send().await.unwrap();
        name.rsplit('/').next().unwrap().to_owned()
    });
    project.run("status --sandbox").code(4).says("no recent report: the agent has stopped");
    project.run("up --sandbox").code(4).says("no longer reports").says("its last report is");
    assert_eq!(get(&url, Some(&project.token())).status, 200, "the app itself serves on");

    aws(&project, async |aws| aws.ec2.reboot_instances().instance_ids(instance).send().await.unwrap());
    project.run("up --sandbox").ok().says("already up to date");
    project.run("status --sandbox").ok().says("healthy");
}
