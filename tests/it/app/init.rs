//! `init`: writes a `deploy.yaml` for an app.

use std::fs;

use serde_json::Value;

use crate::http::get;
use crate::project::Project;
use crate::pseudo_terminal::at_a_terminal;
use crate::snapshot;

const SHOP: &str = "import os
from flask import Flask, abort, request

app = Flask(__name__)

@app.before_request
def guard():
    if request.headers.get('Authorization') != 'Token ' + os.environ['SHOP_TOKEN']:
        abort(401)

@app.get('/')
def index():
    return 'shop'
";

fn written(project: &Project) -> String {
    fs::read_to_string(project.folder().join("deploy.yaml")).unwrap()
}

#[test]
fn an_existing_app_is_deployed_as_found() {
    let project = Project::empty();
    project.file("web.py", SHOP).file("requirements.txt", "flask\n");
    snapshot!(project, project.run("init --name shop").ok().shown());
    snapshot!(project, written(&project));
    let url = project.up();
    assert_eq!(get(&url, Some(&project.token())).body, "shop");
    assert_eq!(get(&url, None).status, 401);
    project.ok("down --sandbox --yes");
}

#[test]
fn init_overwrites_nothing() {
    let project = Project::empty();
    project.file("app.py", SHOP).file("deploy.yaml", "mine\n").file("other.yaml", "mine, too\n");
    snapshot!(project, project.run("init").code(2).shown());
    project.run("init --yes --file other.yaml").code(2).says("already exists");
    assert_eq!(written(&project), "mine\n");
    project.run("init --file third.yaml").ok().says("up --sandbox --file third.yaml");
}

#[test]
fn with_yes_the_likeliest_app_is_selected() {
    let project = Project::empty();
    project.file("app.py", SHOP).file("other.py", SHOP).file("requirements.txt", "flask");
    project.run("init").code(2).says("there is no terminal to ask on").says("--yes");
    project.run("init --yes").ok().says("the most likely of 2 apps");
    assert!(written(&project).contains("web: app:app"));
}

#[test]
fn at_a_terminal_it_asks_only_for_missing_settings() {
    let project = Project::empty();
    project.file("123/app.py", SHOP).file("123/other.py", SHOP).file("123/requirements.txt", "flask\n");
    let written = || fs::read_to_string(project.folder().join("123/deploy.yaml"));
    let (code, shown) = at_a_terminal(&project, "Which app?", "\x03", "init 123");
    assert_eq!((code, written().is_err()), (130, true), "{shown}");
    let cursor = |on: bool| shown.rfind(if on { "\x1b[?25h" } else { "\x1b[?25l" });
    assert!(cursor(true) > cursor(false), "the cursor stays hidden: {shown:?}");
    // Select the second app, enter an invalid name, then a valid one.
    let (prompts, answers) = ("Which app?|Name of the deployment|lowercase letter", "\x1b[B|Shop|shop");
    let (code, shown) = at_a_terminal(&project, prompts, answers, "init 123");
    assert_eq!(code, 0, "{shown}");
    let text = written().unwrap();
    assert!(text.contains("name: shop\n") && text.contains("web: other:app\n"), "{text}");
    // One app in a folder with a valid name: no prompt.
    project.file("kiosk/app.py", SHOP).file("kiosk/requirements.txt", "flask\n");
    let (code, shown) = at_a_terminal(&project, "", "", "init kiosk");
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains('?'), "{shown}");
}

#[test]
fn init_as_json() {
    let project = Project::empty();
    project.file("shop/app.py", SHOP).file("shop/requirements.txt", "flask");
    let json: Value = serde_json::from_str(&project.ok("init shop --json")).unwrap();
    assert_eq!((&json["name"], &json["web"], &json["path"]), (&"shop".into(), &"app:app".into(), &"".into()));
    assert_eq!(json["token"], serde_json::json!({"value": "SHOP_TOKEN", "file": "app.py", "line": 8}));
    assert_eq!(json["text"], fs::read_to_string(project.folder().join("shop/deploy.yaml")).unwrap());
}

#[test]
fn fastapi_is_deployed_as_found() {
    let project = Project::empty();
    project.file("main.py", "from fastapi import FastAPI\napp = FastAPI()\n").file("requirements.txt", "fastapi\n");
    snapshot!(project, project.run("init --name api").ok().shown());
    snapshot!(project, written(&project));
}

#[test]
fn no_app_and_no_name() {
    let project = Project::empty();
    project.file("notes.py", "# app = Flask(__name__)\n").file("venv/app.py", SHOP).file("tests/app.py", SHOP);
    snapshot!(project, project.run("init").code(2).shown());
    project.run("init --name Shop").code(2).says("lowercase letter");
    project.file("123/app.py", SHOP).run("init 123").code(2).says("--name");
}

#[test]
fn unusual_folders_are_supported() {
    let project = Project::empty();
    project.file("app.py", SHOP).file("huge.py", &format!("{SHOP}{}", "#".repeat(1_100_000)));
    fs::write(project.folder().join("latin.py"), b"# caf\xe9\napp = 1\n").unwrap();
    std::os::unix::fs::symlink(".", project.folder().join("loop")).unwrap();
    project.run("init --name shop").ok().says("app.py:4");
}
