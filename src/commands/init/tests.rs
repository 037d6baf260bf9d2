//! Small projects, and the `deploy.yaml` for them.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::{Check, Image};

fn files(list: &[(&str, &str)]) -> Files {
    let mut files = Files::default();
    list.iter().for_each(|(name, text)| files.add(*name, *text));
    files
}

/// The plan for the most likely app. Its text is a valid `deploy.yaml`.
fn plan(list: &[(&str, &str)]) -> Plan {
    let files = files(list);
    let sight = look(&files);
    let app = sight.candidates.first().expect("an app");
    let plan = Plan::new(&files, &sight, app, "shop");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join(&plan.path)).unwrap();
    let text = plan.yaml();
    let loaded = config::parse(&text, Path::new("deploy.yaml"), folder.path())
        .unwrap_or_else(|failure| panic!("{text}\n{}", crate::ui::render(&failure, 100, false)));
    assert_eq!(loaded.app.web, plan.web);
    assert_eq!(loaded.health.path, plan.health.as_ref().map_or("/", |(path, _)| path));
    let env: Vec<(&String, &String)> = plan.env.iter().map(|setting| (&setting.name, &setting.value)).collect();
    assert!(loaded.app.env.iter().eq(env), "{text}");
    let processes: Vec<_> =
        loaded.processes.iter().map(|(name, process)| (name.clone(), process.run.clone())).collect();
    assert_eq!(processes, plan.processes, "{text}");
    assert_eq!(loaded.token.check, if plan.token.is_some() { Check::App } else { Check::Proxy });
    plan
}

fn nothing(list: &[(&str, &str)]) {
    let sight = look(&files(list));
    assert!(sight.candidates.is_empty(), "{:?}", sight.candidates);
}

const FLASK: &str = "from flask import Flask\napp = Flask(__name__)\n";
const FACTORY: &str =
    "from flask import Flask\n\ndef create_app(config=None):\n    app = Flask(__name__)\n    return app\n";

/// `app.path` and `app.web`
#[track_caller]
fn is(list: &[(&str, &str)], path: &str, web: &str) -> Plan {
    let plan = plan(list);
    assert_eq!((plan.path.as_str(), plan.web.as_str()), (path, web));
    plan
}

#[test]
fn the_procfile_names_the_app_and_its_processes() {
    let needs = ("requirements.txt", "flask\n");
    let procfile = "web: flask db upgrade && gunicorn other:app\nrelease: flask warm-up\nWorker: rq worker\n1st: x\n";
    let plan = is(&[("app.py", FLASK), ("other.py", FLASK), ("Procfile", procfile), needs], "", "other:app");
    assert_eq!(plan.release.as_deref(), Some("flask warm-up"));
    assert_eq!(plan.processes, [("worker".to_owned(), "rq worker".to_owned())]);
    assert!(plan.warnings.iter().any(|warning| warning.contains("`flask db upgrade` before")), "{:?}", plan.warnings);
    assert!(plan.warnings.iter().any(|warning| warning.contains("1st has a name")), "{:?}", plan.warnings);
    assert!(plan.ready);
}

#[test]
fn apps_are_found() {
    let needs = ("requirements.txt", "flask\n");
    is(&[("app.py", FLASK), needs], "", "app:app");
    is(&[("main.py", "import flask as f\napplication: f.Flask = f.Flask('x')\n")], "", "main:application");
    is(&[("app.py", FACTORY), needs], "", "app:create_app()");
    is(&[("shop/__init__.py", FACTORY), needs], "", "shop:create_app()");
    is(&[("shop/__init__.py", ""), ("shop/web.py", FLASK), needs], "", "shop.web:app");
    is(&[("backend/app.py", FLASK), ("backend/requirements.txt", "flask")], "backend", "app:app");
    is(&[("backend/app.py", FLASK), needs], "", "backend.app:app");
    is(&[("app.py", &FLASK.replace('\n', "\r\n"))], "", "app:app");
    is(&[("app.py", &format!("\u{feff}{FLASK}"))], "", "app:app");
    is(
        &[("app.py", "from flask import Flask\ntry:\n    app = Flask(__name__)\nexcept Exception:\n    raise\n")],
        "",
        "app:app",
    );
    is(&[("bottled.py", "from bottle import Bottle\nweb = Bottle()\n")], "", "bottled:web");
    let plain = "def application(environ, start_response):\n    return []\n";
    is(&[("wsgi.py", plain)], "", "wsgi:application");
    let django = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n";
    is(&[("manage.py", ""), ("site/wsgi.py", django)], "", "site.wsgi:application");
    is(&[("manage.py", ""), ("site/__init__.py", ""), ("site/wsgi.py", django)], "", "site.wsgi:application");
    let kept = "from shop import create_app\napp = create_app()\n";
    is(&[("shop/__init__.py", FACTORY), ("wsgi.py", kept), needs], "", "wsgi:app");
}

#[test]
fn code_on_its_own_python_path_needs_its_requirements_there() {
    let plan = is(
        &[
            ("requirements.txt", "flask"),
            ("src/shop/__init__.py", ""),
            ("src/shop/web.py", &format!("from shop.orders import listed\n{FLASK}")),
            ("src/shop/orders.py", ""),
        ],
        "src",
        "shop.web:app",
    );
    assert!(plan.warnings[0].ends_with("cp requirements.txt src/"), "{:?}", plan.warnings);
}

#[test]
fn similar_code_is_not_an_app() {
    nothing(&[]);
    nothing(&[("app.py", "# from flask import Flask\n# app = Flask(__name__)\n")]);
    nothing(&[("app.py", "'''\nfrom flask import Flask\napp = Flask(__name__)\n'''\n")]);
    nothing(&[("app.py", "app = Flask(__name__)\n")]);
    nothing(&[("app.py", "from flask import Flask\nif __name__ == '__main__':\n    app = Flask(__name__)\n")]);
    nothing(&[("app.py", "from flask import Flask\ndef main():\n    app = Flask(__name__)\n    app.run()\n")]);
    nothing(&[("notes.txt", FLASK)]);
    let sight = look(&files(&[("my-app.py", FLASK)]));
    assert_eq!(sight.nameless, [Place::new("my-app.py", 2)]);
}

#[test]
fn the_most_likely_app_is_first() {
    let sight = look(&files(&[("tools/admin.py", FLASK), ("other.py", FLASK), ("app.py", FLASK)]));
    let modules: Vec<&str> = sight.candidates.iter().map(|app| app.module.as_str()).collect();
    assert_eq!(modules, ["app", "other", "admin"]);
}

#[test]
fn an_app_that_gunicorn_cannot_load_gets_a_module_of_two_lines() {
    let told = FACTORY.replace("config=None", "config");
    let plan = is(&[("app.py", &told), ("wsgi.py", "")], "", "serve:app");
    assert!(plan.module.unwrap().1[1].starts_with("app = app.create_app(...)"));

    let bare = "from bottle import route, run\n@route('/')\ndef index():\n    return ''\n";
    assert_eq!(is(&[("hello.py", bare)], "", "wsgi:app").module.unwrap().1[1], "app = bottle.default_app()");
}

#[test]
fn asgi_apps_are_found() {
    let fastapi = "from fastapi import FastAPI\napi = FastAPI()\n@api.get('/ping')\nasync def ping():\n    return 1\n";
    let plan = is(&[("main.py", fastapi), ("requirements.txt", "fastapi")], "", "main:api");
    assert_eq!((plan.module, plan.health.unwrap().0.as_str()), (None, "/ping"));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    let wrapped = "from a2wsgi import ASGIMiddleware\nfrom main import api\napp = ASGIMiddleware(api)\n";
    is(&[("main.py", fastapi), ("wsgi.py", wrapped)], "", "wsgi:app");
    for (maker, call) in [
        ("starlette.applications", "Starlette(routes=[])"),
        ("quart", "Quart(__name__)"),
        ("litestar", "Litestar([hello])"),
        ("falcon.asgi", "App()"),
    ] {
        let name = call.split('(').next().unwrap();
        let text = format!("from {maker} import {name}\n\ndef create_app():\n    app = {call}\n    return app\n");
        is(&[("web.py", &text)], "", "web:create_app()");
    }
    is(&[("app.py", "async def app(scope: dict, receive, send) -> None:\n    pass\n")], "", "app:app");
    nothing(&[("app.py", "async def app(scope, receive):\n    pass\nasync def create():\n    return app\n")]);
    let project = |name: &str, more: &str| {
        let function = format!("get_{name}_application");
        format!("from django.core.{name} import {function}\n{more}application = {function}()\n")
    };
    let (wsgi, asgi) = (project("wsgi", ""), project("asgi", ""));
    let manage = ("manage.py", "");
    is(&[manage, ("shop/asgi.py", &asgi)], "", "shop.asgi:application");
    is(&[manage, ("shop/asgi.py", &asgi), ("shop/wsgi.py", &wsgi)], "", "shop.wsgi:application");
    let channels = asgi.replace("application = ", "django = ")
        + "from channels.routing import ProtocolTypeRouter\napplication = ProtocolTypeRouter({'http': django})\n";
    is(&[manage, ("shop/asgi.py", &channels), ("shop/wsgi.py", &wsgi)], "", "shop.asgi:application");
}

#[test]
fn split_settings_are_deployed_as_those_of_production() {
    let names = |module: &str| format!("import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '{module}')\n");
    let wsgi = names("config.settings.dev")
        + "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n";
    let prod = "import os\nfrom .base import *\nSECRET_KEY = os.environ['SECRET_KEY']\nALLOWED_HOSTS = [os.environ['HOSTS']]\n";
    let list = [
        ("manage.py", &*names("config.settings.dev")),
        ("requirements.txt", "django"),
        ("config/wsgi.py", &wsgi),
        ("config/settings/base.py", "STATIC_ROOT = 'static'\n"),
        ("config/settings/dev.py", "SECRET_KEY = 'x'\nDEBUG = True\nDB = 'db.sqlite3', os.environ['DEV_PASSWORD']\n"),
        ("config/settings/prod.py", prod),
    ];
    let plan = is(&list, "", "config.wsgi:application");
    let env = [("DJANGO_SETTINGS_MODULE", "config.settings.prod"), ("HOSTS", "*")];
    assert!(plan.env.iter().map(|setting| (setting.name.as_str(), setting.value.as_str())).eq(env), "{:?}", plan.env);
    assert_eq!(plan.build, ["SECRET_KEY=unused python manage.py collectstatic --noinput"]);
    assert_eq!((plan.warnings.len(), plan.to_set()), (0, None), "{:?}", plan.warnings);
    let more = format!("{prod}EMAIL_HOST = os.environ['EMAIL_HOST']\n");
    let plan = is(&[&list[..5], &[("config/settings/prod.py", &*more)]].concat(), "", "config.wsgi:application");
    assert_eq!(plan.warnings, ["config/settings/prod.py:5 needs EMAIL_HOST: set it in app.env"]);
    assert!(!plan.ready);
}

#[test]
fn missing_requirements_are_warned_of() {
    let said = |list: &[(&str, &str)]| {
        let mut list = list.to_vec();
        list.push(("app.py", FLASK));
        plan(&list).warnings.join("\n")
    };
    assert!(said(&[]).contains("write requirements.txt:\n    flask"));
    assert!(said(&[("requirements.txt", "# flask\nrequests")]).contains("does not list flask"));
    for text in ["Flask", "flask>=3 ; python_version > '3'", "flask[async]==3 # why", "-r more.txt"] {
        assert!(!said(&[("requirements.txt", text), ("more.txt", "flask")]).contains("does not list"), "{text}");
    }
    let project = "[project]\nname = 'x'\ndependencies = [\n  'flask>=3', # yes\n]\n";
    assert!(!said(&[("pyproject.toml", project)]).contains("does not"));
    let poetry = "[tool.poetry.dependencies]\nFlask = '^3'\n";
    for file in [("pyproject.toml", poetry), ("Pipfile", "[packages]\nflask = {version = '*'}\n")] {
        assert_eq!(said(&[file]), "", "{file:?}");
    }
    assert!(
        said(&[("pyproject.toml", poetry), ("requirements.txt", "")]).contains("requirements.txt does not list flask")
    );
    assert!(said(&[("Pipfile", "[packages]\nrequests = '*'\n")]).contains("Pipfile does not list flask"));
    assert!(said(&[("pyproject.toml", "[tool.ruff]\n")]).contains("no requirements"));
    let lock = |list: &[(&str, &str)]| plan(&[list, &[("app.py", FLASK)]].concat()).lock;
    assert_eq!(lock(&[("pyproject.toml", project), ("uv.lock", "")]).as_deref(), Some("uv.lock"));
    assert_eq!(lock(&[("pyproject.toml", poetry), ("poetry.lock", ""), ("requirements.txt", "")]), None);
}

#[test]
fn the_token_the_routes_and_secrets_are_found() {
    let text = "import os
from flask import Flask
app = Flask(__name__)
SECRET_KEY = 'not-for-your-eyes'
key = os.environ['SHOP_API_KEY']
@app.get('/')
def index(): return ''
@app.route('/healthz')
def healthz(): return ''
";
    let plan = plan(&[("app.py", text), (".env", ""), (".env.production", ""), (".env.example", "")]);
    assert_eq!(plan.token.clone().unwrap(), ("SHOP_API_KEY".to_owned(), Place::new("app.py", 5)));
    assert_eq!(plan.health.clone().unwrap(), ("/healthz".to_owned(), Place::new("app.py", 8)));
    assert_eq!(plan.token_path.as_deref(), Some("/"));
    let said = plan.warnings.join("\n");
    assert!(said.contains("app.py:4: SECRET_KEY") && said.contains(".env is not deployed"), "{said}");
    assert!(said.contains(".env.production may contain secrets: ignore it, or up refuses"), "{said}");
    assert!(!said.contains(".env.example") && !said.contains("not-for-your-eyes"), "{said}");
    assert!(!plan.yaml().contains("not-for-your-eyes"));
    let plan = super::tests::plan(&[("app.py", FLASK), ("requirements.txt", "flask")]);
    assert_eq!((plan.token.as_ref(), plan.warnings.len()), (None, 0), "devopsctl checks it in front of the app");
}

#[test]
fn only_what_must_be_done_first_makes_a_plan_not_ready() {
    let guarded =
        &format!("{FLASK}import os\nTOKEN = os.environ['SHOP_TOKEN']\n@app.get('/')\ndef index(): return ''\n");
    let needs = ("requirements.txt", "flask\n");
    let of = |list: &[(&str, &str)]| (plan(list).ready, plan(list).warnings.len());
    assert_eq!(of(&[("app.py", guarded), needs]), (true, 0));
    let known = format!("{guarded}SECRET_KEY = 'x'\n");
    let project = ("pyproject.toml", "[project]\nname = 'x'\ndependencies = ['flask']\n");
    assert_eq!(of(&[("app.py", &known), project, (".env", ""), ("uv.lock", "")]), (true, 2));
    assert_eq!(of(&[("app.py", FLASK), needs]), (true, 0), "no token");
    assert_eq!(of(&[("app.py", guarded)]), (false, 1), "no requirements");
    assert_eq!(of(&[("app.py", guarded), ("requirements.txt", "")]), (false, 1), "no flask");
    assert_eq!(of(&[("app.py", guarded), needs, (".env.production", "")]), (false, 1), "up refuses it");
    assert_eq!(of(&[("app.py", guarded), needs, (".python-version", "3.10\n")]), (false, 1), "no such Python");
    assert_eq!(of(&[("app.py", &guarded.replace("'/'", "'/shop'")), needs]), (false, 1), "no health path");
}

#[test]
fn the_image_has_a_suitable_python() {
    let image = |asked: &str| plan(&[("app.py", FLASK), (".python-version", asked)]);
    assert_eq!(image("3.13\n").image, Image::Debian13);
    assert_eq!(image("3.12.4\n").image, Image::Ubuntu2404);
    assert_eq!((image("3.11\n").image, image("3.14.1\n").image), (Image::Debian12, Image::Ubuntu2604));
    assert!(image("3.10\n").warnings.iter().any(|warning| warning.contains("requires Python 3.10")));
}

#[test]
fn the_name_is_derived_from_the_folder() {
    for (folder, name) in
        [("Shop", "shop"), ("my_shop.v2", "my-shop-v2"), ("2024-shop", "shop"), ("日本", ""), ("12", "")]
    {
        assert_eq!(name_of(folder), name);
    }
    assert!(config::check_name(&name_of(&format!("{}-b", "a".repeat(30)))).is_ok());
}

#[test]
fn the_server_of_a_dashboard_is_found() {
    let dash = "from dash import Dash\napp = Dash(__name__)\n";
    is(&[("app.py", &format!("{dash}server = app.server\n")), ("requirements.txt", "dash\n")], "", "app:server");
    let bare = is(&[("app.py", dash), ("requirements.txt", "dash\n")], "", "wsgi:app");
    assert_eq!(bare.module.unwrap().1, ["import app", "app = app.app.server"]);
    let own =
        format!("from flask import Flask\nweb = Flask(__name__)\n{}", dash.replace("__name__", "__name__, server=web"));
    is(&[("app.py", &own), ("requirements.txt", "dash\nflask\n")], "", "app:web");
}

#[test]
fn local_packages_are_built() {
    let builds = |name: &str, text: &str| {
        let plan = plan(&[("app.py", FLASK), (name, text)]);
        assert_eq!(plan.yaml().contains("\n  build_dependencies: true"), plan.local);
        plan.local
    };
    for text in ["flask\n-e ../shared\n", "flask\n./shared\n", "flask\nshared @ file:///srv/shared\n", "flask\n-e .\n"]
    {
        assert!(builds("requirements.txt", text), "{text}");
    }
    let project = "[project]\nname = 'x'\ndependencies = ['flask', 'shared']\n";
    assert!(builds("pyproject.toml", &format!("{project}[tool.uv.sources]\nshared = {{path = '../shared'}}\n")));
    assert!(builds("pyproject.toml", "[tool.poetry.dependencies]\nflask = '*'\nshared = {path = '../shared'}\n"));
    assert!(!builds("pyproject.toml", project) && !builds("requirements.txt", "flask\ngit+https://example.com/x\n"));
}
