//! Apps that fail their checks, on the instances of a sandbox.

use std::fs;

use super::shown;
use crate::project::Project;

/// A project with this `app/app.py`.
fn with_app(source: &str) -> Project {
    crate::project::install_emulator();
    let project = Project::example();
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    // One worker, because the output of two varies.
    project.file("deploy.yaml", &text.replace("  path: app\n", "  path: app\n  workers: 1\n"));
    project.file("app/app.py", source);
    project
}

#[test]
fn one_that_raises_at_import() {
    let project = with_app(
        "import os\n\nif 'DATABASE_URL' not in os.environ:\n    raise LookupError('DATABASE_URL is not set')\n",
    );
    shown(&project, "an_app_that_raises_at_import", "up --sandbox", 4);
    project.run("status --sandbox").code(4).says("LookupError: DATABASE_URL is not set");
    // Another `up` tries again, with the same error.
    project.run("up --sandbox -q").code(4).says("DATABASE_URL");
}

#[test]
#[ignore = "slow"]
fn one_whose_health_path_answers_500() {
    let project = with_app(
        "import flask\n\napp = flask.Flask(__name__)\n\n\n@app.get('/')\ndef index():\n    raise ValueError('no such table: users')\n",
    );
    shown(&project, "an_app_whose_health_path_answers_500", "up --sandbox", 4);
}

#[test]
#[ignore = "slow"]
fn one_that_never_answers() {
    let project = with_app("import time\n\n\ndef app(environ, start_response):\n    time.sleep(600)\n");
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nhealth: {{timeout: 2}}\n"));
    shown(&project, "an_app_that_never_answers", "up --sandbox", 4);
}

#[test]
#[ignore = "slow"]
fn one_that_answers_without_the_token() {
    let project =
        with_app("import flask\n\napp = flask.Flask(__name__)\n\n\n@app.get('/')\ndef index():\n    return 'hi'\n");
    shown(&project, "an_app_that_answers_without_the_token", "up --sandbox", 4);
}

/// The check on the instance may pass and the one from outside fail.
#[test]
#[ignore = "slow"]
fn one_that_is_another_from_outside() {
    let source = |outside: &str| {
        format!(
            "import os\n\n\ndef app(environ, start_response):\n    right = 'Token ' + os.environ['APP_SECRET_TOKEN']\n    \
             known = environ.get('HTTP_AUTHORIZATION') == right\n    \
             status = '{outside}' if environ.get('HTTP_USER_AGENT') != 'devopsctl' else '200 OK' if known else '401 Unauthorized'\n    \
             start_response(status, [('Content-Type', 'text/plain')])\n    return [status.encode() + b', ' + environ.get('HTTP_AUTHORIZATION', '').encode()]\n"
        )
    };
    let project = with_app(&source("200 OK"));
    shown(&project, "an_app_that_is_open_from_outside", "up --sandbox", 4);
    project.file("app/app.py", &source("503 Service Unavailable"));
    shown(&project, "an_app_that_does_not_answer_outside", "up --sandbox", 4);
}

#[test]
#[ignore = "slow"]
fn one_that_dies_at_once() {
    let project = with_app("import os\n\nprint('I am not feeling well')\nos._exit(9)\n");
    let ran = project.run("up --sandbox -q").code(4);
    assert!(ran.stderr.contains("a worker exited before it could answer"), "{}", ran.stderr);
    assert!(ran.stderr.contains("I am not feeling well"), "{}", ran.stderr);
}

#[test]
#[ignore = "slow"]
fn a_gunicorn_that_cannot_start() {
    let project = with_app(include_str!("../../../app/app.py"));
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("  path: app\n", "  path: app\n  build_dependencies: true\n"));
    project.file("fork/pyproject.toml", "[project]\nname = 'gunicorn'\nversion = '23.0.0'\n");
    project.file("fork/gunicorn/__init__.py", "").file("fork/gunicorn/app/__init__.py", "");
    project.file("fork/gunicorn/app/wsgiapp.py", "raise SystemExit('I am none')\n");
    project.file("app/requirements.txt", "flask==3.1.2\ngunicorn @ ../fork\n");
    let ran = project.run("up --sandbox -q").code(4);
    assert!(ran.stderr.contains("gunicorn exited before it was ready"), "{}", ran.stderr);
}
