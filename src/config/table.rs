//! Every key of `deploy.yaml`: its name, what it is for, its bounds and its default.
//!
//! The reader ([`super::sections`]) takes them from here; `devopsctl schema`, `docs/deploy.schema.json` and the README's
//! table are made of it.

use super::keys::{Flag, List, Map, Number, Section, Text, Word};
use super::{CpuCredits, Image};

/// Anything at all that is not empty: what it is, only the reader can see.
const ANY: &str = "^.+$";
const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
/// Of a request. Printable, no `#`, and no second `/` at the start.
const REQUEST: &str = r#"^/([!"$-.0-~][!"$-~]*)?$"#;

/// The file itself.
pub static TOP: Section = Section {
    name: "",
    path: "",
    about: "What `devopsctl up` puts on AWS.",
    keys: &[&NAME, &REGION, &APP, &TOKEN, &INSTANCE, &NETWORK, &HEALTH, &BOUNDARY, &TAGS],
    needs: &["name", "app"],
};

pub static NAME: Text = Text {
    name: "name",
    about: "part of every name in AWS; small letters, digits and hyphens",
    default: None,
    pattern: "^[a-z][a-z0-9-]{0,30}$",
};

pub static REGION: Text = Text {
    name: "region",
    about: "where it goes; left out, as the AWS CLI finds it",
    default: None,
    pattern: "^[a-z]+(-[a-z]+)+-[0-9]+$",
};

pub static APP: Section = Section {
    name: "app",
    path: "app",
    about: "the code, and how it is run",
    keys: &[&APP_PATH, &WSGI, &REQUIREMENTS, &INCLUDE, &BUILD_DEPENDENCIES, &WORKERS, &THREADS, &APP_ENV],
    needs: &["path"],
};

pub static APP_PATH: Text = Text {
    name: "path",
    about: "the folder with the code, relative to this file; it needs a requirements.txt or pyproject.toml",
    default: None,
    pattern: ANY,
};

pub static WSGI: Text = Text {
    name: "wsgi",
    about: "what gunicorn loads: module:callable, or module:factory()",
    default: Some("app:app"),
    pattern: r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*(\(\))?$",
};

pub static REQUIREMENTS: Text = Text {
    name: "requirements",
    about: "the file in app.path that names the dependencies; left out, requirements.txt or else pyproject.toml",
    default: None,
    pattern: ANY,
};

pub static INCLUDE: List = List {
    name: "include",
    about: "files in app.path to deploy though they look like secrets (`.env.*`, keys); others are refused",
    default: &[],
    pattern: "^[^/]",
};

pub static BUILD_DEPENDENCIES: Flag = Flag {
    name: "build_dependencies",
    about: "whether dependencies without a wheel are built, which runs their code on your machine",
    default: false,
};

pub static WORKERS: Number = Number { name: "workers", about: "gunicorn's processes", least: 1, most: 64, default: 2 };

pub static THREADS: Number =
    Number { name: "threads", about: "gunicorn's threads in each process", least: 1, most: 256, default: 4 };

pub static APP_ENV: Map = Map {
    name: "env",
    path: "app.env",
    about: "the app's settings; the token is none of them",
    names: VARIABLE,
    types: &["string", "number"],
    longest: None,
    most: None,
};

pub static TOKEN: Section = Section {
    name: "token",
    path: "token",
    about: "the secret that every call needs; `devopsctl set-token` sets it",
    keys: &[&TOKEN_ENV, &ENFORCE, &TOKEN_PATH],
    needs: &[],
};

pub static TOKEN_ENV: Text = Text {
    name: "env",
    about: "the environment variable in which the app finds it",
    default: Some("APP_SECRET_TOKEN"),
    pattern: VARIABLE,
};

pub static ENFORCE: Flag =
    Flag { name: "enforce", about: "whether an app that answers without it is refused", default: true };

pub static TOKEN_PATH: Text =
    Text { name: "path", about: "where that is checked; left out, at health.path", default: None, pattern: REQUEST };

pub static INSTANCE: Section = Section {
    name: "instance",
    path: "instance",
    about: "the machine",
    keys: &[&KIND, &IMAGE, &DISK, &CPU_CREDITS],
    needs: &[],
};

pub static KIND: Text = Text {
    name: "type",
    about: "EC2's name of its type",
    default: Some("t3.micro"),
    pattern: r"^[a-z0-9-]+\.[a-z0-9-]+$",
};

pub static IMAGE: Word = Word {
    name: "image",
    about: "the operating system, and with it the version of Python",
    default: Some(Image::ALL[0].name()),
    words: &[Image::ALL[0].name(), Image::ALL[1].name(), Image::ALL[2].name()],
    switch: false,
};

pub static CPU_CREDITS: Word = Word {
    name: "cpu_credits",
    about: "of a burstable type, such as t3.micro: `unlimited` may cost more than the type; `auto` is that until `up` has seen the app healthy, or has waited in vain, and `standard` from then on",
    default: Some(CpuCredits::ALL[0].name()),
    words: &[CpuCredits::ALL[0].name(), CpuCredits::ALL[1].name(), CpuCredits::ALL[2].name()],
    switch: false,
};

pub static DISK: Number = Number { name: "disk_gib", about: "the disk, GiB", least: 8, most: 16384, default: 8 };

pub static NETWORK: Section = Section {
    name: "network",
    path: "network",
    about: "how the app is reached",
    keys: &[&HTTPS, &PORT, &DOMAIN, &DNS, &ACME_DIRECTORY, &ACME_ROOT, &ALLOW, &STATIC_IP, &SUBNET, &LIMITS],
    needs: &[],
};

pub static HTTPS: Word = Word {
    name: "https",
    about: "off: plain HTTP, on which anybody between can read the token",
    default: Some("auto"),
    words: &["auto", "off"],
    switch: true,
};

pub static PORT: Number =
    Number { name: "port", about: "where plain HTTP is served, with https: off", least: 1, most: 65535, default: 80 };

pub static DOMAIN: Text = Text {
    name: "domain",
    about: "the name that it is reached by; left out, by its address",
    default: None,
    pattern: r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$",
};

pub static DNS: Word = Word {
    name: "dns",
    about: "route53: have the domain's record made in this account; left out, you make it, and up says which",
    default: None,
    words: &["route53"],
    switch: false,
};

pub static ACME_DIRECTORY: Text = Text {
    name: "acme_directory",
    about: "another authority for the certificate than Let's Encrypt",
    default: None,
    pattern: r"^https://[^/\s]\S*$",
};

pub static ACME_ROOT: Text = Text {
    name: "acme_root",
    about: "a file with the certificates, in PEM, that a private authority's go back to",
    default: None,
    pattern: ANY,
};

pub static ALLOW: List = List {
    name: "allow",
    about: "who may connect, as CIDR blocks",
    default: &["0.0.0.0/0"],
    pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
};

pub static STATIC_IP: Flag =
    Flag { name: "static_ip", about: "an Elastic IP: the URL outlives the machine", default: true };

pub static SUBNET: Text = Text {
    name: "subnet",
    about: "where the machine goes; left out, in the default VPC",
    default: None,
    pattern: "^subnet-[0-9A-Fa-f]{8,}$",
};

pub static LIMITS: Section = Section {
    name: "limits",
    path: "network.limits",
    about: "what a client may do",
    keys: &[&BODY_MB, &HEADER_SECONDS, &BODY_SECONDS, &IDLE_SECONDS],
    needs: &[],
};

pub static BODY_MB: Number =
    Number { name: "body_mb", about: "how large the body of a request may be, MiB", least: 1, most: 1024, default: 10 };

pub static HEADER_SECONDS: Number = Number {
    name: "header_seconds",
    about: "seconds that a client may take to send the headers",
    least: 1,
    most: 600,
    default: 10,
};

pub static BODY_SECONDS: Number = Number {
    name: "body_seconds",
    about: "seconds that a client may take to send the whole request",
    least: 1,
    most: 3600,
    default: 60,
};

pub static IDLE_SECONDS: Number =
    Number { name: "idle_seconds", about: "seconds that a connection may be idle", least: 1, most: 3600, default: 60 };

pub static HEALTH: Section = Section {
    name: "health",
    path: "health",
    about: "when the app counts as healthy",
    keys: &[&HEALTH_PATH, &TIMEOUT],
    needs: &[],
};

pub static HEALTH_PATH: Text = Text {
    name: "path",
    about: "what answers 2xx or 3xx with the token when all is well",
    default: Some("/"),
    pattern: REQUEST,
};

pub static TIMEOUT: Number = Number {
    name: "timeout",
    about: "seconds that a new version may take until it does",
    least: 1,
    most: 600,
    default: 30,
};

pub static BOUNDARY: Text = Text {
    name: "permissions_boundary",
    about: "ARN of an IAM policy: the most that the instance's role may ever do",
    default: None,
    pattern: r"^arn:aws(-[a-z]+)*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9_+=,.@/-]{1,512}$",
};

pub static TAGS: Map = Map {
    name: "tags",
    path: "tags",
    about: "put on everything in AWS, beside devopsctl's own",
    names: "^[A-Za-z0-9+=.,_:@-]{1,127}$",
    types: &["string"],
    longest: Some(256),
    most: Some((30, "AWS takes 50 on a thing, and some are devopsctl's own")),
};
