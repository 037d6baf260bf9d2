//! `deploy.yaml` → [`Deployment`]: validated, defaults filled, before any call to AWS.

mod check;
mod keys;
mod owner;
mod reader;
mod schema;
mod sections;
mod table;
mod tree;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::base::dirs::folder_of;
use crate::base::error::{Exit, Failure, Result, command};
use reader::Reader;
pub use schema::schema;

/// The file that is looked for, upwards from the working directory.
pub const FILE: &str = "deploy.yaml";

/// How many bytes a `deploy.yaml` may have.
const LARGEST: u64 = 1 << 20;

/// What the user wants, complete.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// `name`: part of every name in AWS.
    pub name: String,
    /// `region`, if the file names one.
    pub region: Option<String>,
    /// `app`
    pub app: App,
    /// `token`
    pub token: Token,
    /// `instance`
    pub instance: Instance,
    /// `network`
    pub network: Network,
    /// `health`
    pub health: Health,
    /// `permissions_boundary`: the ARN of the policy that bounds the instance's role.
    pub permissions_boundary: Option<String>,
    /// `tags`: put on everything that can carry tags, beside devopsctl's own.
    pub tags: BTreeMap<String, String>,
}

/// The code that is deployed and how it is run.
#[derive(Clone, Debug)]
pub struct App {
    /// The folder with the code, absolute.
    pub path: PathBuf,
    /// What gunicorn loads: `module:callable` or `module:factory()`.
    pub wsgi: String,
    /// The file in `path` that names the dependencies.
    pub requirements: Option<PathBuf>,
    /// Files in `path` that are packed though they look like secrets.
    pub include: Vec<PathBuf>,
    /// Whether dependencies without a wheel are built, which runs their code on this machine.
    pub build_dependencies: bool,
    /// gunicorn's worker processes.
    pub workers: u32,
    /// Threads in each worker.
    pub threads: u32,
    /// The app's environment, the token aside.
    pub env: BTreeMap<String, String>,
}

/// The secret and how it is checked.
#[derive(Clone, Debug)]
pub struct Token {
    /// The environment variable in which the app finds it.
    pub env: String,
    /// Whether an app that answers without the token is refused.
    pub enforce: bool,
    /// The path that must not answer without the token.
    pub path: String,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Instance {
    /// EC2's name of the type.
    pub kind: String,
    /// The operating system.
    pub image: Image,
    /// The root disk, GiB.
    pub disk_gib: u32,
    /// Whether a burstable type may use more than its share of the processor.
    pub cpu_credits: CpuCredits,
}

/// What a burstable instance does when its CPU credits are used up.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances.html>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuCredits {
    /// It is unlimited until `up` has waited for the app, and standard from then on: T3 and T4g start without credits.
    #[default]
    Auto,
    /// It slows down.
    Standard,
    /// It goes on, and costs more.
    Unlimited,
}

impl CpuCredits {
    /// All of them, the default first.
    pub const ALL: [CpuCredits; 3] = [CpuCredits::Auto, CpuCredits::Standard, CpuCredits::Unlimited];

    /// The name in `deploy.yaml`.
    pub const fn name(self) -> &'static str {
        match self {
            CpuCredits::Auto => "auto",
            CpuCredits::Standard => "standard",
            CpuCredits::Unlimited => "unlimited",
        }
    }
}

/// The operating systems that devopsctl knows to drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// Debian 13
    Debian13,
    /// Ubuntu 24.04 LTS
    Ubuntu2404,
    /// Amazon Linux 2023
    AmazonLinux2023,
}

impl Image {
    /// All of them, the default first.
    pub const ALL: [Image; 3] = [Image::Debian13, Image::Ubuntu2404, Image::AmazonLinux2023];

    /// The name in `deploy.yaml`, and in the instance's spec.
    pub const fn name(self) -> &'static str {
        match self {
            Image::Debian13 => "debian-13",
            Image::Ubuntu2404 => "ubuntu-24.04",
            Image::AmazonLinux2023 => "al2023",
        }
    }

    /// The Python that comes with it.
    pub const fn python(self) -> &'static str {
        match self {
            Image::Debian13 => "3.13",
            Image::Ubuntu2404 => "3.12",
            Image::AmazonLinux2023 => "3.9",
        }
    }

    /// The name of the sandbox's image whose machines are processes, with the Python that this one has.
    pub fn process(self) -> String {
        if self == Image::ALL[0] { "process".to_owned() } else { format!("process-{}", self.name()) }
    }
}

/// How the app is reached.
#[derive(Clone, Debug)]
pub struct Network {
    /// Whether the app is served over HTTPS; the sandbox knows no public authority, so there it may be otherwise.
    pub https: bool,
    /// The public TCP port where it is not.
    pub port: u16,
    /// The name it is reached by; the address itself if there is none.
    pub domain: Option<String>,
    /// Whether its record is kept in Route 53.
    pub route53: bool,
    /// Who gives the certificate.
    pub acme: Acme,
    /// What a client may do.
    pub limits: Limits,
    /// Who may connect.
    pub allow: Vec<IpNet>,
    /// Whether the address is an Elastic IP, which outlives the instance.
    pub static_ip: bool,
    /// Where the instance goes; the default VPC if not named.
    pub subnet: Option<String>,
}

/// Who gives the certificate.
#[derive(Clone, Debug, Default)]
pub struct Acme {
    /// The ACME directory's URL; Let's Encrypt's if not named.
    pub directory: Option<String>,
    /// The certificates, in PEM, that both the directory's own and those it gives go back to, if they are not public.
    pub root: Option<Root>,
}

/// A private authority's certificates.
#[derive(Clone, Debug)]
pub struct Root {
    /// The file that they are in.
    pub file: PathBuf,
    /// What it holds.
    pub pem: String,
}

/// What a client may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How large the body of a request may be, MiB.
    pub body_mb: u32,
    /// How long a client may take to send the headers, seconds.
    pub header_seconds: u32,
    /// How long a client may take to send the whole request, seconds.
    pub body_seconds: u32,
    /// How long a connection may be idle, seconds.
    pub idle_seconds: u32,
}

impl Network {
    /// Whether everybody may connect over IPv4.
    pub fn open(&self) -> bool {
        self.allow.iter().any(|block| block.prefix_len() == 0 && block.network().is_ipv4())
    }

    /// Whether a certificate is to come from Let's Encrypt, which could not come here to see whose address it is.
    pub fn shuts_out_public_authorities(&self) -> bool {
        self.https && self.acme.directory.is_none() && !self.open()
    }

    /// How the app is reached, in a word.
    pub fn reached(&self) -> String {
        match (self.https, &self.domain) {
            (true, Some(domain)) => format!("https://{domain}"),
            (true, None) => "https".to_owned(),
            (false, _) => format!("port {}", self.port),
        }
    }

    /// The name whose record is kept in Route 53.
    pub fn record(&self) -> Option<&str> {
        self.domain.as_deref().filter(|_| self.route53)
    }

    /// The name that the app is reached by, or else the address.
    pub fn host(&self, address: Ipv4Addr) -> String {
        self.domain.clone().unwrap_or_else(|| address.to_string())
    }

    /// The port that serves the app.
    pub fn front(&self) -> u16 {
        if self.https { 443 } else { self.port }
    }
}

/// When the app counts as healthy.
#[derive(Clone, Debug)]
pub struct Health {
    /// Must answer 2xx or 3xx with the token.
    pub path: String,
    /// How long a new version may take until it does, seconds.
    pub timeout: u32,
}

/// Finds the file: as named, or [`FILE`] upwards from `from`, as git finds its folder.
///
/// # Errors
/// When there is none.
pub fn find(named: Option<&Path>, from: &Path) -> Result<PathBuf> {
    if let Some(path) = named {
        return Ok(from.join(path));
    }
    let found = from.ancestors().map(|folder| folder.join(FILE)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("there is no {FILE} here"))
            .because(format!("looked in {} and every folder above it", from.display()))
            .next(format!(
                "{} writes one for the app in this folder; or go to where it is, or name it with --file",
                command("init")
            ))
    })
}

/// Reads and checks the whole file. `named`: the caller named it; one that was found must not be another user's.
///
/// # Errors
/// Whose file it is, and everything that is wrong with it, at once, each with its place.
pub fn load(file: &Path, named: bool) -> Result<Deployment> {
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    if !named {
        owner::check(file, &opened)?;
    }
    let mut text = String::new();
    // A longer file is a mistake, and would be read for minutes.
    let read = opened.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(file, &error))?;
    if read as u64 > LARGEST {
        return Err(Failure::new(Exit::Usage, format!("{} is too large", shown(file).display()))
            .because("a deploy.yaml has 1 MiB at most")
            .standing("Nothing was called.")
            .next("name a deploy.yaml with --file; `devopsctl init` writes one"));
    }
    let shown = shown(file);
    parse(&text, &shown, folder_of(file))
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot read {}", shown(file).display()))
        .because(error.to_string())
        .next("name the file with --file")
}

/// The path as a person would write it from where he stands.
fn shown(file: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(here).unwrap_or(file).to_owned()
}

/// A deployment of which nothing but its name is known: all else is as it is by default.
///
/// # Errors
/// When it is no deployment's name.
pub fn named(name: &str) -> Result<Deployment> {
    check_name(name)?;
    // In quotes: `on` and `null` are names, too.
    parse(&format!("name: \"{name}\"\napp: {{path: .}}\n"), Path::new("--name"), Path::new("."))
}

/// Whether it is the ARN of a managed policy.
pub fn is_managed_policy(arn: &str) -> bool {
    check::managed_policy(arn).is_ok()
}

/// Whether a deployment can have this name.
pub fn is_name(name: &str) -> bool {
    check::name(name).is_ok()
}

/// Whether gunicorn can load this: `module:callable` or `module:factory()`.
pub fn can_be_loaded(target: &str) -> bool {
    check::wsgi(target).is_ok()
}

/// Checks a deployment's name that does not come from the file.
///
/// # Errors
/// That it is none, and what one may be.
pub fn check_name(name: &str) -> Result<()> {
    check::name(name).map_err(|wrong| Failure::new(Exit::Usage, format!("{name:?} {}", wrong.what)).next(wrong.hint))
}

/// Checks a text that is to become a `deploy.yaml` in that folder.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file: &Path, folder: &Path) -> Result<Deployment> {
    let mut reader = Reader::new(file, text);
    let deployment = match tree::parse(text) {
        Ok(tree) => sections::deployment(&mut reader, tree, folder),
        Err((what, span)) => {
            settings(text).for_each(|span| reader.hide(span));
            reader.find(span, what, "here", "correct the YAML; text that begins with a sign is best put in quotes");
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
            Err(Failure::new(Exit::Usage, format!("{} has {count}; nothing was called", file.display()))
                .findings(findings))
        }
    }
}

/// In a file that cannot be read, whatever looks like the value of an environment variable may be a secret.
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
