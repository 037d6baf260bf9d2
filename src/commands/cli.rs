//! What can be typed.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::Ipv4Net;

use crate::base::grace;
use crate::resources::logs::Source;
use crate::{config, sandbox};

mod examples;
mod hints;

pub use hints::parse;

/// Put a small Python web app on your own AWS account, and change its secret without fear.
#[derive(Debug, Parser)]
#[command(name = "devopsctl", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub globals: Globals,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: AWS, the network or this machine refused
  2    the command line or deploy.yaml is wrong; nothing was called
  3    plan: there is something to do
  4    the app is not healthy
  5    no credentials, expired ones, or ones that may not do this
  130  stopped by Ctrl-C

Try it without an AWS account:  devopsctl up --sandbox";

/// What holds for every verb.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// The deployment's file [default: deploy.yaml here or in a folder above]
    // Without a short form: `-f` is what everybody types after `logs`.
    #[arg(long, global = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Use a local AWS that devopsctl starts by itself: no account needed
    #[arg(long, global = true)]
    pub sandbox: bool,
    /// What an instance is in the local AWS that is started [default: process]
    #[arg(long, global = true, value_enum, value_name = "KIND", hide_possible_values = true)]
    pub machine: Option<sandbox::Machines>,
    /// The AWS region [default: deploy.yaml's, else as the AWS CLI finds it]
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// The AWS profile [default: as the AWS CLI finds it]
    #[arg(long, global = true)]
    pub profile: Option<String>,
    /// Show results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show every call
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Look at the app in a folder and write a deploy.yaml for it; calls nothing, overwrites nothing
    #[command(after_help = examples::INIT)]
    Init(Init),
    /// Create or update everything in deploy.yaml, and wait until the app is healthy
    #[command(after_help = examples::UP)]
    Up(Up),
    /// Show what up would do, and why; nothing is changed
    #[command(after_help = examples::PLAN)]
    Plan(Plan),
    /// Have a release run again that ran before; only the release changes, not the token
    #[command(after_help = examples::ROLLBACK)]
    Rollback(Rollback),
    /// List the releases that can be gone back to: when, who, what
    #[command(after_help = examples::RELEASES)]
    Releases,
    /// Define or change the app's token, without restarting the machine or dropping a request
    #[command(after_help = examples::SET_TOKEN)]
    SetToken(SetToken),
    /// Print the current token
    #[command(after_help = examples::TOKEN)]
    Token,
    /// Show what stands, what runs on it and whether it is healthy
    #[command(after_help = examples::STATUS)]
    Status,
    /// Show what the app prints; or who asked for what, or what the agent does
    #[command(after_help = examples::LOGS)]
    Logs(Logs),
    /// Open a shell on the instance, or run a command there; port 22 is open meanwhile only
    #[command(after_help = examples::SSH)]
    Ssh(Ssh),
    /// Open the app's URL in the browser; print it where there is none
    #[command(after_help = examples::OPEN)]
    Open,
    /// Show what the deployment will cost a month; nothing is called
    #[command(after_help = examples::COST)]
    Cost,
    /// Say whether up would work here; if not, why, and what to do; nothing is changed
    #[command(after_help = examples::DOCTOR)]
    Doctor,
    /// List every deployment of the account and region, also half-built and forgotten ones; needs no deploy.yaml
    #[command(after_help = examples::LIST)]
    List,
    /// Remove every trace of the deployment
    #[command(after_help = examples::DOWN)]
    Down(Down),
    /// Print the IAM policy with the least that devopsctl needs, for the user or role that runs it
    #[command(after_help = examples::POLICY)]
    Policy(Policy),
    /// Print the JSON schema of deploy.yaml, by which editors complete and check it
    #[command(after_help = examples::SCHEMA)]
    Schema,
    /// Manage the local AWS
    #[command(subcommand, after_help = examples::SANDBOX)]
    Sandbox(SandboxVerb),
    /// Print what has a shell complete verbs and options
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Completions),
    /// Write the man pages
    #[command(hide = true)]
    Man(Man),
}

/// `init`. It calls nothing and needs no credentials.
#[derive(Debug, Args)]
pub struct Init {
    /// Ask nothing: of several apps take the likeliest
    #[arg(short, long)]
    pub yes: bool,
    /// The deployment's name [default: made of the folder's]
    #[arg(long)]
    pub name: Option<String>,
    /// The project's folder [default: here]
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// `up`
#[derive(Debug, Args)]
pub struct Up {
    /// Return when AWS has what it needs; do not wait until the app is healthy, also where a new instance takes over from
    /// an old one
    #[arg(long)]
    pub no_wait: bool,
    /// Do not ask before something is replaced or deleted
    #[arg(short, long)]
    pub yes: bool,
    /// What is renewed.
    #[command(flatten)]
    pub renew: Renew,
}

/// What `up` keeps as it is unless it is told otherwise; `plan` takes the same.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Renew {
    /// Resolve unpinned requirements anew
    #[arg(long)]
    pub upgrade: bool,
    /// Replace the instance if there is a newer build of its image; the old one serves until the new one is healthy
    #[arg(long)]
    pub refresh_image: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// What up is to renew.
    #[command(flatten)]
    pub renew: Renew,
}

/// `rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// The release, or the first characters of it, as `devopsctl releases` lists them [default: what runs, if something else
    /// was to run and failed; otherwise what ran before]
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,
    /// Return when the instance is told; do not wait until the app is healthy
    #[arg(long)]
    pub no_wait: bool,
    /// Accepted for scripts that pass it to every verb; rollback never asks
    #[arg(short, long)]
    pub yes: bool,
}

/// `set-token`. The token itself is never an argument: other users of a machine can see arguments.
#[derive(Debug, Args)]
pub struct SetToken {
    /// Read the token from standard input
    #[arg(long, conflicts_with = "generate")]
    pub stdin: bool,
    /// Have a strong token made
    #[arg(long)]
    pub generate: bool,
    /// Take a token that is short enough to be guessed
    #[arg(long)]
    pub force: bool,
    /// Let the old token answer beside the new one for so long (90s, 10m, 1h30m; at most 7d), then end by itself. Alone,
    /// `--grace 0` keeps the token and ends such a period at once
    #[arg(long, value_name = "DURATION", value_parser = grace::parse)]
    pub grace: Option<Duration>,
    /// Return when the token is stored; do not wait until the app uses it
    #[arg(long)]
    pub no_wait: bool,
}

impl SetToken {
    /// `--grace 0` alone: no other token is set.
    pub fn only_ends_grace(&self) -> bool {
        self.grace == Some(Duration::ZERO) && !self.stdin && !self.generate
    }
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on showing what comes, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines, at most 1000
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: usize,
    /// Who asked for what, instead: from the edge, without headers
    #[arg(long, conflicts_with = "agent")]
    pub access: bool,
    /// What the agent on the instance does, instead
    #[arg(long)]
    pub agent: bool,
}

impl Logs {
    /// Which log is asked for.
    pub fn source(&self) -> Source {
        match (self.access, self.agent) {
            (true, _) => Source::Access,
            (_, true) => Source::Agent,
            _ => Source::App,
        }
    }
}

/// `ssh`
#[derive(Debug, Args)]
pub struct Ssh {
    /// Where you come from, as the instance sees it: an IPv4 address, or a block of at most 65536 [default: AWS is asked]
    #[arg(long, value_name = "ADDRESS", value_parser = source)]
    pub from: Option<Ipv4Net>,
    /// What to run there, as ssh takes it: its exit code becomes this one's [default: a shell]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Who is let in: hardly more than one.
fn source(text: &str) -> Result<Ipv4Net, String> {
    let block = text.parse().or_else(|_| text.parse::<Ipv4Addr>().map(Ipv4Net::from));
    let block = block.map_err(|_| "write an IPv4 address (203.0.113.7), or a block (203.0.113.0/24)".to_owned())?;
    if block.prefix_len() < 16 {
        Err("that would let in more than 65536 addresses".to_owned())
    } else {
        Ok(block.trunc())
    }
}

/// `down`
#[derive(Debug, Args)]
pub struct Down {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// The deployment, as `devopsctl list` shows it, where there is no deploy.yaml of it
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub name: Option<String>,
}

/// `policy`. It calls nothing and needs no credentials.
#[derive(Debug, Args)]
pub struct Policy {
    /// Narrow it to this account; --region narrows it to one region [default: all of both]
    #[arg(long, value_name = "ID", value_parser = account)]
    pub account: Option<String>,
    /// Only what `plan` needs: it changes nothing, and cannot read the token
    #[arg(long)]
    pub plan: bool,
    /// Allow only roles that this permissions boundary limits; deploy.yaml names it as permissions_boundary
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

/// An account's number as AWS writes it.
fn account(text: &str) -> Result<String, String> {
    let number = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if number { Ok(text.to_owned()) } else { Err("an account's number has 12 digits".to_owned()) }
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`, for whoever packages devopsctl.
#[derive(Debug, Args)]
pub struct Man {
    /// Where they go; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `sandbox …`
#[derive(Debug, Subcommand)]
pub enum SandboxVerb {
    /// Start the local AWS (other commands with --sandbox do it by themselves)
    Start {
        /// The port of its endpoint [default: any free one]
        #[arg(long)]
        port: Option<u16>,
    },
    /// End the local AWS; everything in it is gone
    Stop,
    /// Show whether it runs, where, and what is in it
    Status,
    /// Show where its logs are, and their last lines
    Logs,
    /// What the detached process runs
    #[command(hide = true)]
    Serve(sandbox::ServeArgs),
    /// What leads a virtual machine to its metadata service
    #[command(hide = true)]
    Join(sandbox::JoinArgs),
    /// Supervise a program that the sandbox starts
    #[command(hide = true)]
    Supervise(sandbox::SuperviseArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn clap_finds_nothing_wrong() {
        Cli::command().debug_assert();
    }

    /// What a reader copies must be taken, and by the verb that shows it.
    #[test]
    fn every_verb_has_examples_and_each_can_be_typed() {
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = help.lines().filter_map(|line| line.trim().split("devopsctl ").nth(1)).collect();
            assert!((1..=3).contains(&lines.len()), "{}: {help}", verb.get_name());
            for line in lines {
                let typed = line.split("  ").next().unwrap().split(['|', '>', ')']).next().unwrap();
                let words = typed.split_whitespace();
                let taken = Cli::command().try_get_matches_from(["devopsctl"].into_iter().chain(words));
                let taken = taken.unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(taken.subcommand_name(), Some(verb.get_name()), "{line}");
            }
        }
    }

    #[test]
    fn whoever_mistypes_is_told_what_he_meant() {
        for (line, meant) in [
            ("stauts", "'status'"),
            ("dwon", "'down'"),
            ("lst", "'list'"),
            ("up --sandbx", "'--sandbox'"),
            ("set-token --genrate", "'--generate'"),
            ("completions fsh", "'fish'"),
            ("sandbox strat", "'start'"),
        ] {
            let words = line.split_whitespace();
            let error = Cli::command().try_get_matches_from(["devopsctl"].into_iter().chain(words)).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("tip:") && said.contains(meant), "{line}: {said}");
        }
    }
}
