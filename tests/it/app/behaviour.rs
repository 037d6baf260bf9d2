//! Apps other than the example.

use std::collections::BTreeSet;

use crate::http::{get, try_get};
use crate::project::{Project, install_emulator, until};

/// An app with two modules, a factory, a compiled dependency, settings, and another variable for the token.
fn shop(project: &Project) {
    project
        .file(
            "deploy.yaml",
            "name: shop
app:
  path: src
  wsgi: shop.web:create_app()
  workers: 1
  env: {GREETING: Welcome, LIMIT: 3}
token: {env: SHOP_KEY, path: /orders}
health: {path: /healthz, timeout: 20}
tags: {team: web}
",
        )
        .file(
            "src/pyproject.toml",
            "[project]\nname = \"shop\"\nversion = \"1\"\ndependencies = [\"flask>=3,<4\", \"orjson>=3.10\"]\n",
        )
        .file("src/shop/__init__.py", "")
        .file(
            "src/shop/orders.py",
            "import orjson\n\ndef listed(limit):\n    return orjson.dumps(list(range(limit)))\n",
        )
        .file(
            "src/shop/web.py",
            "import os
from flask import Flask, request
from .orders import listed


def create_app():
    app = Flask(__name__)

    @app.get('/healthz')
    def healthz():
        return os.environ['GREETING']

    @app.get('/orders')
    def orders():
        if request.headers.get('Authorization') != 'Token ' + os.environ['SHOP_KEY']:
            return 'no', 403
        return listed(int(os.environ['LIMIT']))

    return app
",
        );
}

#[test]
#[ignore = "slow"]
fn a_factory_with_a_compiled_dependency_and_an_open_health_path() {
    let project = Project::empty();
    shop(&project);
    let url = project.up();
    let token = project.token();
    assert_eq!(get(&format!("{url}/healthz"), None).body, "Welcome");
    assert_eq!(get(&format!("{url}/orders"), Some(&token)).body, "[0,1,2]");
    assert_eq!(get(&format!("{url}/orders"), None).status, 403);

    // A changed setting makes a new release.
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("LIMIT: 3", "LIMIT: 1"));
    project.up();
    assert_eq!(get(&format!("{url}/orders"), Some(&token)).body, "[0]");
    project.ok("set-token --sandbox --generate");
    assert_eq!(get(&format!("{url}/orders"), Some(&token)).status, 403);
    project.ok("down --sandbox --yes");
}

#[test]
fn an_app_can_be_public_if_deploy_yaml_allows_it() {
    let project = Project::empty();
    project
        .file(
            "app/app.py",
            "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'open']\n",
        )
        .file("app/requirements.txt", "")
        .file("deploy.yaml", "name: hello\napp: {path: app}\n");
    project.run("up --sandbox").code(4).says("so it is open to everyone").says("token.check");
    // Nothing serves, so the URL returns an error page at once.
    let status: serde_json::Value =
        serde_json::from_str(&project.run("status --sandbox --json").code(4).stdout).unwrap();
    let url = status["url"].as_str().unwrap();
    let answer = until(20, "an answer", || try_get(url, None).ok());
    assert_eq!((answer.status, answer.headers["retry-after"].as_bytes()), (503, &b"5"[..]));
    assert_eq!(answer.body, "The app is not running yet. Try again in a few seconds.\n");
    project.file("deploy.yaml", "name: hello\napp: {path: app}\ntoken: {check: none}\n");
    let url = project.up();
    assert_eq!(get(&url, None).body, "open");
    let ran = project
        .run("set-token --sandbox --generate")
        .ok()
        .says("the instance reports that the app has")
        .says("not checked from outside");
    assert!(!ran.stderr.contains("uses the new token") && !ran.stderr.contains("refused"), "{}", ran.shown());
}

/// It is found before a launch, which costs money.
#[test]
fn a_missing_requirement_is_found_before_a_launch() {
    let project = Project::unbooted();
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    project.file("app/app.py", &format!("import yaml\n{app}"));
    project.run("up --sandbox").code(2).says("the app imports yaml, and no requirement provides it").says("app.py:1");
    project.run("list --sandbox").ok().says("no deployments in account");
}

/// It accepts every request.
#[test]
#[ignore = "slow"]
fn an_app_that_redirects_every_request_to_its_login_is_open() {
    let project = Project::empty();
    project
        .file(
            "app/app.py",
            "def app(environ, start_response):\n    path = environ['PATH_INFO']\n    \
             start_response('200 OK' if path == '/login' else '302 Found', [('Location', '/login')])\n    return [b'']\n",
        )
        .file("app/requirements.txt", "")
        .file("deploy.yaml", "name: hello\napp: {path: app}\n");
    let ran = project.run("up --sandbox").code(4);
    let said = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("answers 302 at / without a token, as it does with the token"), "{}", ran.shown());
}

#[test]
fn an_app_that_redirects_requests_without_the_token_is_deployed() {
    let project = Project::empty();
    let app = "import os\n\n\ndef app(environ, start_response):\n    \
               known = environ.get('HTTP_AUTHORIZATION') == 'Token ' + os.environ['APP_SECRET_TOKEN']\n    \
               start_response('302 Found', [('Location', '/home' if known else '/login?next=/')])\n    return [b'']\n";
    project
        .file("app/app.py", app)
        .file("app/requirements.txt", "")
        .file("deploy.yaml", "name: hello\napp: {path: app}\n");
    // The agent and the command both count the other redirect as a refusal.
    project.ok("up --sandbox");
    project.file("app/app.py", &app.replace("'/login?next=/'", "'/home?from=/'"));
    let ran = project.run("up --sandbox").code(4);
    let said = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("answers 302 at / without a token, as it does with the token"), "{}", ran.shown());
    project.ok("down --sandbox --yes");
}

/// An app that checks its host, like Django's `ALLOWED_HOSTS`.
#[test]
#[ignore = "slow"]
fn the_health_check_uses_the_host_of_clients() {
    let project = Project::empty();
    let django = |hosts: &str| {
        format!(
            "import os
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

def index(request):
    known = request.headers.get('Authorization') == 'Token ' + os.environ['APP_SECRET_TOKEN']
    return HttpResponse(request.get_host(), status=200 if known else 401)

urlpatterns = [path('', index)]
settings.configure(DEBUG=True, ALLOWED_HOSTS={hosts}, ROOT_URLCONF=__name__, SECRET_KEY='x')
app = get_wsgi_application()
"
        )
    };
    let deploy = |domain: &str| format!("name: hello\napp: {{path: app, workers: 1}}\nnetwork: {{{domain}}}\n");
    project.file("app/requirements.txt", "django\n").file("app/app.py", &django("[]")).file("deploy.yaml", &deploy(""));
    // Django would allow `localhost` here, which no client sends.
    let ran = project.run("up --sandbox").code(4);
    let said = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("the app answers 400 at / with the token (asked for 127."), "{}", ran.shown());
    project.file("app/app.py", &django("['app.example.com']")).file("deploy.yaml", &deploy("domain: app.example.com"));
    project.up();
}

/// An app whose only thread is busy until a file exists.
#[test]
#[ignore = "slow"]
fn status_shows_that_no_thread_is_free() {
    let project = Project::empty();
    project
        .file(
            "app/app.py",
            "import os, time


def app(environ, start_response):
    while environ['PATH_INFO'] == '/hold' and not os.path.exists(os.environ['TMPDIR'] + '/let-go'):
        time.sleep(0.05)
    start_response('200 OK', [])
    return [b'open']
",
        )
        .file("app/requirements.txt", "")
        .file("deploy.yaml", "name: hello\napp: {path: app, workers: 1, threads: 1}\ntoken: {check: none}\n");
    let url = project.up();
    project.run("status --sandbox").ok().says("healthy (reported");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| get(&format!("{url}/hold"), None).status);
        let status = until(30, "the report of it", || {
            let status = project.ok("status --sandbox");
            status.contains("healthy, but no thread is free (reported").then_some(status)
        });
        assert!(status.contains("all 1 are busy since "), "{status}");
        std::fs::write(project.machine().join("tmp/let-go"), "").unwrap();
        assert_eq!(held.join().unwrap(), 200);
    });
    until(30, "the report that it is over", || {
        (!project.ok("status --sandbox").contains("no thread is free")).then_some(())
    });
}

/// A release contains only files that are meant to be deployed.
#[test]
fn secrets_in_the_apps_folder_are_deployed_only_if_included() {
    let project = Project::unbooted();
    let refused = |name: &str| {
        project.run("plan --sandbox").code(2).says("may contain secrets").says(name);
        project.run("up --sandbox").code(2).says("may contain secrets").says(name);
        project.run("list --sandbox").ok().says("no deployments in account");
    };
    for (name, text) in [
        ("app/.env.production", "KEY=1\n"),
        ("app/static/.aws/credentials", "[default]\n"),
        ("app/deploy", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"),
        ("app/google.json", r#"{"type": "service_account", "private_key": "x"}"#),
    ] {
        project.file(name, text);
        refused(name.trim_start_matches("app/"));
        std::fs::remove_file(project.folder().join(name)).unwrap();
    }
    // A file that is never packed under its own name.
    project.file("app/.env", "KEY=1\n");
    std::os::unix::fs::symlink(".env", project.folder().join("app/settings.ini")).unwrap();
    refused("settings.ini (environment)");
    std::fs::remove_file(project.folder().join("app/settings.ini")).unwrap();

    project.file("app/.env.production", "KEY=1\n").file("app/.env.example", "KEY=\n");
    project.file("app/.devopsctlignore", ".env.production\n");
    project.run("plan --sandbox").code(3);
    std::fs::remove_file(project.folder().join("app/.devopsctlignore")).unwrap();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("path: app\n", "path: app\n  include: [.env.production]\n"));
    project.run("plan --sandbox").code(3);
}

/// A built frontend is often ignored by git, and an app without it returns 404.
#[test]
fn ignored_files_that_the_app_uses_are_reported_with_the_line_that_includes_them() {
    let project = Project::unbooted();
    project
        .file("app/.gitignore", "/staticfiles/\n/media/\n")
        .file("app/staticfiles/a.css", "")
        .file("app/media/a.jpg", "");
    project.file("app/settings.py", "STATIC_ROOT = 'staticfiles'\n");
    let ran = project.run("plan --sandbox").code(3);
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("git ignores")).collect();
    assert_eq!(lines.len(), 1, "{}", ran.shown());
    assert!(lines[0].contains("settings.py:1") && lines[0].contains("the line !/staticfiles/ to"), "{}", lines[0]);
    project.file("app/.devopsctlignore", "!/staticfiles/\n");
    // A local package, such as one whose version is written during the build.
    project.file("app/requirements.txt", "flask\n../lib\n").file("lib/.gitignore", "_version.py\n");
    project.file("lib/pyproject.toml", "[project]\nname = 'lib'\nversion = '1'\n").file("lib/lib/_version.py", "");
    project.file("lib/lib/__init__.py", "from ._version import version\n");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("path: app\n", "path: app\n  build_dependencies: true\n"));
    let ran = project.run("plan --sandbox").code(3).says("lib/_version.py is not deployed because git ignores it");
    assert!(ran.stderr.contains("lib/__init__.py:1") && !ran.stderr.contains("staticfiles"), "{}", ran.shown());
    project.file("lib/.devopsctlignore", "!_version.py\n");
    let ran = project.run("plan --sandbox").code(3);
    assert!(!ran.stderr.contains("git ignores"), "{}", ran.shown());
}

/// An app that returns the modules that Python has loaded.
#[test]
#[ignore = "slow"]
fn the_files_compiled_first_are_the_files_that_python_imports_first() {
    let project = Project::empty();
    project.file("deploy.yaml", "name: loaded\napp: {path: app}\n").file("app/requirements.txt", "flask\n").file(
        "app/app.py",
        "import os, sys
from flask import Flask, request

app = Flask(__name__)

@app.get('/')
def loaded():
    if request.headers.get('Authorization') != 'Token ' + os.environ['APP_SECRET_TOKEN']:
        return 'no', 401
    files = (getattr(module, '__file__', None) or '' for module in list(sys.modules.values()))
    return '\\n'.join(file.partition('/releases/')[2].partition('/')[2] for file in files if file.endswith('.py'))
",
    );
    let url = project.up();
    let loaded = get(&url, Some(&project.token())).body;
    let loaded: BTreeSet<&str> = loaded.lines().filter(|path| !path.is_empty()).collect();
    let releases = std::fs::read_dir(project.machine().join("opt/devopsctl/releases")).unwrap();
    let first = releases.map(|entry| std::fs::read_to_string(entry.unwrap().path().join("first.txt")).unwrap());
    let first = first.collect::<String>();
    let first: BTreeSet<&str> = first.lines().collect();
    assert!(loaded.len() > 100, "{loaded:?}");
    let (missed, needless) = (loaded.difference(&first), first.difference(&loaded));
    // Two programs, modules for the sandbox only, and the pure-Python part of markupsafe, which is imported only if the compiled
    // part is missing.
    let known =
        ["agent/serve.py", "agent/workers/gunicorn.conf.py", "agent/workers/landlock.py", "site/markupsafe/_native.py"];
    let missed: Vec<_> = missed.filter(|path| !known.contains(path)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(needless.clone().count() < 10, "{:?}", needless.collect::<Vec<_>>());
}

#[test]
#[ignore = "slow"]
fn data_in_the_apps_folder_is_reported_by_init_and_up() {
    install_emulator();
    let project = Project::unbooted();
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    let wants = "\nDATABASE = os.environ.get('DATABASE', 'sqlite:///notes.db')\nUPLOAD_FOLDER = 'uploads'\n";
    // No earlier run can have left this release in the cache.
    let only = format!("# {}\n", project.folder().display());
    project.file("app/app.py", &(app.clone() + wants + &only));
    let line = app.lines().count() + 2;
    let (data, uploads) = (format!("app.py:{line} uses notes.db"), format!("app.py:{} uses UPLOAD_FOLDER", line + 1));
    project.run("init --yes --file other.yaml").ok().says(&format!("app/{data}")).says("add `data` to deploy.yaml");
    let first = project.run("up --sandbox --no-wait").ok().says(&data).says(&uploads);
    assert!(first.stderr.contains("cannot write to its own folder"));
    let again = project.run("up --sandbox --no-wait").ok();
    assert!(!again.stderr.contains("uses notes.db"), "{}", again.stderr);
    // The settings of deploy.yaml count.
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file(
        "deploy.yaml",
        &text.replace("\napp:\n", "\napp:\n  env: {DATABASE: 'postgresql://db.internal/notes'}\n"),
    );
    let set = project.run("up --sandbox --no-wait").ok().says(&uploads);
    assert!(!set.stderr.contains("uses notes.db"), "{}", set.stderr);
}
