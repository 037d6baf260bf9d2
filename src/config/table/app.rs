//! The keys of `app`.

use super::super::Image;
use super::super::keys::{Alias, Count, Flag, List, Map, Names, Number, Section, Text, Texts, Version};
use super::patterns::{ANY, PREFIX, VARIABLE};

pub static APP: Section = Section {
    name: "app",
    path: "app",
    about: "the code, and how to run it",
    keys: &[
        &APP_PATH,
        &WEB,
        &WSGI,
        &PYTHON,
        &REQUIREMENTS,
        &INCLUDE,
        &BUILD_DEPENDENCIES,
        &APP_BUILD,
        &APP_RELEASE,
        &RELEASE_TIMEOUT,
        &STATIC,
        &WORKERS,
        &THREADS,
        &APP_ENV,
        &SECRETS,
        &PERMISSIONS,
    ],
    needs: &["path"],
};

pub static APP_PATH: Text = Text {
    name: "path",
    about: "folder with the code and its requirements.txt or pyproject.toml, relative to this file",
    default: None,
    pattern: ANY,
};

pub static WEB: Text = Text {
    name: "web",
    about: "WSGI or ASGI app: module:callable, or module:factory()",
    default: Some("app:app"),
    pattern: r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(\(\))?$",
};

pub static WSGI: Alias = Alias { name: "wsgi", about: "another name of `web`", of: &WEB };

pub static PYTHON: Version = Version {
    name: "python",
    about: "version of Python, which chooses the operating system; default: that of .python-version, pyproject.toml, Pipfile or Dockerfile",
    versions: &[
        Image::ALL[0].python(),
        Image::ALL[1].python(),
        Image::ALL[2].python(),
        Image::ALL[3].python(),
        Image::ALL[4].python(),
    ],
};

pub static REQUIREMENTS: Text = Text {
    name: "requirements",
    about: "file in app.path that lists the dependencies; default: requirements.txt, else pyproject.toml or Pipfile, in the versions of a lock file of uv, Poetry, PDM or Pipenv",
    default: None,
    pattern: ANY,
};

pub static INCLUDE: List = List {
    name: "include",
    about: "files in app.path to deploy although they look like secrets (`.env.*`, keys), which are refused otherwise",
    default: &[],
    pattern: "^[^/]",
};

pub static BUILD_DEPENDENCIES: Flag = Flag {
    name: "build_dependencies",
    about: "build dependencies without a wheel, which runs their code on your machine",
    default: false,
};

pub static APP_BUILD: Texts = Texts {
    name: "build",
    about: "shell command, or a list of them, that `plan` and `up` run in a copy of the code; what it writes is deployed",
    pattern: ANY,
};

pub static APP_RELEASE: Texts = Texts {
    name: "release",
    about: "shell command, or a list of them, that runs on the instance once for each release, before it starts: a database migration",
    pattern: ANY,
};

pub static RELEASE_TIMEOUT: Number = Number {
    name: "release_timeout",
    about: "seconds that the commands of `release` may take together",
    least: 1,
    most: 7200,
    default: 600,
};

pub static STATIC: Map = Map {
    name: "static",
    path: "app.static",
    about: "static files, as `{/static: staticfiles}`: a URL prefix, and the folder in app.path whose files are served below it, without the app",
    names: PREFIX,
    types: &["string"],
    longest: None,
    most: Some((20, "a deployment has few folders of static files")),
};

pub static WORKERS: Count = Count {
    name: "workers",
    about: "gunicorn processes; default: 2 on t3.micro, and more on a larger `instance.type`",
    least: 1,
    most: 64,
};

pub static THREADS: Number = Number {
    name: "threads",
    about: "threads per gunicorn process, for a WSGI app; an ASGI app needs none",
    least: 1,
    most: 256,
    default: 4,
};

pub static APP_ENV: Map = Map {
    name: "env",
    path: "app.env",
    about: "environment variables of the app; not the token",
    names: VARIABLE,
    types: &["string", "number"],
    longest: None,
    most: None,
};

pub static SECRETS: Names = Names {
    name: "secrets",
    about: "names of secrets that must be set before the app starts, with `devopsctl secrets set NAME`; `{NAME: generate}`: `up` generates a random value once; `{NAME: ssm:/a/parameter}`, `{NAME: secretsmanager:name-or-arn}` or `{NAME: secretsmanager:name-or-arn#key}`: the app gets a secret that is kept there",
    pattern: "^[A-Za-z_][A-Za-z0-9_]{0,99}$",
    word: "generate",
    reference: r"^(ssm:[A-Za-z0-9_./-]+|secretsmanager:[A-Za-z0-9:/_+=.@!-]+(#[A-Za-z0-9_.-]+)?)$",
};

pub static PERMISSIONS: Texts = Texts {
    name: "permissions",
    about: "what the app may do in AWS: a file with an IAM policy, relative to this one, or a list of ARNs of managed policies; default: nothing, and the app has no credentials",
    pattern: ANY,
};
