//! `open`: opens the app in the browser, or prints the URL if there is no browser.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::project::{Project, until};
use crate::pseudo_terminal::with_settings;

/// A program that replaces `xdg-open` and records the URL.
fn desktop(project: &Project) -> (String, std::path::PathBuf) {
    let (folder, noted) = (project.folder().join("bin"), project.folder().join("opened"));
    project.file("bin/xdg-open", &format!("#!/bin/sh\nenv > {0}.env\nprintf %s \"$1\" > {0}\n", noted.display()));
    std::fs::set_permissions(folder.join("xdg-open"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    (format!("{}:{path}", folder.display()), noted)
}

#[test]
fn the_app_is_opened_in_the_browser_or_its_url_is_printed() {
    let project = Project::example();
    let url = project.up();
    let (path, opened) = desktop(&project);

    // With a display and a terminal.
    let desk =
        [("DISPLAY", ":0"), ("PATH", path.as_str()), ("APP_SECRET_TOKEN", "planted"), ("AWS_PROFILE", "planted")];
    let (code, shown) = with_settings(&project, "nothing is asked", "", "open --sandbox", &desk);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains(&url) && shown.contains("opened in the browser"), "{shown}");
    let noted =
        until(10, "the browser is asked", || std::fs::read_to_string(&opened).ok().filter(|url| !url.is_empty()));
    assert_eq!(noted.trim_end_matches('/'), url);
    let environment = std::fs::read_to_string(opened.with_extension("env")).unwrap();
    assert!(environment.contains("DISPLAY=:0") && !environment.contains("planted"), "{environment}");

    // Without a display, without a terminal, and with `--json`.
    std::fs::remove_file(&opened).unwrap();
    let (code, shown) = with_settings(&project, "nothing is asked", "", "open --sandbox", &[("PATH", &path)]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains(&url) && shown.contains("there is no display"), "{shown}");
    assert_eq!(
        project.run("open --sandbox").ok().shown(),
        format!("$ devopsctl open --sandbox\n{url}\n(exit code 0)\n")
    );
    let json: Value = serde_json::from_str(&project.ok("open --sandbox --json")).unwrap();
    assert_eq!(json, json!({"v": 1, "name": "hello", "url": url}));
    assert!(!opened.exists());
}

#[test]
fn an_app_that_does_not_run_cannot_be_opened() {
    let project = Project::example();
    project.run("open --sandbox").code(1).says("no instance of hello is running").says("devopsctl up --sandbox");
}
