//! `cost`: the price before anything is created, and in the commands that create and show resources.

use serde_json::{Value, json};

use crate::project::Project;
use crate::snapshot;

#[test]
fn the_price_is_shown_without_a_call() {
    let project = Project::alone().with_example();
    snapshot!(project, project.run("cost --region eu-central-1").ok().shown());
    let json: Value = serde_json::from_str(&project.ok("cost --sandbox --json")).unwrap();
    assert_eq!((&json["v"], &json["name"], &json["region"]), (&json!(1), &json!("hello"), &json!("us-east-1")));
    assert_eq!((&json["type"], &json["disk_gib"]), (&json!("t3.micro"), &json!(8)));
    assert_eq!(json["cost"]["month"], json!(11.88));
    // No region is set.
    project.run("cost").ok().says("no region is set, so these are the prices of us-east-1").says("$11.88");
    // deploy.yaml counts.
    let larger = "name: hello\nregion: us-west-2\napp: {path: app}\ninstance: {type: t4g.small, disk_gib: 20}\n";
    project.file("deploy.yaml", larger);
    project.run("cost").ok().says("$12.26").says("t4g.small in us-west-2").says("20 GiB").says("$17.51");
    assert!(project.processes().is_empty());
}

#[test]
fn an_unknown_price_is_not_guessed() {
    let project = Project::alone().with_example();
    project.file("deploy.yaml", "name: hello\napp: {path: app}\ninstance: {type: c7g.large}\n");
    snapshot!(project, project.run("cost --region us-east-1").ok().shown());
    let json: Value = serde_json::from_str(&project.ok("cost --region af-south-1 --json")).unwrap();
    assert_eq!((&json["cost"]["month"], &json["cost"]["address"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_plan_shows_the_price_of_new_resources() {
    let project = Project::example();
    project.run("plan --sandbox").code(3).says("cost: about $11.88 a month");
    let json: Value = serde_json::from_str(&project.run("plan --sandbox --json").code(3).stdout).unwrap();
    assert_eq!(json["cost"]["month"], json!(11.88));
    assert_eq!(json["app"], json!({"kind": "wsgi", "workers": 2, "threads": 4}));
    project.ok("up --sandbox --no-wait");
    // A new rule costs nothing.
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nnetwork: {{allow: [127.0.0.0/8, 0.0.0.0/0]}}\n"));
    let plan = project.run("plan --sandbox").code(3);
    assert!(!plan.shown().contains("cost"), "{}", plan.shown());
    let json: Value = serde_json::from_str(&project.run("status --sandbox --json").stdout).unwrap();
    assert_eq!(json["cost"]["month"], json!(11.88));
}
