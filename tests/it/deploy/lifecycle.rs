//! The whole life of a deployment, as in the README.

use std::fs;

use serde_json::Value;

use crate::http::get;
use crate::project::{Project, until};
use crate::snapshot;

#[test]
fn the_lifecycle_from_the_readme() {
    let project = Project::alone().with_example();
    let up = project.run("up --sandbox").ok();
    snapshot!(project, sorted(&up.shown()));
    let url = up.stdout.trim_end().to_owned();

    let token = project.token();
    assert_eq!(token.len(), 43);
    let answer = get(&url, Some(&token));
    assert_eq!((answer.status, answer.body.as_str()), (200, "Hello! You hold the token, so you may come in.\n"));
    let stranger = get(&url, None);
    assert_eq!(stranger.status, 401);
    assert_eq!(stranger.headers["www-authenticate"], "Token");
    assert_eq!(get(&url, Some("another-token")).status, 401);
    assert_eq!(get(&format!("{url}/nowhere"), Some(&token)).status, 404);

    let status = project.run("status --sandbox").ok();
    snapshot!(project, status.shown());
    let json: Value = serde_json::from_str(&project.ok("status --sandbox --json")).unwrap();
    assert_eq!((&json["healthy"], &json["url"]), (&Value::Bool(true), &Value::String(url.clone())));

    let again = project.run("up --sandbox").ok();
    assert_eq!(again.stdout.trim_end(), url);
    snapshot!(project, sorted(&again.shown()));

    let changed = project.run_with("set-token --sandbox --stdin", "quite-another-token\n").ok();
    snapshot!(project, sorted(&changed.shown()));
    assert_eq!(project.token(), "quite-another-token");
    assert_eq!(get(&url, Some("quite-another-token")).status, 200);
    assert_eq!(get(&url, Some(&token)).status, 401);

    let down = project.run("down --sandbox --yes").ok();
    snapshot!(project, sorted(&down.shown()));
    let machines = || fs::read_dir(project.state().join("devopsctl/sandbox/machines")).unwrap().count();
    until(30, "no machine is left", || (machines() == 0).then_some(()));
    snapshot!(project, project.run("status --sandbox").code(4).shown());
    snapshot!(project, project.run("down --sandbox --yes").ok().shown());
}

/// Sorted lines: concurrent steps end in any order, and the number of waits depends on time.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("  ")).collect();
    lines.chunk_by_mut(|a, b| a.starts_with('✓') && b.starts_with('✓')).for_each(<[&str]>::sort_unstable);
    lines.join("\n")
}

#[test]
fn new_code_is_deployed_and_broken_code_is_not() {
    let project = Project::example();
    let url = project.up();
    let token = project.token();
    let app = fs::read_to_string(project.folder().join("app/app.py")).unwrap();

    project.file("app/app.py", &app.replace("Hello!", "Good day!"));
    assert_eq!(project.up(), url);
    assert!(get(&url, Some(&token)).body.starts_with("Good day!"));

    project.file("app/app.py", &app.replace("from flask import Flask", "from flask import Flusk"));
    let broken = project.run("up --sandbox").code(4);
    assert!(broken.stderr.contains("cannot import name 'Flusk'"), "{}", broken.stderr);
    assert!(get(&url, Some(&token)).body.starts_with("Good day!"));
    project.run("status --sandbox").code(4).says("Flusk");

    // The token can be changed all the same: the old release continues with the new token.
    project
        .run_with("set-token --sandbox --stdin", "token-for-the-old-code\n")
        .code(4)
        .says("The previous version keeps serving");
    assert!(get(&url, Some("token-for-the-old-code")).body.starts_with("Good day!"));
    assert_eq!(get(&url, Some(&token)).status, 401);

    project.file("app/app.py", &app);
    assert_eq!(project.up(), url);
    assert!(get(&url, Some("token-for-the-old-code")).body.starts_with("Hello!"));
}

#[test]
fn a_token_set_before_the_first_up_is_the_one_that_counts() {
    let project = Project::example();
    project.run_with("set-token --sandbox --stdin", "set-before-the-first-up").ok().says("up --sandbox");
    let url = project.up();
    assert_eq!(project.token(), "set-before-the-first-up");
    assert_eq!(get(&url, Some("set-before-the-first-up")).status, 200);
}

#[test]
fn without_waiting_all_resources_are_connected() {
    let project = Project::example();
    project.ok("up --sandbox --no-wait");
    let json: Value = serde_json::from_str(&project.run("status --sandbox --json").stdout).unwrap();
    assert_eq!(json["instance"]["ip"], json["address"]["ip"]);
    let url = project.up();
    assert_eq!(get(&url, Some(&project.token())).status, 200);
}

#[test]
#[ignore = "slow"]
fn without_a_static_ip_the_instance_has_its_own_address() {
    let project = Project::example();
    let url = project.up();
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nnetwork: {{static_ip: false}}\n"));
    project.run("up --sandbox").code(2).says("- address").says("add --yes");
    let own = project.ok("up --sandbox --yes");
    assert_ne!(own, url);
    assert_eq!(get(&own, Some(&project.token())).status, 200);
    assert_eq!(project.up(), own);
    let json: Value = serde_json::from_str(&project.ok("status --sandbox --json")).unwrap();
    assert_eq!((&json["url"], &json["address"]), (&Value::String(own), &Value::Null));
}

#[test]
#[ignore = "slow"]
fn a_stopped_machine_is_started_and_old_reports_do_not_count() {
    let project = Project::example();
    let url = project.up();
    crate::console::aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let id = found.reservations()[0].instances()[0].instance_id().unwrap().to_owned();
        aws.ec2.stop_instances().instance_ids(id).send().await.unwrap();
    });
    project.run("up --sandbox").ok().says("is started, waiting").says("app: healthy");
    assert_eq!(get(&url, Some(&project.token())).status, 200);
}

#[test]
fn manual_deletions_are_repaired() {
    let project = Project::example();
    let url = project.up();
    let machine = project.machine();
    let id = machine.file_name().unwrap().to_str().unwrap().to_owned();
    // As a user would in the console.
    crate::console::aws(&project, async |aws| {
        aws.ec2.terminate_instances().instance_ids(&id).send().await.unwrap();
        aws.iam
            .delete_role_policy()
            .role_name("devopsctl-hello-us-east-1")
            .policy_name("devopsctl-hello-us-east-1")
            .send()
            .await
            .unwrap();
    });
    assert_eq!(project.up(), url, "the URL outlives the instance");
    assert_ne!(project.machine(), machine);
    assert_eq!(get(&url, Some(&project.token())).status, 200);
}
