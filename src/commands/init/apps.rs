//! The web apps in a module: an object, a factory function, or an app that must be wrapped first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::release::code::{Line, regex, root};

/// The app's framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Framework {
    /// <https://flask.palletsprojects.com>
    Flask,
    /// <https://www.djangoproject.com>
    Django,
    /// <https://bottlepy.org>
    Bottle,
    /// <https://falconframework.org>
    Falcon,
    /// <https://dash.plotly.com>
    Dash,
    /// Django with ASGI.
    DjangoAsgi,
    /// <https://channels.readthedocs.io>
    Channels,
    /// A plain WSGI function.
    Wsgi,
    /// A plain ASGI function.
    Asgi,
    /// An ASGI app that is already wrapped.
    Wrapped,
    /// <https://fastapi.tiangolo.com>
    FastApi,
    /// <https://www.starlette.io>
    Starlette,
    /// <https://quart.palletsprojects.com>
    Quart,
    /// <https://litestar.dev>
    Litestar,
}

/// The constructors of apps, by their full names.
const MAKERS: [(&str, Framework); 18] = [
    ("dash.Dash", Framework::Dash),
    ("flask.Flask", Framework::Flask),
    ("flask.app.Flask", Framework::Flask),
    ("django.core.wsgi.get_wsgi_application", Framework::Django),
    ("django.core.asgi.get_asgi_application", Framework::DjangoAsgi),
    ("channels.routing.ProtocolTypeRouter", Framework::Channels),
    ("bottle.Bottle", Framework::Bottle),
    ("bottle.default_app", Framework::Bottle),
    ("bottle.app", Framework::Bottle),
    ("falcon.App", Framework::Falcon),
    ("falcon.asgi.App", Framework::Falcon),
    ("a2wsgi.ASGIMiddleware", Framework::Wrapped),
    ("fastapi.FastAPI", Framework::FastApi),
    ("starlette.applications.Starlette", Framework::Starlette),
    ("quart.Quart", Framework::Quart),
    ("litestar.Litestar", Framework::Litestar),
    ("litestar.app.Litestar", Framework::Litestar),
    ("fastapi.applications.FastAPI", Framework::FastApi),
];

impl Framework {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Framework::Flask => "Flask",
            Framework::Django => "Django",
            Framework::DjangoAsgi => "Django (ASGI)",
            Framework::Channels => "Django Channels",
            Framework::Bottle => "Bottle",
            Framework::Falcon => "Falcon",
            Framework::Dash => "Dash",
            Framework::Wsgi => "WSGI",
            Framework::Asgi => "ASGI",
            Framework::Wrapped => "a2wsgi",
            Framework::FastApi => "FastAPI",
            Framework::Starlette => "Starlette",
            Framework::Quart => "Quart",
            Framework::Litestar => "Litestar",
        }
    }

    /// Its package.
    pub fn package(self) -> Option<&'static str> {
        match self {
            Framework::Wsgi | Framework::Asgi => None,
            Framework::Wrapped => Some("a2wsgi"),
            Framework::Flask => Some("flask"),
            Framework::Django | Framework::DjangoAsgi => Some("django"),
            Framework::Channels => Some("channels"),
            Framework::Bottle => Some("bottle"),
            Framework::Falcon => Some("falcon"),
            Framework::Dash => Some("dash"),
            Framework::FastApi => Some("fastapi"),
            Framework::Starlette => Some("starlette"),
            Framework::Quart => Some("quart"),
            Framework::Litestar => Some("litestar"),
        }
    }

    /// Whether it is a part of a Django project.
    pub fn is_django(self) -> bool {
        matches!(self, Framework::Django | Framework::DjangoAsgi | Framework::Channels)
    }
}

/// How gunicorn gets the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A callable of the module.
    Object,
    /// A factory function without required arguments.
    Factory,
    /// A factory function with required arguments.
    Arguments,
    /// Bottle's default app, which has no name.
    Unnamed,
    /// An object whose `server` is the app.
    Inner,
}

/// An app in a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The line, from 1.
    pub line: usize,
    /// The object or the function; empty if it has no name.
    pub name: String,
    /// Its framework.
    pub framework: Framework,
    /// How gunicorn gets it.
    pub form: Form,
}

/// The apps in one module.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// The apps in it.
    pub apps: Vec<Seen>,
    /// `name = function()`, where `function` may be another module's factory: line, name, function.
    pub calls: Vec<(usize, String, String)>,
    /// The variables that hold an app, at any depth.
    pub variables: BTreeSet<String>,
    /// The full names of its imported names.
    pub imports: BTreeMap<String, String>,
}

static FROM: LazyLock<Regex> = LazyLock::new(|| regex(r"^from (\.*[\w.]*) ?import (.+)$"));
static IMPORT: LazyLock<Regex> = LazyLock::new(|| regex(r"^import (.+)$"));
static ASSIGN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(\w+)(?: ?: ?[\w.\[\], |]+)? ?= ?(?:\w+ ?= ?)*([A-Za-z_][\w.]*) ?\("));
static SERVER: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\w+)(?: ?: ?[\w.]+)? ?= ?(\w+)\.server$"));
static RETURN: LazyLock<Regex> = LazyLock::new(|| regex(r"^return ([A-Za-z_][\w.]*) ?(\(|$)"));
static DEF: LazyLock<Regex> = LazyLock::new(|| regex(r"^def (\w+) ?\((.*)\)(?: ?->.*)? ?:"));
static ASGI: LazyLock<Regex> = LazyLock::new(|| regex(r"^async def (\w+) ?\((.*)\)(?: ?->.*)? ?:"));
static PLAIN: LazyLock<Regex> = LazyLock::new(|| regex(r"^(if|elif|else|try|except|finally|with)\b"));
static HEADER: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^(if|elif|else|try|except|finally|with|for|while|match|case|class|def|async)\b"));

/// The block that a line is in.
enum Block {
    /// Executed when the module is imported.
    Plain,
    /// A function of the module, which may be a factory.
    Function(Function),
    /// Executed later, or not on a server.
    Other,
}

struct Function {
    name: String,
    line: usize,
    needs: bool,
    /// The apps that it creates, by variable.
    made: BTreeMap<String, Framework>,
}

/// Finds the apps in one module.
pub fn read(lines: &[Line]) -> Module {
    let mut module = Module { imports: imports(lines), ..Module::default() };
    let mut blocks: Vec<(usize, Block)> = Vec::new();
    for line in lines {
        while blocks.last().is_some_and(|(indent, _)| *indent >= line.indent) {
            blocks.pop();
        }
        let outer = blocks.iter_mut().map(|(_, block)| block).find(|block| !matches!(block, Block::Plain));
        match outer {
            None => module.on_import(line),
            Some(Block::Function(function)) => module.in_function(function, line),
            Some(_) => {}
        }
        if HEADER.is_match(&line.code) && line.code.ends_with(':') {
            let top = !blocks.iter().any(|(_, block)| !matches!(block, Block::Plain));
            blocks.push((line.indent, block(line, top)));
        }
    }
    if module.apps.is_empty() {
        module.apps.extend(unnamed(lines, &module.imports));
    }
    module
}

fn block(line: &Line, top: bool) -> Block {
    if PLAIN.is_match(&line.code) && !line.code.contains("__name__") {
        return Block::Plain;
    }
    match DEF.captures(&line.code) {
        Some(found) if top => Block::Function(Function {
            name: found[1].to_owned(),
            line: line.number,
            needs: parameters(&found[2]).iter().any(|parameter| required(parameter)),
            made: BTreeMap::new(),
        }),
        _ => Block::Other,
    }
}

impl Module {
    fn on_import(&mut self, line: &Line) {
        if let Some(found) = ASSIGN.captures(&line.code) {
            let (name, called) = (found[1].to_owned(), &found[2]);
            match self.maker(called) {
                Some(framework) => {
                    self.variables.insert(name.clone());
                    let form = if framework == Framework::Dash { Form::Inner } else { Form::Object };
                    self.apps.push(Seen { line: line.number, name, framework, form });
                }
                None => self.calls.push((line.number, name, called.to_owned())),
            }
        } else if let Some(found) = SERVER.captures(&line.code) {
            let outer = self.apps.iter_mut().find(|app| app.form == Form::Inner && app.name == found[2]);
            if let Some(app) = outer {
                (app.name, app.form) = (found[1].to_owned(), Form::Object);
            }
        } else if let Some(found) = DEF.captures(&line.code) {
            let names = parameters(&found[2]);
            let plain = names.len() == 2 && word(names[0]).contains("env") && word(names[1]) == "start_response";
            if plain {
                let name = found[1].to_owned();
                self.apps.push(Seen { line: line.number, name, framework: Framework::Wsgi, form: Form::Object });
            }
        } else if let Some(found) = ASGI.captures(&line.code)
            && parameters(&found[2]).into_iter().map(word).eq(["scope", "receive", "send"])
        {
            let name = found[1].to_owned();
            self.apps.push(Seen { line: line.number, name, framework: Framework::Asgi, form: Form::Object });
        }
    }

    fn in_function(&mut self, function: &mut Function, line: &Line) {
        if let Some(found) = ASSIGN.captures(&line.code) {
            if let Some(framework) = self.maker(&found[2]) {
                self.variables.insert(found[1].to_owned());
                function.made.insert(found[1].to_owned(), framework);
            }
        } else if let Some(found) = RETURN.captures(&line.code) {
            let made = if found[2].is_empty() { function.made.get(&found[1]).copied() } else { self.maker(&found[1]) };
            let known = self.apps.iter().any(|app| app.line == function.line);
            if let Some(framework) = made.filter(|_| !known) {
                let form = if function.needs { Form::Arguments } else { Form::Factory };
                self.apps.push(Seen { line: function.line, name: function.name.clone(), framework, form });
            }
        }
    }

    fn maker(&self, called: &str) -> Option<Framework> {
        let full = full(&self.imports, called);
        MAKERS.into_iter().find(|(name, _)| *name == full).map(|(_, framework)| framework)
    }
}

/// The full name of a dotted name, by the imports.
pub fn full(imports: &BTreeMap<String, String>, name: &str) -> String {
    let (first, rest) = name.split_once('.').map_or((name, ""), |(first, rest)| (first, rest));
    match imports.get(first) {
        Some(module) if rest.is_empty() => module.clone(),
        Some(module) => format!("{module}.{rest}"),
        None => name.to_owned(),
    }
}

fn imports(lines: &[Line]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for line in lines {
        if let Some(found) = FROM.captures(&line.code) {
            for (name, bound) in listed(&found[2]) {
                names.insert(bound.to_owned(), format!("{}.{name}", &found[1]));
            }
        } else if let Some(found) = IMPORT.captures(&line.code) {
            for (name, bound) in listed(&found[1]) {
                // `import a.b` binds `a`.
                let (bound, name) = if name == bound { (root(bound), root(name)) } else { (bound, name) };
                names.insert(bound.to_owned(), name.to_owned());
            }
        }
    }
    names
}

/// `a as b, c` → (a, b), (c, c)
fn listed(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|part| {
        let mut words = part.trim_matches(['(', ')', ' ']).split_whitespace();
        let name = words.next()?;
        Some((name, words.nth(1).unwrap_or(name)))
    })
}

/// A function's parameters, as they are written.
fn parameters(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_usize, 0, Vec::new());
    for (at, next) in text.char_indices() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found.into_iter().map(str::trim).filter(|parameter| !parameter.is_empty()).collect()
}

fn required(parameter: &str) -> bool {
    !parameter.contains('=') && !parameter.starts_with('*') && parameter != "/"
}

fn word(parameter: &str) -> &str {
    parameter.split(':').next().unwrap_or(parameter).trim()
}

/// Bottle without an app object: the routes belong to its default app.
fn unnamed(lines: &[Line], imports: &BTreeMap<String, String>) -> Option<Seen> {
    let routes = ["bottle.route", "bottle.get", "bottle.post", "bottle.put", "bottle.delete"];
    let line = lines.iter().find(|line| {
        let name = line.code.strip_prefix('@').and_then(|rest| rest.split('(').next());
        name.is_some_and(|name| routes.contains(&full(imports, name.trim()).as_str()))
    })?;
    Some(Seen { line: line.number, name: String::new(), framework: Framework::Bottle, form: Form::Unnamed })
}
