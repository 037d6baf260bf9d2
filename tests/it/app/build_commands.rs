//! `app.build`: commands that write files of the release.

use std::fs;

use crate::http::get;
use crate::project::Project;

/// An app that serves a file that its build writes and git ignores.
const APP: &str = "from flask import Flask

app = Flask(__name__)

@app.get('/')
def index():
    return open('static/site.txt').read()
";
/// The build. It imports a package of the app, and shows what it gets.
const MAKE: &str = "import os
from pathlib import Path

import markupsafe

Path('static').mkdir()
secret = sorted(name for name in os.environ if 'TOKEN' in name or name.startswith(('AWS_', 'DEVOPSCTL_')))
Path('static/site.txt').write_text(f'{markupsafe.escape(os.environ[\"GREETING\"])} {secret}')
";

fn project(build: &str) -> Project {
    let project = Project::empty();
    project
        .file("app.py", APP)
        .file("make.py", MAKE)
        .file("requirements.txt", "flask\n")
        .file(".gitignore", "static\n");
    project.file(
        "deploy.yaml",
        &format!(
            "name: shop\napp:\n  path: .\n  workers: 1\n  env: {{GREETING: <Hello>}}\n  build: {build}\ntoken: {{check: proxy}}\n"
        ),
    );
    project
}

#[test]
#[ignore = "slow"]
fn what_a_build_writes_is_deployed_and_nothing_is_written_into_the_source() {
    let project = project("[python make.py, test -f static/site.txt]");
    let url = project.up();
    let token = project.token();
    assert_eq!(get(&url, Some(&token)).body, "&lt;Hello&gt; []");
    assert!(!project.folder().join("static").exists());
    // Without a change the build does not run again.
    let ran = project.run("up --sandbox").ok().says("already up to date");
    assert!(!ran.stderr.contains("built release"), "{}", ran.shown());
    assert!(!ran.stderr.contains("build: "), "{}", ran.shown());
    project.run("up --sandbox --upgrade").ok().says("✓ build: python make.py").says("already up to date");

    // A failed build changes nothing.
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("test -f static/site.txt", "test -f missing"));
    let ran = project.run("up --sandbox").code(2).says("app.build failed: test -f missing").says("exit code 1");
    assert!(!ran.shown().contains(&token), "{}", ran.shown());
    assert_eq!(get(&url, Some(&token)).body, "&lt;Hello&gt; []");
    project.ok("down --sandbox --yes");
}

#[test]
fn a_file_that_a_build_writes_may_not_look_like_a_secret() {
    let project = project("echo KEY=1 > .env.production");
    project.run("plan --sandbox").code(2).says("may contain secrets").says(".env.production");
    project.run("list --sandbox").ok().says("no deployments in account");
}
