//! Every key of `deploy.yaml`: its name, description, bounds and default.
//!
//! The reader ([`super::sections`]) uses them; `devopsctl schema`, `docs/deploy.schema.json` and the README's table are generated
//! from them.

use super::keys::{Alias, Count, Flag, List, Map, Names, Number, Section, Text, Texts, Version, Word};
use super::{Check, CpuCredits, Image};

/// Any text that is not empty: only the reader can check it.
const ANY: &str = "^.+$";
/// The path of a URL without escapes, and without a slash at its end.
const PREFIX: &str = "^(/|(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){1,9})$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// The path of a request: printable, without `#`, and without a second `/` at the start.
const REQUEST: &str = r#"^/([!"$-.0-~][!"$-~]*)?$"#;

/// A path without escapes, and whether all paths below it are meant.
const OPEN: &str = r"^/[A-Za-z0-9._~!$&'()+,=:@/-]*(/\*)?$";

/// The file itself.
pub static TOP: Section = Section {
    name: "",
    path: "",
    about: "The deployment that `devopsctl up` creates on AWS.",
    keys: &[&NAME, &REGION, &APP, &TOKEN, &INSTANCE, &NETWORK, &HEALTH, &BOUNDARY, &TAGS],
    needs: &["name", "app"],
};

pub static NAME: Text = Text {
    name: "name",
    about: "part of every resource name in AWS; lowercase letters, digits and hyphens",
    default: None,
    pattern: "^[a-z][a-z0-9-]{0,30}$",
};

pub static REGION: Text = Text {
    name: "region",
    about: "AWS region; default: from the AWS settings",
    default: None,
    pattern: "^[a-z]+(-[a-z]+)+-[0-9]+$",
};

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

pub static TOKEN: Section = Section {
    name: "token",
    path: "token",
    about: "the secret that every request needs; `devopsctl set-token` sets it",
    keys: &[&TOKEN_ENV, &TOKEN_CHECK, &TOKEN_OPEN, &OPEN_PREFLIGHT, &TOKEN_PATH],
    needs: &[],
};

/// The default of `token.env`.
pub const TOKEN_VARIABLE: &str = "APP_SECRET_TOKEN";

pub static TOKEN_ENV: Text = Text {
    name: "env",
    about: "environment variable that the app reads the token from",
    default: Some(TOKEN_VARIABLE),
    pattern: VARIABLE,
};

pub static TOKEN_CHECK: Word = Word {
    name: "check",
    about: "who checks the token: the `app`, which is refused if it does not; the `proxy` in front of any app; `none`: the app is public",
    default: Some(Check::ALL[0].name()),
    words: &[Check::ALL[0].name(), Check::ALL[1].name(), Check::ALL[2].name()],
    switch: false,
};

pub static TOKEN_OPEN: List = List {
    name: "open",
    about: "paths that need no token, such as `/healthz` or `/static/*`; with `check: app` only paths of static files",
    default: &[],
    pattern: OPEN,
};

pub static OPEN_PREFLIGHT: Flag = Flag {
    name: "open_preflight",
    about: "with `check: proxy`: let a browser's CORS preflight requests, which carry no token, reach the app",
    default: false,
};

pub static TOKEN_PATH: Text = Text {
    name: "path",
    about: "path where `up` and `set-token` test the check; default: health.path, or / if that is open",
    default: None,
    pattern: REQUEST,
};

pub static INSTANCE: Section = Section {
    name: "instance",
    path: "instance",
    about: "the EC2 instance",
    keys: &[&KIND, &IMAGE, &DISK, &CPU_CREDITS],
    needs: &[],
};

pub static KIND: Text =
    Text { name: "type", about: "instance type", default: Some("t3.micro"), pattern: r"^[a-z0-9-]+\.[a-z0-9-]+$" };

pub static IMAGE: Word = Word {
    name: "image",
    about: "operating system; default: debian-13, or the one with the project's version of Python",
    default: None,
    words: &[
        Image::ALL[0].name(),
        Image::ALL[1].name(),
        Image::ALL[2].name(),
        Image::ALL[3].name(),
        Image::ALL[4].name(),
    ],
    switch: false,
};

pub static CPU_CREDITS: Word = Word {
    name: "cpu_credits",
    about: "for burstable types such as t3.micro; `unlimited` may cost extra; `auto` is `unlimited` until `up` has waited for the app, then `standard`",
    default: Some(CpuCredits::ALL[0].name()),
    words: &[CpuCredits::ALL[0].name(), CpuCredits::ALL[1].name(), CpuCredits::ALL[2].name()],
    switch: false,
};

pub static DISK: Number = Number { name: "disk_gib", about: "disk size in GiB", least: 8, most: 16384, default: 8 };

pub static NETWORK: Section = Section {
    name: "network",
    path: "network",
    about: "how the app is served",
    keys: &[&HTTPS, &PORT, &DOMAIN, &DNS, &ACME_DIRECTORY, &ACME_ROOT, &ALLOW, &STATIC_IP, &SUBNET, &LIMITS],
    needs: &[],
};

pub static HTTPS: Word = Word {
    name: "https",
    about: "`off`: plain HTTP, on which anyone on the network path can read the token",
    default: Some("auto"),
    words: &["auto", "off"],
    switch: true,
};

pub static PORT: Number =
    Number { name: "port", about: "port of plain HTTP, with `https: off`", least: 1, most: 65535, default: 80 };

pub static DOMAIN: Text = Text {
    name: "domain",
    about: "domain of the app; default: served at its address",
    default: None,
    pattern: r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$",
};

pub static DNS: Word = Word {
    name: "dns",
    about: "`route53`: manage the domain's record in this account; default: `up` shows the record for you to create",
    default: None,
    words: &["route53"],
    switch: false,
};

pub static ACME_DIRECTORY: Text = Text {
    name: "acme_directory",
    about: "ACME directory of another certificate authority than Let's Encrypt",
    default: None,
    pattern: r"^https://[^/\s]\S*$",
};

pub static ACME_ROOT: Text = Text {
    name: "acme_root",
    about: "PEM file with the root certificates of a private CA",
    default: None,
    pattern: ANY,
};

pub static ALLOW: List = List {
    name: "allow",
    about: "client addresses to allow, as CIDR blocks",
    default: &["0.0.0.0/0"],
    pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
};

pub static STATIC_IP: Flag =
    Flag { name: "static_ip", about: "use an Elastic IP, so that the URL outlives the instance", default: true };

pub static SUBNET: Text = Text {
    name: "subnet",
    about: "subnet of the instance; default: one of the default VPC",
    default: None,
    pattern: "^subnet-[0-9A-Fa-f]{8,}$",
};

pub static LIMITS: Section = Section {
    name: "limits",
    path: "network.limits",
    about: "limits for clients",
    keys: &[&BODY_MB, &HEADER_SECONDS, &BODY_SECONDS, &IDLE_SECONDS],
    needs: &[],
};

pub static BODY_MB: Number =
    Number { name: "body_mb", about: "maximum size of a request's body in MiB", least: 1, most: 1024, default: 10 };

pub static HEADER_SECONDS: Number =
    Number { name: "header_seconds", about: "seconds to send the headers", least: 1, most: 600, default: 10 };

pub static BODY_SECONDS: Number =
    Number { name: "body_seconds", about: "seconds to send the whole request", least: 1, most: 3600, default: 60 };

pub static IDLE_SECONDS: Number =
    Number { name: "idle_seconds", about: "seconds a connection may be idle", least: 1, most: 3600, default: 60 };

pub static HEALTH: Section = Section {
    name: "health",
    path: "health",
    about: "when the app counts as healthy",
    keys: &[&HEALTH_PATH, &TIMEOUT],
    needs: &[],
};

pub static HEALTH_PATH: Text = Text {
    name: "path",
    about: "path of the health check, which must return 2xx or 3xx with the token",
    default: Some("/"),
    pattern: REQUEST,
};

pub static TIMEOUT: Number = Number {
    name: "timeout",
    about: "seconds a new version may take to become healthy",
    least: 1,
    most: 600,
    default: 30,
};

pub static BOUNDARY: Text = Text {
    name: "permissions_boundary",
    about: "ARN of an IAM policy that limits the instance's role",
    default: None,
    pattern: r"^arn:aws(-[a-z]+)*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9_+=,.@/-]{1,512}$",
};

pub static TAGS: Map = Map {
    name: "tags",
    path: "tags",
    about: "tags for every resource, in addition to devopsctl's own",
    names: "^[A-Za-z0-9+=.,_:@-]{1,127}$",
    types: &["string"],
    longest: Some(256),
    most: Some((30, "AWS allows 50 per resource, and devopsctl needs some of them")),
};
