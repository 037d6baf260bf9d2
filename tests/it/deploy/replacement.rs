//! Replacement of an instance: the new one becomes healthy, the address moves, the old one ends. Every request is answered.

use serde_json::{Value, json};

use super::interrupted::kill_at;
use crate::http::get;
use crate::load_clients::LoadClients;
use crate::project::{Project, until};

/// The ids of the instances, from the sandbox's folders.
fn machines(project: &Project) -> Vec<String> {
    let entries = std::fs::read_dir(project.state().join("devopsctl/sandbox/machines")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn with_disk(project: &Project, gib: u32) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ninstance: {{disk_gib: {gib}}}\n"));
}

#[test]
#[ignore = "slow"]
fn the_url_answers_during_a_replacement() {
    let project = Project::example();
    let url = project.up();
    let (token, old) = (project.token(), machines(&project));
    let clients = LoadClients::start(2, &url, &token, &[200]);

    with_disk(&project, 9);
    let said = project.run("up --sandbox --yes").ok().says("health: i-").says(": terminated");
    assert_eq!(said.stdout.trim_end(), url);
    println!("{} answered, all of them", clients.end(20));
    // The old folder is removed after the end of its last process.
    let new = until(30, "one is left", || Some(machines(&project)).filter(|machines| machines.len() == 1));
    assert_ne!(new, old);
    project.ok("down --sandbox --yes");
}

/// The images of the running instances.
fn images(project: &Project) -> Vec<(String, String)> {
    crate::console::aws(project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let all = found.reservations().iter().flat_map(|one| one.instances());
        let lives = |name: &str| !["shutting-down", "terminated"].contains(&name);
        let alive = all.filter(|instance| lives(instance.state().unwrap().name().unwrap().as_str()));
        let pair = |text: Option<&str>| text.unwrap().to_owned();
        alive.map(|instance| (pair(instance.instance_id()), pair(instance.image_id()))).collect()
    })
}

/// Publishes newer images in the project's region.
fn publish(project: &Project) {
    let region = crate::console::aws(project, async |aws| aws.region.clone());
    crate::console::control(project, &format!("publish-image?region={region}"));
}

#[test]
#[ignore = "slow"]
fn a_newer_image_is_used_on_request() {
    let project = Project::example();
    let url = project.up();
    let (token, [(old, image)]) = (project.token(), images(&project).try_into().unwrap());
    project.run("up --sandbox --yes --refresh-image").ok().says("is the newest image").says("already up to date");
    publish(&project);
    project.run("plan --sandbox").ok().says("already up to date");
    let [(same, kept)] = images(&project).try_into().unwrap();
    assert_eq!((&same, &kept), (&old, &image), "a newer image alone replaces nothing");
    project.run("plan --sandbox --refresh-image").code(3).says(&image).says("up --refresh-image");

    let clients = LoadClients::start(2, &url, &token, &[200]);
    // Killed at the launch, and when the new instance is running: `up` continues, with or without the flag.
    kill_at(&project, "up --sandbox --yes --refresh-image", "is launched, waiting");
    let launched = until(30, "EC2 knows both", || Some(images(&project)).filter(|images| images.len() == 2));
    kill_at(&project, "up --sandbox --yes --refresh-image", "health: i-");
    let said = project.run("up --sandbox --yes").ok().says(": terminated");
    assert_eq!(said.stdout.trim_end(), url);
    println!("{} answered, all of them", clients.end(20));
    let [(new, newest)] = images(&project).try_into().unwrap();
    assert!(new != old && newest != image && launched.contains(&(new.clone(), newest)), "{launched:?}");

    project.run("up --sandbox --yes --refresh-image").ok().says("is the newest image").says("already up to date");
    // The next run takes the newest image of that time.
    publish(&project);
    project.run("up --sandbox --yes --refresh-image").ok().says(": terminated");
    let [(third, _)] = images(&project).try_into().unwrap();
    assert_ne!(third, new);
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn a_failed_refresh_is_reverted_by_the_next_up() {
    let project = Project::example();
    let url = project.up();
    let (token, [old]) = (project.token(), images(&project).try_into().unwrap());
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    publish(&project);
    project.file("app/app.py", "raise RuntimeError('not on this image')\n");
    let refused = project.run("up --sandbox --yes --refresh-image").code(4);
    refused.says("not on this image").says("The old instance keeps serving");
    assert_eq!(get(&url, Some(&token)).status, 200);
    assert_eq!(images(&project).len(), 2);
    project.file("app/app.py", &app);
    assert_eq!(project.ok("up --sandbox --yes"), url);
    until(30, "the old one alone is left", || (images(&project) == [old.clone()]).then_some(()));
    // Then forward again, with a working app.
    assert_eq!(project.ok("up --sandbox --yes --refresh-image"), url);
    let [new] = images(&project).try_into().unwrap();
    assert!(new.0 != old.0 && new.1 != old.1);
    assert_eq!(get(&url, Some(&token)).status, 200);
    project.ok("down --sandbox --yes");
}

/// A process machine's disk is a folder, where a test can put files for the agent.
#[test]
#[ignore = "slow"]
fn status_shows_image_updates_and_pending_reboot() {
    let project = Project::example();
    project.up();
    let [(_, image)] = images(&project).try_into().unwrap();
    let status = || -> Value { serde_json::from_str(&project.ok("status --sandbox --json")).unwrap() };
    let before = status();
    assert_eq!((&before["image"]["id"], &before["image"]["newer"]), (&json!(image), &Value::Null));
    assert!(before["image"]["name"].as_str().unwrap().starts_with("devopsctl-process"));
    assert_eq!(before["image"]["created"], 1_790_856_000);
    assert_eq!(before["report"]["updates"], Value::Null);
    let said = project.run("status --sandbox").ok().says("days old");
    assert!(!said.stdout.contains("\nupdates") && !said.stdout.contains("\nreboot"), "{}", said.stdout);

    publish(&project);
    assert!(status()["image"]["newer"].as_str().unwrap().starts_with("ami-"));
    project.run("status --sandbox").ok().says("a newer build is available: devopsctl up --refresh-image --sandbox");
    // With another instance type the next `up` replaces the instance anyway.
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    with_disk(&project, 9);
    assert_eq!(status()["image"]["newer"], Value::Null);
    project.file("deploy.yaml", &text);

    let machine = project.machine();
    let put = |path: &str, text: &str| {
        let path = machine.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("etc/os-release", "ID=debian\n");
    let updates = |what: &str, right: &dyn Fn(&Value) -> bool| {
        until(60, what, || Some(status()["report"]["updates"].clone()).filter(|updates| right(updates)))
    };
    updates("it is told that nothing applies updates", &|updates| {
        updates["error"] == "unattended-upgrades is not installed"
    });
    project.run("status --sandbox").ok().says("security updates are not applied: unattended-upgrades is not installed");
    put("usr/bin/unattended-upgrade", "");
    put("run/reboot-required", "");
    let both = updates("it is told what applies them, and of the reboot", &|updates| {
        updates["by"] == "unattended-upgrades" && updates["reboot"] == true
    });
    assert_eq!(both["error"], Value::Null);
    project
        .run("status --sandbox")
        .ok()
        .says("some updates need a reboot, which is never automatic: devopsctl ssh --sandbox -- sudo systemctl reboot")
        .says("or without downtime: devopsctl up --refresh-image --sandbox");
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn an_unhealthy_replacement_can_be_reverted() {
    let project = Project::example();
    let url = project.up();
    let (token, old) = (project.token(), machines(&project));
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    with_disk(&project, 9);
    project.file("app/app.py", "raise RuntimeError('not today')\n");
    project.run("up --sandbox --yes").code(4).says("not today").says("The old instance keeps serving");
    assert_eq!(get(&url, Some(&token)).status, 200);
    assert_eq!(machines(&project).len(), 2);

    // A token change during the replacement reaches the serving instance.
    project.run_with("set-token --sandbox --stdin", "changed-in-between").ok();
    assert_eq!(get(&url, Some("changed-in-between")).status, 200);
    assert_eq!(get(&url, Some(&token)).status, 401);

    // Taken back: the old instance was never replaced.
    with_disk(&project, 8);
    project.file("app/app.py", &app);
    assert_eq!(project.ok("up --sandbox --yes"), url);
    until(30, "the old one alone is left", || (machines(&project) == old).then_some(()));

    // Then forward again, with a working app: the interrupted replacement does not interfere.
    with_disk(&project, 9);
    assert_eq!(project.ok("up --sandbox --yes"), url);
    until(30, "another one is left", || (!machines(&project).contains(&old[0])).then_some(()));
    assert_eq!(get(&url, Some("changed-in-between")).status, 200);
    project.ok("down --sandbox --yes");
}
