//! The arguments of each verb.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use ipnet::Ipv4Net;

use super::examples;
use crate::base::rotation_window;
use crate::resources::logs::Source;
use crate::{config, sandbox};

/// `init`. It makes no call and needs no credentials.
#[derive(Debug, Args)]
pub struct Init {
    /// Do not ask; of several apps, choose the most likely one
    #[arg(short, long)]
    pub yes: bool,
    /// Name the deployment [default: derived from the folder's name]
    #[arg(long)]
    pub name: Option<String>,
    /// The project's folder [default: the working directory]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// `up`
#[derive(Debug, Args)]
pub struct Up {
    /// Do not wait until the app is healthy, even when a new instance replaces an old one
    #[arg(long)]
    pub no_wait: bool,
    /// Do not ask before resources are replaced or deleted
    #[arg(short, long)]
    pub yes: bool,
    /// What to renew.
    #[command(flatten)]
    pub renew: Renew,
}

/// What `up` keeps unless it is told otherwise; `plan` takes the same options.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Renew {
    /// Resolve unpinned requirements again, and run `app.build` again
    #[arg(long)]
    pub upgrade: bool,
    /// Replace the instance if its image has a newer build; the old one serves until the new one is healthy
    #[arg(long)]
    pub refresh_image: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// What `up` would renew.
    #[command(flatten)]
    pub renew: Renew,
}

/// `rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// The release, or its first characters, as `devopsctl releases` lists it [default: the running release if a newer one
    /// failed, else the previous one]
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,
    /// Do not wait until the app is healthy
    #[arg(long)]
    pub no_wait: bool,
    /// Accept --yes as other verbs do; rollback never asks
    #[arg(short, long)]
    pub yes: bool,
}

/// `set-token`. The token itself is never an argument: other users of a machine can see arguments.
#[derive(Debug, Args)]
pub struct SetToken {
    /// Read the token from standard input
    #[arg(long, conflicts_with = "generate")]
    pub stdin: bool,
    /// Generate a strong token
    #[arg(long)]
    pub generate: bool,
    /// Allow a token shorter than 12 characters
    #[arg(long)]
    pub force: bool,
    /// Keep the previous token valid for this long (90s, 10m, 1h30m; at most 7d). `--grace 0` alone keeps the token and
    /// revokes the previous one now
    #[arg(long, value_name = "DURATION", value_parser = rotation_window::parse)]
    pub grace: Option<Duration>,
    /// Do not wait until the app uses the token
    #[arg(long)]
    pub no_wait: bool,
}

impl SetToken {
    /// Whether only the rotation window is ended and no token is set: `--grace 0` alone.
    pub fn only_ends_window(&self) -> bool {
        self.grace == Some(Duration::ZERO) && !self.stdin && !self.generate
    }
}

/// `secrets …`
#[derive(Debug, Subcommand)]
pub enum SecretsVerb {
    /// Set or replace secrets; the app gets all of them at once, without downtime
    #[command(after_help = examples::SECRETS_SET)]
    Set(SecretsSet),
    /// Set all secrets of a .env file, as one change
    #[command(after_help = examples::SECRETS_IMPORT)]
    Import(SecretsImport),
    /// List the secrets, and which ones the app needs, without values
    #[command(after_help = examples::SECRETS_LIST)]
    List,
    /// Print the value of a secret
    #[command(after_help = examples::SECRETS_GET)]
    Get(SecretsGet),
    /// Give the app the newest versions of the secrets that are kept elsewhere in AWS
    #[command(after_help = examples::SECRETS_REFRESH)]
    Refresh(SecretsRefresh),
    /// Delete secrets
    #[command(after_help = examples::SECRETS_UNSET)]
    Unset(SecretsUnset),
}

/// `secrets refresh`
#[derive(Debug, Args)]
pub struct SecretsRefresh {
    /// Do not wait until the app uses them
    #[arg(long)]
    pub no_wait: bool,
}

/// `secrets set`. A value is never an argument: other users of a machine can see arguments.
#[derive(Debug, Args)]
pub struct SecretsSet {
    /// The names of the secrets; their values are asked for without echo
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Read the value of one secret from standard input, without its last line end
    #[arg(long, conflicts_with = "generate")]
    pub stdin: bool,
    /// Generate the values: BYTES random bytes each, as URL-safe base64 [default: 32]
    #[arg(
        long,
        value_name = "BYTES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "32",
        value_parser = value_parser!(u16).range(16..=1024)
    )]
    pub generate: Option<u16>,
    /// Only store them; the app gets them with its next start
    #[arg(long)]
    pub no_restart: bool,
    /// Do not wait until the app uses them
    #[arg(long)]
    pub no_wait: bool,
}

/// `secrets import`
#[derive(Debug, Args)]
pub struct SecretsImport {
    /// The file with lines NAME=value
    // Not `file`, which is the option of all verbs.
    #[arg(value_name = "FILE")]
    pub env_file: PathBuf,
    /// Do not ask before secrets are overwritten
    #[arg(short, long)]
    pub yes: bool,
    /// Only store them; the app gets them with its next start
    #[arg(long)]
    pub no_restart: bool,
    /// Do not wait until the app uses them
    #[arg(long)]
    pub no_wait: bool,
}

/// `secrets get`
#[derive(Debug, Args)]
pub struct SecretsGet {
    /// The name of the secret
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `secrets unset`
#[derive(Debug, Args)]
pub struct SecretsUnset {
    /// The names of the secrets
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Only delete them; the app runs without them from its next start
    #[arg(long)]
    pub no_restart: bool,
    /// Do not wait until the app runs without them
    #[arg(long)]
    pub no_wait: bool,
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Show only the output of the web server (`web`), or of this process or schedule of deploy.yaml
    #[arg(conflicts_with_all = ["access", "agent", "release"])]
    pub name: Option<String>,
    /// Show new lines until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Show this many of the last lines, at most 1000
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: usize,
    /// Show the requests instead, without their headers
    #[arg(long, conflicts_with_all = ["agent", "release"])]
    pub access: bool,
    /// Show the agent's log instead
    #[arg(long, conflicts_with = "release")]
    pub agent: bool,
    /// Show the output of the commands in app.release instead
    #[arg(long)]
    pub release: bool,
}

impl Logs {
    /// The log that the options select.
    pub fn source(&self) -> Source {
        match (&self.name, self.access, self.agent, self.release) {
            (Some(name), ..) => Source::Named(name.clone()),
            (_, true, ..) => Source::Access,
            (.., true, _) => Source::Agent,
            (.., true) => Source::Release,
            _ => Source::App,
        }
    }
}

/// `ssh`
#[derive(Debug, Args)]
pub struct Ssh {
    /// Allow this IPv4 address, or a block of at most 65536 [default: your own public address, which AWS reports]
    #[arg(long, value_name = "ADDRESS", value_parser = source)]
    pub from: Option<Ipv4Net>,
    /// Run this command and return its exit code [default: open a shell]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Allow this IPv4 address, or a block of at most 65536 [default: your own public address, which AWS reports]
    #[arg(long, value_name = "ADDRESS", value_parser = source)]
    pub from: Option<Ipv4Net>,
    /// The program and its arguments, without a shell; its exit code is returned
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// The addresses that port 22 is opened for.
fn source(text: &str) -> Result<Ipv4Net, String> {
    let block = text.parse().or_else(|_| text.parse::<Ipv4Addr>().map(Ipv4Net::from));
    let block = block.map_err(|_| "write an IPv4 address (203.0.113.7), or a block (203.0.113.0/24)".to_owned())?;
    if block.prefix_len() < 16 { Err("that is more than 65536 addresses".to_owned()) } else { Ok(block.trunc()) }
}

/// `down`
#[derive(Debug, Args)]
pub struct Down {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Delete this deployment, as `devopsctl list` shows it, without its deploy.yaml
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub name: Option<String>,
    /// Delete the data volume too, with all data of this deployment; repeat the deployment's name
    #[arg(long, value_name = "NAME")]
    pub delete_data: Option<String>,
}

/// `policy`. It makes no call and needs no credentials.
#[derive(Debug, Args)]
pub struct Policy {
    /// Restrict it to this account; --region restricts it to one region [default: all accounts and regions]
    #[arg(long, value_name = "ID", value_parser = account)]
    pub account: Option<String>,
    /// Allow only what `plan` needs: no change, and no access to the token and the secrets
    #[arg(long)]
    pub plan: bool,
    /// Allow only roles with this permissions boundary, which deploy.yaml names as permissions_boundary
    #[arg(long, value_name = "ARN", value_parser = managed_policy)]
    pub boundary: Option<String>,
    /// Print a permissions boundary for the instances' roles instead
    #[arg(long, conflicts_with_all = ["boundary", "plan"])]
    pub boundary_document: bool,
}

/// The ARN of a managed policy.
fn managed_policy(text: &str) -> Result<String, String> {
    let form = "the ARN of a managed policy looks like arn:aws:iam::123456789012:policy/name";
    if config::is_managed_policy(text) { Ok(text.to_owned()) } else { Err(form.to_owned()) }
}

/// An account id.
fn account(text: &str) -> Result<String, String> {
    let number = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if number { Ok(text.to_owned()) } else { Err("an account id has 12 digits".to_owned()) }
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`, for packagers.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder to write to; it is created if it is missing
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `sandbox …`
#[derive(Debug, Subcommand)]
pub enum SandboxVerb {
    /// Start the local AWS; other commands with --sandbox start it themselves
    Start {
        /// Serve the endpoint on this port [default: any free one]
        #[arg(long)]
        port: Option<u16>,
    },
    /// Stop the local AWS and delete everything in it
    Stop,
    /// Show whether the local AWS runs, its endpoint and its instances
    Status,
    /// Show the paths and the last lines of the local AWS's logs
    Logs,
    /// Run the local AWS in this process.
    #[command(hide = true)]
    Serve(sandbox::ServeArgs),
    /// Connect a virtual machine to its metadata service.
    #[command(hide = true)]
    Join(sandbox::JoinArgs),
    /// Supervise a program of the sandbox.
    #[command(hide = true)]
    Supervise(sandbox::SuperviseArgs),
}
