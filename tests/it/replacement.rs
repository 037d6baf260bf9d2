//! A new instance takes an old one's place: healthy first, then the address moves, then the old one goes. Nobody is left
//! without an answer.

use serde_json::{Value, json};

use crate::http::get;
use crate::killed::kill_at;
use crate::project::{Project, until};
use crate::visitor::Visitors;

/// The instances' ids, as the sandbox has folders for them.
fn machines(project: &Project) -> Vec<String> {
    let entries = std::fs::read_dir(project.state().join("devopsctl/sandbox/machines")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn with_disk(project: &Project, gib: u32) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ninstance: {{disk_gib: {gib}}}\n"));
}

#[test]
fn the_url_answers_all_the_while() {
    let project = Project::example();
    let url = project.up();
    let (token, old) = (project.token(), machines(&project));
    let visitors = Visitors::start(2, &url, &token, &[200]);

    with_disk(&project, 9);
    let said = project.run("up --sandbox --yes").ok().says("new instance: i-").says("old instance: gone");
    assert_eq!(said.stdout.trim_end(), url);
    println!("{} answered, all of them", visitors.end(20));
    // The folder of the old one goes when its last process has ended.
    let new = until(30, "one is left", || Some(machines(&project)).filter(|machines| machines.len() == 1));
    assert_ne!(new, old);
    project.ok("down --sandbox --yes");
}

/// The images of the instances that live.
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

/// A newer image of every kind, where the project's instance is.
fn publish(project: &Project) {
    let region = crate::console::aws(project, async |aws| aws.region.clone());
    crate::console::control(project, &format!("publish?region={region}"));
}

#[test]
fn a_newer_image_is_taken_when_it_is_asked_for() {
    let project = Project::example();
    let url = project.up();
    let (token, [(old, image)]) = (project.token(), images(&project).try_into().unwrap());
    project.run("up --sandbox --yes --refresh-image").ok().says("is the newest image").says("already up to date");
    publish(&project);
    project.run("plan --sandbox").ok().says("already up to date");
    let [(same, kept)] = images(&project).try_into().unwrap();
    assert_eq!((&same, &kept), (&old, &image), "a newer image alone replaces nothing");
    project.run("plan --sandbox --refresh-image").code(3).says(&image).says("up --refresh-image");

    let visitors = Visitors::start(2, &url, &token, &[200]);
    // Killed at the launch, and when the new one runs: a plain `up` goes on, and so does the same command.
    kill_at(&project, "up --sandbox --yes --refresh-image", "is launched, waiting");
    let launched = until(30, "EC2 knows both", || Some(images(&project)).filter(|images| images.len() == 2));
    kill_at(&project, "up --sandbox --yes --refresh-image", "new instance: i-");
    let said = project.run("up --sandbox --yes").ok().says("old instance: gone");
    assert_eq!(said.stdout.trim_end(), url);
    println!("{} answered, all of them", visitors.end(20));
    let [(new, newest)] = images(&project).try_into().unwrap();
    assert!(new != old && newest != image && launched.contains(&(new.clone(), newest)), "{launched:?}");

    project.run("up --sandbox --yes --refresh-image").ok().says("is the newest image").says("already up to date");
    // What is the newest by then is taken next.
    publish(&project);
    project.run("up --sandbox --yes --refresh-image").ok().says("old instance: gone");
    let [(third, _)] = images(&project).try_into().unwrap();
    assert_ne!(third, new);
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn a_refresh_whose_app_fails_is_taken_back_by_the_next_up() {
    let project = Project::example();
    let url = project.up();
    let (token, [old]) = (project.token(), images(&project).try_into().unwrap());
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    publish(&project);
    project.file("app/app.py", "raise RuntimeError('not on this image')\n");
    let refused = project.run("up --sandbox --yes --refresh-image").code(4);
    refused.says("not on this image").says("The old instance serves on");
    assert_eq!(get(&url, Some(&token)).status, 200);
    assert_eq!(images(&project).len(), 2);
    project.file("app/app.py", &app);
    assert_eq!(project.ok("up --sandbox --yes"), url);
    until(30, "the old one alone is left", || (images(&project) == [old.clone()]).then_some(()));
    // And forwards again, this time with an app that works.
    assert_eq!(project.ok("up --sandbox --yes --refresh-image"), url);
    let [new] = images(&project).try_into().unwrap();
    assert!(new.0 != old.0 && new.1 != old.1);
    assert_eq!(get(&url, Some(&token)).status, 200);
    project.ok("down --sandbox --yes");
}

/// A process stands for the machine, so a folder stands for its disk, and the agent sees there what a test puts there.
#[test]
fn status_shows_the_image_what_applies_updates_and_a_pending_reboot() {
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
    // Of another kind, which the next `up` launches anyway, that is no question.
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
fn one_that_never_gets_healthy_takes_nothing_over_and_can_be_taken_back() {
    let project = Project::example();
    let url = project.up();
    let (token, old) = (project.token(), machines(&project));
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    with_disk(&project, 9);
    project.file("app/app.py", "raise RuntimeError('not today')\n");
    project.run("up --sandbox --yes").code(4).says("not today").says("The old instance serves on");
    assert_eq!(get(&url, Some(&token)).status, 200);
    assert_eq!(machines(&project).len(), 2);

    // A token that is changed meanwhile is changed where it counts.
    project.run_with("set-token --sandbox --stdin", "changed-in-between").ok();
    assert_eq!(get(&url, Some("changed-in-between")).status, 200);
    assert_eq!(get(&url, Some(&token)).status, 401);

    // Taken back: the old one was never gone.
    with_disk(&project, 8);
    project.file("app/app.py", &app);
    assert_eq!(project.ok("up --sandbox --yes"), url);
    until(30, "the old one alone is left", || (machines(&project) == old).then_some(()));

    // And forwards again, this time with an app that works: what was begun before is not in the way.
    with_disk(&project, 9);
    assert_eq!(project.ok("up --sandbox --yes"), url);
    until(30, "another one is left", || (!machines(&project).contains(&old[0])).then_some(()));
    assert_eq!(get(&url, Some("changed-in-between")).status, 200);
    project.ok("down --sandbox --yes");
}
