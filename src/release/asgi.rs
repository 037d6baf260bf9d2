//! Whether the app is ASGI, by its source: then its release contains uvicorn. It is not imported, because that would run its code
//! here, and its packages may be for another platform. On the instance, the worker asks the object itself how to serve it; if that
//! is ASGI and there is no uvicorn, it names the line to add to the requirements.

use std::sync::LazyLock;

use regex::Regex;

use super::code::{Line, lines, regex};
use super::{imports, source};
use crate::base::error::Result;

/// The packages and modules that an ASGI app imports, and a WSGI app does not.
const ASGI: [&str; 16] = [
    "asgiref.wsgi",
    "blacksheep",
    "channels",
    "chainlit",
    "django.core.asgi",
    "falcon.asgi",
    "fastapi",
    "fastmcp",
    "litestar",
    "mcp.server",
    "nicegui",
    "quart",
    "sanic",
    "socketio",
    "starlette",
    "strawberry.asgi",
];

static FROM: LazyLock<Regex> = LazyLock::new(|| regex(r"^from ([\w.]+) import (.+)$"));
static IMPORT: LazyLock<Regex> = LazyLock::new(|| regex(r"^import (.+)$"));
/// A plain ASGI app, or a middleware.
static PLAIN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^async def \w+ ?\((?:self, ?)?scope\b.*\breceive\b.*\bsend\b"));
static BRIDGE: LazyLock<Regex> = LazyLock::new(|| regex(r"\bASGIMiddleware\b"));

/// Whether the modules that the app's module loads make an ASGI app.
pub fn is_asgi(files: &[source::File], module: &str) -> Result<bool> {
    let texts = imports::loaded(files, module)?;
    let all: Vec<Line> = texts.iter().flat_map(|(_, text)| lines(text)).collect();
    let names: Vec<String> = all.iter().flat_map(|line| imported(&line.code)).collect();
    // a2wsgi makes a WSGI app of an ASGI app.
    let bridged = names.iter().any(|name| is_in(name, "a2wsgi")) && all.iter().any(|line| BRIDGE.is_match(&line.code));
    let asgi = names.iter().any(|name| ASGI.iter().any(|package| is_in(name, package)));
    Ok(!bridged && (asgi || all.iter().any(|line| PLAIN.is_match(&line.code))))
}

/// The full names that a line imports, at any depth.
fn imported(code: &str) -> Vec<String> {
    let words = |list: &str| -> Vec<String> {
        let names = list.split(',').filter_map(|part| part.trim_matches(['(', ')', ' ']).split_whitespace().next());
        names.map(str::to_owned).collect()
    };
    if let Some(found) = FROM.captures(code) {
        return words(&found[2]).iter().map(|name| format!("{}.{name}", &found[1])).collect();
    }
    IMPORT.captures(code).map(|found| words(&found[1])).unwrap_or_default()
}

fn is_in(name: &str, package: &str) -> bool {
    name.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(files: &[(&str, &str)], module: &str, expected: bool) {
        let (_keep, root) = source::tests::folder(files);
        assert_eq!(is_asgi(&source::collect(&root).unwrap(), module).unwrap(), expected, "{files:?}");
    }

    #[test]
    fn an_asgi_app_is_known_by_what_it_imports() {
        for text in [
            "from fastapi import FastAPI\napp = FastAPI()\n",
            "import starlette.applications as s\napp = s.Starlette()\n",
            "def create_app():\n    from quart import Quart\n    return Quart(__name__)\n",
            "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
            "from falcon import asgi\napp = asgi.App()\n",
            "import flask\nfrom asgiref.wsgi import WsgiToAsgi\napp = WsgiToAsgi(flask.Flask('x'))\n",
            "async def app(scope, receive, send):\n    pass\n",
            "class App:\n    async def __call__(self, scope: dict, receive, send) -> None:\n        pass\napp = App()\n",
            "from a2wsgi import WSGIMiddleware\nfrom litestar import (\n    Litestar,\n)\n",
        ] {
            is(&[("app.py", text)], "app", true);
        }
        let factory = "from fastapi import FastAPI\ndef create():\n    return FastAPI()\n";
        is(&[("web.py", "from shop.api import create\napp = create()\n"), ("shop/api.py", factory)], "web", true);
    }

    #[test]
    fn a_wsgi_app_is_not_asgi() {
        for text in [
            "import flask\napp = flask.Flask('x')\n",
            "from falcon import App\napp = App()\n",
            "'''\nfrom fastapi import FastAPI\n'''\n# import fastapi\n",
            "import fastapi_like\nfrom fast import api\n",
            "from a2wsgi import ASGIMiddleware\nfrom fastapi import FastAPI\napp = ASGIMiddleware(FastAPI())\n",
            "import a2wsgi, fastapi\napp = a2wsgi.ASGIMiddleware(fastapi.FastAPI())\n",
        ] {
            is(&[("app.py", text)], "app", false);
        }
        let asgi = "from django.core.asgi import get_asgi_application\n";
        is(&[("shop/wsgi.py", "import django\n"), ("shop/asgi.py", asgi)], "shop.wsgi", false);
    }
}
