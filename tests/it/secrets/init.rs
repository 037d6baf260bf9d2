//! `init` finds the secrets that the app needs, and `doctor` tells which ones are missing.

use std::fs;

use crate::http::get;
use crate::project::Project;
use crate::snapshot;

/// The app shows the length of a secret only.
const APP: &str = "import os
from flask import Flask, abort, request

app = Flask(__name__)
app.config['SECRET_KEY'] = os.environ['SESSION_KEY']
DATABASE = os.environ['DATABASE_URL']
SENTRY = os.environ.get('SENTRY_DSN', '')

@app.before_request
def guard():
    if request.headers.get('Authorization') != 'Token ' + os.environ['SHOP_TOKEN']:
        abort(401)

@app.get('/')
def index():
    return str(len(DATABASE))
";

#[test]
fn an_app_with_secrets_is_told_which_command_sets_them() {
    let project = Project::empty();
    project.file("shop/web.py", APP).file("shop/requirements.txt", "flask\n");
    project.file("shop/.env.example", "DATABASE_URL=\nMAIL_PASSWORD=\n").file("shop/.env", "DATABASE_URL=a-horse\n");
    let ran = project.run("init --name shop shop").ok();
    snapshot!(project, ran.shown());
    let text = fs::read_to_string(project.folder().join("shop/deploy.yaml")).unwrap();
    snapshot!(project, text.split("\n\n").nth(2).unwrap_or_default());
    assert!(!text.contains("a-horse") && !ran.shown().contains("a-horse"));
    // `doctor` names the same command.
    let set = "secrets set DATABASE_URL MAIL_PASSWORD --sandbox --file shop/deploy.yaml";
    let doctor = project.run("doctor --sandbox --file shop/deploy.yaml").code(1);
    doctor.says("not set: DATABASE_URL, MAIL_PASSWORD").says(set);
    project.run("secrets import shop/.env --sandbox --file shop/deploy.yaml").ok();
    project.run("doctor --sandbox --file shop/deploy.yaml").code(1).says("not set: MAIL_PASSWORD");
    project.run_with("secrets set --stdin MAIL_PASSWORD --sandbox --file shop/deploy.yaml", "x").ok();
    project.run("doctor --sandbox --file shop/deploy.yaml").ok().says("2 are set; up generates SESSION_KEY");
    let url = project.ok("up --sandbox --file shop/deploy.yaml");
    let token = project.ok("token --sandbox --file shop/deploy.yaml");
    assert_eq!(get(&url, Some(&token)).body, "a-horse".len().to_string());
    project.run("doctor --sandbox --file shop/deploy.yaml").ok().says("3 are set");
}
