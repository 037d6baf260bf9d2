//! Every key of `deploy.yaml`: its name, description, bounds and default.
//!
//! The reader ([`super::sections`]) uses them; `devopsctl schema`, `docs/deploy.schema.json` and the README's table are generated
//! from them.

mod app;
mod data;
mod network;
mod patterns;
mod processes;
mod schedule;

use super::keys::{Flag, List, Map, Number, Section, Text, Word};
use super::{Check, CpuCredits, Image};
pub use app::*;
pub use data::*;
pub use network::*;
use patterns::{OPEN, REQUEST, VARIABLE};
pub use processes::*;
pub use schedule::*;

/// The file itself.
pub static TOP: Section = Section {
    name: "",
    path: "",
    about: "The deployment that `devopsctl up` creates on AWS.",
    keys: &[&NAME, &REGION, &APP, &PROCESSES, &SCHEDULE, &TOKEN, &INSTANCE, &DATA, &NETWORK, &HEALTH, &BOUNDARY, &TAGS],
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
