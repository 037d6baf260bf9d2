//! `rollback` goes back in the history of releases and changes nothing else.

mod stored_releases;

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::console::{aws, calls, fault, only_reads};
use crate::http::get;
use crate::project::{Project, Ran, until};

/// Changes the app's greeting.
fn greet(project: &Project, words: &str) {
    let app = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/app/app.py")).unwrap();
    project.file("app/app.py", &app.replace("Hello!", words));
}

fn break_it(project: &Project) {
    let app = fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    project.file("app/app.py", &app.replace("import Flask", "import Flusk"));
}

#[track_caller]
fn greets(project: &Project, url: &str, words: &str) {
    let body = get(url, Some(&project.token())).body;
    assert!(body.starts_with(words), "{body:?} instead of {words:?}");
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.shown()))
}

/// A tag can be set manually, and it names a folder whose code root starts.
#[test]
#[ignore = "slow"]
fn a_release_id_cannot_be_a_path() {
    let project = Project::example();
    let url = project.up();
    let machine = project.machine();
    let wanted = json(&project.run("status --sandbox --json").ok());
    let (id, release) = (wanted["instance"]["id"].as_str().unwrap(), wanted["release"]["wanted"].as_str());
    let release = release.unwrap().to_owned();
    let kept = machine.join("opt/devopsctl/releases").join(&release);
    let planted = machine.join("opt/planted");
    let copied = Command::new("cp").arg("-r").args([&kept, &planted]).status().unwrap();
    assert!(copied.success());
    let app = fs::read_to_string(planted.join("app/app.py")).unwrap();
    fs::write(planted.join("app/app.py"), app.replace("Hello!", "Planted!")).unwrap();
    aws(&project, async |aws| {
        for (key, value) in [("devopsctl:release", "../../planted"), ("devopsctl:previous", "../../planted")] {
            let tag = aws_sdk_ec2::types::Tag::builder().key(key).value(value).build();
            aws.ec2.create_tags().resources(id).tags(tag).send().await.unwrap();
        }
    });
    // The agent reports it, and the running release continues.
    until(60, "the agent refuses the tag", || {
        let status = project.run("status --sandbox");
        status.stdout.contains("the tag devopsctl:release is not").then_some(())
    });
    greets(&project, &url, "Hello!");
    assert!(releases(&project).iter().all(|release| release["id"] != "../../planted"));
    project.run("rollback --sandbox --yes ../../planted").code(2);
    let state = fs::read_to_string(machine.join("var/lib/devopsctl/state.json")).unwrap_or_default();
    assert!(!state.contains("planted"), "{state}");
    project.run("plan --sandbox").code(3).says("orders");
    project.up();
    greets(&project, &url, "Hello!");
    project.run("plan --sandbox").code(0);
}

fn releases(project: &Project) -> Vec<Value> {
    json(&project.run("releases --sandbox --json").ok())["releases"].as_array().unwrap().clone()
}

/// The id of the release with this mark.
#[track_caller]
fn marked(project: &Project, mark: &str) -> String {
    let releases = releases(project);
    let found: Vec<&Value> = releases.iter().filter(|release| release[mark] == true).collect();
    assert_eq!(found.len(), 1, "{mark}: {releases:?}");
    found[0]["id"].as_str().unwrap().to_owned()
}

fn short(id: &str) -> &str {
    &id[..12]
}

/// The sorted calls of the command that change something in AWS.
fn changes(project: &Project, work: impl FnOnce()) -> Vec<String> {
    let before = calls(project).len();
    work();
    let made = calls(project).split_off(before).into_iter().filter(|call| !only_reads(call));
    let mut changes: Vec<String> = made.map(|call| call["action"].as_str().unwrap().to_owned()).collect();
    changes.sort();
    changes
}

/// Denies the command line an action, whatever its policy allows.
fn deny(project: &Project, action: &str) {
    let document = format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Deny", "Action": "{action}", "Resource": "*"}}}}"#
    );
    aws(project, async |aws| {
        let put = aws.iam.put_user_policy().user_name("devopsctl").policy_name("denied").policy_document(document);
        put.send().await.unwrap();
    });
}

fn allow(project: &Project) {
    aws(project, async |aws| {
        aws.iam.delete_user_policy().user_name("devopsctl").policy_name("denied").send().await.unwrap();
    });
}

fn git(project: &Project, arguments: &[&str]) {
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    let ran = Command::new("git").current_dir(project.folder()).args(who).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

/// The list has the newer release `second`, which runs, and `first`, to which a rollback goes.
fn assert_listed(project: &Project, first: &str, second: &str) {
    let listed = project.ok("releases --sandbox");
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].starts_with(short(second)) && lines[0].contains(" The first — grüezi"), "{listed}");
    assert!(lines[0].ends_with("previous") || lines[0].ends_with("runs, previous"), "{listed}");
    assert!(
        lines[1].starts_with(short(first)) && lines[1].contains(" ago ") && lines[1].contains("  devopsctl  "),
        "{listed}"
    );
    assert!(lines[1].ends_with("wanted"), "{listed}");
    let releases = releases(project);
    assert!(releases[0]["at"].as_i64().unwrap() >= releases[1]["at"].as_i64().unwrap());
    assert!(releases[1]["target"].as_str().unwrap().starts_with("python3."), "{releases:?}");
    assert_eq!((&releases[0]["by"], &releases[0]["id"]), (&"devopsctl".into(), &second.into()));
}

fn a_second_rollback_goes_forward(project: &Project, url: &str, first: &str, second: &str) {
    let forward = json(&project.run("rollback --sandbox --yes --json").ok());
    assert_eq!(
        (&forward["release"], &forward["from"], &forward["changed"]),
        (&second.into(), &first.into(), &true.into())
    );
    assert_eq!((&forward["token"], &forward["url"]), (&2.into(), &url.into()));
    greets(project, url, "Good day!");
    project.run("plan --sandbox").code(0).says("already up to date");
    let made = changes(project, || {
        project
            .run(&format!("rollback --sandbox {}", &second[..8]))
            .ok()
            .says("is already running; nothing was changed");
    });
    assert_eq!(made, [""; 0]);
}

/// Without an id it would go forward.
fn an_interrupted_rollback_continues_by_id(project: &Project, first: &str) {
    fault(project, "refuse?action=GetParameter&code=ValidationException&message=no&status=400");
    let go_on = format!("name the release, to continue from here: devopsctl rollback {} --sandbox", short(first));
    project.run("rollback --sandbox").code(1).says(&go_on);
    project.run(&format!("rollback {} --sandbox", short(first))).ok();
}

#[test]
fn rollback_goes_back_and_forward_and_changes_nothing_else() {
    let project = Project::example();
    git(&project, &["init", "-q"]);
    git(&project, &["add", "."]);
    git(&project, &["commit", "-q", "-m", "The first — grüezi"]);
    let url = project.up();
    let first = marked(&project, "runs");
    project
        .run("rollback --sandbox")
        .code(1)
        .says("there is no release to roll back to")
        .says(short(&first))
        .says("up");
    assert!(!project.ok("status --sandbox").contains("before "));

    greet(&project, "Good day!");
    let made = changes(&project, || drop(project.up()));
    assert_eq!(made, ["CreateTags", "PutObject"], "of AWS only the object and the tags change");
    greets(&project, &url, "Good day!");
    let second = marked(&project, "runs");
    assert_eq!(marked(&project, "previous"), first);
    project
        .run("status --sandbox")
        .ok()
        .says(&format!("before     {} (", short(&first)))
        .says("The first — grüezi); roll back to it: ");
    // The token changes in the meantime.
    project.run_with("set-token --sandbox --stdin", "another-token").ok();

    let mut ran = None;
    let made = changes(&project, || ran = Some(project.run("rollback --sandbox").ok()));
    assert_eq!(made, ["CreateTags"], "a rollback is one call");
    ran.unwrap()
        .says(&format!("back to {} (", short(&first)))
        .says("devopsctl: ")
        .says("The first — grüezi")
        .says(&format!("release {}, token version 2", short(&first)))
        .says("app: healthy")
        .says("the token is not rolled back: version 2 stays valid")
        .says("up --sandbox deploys its code again");
    assert_eq!(project.token(), "another-token");
    greets(&project, &url, "Hello!");
    // The folder still has the other code.
    project.run("plan --sandbox").code(3).says("the release changes to");

    a_second_rollback_goes_forward(&project, &url, &first, &second);
    an_interrupted_rollback_continues_by_id(&project, &first);
    greets(&project, &url, "Hello!");
    project.ok("rollback --sandbox");

    // By id, without waiting.
    project.run(&format!("rollback --sandbox --no-wait {}", &first[..6])).ok();
    assert_listed(&project, &first, &second);
}

#[test]
#[ignore = "slow"]
fn a_release_that_never_served_is_not_a_previous_release() {
    let project = Project::example();
    let url = project.up();
    let good = marked(&project, "runs");
    break_it(&project);
    project.run("up --sandbox").code(4).says("Flusk");
    project
        .run("status --sandbox")
        .code(4)
        .says(&format!("before     {} is still running; withdraw the new one", short(&good)));
    let broken = marked(&project, "wanted");
    assert_ne!(broken, good);
    // A failed release is rolled back without a trace.
    project
        .run("rollback --sandbox")
        .ok()
        .says(&format!("withdrawing {}; rolling back to {}", short(&broken), short(&good)))
        .says("app: healthy");
    project.run("status --sandbox").ok();
    greets(&project, &url, "Hello!");
    project.run("rollback --sandbox").code(1).says("there is no release to roll back to").says(short(&broken));
    // A rollback to a broken release reports the reason, and the running release continues.
    let ran = project.run(&format!("rollback --sandbox {broken}")).code(4).says("Flusk");
    ran.says("The previous version keeps serving");
    greets(&project, &url, "Hello!");

    // The previous release of the next good one is the last good one, not the broken one between.
    greet(&project, "Good day!");
    project.up();
    assert_eq!(marked(&project, "previous"), good);
    project.run("plan --sandbox").code(0);
    project.run("rollback --sandbox").ok();
    greets(&project, &url, "Hello!");
}

#[test]
#[ignore = "slow"]
fn settings_belong_to_a_release_and_a_new_instance_can_roll_back() {
    let project = Project::example();
    let app = fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    project.file("app/app.py", &app.replace("return \"Hello!", "return os.environ[\"GREETING\"] + \"!"));
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    let settings = |greeting: &str, kind: &str| {
        let app = format!("app:\n  env: {{GREETING: {greeting}}}");
        project.file("deploy.yaml", &format!("{}\ninstance: {{type: {kind}}}\n", text.replacen("app:", &app, 1)));
    };
    settings("Servus", "t3.micro");
    let url = project.up();
    let first = marked(&project, "runs");
    settings("Moin", "t3.micro");
    project.up();
    greets(&project, &url, "Moin!");
    project.ok("rollback --sandbox");
    greets(&project, &url, "Servus!");
    project.ok("rollback --sandbox");
    greets(&project, &url, "Moin!");

    // A replacement with a third release can still roll back to the second.
    settings("Salut", "t3.small");
    project.ok("up --sandbox --yes");
    greets(&project, &url, "Salut!");
    project.ok("rollback --sandbox");
    greets(&project, &url, "Moin!");
    project.ok(&format!("rollback --sandbox {first}"));
    greets(&project, &url, "Servus!");
}

#[test]
#[ignore = "slow"]
fn a_rollback_starts_a_stopped_machine() {
    let project = Project::example();
    project.up();
    greet(&project, "Good day!");
    project.up();
    aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let id = found.reservations()[0].instances()[0].instance_id().unwrap().to_owned();
        aws.ec2.stop_instances().instance_ids(id).send().await.unwrap();
    });
    project.run("rollback --sandbox").code(1).says("start it first: ");
}
