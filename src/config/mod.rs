//! `deploy.yaml` → [`Deployment`]: validated and with defaults, before any call to AWS.

mod app;
mod check;
mod cpu_credits;
mod cron;
mod data;
mod image;
mod keys;
mod owner;
mod permissions;
mod processes;
mod python;
mod reader;
mod reference;
mod schedule;
mod schema;
mod secrets;
mod sections;
mod static_files;
mod table;
mod token;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::base::dirs::folder_of;
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
pub use app::App;
pub use check::is_token;
pub use cpu_credits::CpuCredits;
pub use cron::Cron;
pub use data::Data;
pub use image::Image;
pub use permissions::{Permissions, PolicyFile};
pub use processes::{Process, is_program};
pub use python::{check as check_python, meets};
use reader::Reader;
pub use reference::{Reference, Source};
pub use schedule::Run;
pub use schema::schema;
pub use secrets::{SecretOrigin, check_secret, is_variable};
pub use token::{Check, Token};

/// The name of the file, which is searched upwards from the working directory.
pub const FILE: &str = "deploy.yaml";

/// The maximum size of a `deploy.yaml`, in bytes.
const LARGEST: u64 = 1 << 20;

/// The wanted deployment, complete.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// `name`: part of every resource name in AWS.
    pub name: String,
    /// `region`, if the file names one.
    pub region: Option<String>,
    /// `app`
    pub app: App,
    /// `processes`: what runs beside the web server, by name.
    pub processes: BTreeMap<String, Process>,
    /// `schedule`, by name.
    pub schedule: BTreeMap<String, Run>,
    /// `token`
    pub token: Token,
    /// `instance`
    pub instance: Instance,
    /// `data`
    pub data: Option<Data>,
    /// `network`
    pub network: Network,
    /// `health`
    pub health: Health,
    /// `permissions_boundary`: the ARN of the policy that limits the instance's role.
    pub permissions_boundary: Option<String>,
    /// `tags`: for every resource that can have tags, in addition to devopsctl's own.
    pub tags: BTreeMap<String, String>,
}

/// The EC2 instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The instance type.
    pub kind: String,
    /// The operating system.
    pub image: Image,
    /// The root disk, GiB.
    pub disk_gib: u32,
    /// Whether a burstable type may exceed its baseline.
    pub cpu_credits: CpuCredits,
}

/// How the app is served.
#[derive(Clone, Debug)]
pub struct Network {
    /// Whether the app is served over HTTPS. In the sandbox it needs an own certificate authority.
    pub https: bool,
    /// The public TCP port without HTTPS.
    pub port: u16,
    /// The domain; without one the app is served at its address.
    pub domain: Option<String>,
    /// Whether devopsctl manages the domain's record in Route 53.
    pub route53: bool,
    /// The certificate authority.
    pub acme: Acme,
    /// The limits for clients.
    pub limits: Limits,
    /// The client addresses to allow.
    pub allow: Vec<IpNet>,
    /// Whether the address is an Elastic IP, which outlives the instance.
    pub static_ip: bool,
    /// The instance's subnet; without one EC2 chooses one of the default VPC.
    pub subnet: Option<String>,
}

/// The certificate authority.
#[derive(Clone, Debug, Default)]
pub struct Acme {
    /// The URL of the ACME directory; without one Let's Encrypt's.
    pub directory: Option<String>,
    /// The root certificates of a private authority, for its directory and the certificates that it issues.
    pub root: Option<Root>,
}

/// The root certificates of a private authority.
#[derive(Clone, Debug)]
pub struct Root {
    /// The file.
    pub file: PathBuf,
    /// Its content, in PEM.
    pub pem: String,
}

/// The limits for clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum size of a request's body, in MiB.
    pub body_mb: u32,
    /// The time to send the headers, in seconds.
    pub header_seconds: u32,
    /// The time to send the whole request, in seconds.
    pub body_seconds: u32,
    /// The time that a connection may be idle, in seconds.
    pub idle_seconds: u32,
}

impl Network {
    /// Whether every IPv4 address may connect.
    pub fn open(&self) -> bool {
        self.allow.iter().any(|block| block.prefix_len() == 0 && block.network().is_ipv4())
    }

    /// Whether `allow` blocks the certificate authority: Let's Encrypt must connect to validate.
    pub fn shuts_out_public_authorities(&self) -> bool {
        self.https && self.acme.directory.is_none() && !self.open()
    }

    /// How the app is served, in a word.
    pub fn reached(&self) -> String {
        match (self.https, &self.domain) {
            (true, Some(domain)) => format!("https://{domain}"),
            (true, None) => "https".to_owned(),
            (false, _) => format!("port {}", self.port),
        }
    }

    /// The domain whose record devopsctl manages in Route 53.
    pub fn record(&self) -> Option<&str> {
        self.domain.as_deref().filter(|_| self.route53)
    }

    /// The domain, else the address.
    pub fn host(&self, address: Ipv4Addr) -> String {
        self.domain.clone().unwrap_or_else(|| address.to_string())
    }

    /// The port of the app.
    pub fn front(&self) -> u16 {
        if self.https { 443 } else { self.port }
    }
}

/// When the app counts as healthy.
#[derive(Clone, Debug)]
pub struct Health {
    /// The path that must return 2xx or 3xx with the token.
    pub path: String,
    /// How long a new version may take until it does, in seconds.
    pub timeout: u32,
}

/// Finds the file: the named one, else [`FILE`] upwards from `from`, as git finds its folder.
pub fn find(named: Option<&Path>, from: &Path) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(from.join(path));
    }
    let found = from.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file());
    let advice = " writes one for the app in this folder; or change to its folder, or pass it with --file";
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("there is no {FILE}"))
            .because(format!("looked in {} and every folder above it", from.display()))
            .next(Next::default().run_bare("init").and(advice))
    })
}

/// Reads and validates the file. `named`: whether the user named it; a file that was found must not belong to another user.
///
/// # Errors
/// The file belongs to another user, or its mistakes, all at once and each with its place.
pub fn load(file: &Path, named: bool) -> Result<Deployment> {
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    if !named {
        owner::check(file, &opened)?;
    }
    let mut text = String::new();
    // A longer file is a mistake, and reading it would take minutes.
    let read = opened.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(file, &error))?;
    if read as u64 > LARGEST {
        return Err(Failure::new(Exit::Usage, format!("{} is too large", shown(file).display()))
            .because("the maximum is 1 MiB")
            .standing("No call was made.")
            .next(Next::from("pass a deploy.yaml with --file; ").run_bare("init").and(" writes one")));
    }
    let shown = shown(file);
    parse(&text, &shown, folder_of(file))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot read {}", shown(file).display()))
        .because(error.to_string())
        .next("pass the file with --file")
}

/// The path relative to the working directory, if it is below.
fn shown(file: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).unwrap_or(file).to_owned()
}

/// A deployment with this name and defaults for everything else.
pub fn named(name: &str) -> Result<Deployment> {
    check_name(name)?;
    // In quotes, because `on` and `null` are valid names.
    parse(&format!("name: \"{name}\"\napp: {{path: .}}\n"), Path::new("--name"), Path::new("."))
}

/// Whether this is the ARN of a managed policy.
pub fn is_managed_policy(arn: &str) -> bool {
    check::managed_policy(arn).is_ok()
}

/// Whether a deployment can have this name.
pub fn is_name(name: &str) -> bool {
    check::name(name).is_ok()
}

/// Whether these can be a URL prefix and a folder of static files.
pub fn is_static(prefix: &str, folder: &str) -> bool {
    check::url_prefix(prefix).is_ok() && check::static_folder(folder).is_ok()
}

/// Whether gunicorn can load this: `module:callable` or `module:factory()`.
pub fn can_be_loaded(target: &str) -> bool {
    check::web(target).is_ok()
}

/// The variable that the app reads the token from, unless `token.env` names another one.
pub const TOKEN_VARIABLE: &str = table::TOKEN_VARIABLE;

/// Validates a deployment's name that does not come from the file.
pub fn check_name(name: &str) -> Result<()> {
    check::name(name).map_err(|wrong| Failure::new(Exit::Usage, format!("{name:?} {}", wrong.what)).next(wrong.hint))
}

/// Parses the text of a `deploy.yaml` in that folder.
pub fn parse(text: &str, file: &Path, folder: &Path) -> Result<Deployment> {
    let mut reader = Reader::new(file, text);
    let deployment = match tree::parse(text) {
        Ok(tree) => sections::deployment(&mut reader, tree, folder),
        Err((what, span)) => {
            settings(text).for_each(|span| reader.hide(span));
            reader.find(
                span,
                what,
                "here",
                "correct the YAML; put text that starts with a special character in quotes",
            );
            None
        }
    };
    let findings = reader.into_findings();
    match deployment {
        Some(deployment) if findings.is_empty() => Ok(deployment),
        _ => {
            let count = match findings.len() {
                1 => "one mistake".to_owned(),
                many => format!("{many} mistakes"),
            };
            Err(Failure::new(Exit::Usage, format!("{} has {count}; no call was made", file.display()))
                .findings(findings))
        }
    }
}

/// In a file that cannot be parsed, each value that could be an environment variable's may be a secret.
fn settings(text: &str) -> impl Iterator<Item = miette::SourceSpan> {
    let mut offset = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let start = offset;
        offset += line.len();
        let (key, value) = line.split_once(':')?;
        let name = key.trim_start().trim_start_matches(['-', ' ', '"', '\'']);
        let setting = !name.is_empty() && name.chars().all(|c| !c.is_lowercase());
        let blank = value.len() - value.trim_start().len();
        setting.then(|| (start + key.len() + 1 + blank, value.trim().len()).into())
    })
}

#[cfg(test)]
mod tests;
