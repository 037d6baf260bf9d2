//! Releases have a history: `rollback` goes back in it, and changes nothing else.

use std::fs;
use std::process::Command;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::MetadataDirective;
use serde_json::Value;

use crate::console::{aws, calls, fault, only_reads};
use crate::http::get;
use crate::project::{Project, Ran, until};

const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";

/// Has the app greet with these words.
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

/// A tag can be set by hand, and what it names becomes a folder whose code root starts.
#[test]
#[ignore = "slow"]
fn a_release_that_is_a_path_is_no_release() {
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
    // The agent has seen it and says so, and what ran runs on.
    until(60, "the agent refuses the tag", || {
        let status = project.run("status --sandbox");
        status.stdout.contains("the tag devopsctl:release is not").then_some(())
    });
    greets(&project, &url, "Hello!");
    assert!(releases(&project).iter().all(|release| release["id"] != "../../planted"));
    project.run("rollback --sandbox --yes ../../planted").code(2);
    let state = fs::read_to_string(machine.join("var/lib/devopsctl/state.json")).unwrap_or_default();
    assert!(!state.contains("planted"), "{state}");
    project.run("plan --sandbox").code(3).says("agent");
    project.up();
    greets(&project, &url, "Hello!");
    project.run("plan --sandbox").code(0);
}

fn releases(project: &Project) -> Vec<Value> {
    json(&project.run("releases --sandbox --json").ok())["releases"].as_array().unwrap().clone()
}

/// The id of the release that is marked so.
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

/// The calls of the command that change something in AWS, sorted.
fn changes(project: &Project, work: impl FnOnce()) -> Vec<String> {
    let before = calls(project).len();
    work();
    let made = calls(project).split_off(before).into_iter().filter(|call| !only_reads(call));
    let mut changes: Vec<String> = made.map(|call| call["action"].as_str().unwrap().to_owned()).collect();
    changes.sort();
    changes
}

/// Says no to the command line, whatever its policy allows.
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

#[test]
fn back_and_forward_again_and_nothing_else_changes() {
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
    // The token is another meanwhile.
    project.run_with("set-token --sandbox --stdin", "another-token").ok();

    let mut ran = None;
    let made = changes(&project, || ran = Some(project.run("rollback --sandbox").ok()));
    assert_eq!(made, ["CreateTags"], "a rollback is one call");
    ran.unwrap()
        .says(&format!("back to {} (", short(&first)))
        .says("devopsctl: ")
        .says("The first — grüezi")
        .says(&format!("told of release {} and token version 2", short(&first)))
        .says("app: healthy")
        .says("the token is not rolled back: version 2 stays valid")
        .says("up --sandbox deploys its code again");
    assert_eq!(project.token(), "another-token");
    greets(&project, &url, "Hello!");
    // The folder has the other code still.
    project.run("plan --sandbox").code(3).says("another release is to run");

    let forward = json(&project.run("rollback --sandbox --yes --json").ok());
    assert_eq!(
        (&forward["release"], &forward["from"], &forward["changed"]),
        (&second.as_str().into(), &first.as_str().into(), &true.into())
    );
    assert_eq!((&forward["token"], &forward["url"]), (&2.into(), &url.as_str().into()));
    greets(&project, &url, "Good day!");
    project.run("plan --sandbox").code(0).says("already up to date");
    let made = changes(&project, || {
        project
            .run(&format!("rollback --sandbox {}", &second[..8]))
            .ok()
            .says("is already running; nothing was changed");
    });
    assert_eq!(made, [""; 0]);

    // One that is cut off goes on by name: without one it would go the other way.
    fault(&project, "refuse?action=GetParameter&code=ValidationException&message=no&status=400");
    let go_on = format!("name the release, to continue from here: devopsctl rollback {} --sandbox", short(&first));
    project.run("rollback --sandbox").code(1).says(&go_on);
    project.run(&format!("rollback {} --sandbox", short(&first))).ok();
    greets(&project, &url, "Hello!");
    project.ok("rollback --sandbox");

    // By name, without waiting; and what the list says of each.
    project.run(&format!("rollback --sandbox --no-wait {}", &first[..6])).ok();
    let listed = project.ok("releases --sandbox");
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[0].starts_with(short(&second)) && lines[0].contains(" The first — grüezi"), "{listed}");
    assert!(lines[0].ends_with("previous") || lines[0].ends_with("runs, previous"), "{listed}");
    assert!(
        lines[1].starts_with(short(&first)) && lines[1].contains(" ago ") && lines[1].contains("  devopsctl  "),
        "{listed}"
    );
    assert!(lines[1].ends_with("wanted"), "{listed}");
    let releases = releases(&project);
    assert!(releases[0]["at"].as_i64().unwrap() >= releases[1]["at"].as_i64().unwrap());
    assert!(releases[1]["target"].as_str().unwrap().starts_with("python3."), "{releases:?}");
    assert_eq!((&releases[0]["by"], &releases[0]["id"]), (&"devopsctl".into(), &second.as_str().into()));
}

#[test]
#[ignore = "slow"]
fn what_never_served_is_no_way_back_but_can_be_taken_back() {
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
    // What failed is taken back: then all is as if it had not been.
    project
        .run("rollback --sandbox")
        .ok()
        .says(&format!("withdrawing {}; rolling back to {}", short(&broken), short(&good)))
        .says("app: healthy");
    project.run("status --sandbox").ok();
    greets(&project, &url, "Hello!");
    project.run("rollback --sandbox").code(1).says("there is no release to roll back to").says(short(&broken));
    // Somebody who goes to what is broken hears why it does not come, and what ran serves on.
    project.run(&format!("rollback --sandbox {broken}")).code(4).says("Flusk").says("What ran before serves on");
    greets(&project, &url, "Hello!");

    // The next good one is after the last good one, not after the broken one between.
    greet(&project, "Good day!");
    project.up();
    assert_eq!(marked(&project, "previous"), good);
    project.run("plan --sandbox").code(0);
    project.run("rollback --sandbox").ok();
    greets(&project, &url, "Hello!");
}

#[test]
#[ignore = "slow"]
fn settings_are_part_of_a_release_and_a_new_instance_can_go_back_too() {
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

    // Another instance takes over with a third release: it knows the second, and fetches it.
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
fn ten_stay_but_never_less_than_what_is_in_use() {
    let project = Project::example();
    let url = project.up();
    let first = marked(&project, "runs");
    let strangers = |from: u32, to: u32| {
        aws(&project, async |aws| {
            for number in from..to {
                let key = format!("hello/releases/{number:064}.tar.gz");
                aws.s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await.unwrap();
            }
            // Not a release, and not this deployment's: nobody's to delete.
            for key in ["hello/logs/x", "other/releases/x.tar.gz", "hello/releases/note.txt"] {
                aws.s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await.unwrap();
            }
        });
    };
    strangers(0, 12);
    // Too many are no reason to do anything.
    assert_eq!(changes(&project, || drop(project.up())), [""; 0]);
    greet(&project, "Good day!");
    // Who may not delete can go on all the same.
    deny(&project, "s3:DeleteObject");
    project.run("up --sandbox").ok().says("warning: releases that are too old cannot be deleted");
    greets(&project, &url, "Good day!");
    assert_eq!(releases(&project).len(), 14);
    allow(&project);

    let second = marked(&project, "runs");
    greet(&project, "Good evening!");
    let mut ran = None;
    let made = changes(&project, || ran = Some(project.run("up --sandbox").ok()));
    assert_eq!(made, ["CreateTags", "DeleteObjects", "PutObject"]);
    ran.unwrap().says("deleted, for more than 10 are not kept");
    let left: Vec<String> = releases(&project).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left.len(), 10, "{left:?}");
    let third = marked(&project, "runs");
    // The first is the oldest and was in use when the third came, as what the second would have gone back to.
    assert!(left.contains(&first) && left.contains(&second) && left.contains(&third), "{left:?}");
    assert!(!left.contains(&format!("{:064}", 4)) && left.contains(&format!("{:064}", 5)), "{left:?}");
    project.ok("rollback --sandbox");
    greets(&project, &url, "Good day!");
    let keys = aws(&project, async |aws| {
        let listed = aws.s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect::<Vec<_>>()
    });
    for key in ["hello/logs/x", "other/releases/x.tar.gz", "hello/releases/note.txt"] {
        assert!(keys.iter().any(|found| found == key), "{key} is gone: {keys:?}");
    }
}

#[test]
fn a_release_that_is_not_there_or_does_not_fit_is_refused_with_what_there_is() {
    let project = Project::example();
    project.run("rollback --sandbox").code(1).says("there is no instance");
    project.run("releases --sandbox").ok().says("hello has no releases; create one: ");
    project.up();
    let first = marked(&project, "runs");
    // As an image with another Python would have had it; and two that begin alike.
    let put = |id: &str, target: &'static str, reached: &'static str| {
        let (from, to) = (format!("{BUCKET}/hello/releases/{first}.tar.gz"), format!("hello/releases/{id}.tar.gz"));
        aws(&project, async |aws| {
            let copy = aws.s3.copy_object().bucket(BUCKET).copy_source(from).key(to);
            let copy = copy
                .metadata_directive(MetadataDirective::Replace)
                .metadata("target", target)
                .metadata("reached", reached);
            copy.metadata("what", "%1b[31mred%0a").send().await.unwrap();
        });
    };
    let (one, two) = ("beef1".repeat(13)[..64].to_owned(), "beef2".repeat(13)[..64].to_owned());
    put(&one, "python3.2 vax", "port 80");
    put(&two, "", "https");
    let made = changes(&project, || {
        project
            .run("rollback --sandbox beef1")
            .code(1)
            .says("cannot run on this instance")
            .says("it was built for python3.2 vax")
            .says("Nothing was changed.");
        project
            .run("rollback --sandbox beef2")
            .code(1)
            .says("it is served by https, but the app is now served by port 80");
        project.run("rollback --sandbox beef").code(2).says("2 releases begin with beef").says("beef2beef2be");
        project.run("rollback --sandbox cafe0").code(2).says("there is no release cafe0").says(short(&first));
        project.run("rollback --sandbox bee").code(2).says("too short").says("at least 4 characters");
    });
    assert_eq!(made, [""; 0]);
    let listed = project.ok("releases --sandbox");
    assert!(listed.contains("[31mred") && !listed.contains('\u{1b}'), "{listed:?}");
    deny(&project, "s3:GetObject");
    project.run("rollback --sandbox").code(5).says("ask an administrator to allow s3:GetObject");
    project.run("releases --sandbox").ok().says("warning: the author and source").says(short(&first));
}

#[test]
#[ignore = "slow"]
fn a_machine_that_is_off_is_started_first() {
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
