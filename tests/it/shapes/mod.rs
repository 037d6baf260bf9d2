//! Small apps in the shape of real ones, each deployed as `init` says and used as its users would: a session, a form, a file, new
//! code, another token or secret, a rollback. Their sources are in `tests/apps/`, without a `deploy.yaml`.

mod chat;
mod dashboard;
mod django;
mod flaskr;
mod members;
mod projects;
mod starlette;

use crate::browser::Browser;
use crate::project::Project;

/// Runs `init`, sets exactly the secrets that it names, and runs `up`. Returns a browser with the token, if the app needs one.
#[track_caller]
fn deployed(project: &Project, secrets: &[(&str, &str)]) -> Browser {
    let found = project.run("init --yes --name shop").ok();
    assert!(!found.stderr.contains("resolve the warnings"), "{}", found.shown());
    let told = found.stderr.split_once("devopsctl secrets set ").map_or("", |(_, rest)| rest);
    let told = told.split(" --sandbox").next().unwrap_or_default().split_whitespace();
    assert!(told.eq(secrets.iter().map(|(name, _)| *name)), "{}", found.shown());
    for (name, value) in secrets {
        project.run_with(&format!("secrets set --stdin {name} --sandbox"), value).ok();
    }
    let url = project.up();
    Browser::new(&url, Some(&project.token()))
}

/// Changes the token, and has the browser use the new one.
#[track_caller]
fn rotate(project: &Project, browser: &mut Browser) {
    project.ok("set-token --sandbox --generate");
    browser.open("/").is(401);
    browser.token = Some(project.token());
}
