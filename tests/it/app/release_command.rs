//! `app.release`: commands that run on the instance, once for each release, before it starts.

use std::fs;

use crate::http::get;
use crate::project::Project;

/// An app that answers with its database, a file that its migration writes.
const APP: &str = "import os

DATABASE = os.environ['TMPDIR'] + '/database'


def app(environ, start_response):
    start_response('200 OK', [])
    with open(DATABASE, 'rb') as database:
        return [database.read()]
";
const MIGRATES: &str = "import app, os
with open(app.DATABASE, 'a') as database:
    print(VERSION, file=database)
print('migrated to', VERSION, 'with', os.environ['DATABASE_PASSWORD'])
";
const FAILS: &str = "import app
with open(app.DATABASE + '-tries', 'a') as tries:
    print('x', file=tries)
raise SystemExit('no such table')
";

fn project() -> Project {
    let project = Project::empty();
    project.file("app/app.py", APP).file("app/requirements.txt", "").file("app/migrate.py", &migrates(1)).file(
        "deploy.yaml",
        "name: shop\napp: {path: app, workers: 1, release: python migrate.py, secrets: [{DATABASE_PASSWORD: generate}]}\n\
         token: {check: proxy}\n",
    );
    project
}

fn migrates(version: u8) -> String {
    MIGRATES.replace("VERSION", &version.to_string())
}

#[test]
#[ignore = "slow"]
fn a_command_runs_once_for_a_release_and_a_failure_keeps_what_serves() {
    let project = project();
    let says = "app.release runs once for this release, before it starts: python migrate.py";
    project.run("plan --sandbox").code(3).says(says);
    let ran = project.run("up --sandbox").ok().says(says).says("app.release: $ python migrate.py");
    let password = project.ok("secrets get --sandbox DATABASE_PASSWORD");
    let ran = ran.says("app.release: migrated to 1 with ***");
    assert!(!ran.shown().contains(&password), "{}", ran.shown());
    let (url, token) = (ran.stdout.trim_end().to_owned(), project.token());
    let database = || get(&url, Some(&token)).body;
    assert_eq!(database(), "1\n");
    let ran = project.run("up --sandbox").ok().says("already up to date");
    assert!(!ran.stderr.contains("app.release"), "{}", ran.shown());

    project.file("app/migrate.py", FAILS);
    for tries in 1..=2 {
        let ran = project.run("up --sandbox").code(4).says("a command of app.release failed");
        let ran = ran.says("python migrate.py: exit code 1").says("app.release: no such table").says("logs --release");
        assert!(!ran.shown().contains("migrated"), "{}", ran.shown());
        let found = fs::read_to_string(project.machine().join("tmp/database-tries")).unwrap();
        assert_eq!(found.lines().count(), tries, "each up tries again, and nothing else does");
        assert_eq!(database(), "1\n");
    }
    project.run("logs --sandbox --release").ok().says("$ python migrate.py").says("no such table");
    project.run("status --sandbox").says("app.release failed: python migrate.py: exit code 1");

    project.file("app/migrate.py", &migrates(2));
    project.run("up --sandbox").ok().says("app.release: migrated to 2");
    assert_eq!(database(), "1\n2\n");
    let says = "app.release does not run again for a release that has run it, and what it changed before stays: python migrate.py";
    project.run("rollback --sandbox").ok().says(says);
    assert_eq!(database(), "1\n2\n");
    project.ok("down --sandbox --yes");
    project.run("list --sandbox").ok().says("no deployments in account");
}
