//! What a launch waits for, and what it does not.

use serde_json::Value;

use crate::console::far_away;
use crate::project::Project;

/// All calls that were answered so far.
fn calls(project: &Project) -> Vec<Value> {
    let log = std::fs::read_to_string(project.state().join("devopsctl/sandbox/front.log")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_launch_has_to_know_is_asked_at_once() {
    let project = Project::unbooted();
    far_away(&project, 500);
    project.run("plan --sandbox").code(3);
    let calls = calls(&project);
    // In milliseconds: when it was sent, and when it was answered.
    let span = |action: &str| {
        let call = calls.iter().find(|call| call["action"] == action).unwrap();
        let end = call["at"].as_f64().unwrap() * 1000.0;
        (end - call["ms"].as_f64().unwrap(), end)
    };
    let looks =
        ["GetCallerIdentity", "DescribeSubnets", "DescribeRouteTables", "DescribeInstanceTypes", "DescribeInstances"];
    let answered = looks.map(|look| span(look).1).into_iter().fold(f64::INFINITY, f64::min);
    for look in looks {
        assert!(span(look).0 < answered, "{look} waits for another: {calls:#?}");
    }
}
