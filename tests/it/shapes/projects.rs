//! Small apps whose requirements are those of Poetry, Pipenv or uv only, and one in a monorepo: each one replaces the one before.

use std::fs;

use super::deployed;
use crate::project::Project;

#[test]
#[ignore = "slow"]
fn an_app_has_the_versions_of_its_lock_and_its_shared_package() {
    let project = Project::empty().with_app("locked/poetry");
    let mut browser = deployed(&project, &[]);
    browser.open("/").ok().says("\"falcon\": \"4.0.1\"");
    for (app, version) in [("pipenv", "{\"bottle\": \"0.13.2\"}"), ("uv", "{\"flask\":\"3.0.3\"}")] {
        replace(&project, &format!("locked/{app}"));
        browser.open("/").ok().says(version);
    }
    // A lock that does not fit the requirements is refused before anything changes.
    project.edit("pyproject.toml", "flask>=3", "flask>=3.1");
    project.run("up --sandbox").code(2).says("flask==3.0.3").says("uv lock");
    fs::remove_file(project.folder().join("uv.lock")).unwrap();
    project.up();
    assert!(!browser.open("/").ok().body.contains("3.0.3"));

    replace(&project, "monorepo");
    browser.open("/").ok().says("Hello, web");
    project.edit("shared/shared/__init__.py", "Hello", "Welcome").up();
    browser.open("/").ok().says("Welcome, web");
    project.ok("rollback --sandbox");
    browser.open("/").ok().says("Hello, web");
}

/// Deploys another app instead.
#[track_caller]
fn replace(project: &Project, app: &str) {
    fs::remove_dir_all(project.folder()).unwrap();
    project.copy_app(app);
    let found = project.run("init --yes --name shop").ok();
    assert!(!found.stderr.contains("resolve the warnings"), "{}", found.shown());
    project.up();
}
