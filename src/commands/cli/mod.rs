//! The command line: verbs, global options, exit codes.

mod arguments;
mod examples;
mod hints;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::sandbox;
use crate::ui::Invocation;
pub use arguments::*;
pub use hints::parse;

/// Deploy a small Python web app to your own AWS account, and rotate its secret without downtime.
#[derive(Debug, Parser)]
#[command(name = "devopsctl", version, propagate_version = true, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// The options of every verb.
    #[command(flatten)]
    pub globals: Globals,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    AWS, the network or this machine failed
  2    the command line or deploy.yaml is wrong; no call was made
  3    plan: there are changes
  4    the app is not healthy
  5    the credentials are missing, expired or lack a permission
  130  stopped by Ctrl-C

Try it without an AWS account:  devopsctl up --sandbox";

/// The options of every verb.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// Use this deploy.yaml [default: deploy.yaml here or in a folder above]
    // Without a short form: users type `-f` after `logs`.
    #[arg(long, global = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Use a local AWS, which devopsctl starts itself; needs no account
    #[arg(long, global = true)]
    pub sandbox: bool,
    /// Run the sandbox's instances as KIND: process or qemu [default: process]
    #[arg(long, global = true, value_enum, value_name = "KIND", hide_possible_values = true)]
    pub machine: Option<sandbox::Machines>,
    /// Use this AWS region [default: from deploy.yaml, else from the AWS settings]
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// Use this AWS profile [default: from the AWS settings]
    #[arg(long, global = true)]
    pub profile: Option<String>,
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print every call
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl Globals {
    /// The program's name and the options that a shown command repeats.
    pub fn invocation(&self) -> Invocation {
        let sandbox = if self.sandbox { " --sandbox" } else { "" };
        let file = self.file.as_ref().map(|file| format!(" --file {}", file.display())).unwrap_or_default();
        Invocation::new(format!("{sandbox}{file}{}", place(self.region.as_deref(), self.profile.as_deref())))
    }
}

/// The options that select a region and a profile.
pub fn place(region: Option<&str>, profile: Option<&str>) -> String {
    let options = [("region", region), ("profile", profile)];
    options.into_iter().filter_map(|(name, value)| Some(format!(" --{name} {}", value?))).collect()
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Inspect the app in a folder and write a deploy.yaml for it
    #[command(after_help = examples::INIT)]
    Init(Init),
    /// Create or update everything in deploy.yaml, and wait until the app is healthy
    #[command(after_help = examples::UP)]
    Up(Up),
    /// Show what up would change, and why
    #[command(after_help = examples::PLAN)]
    Plan(Plan),
    /// Roll back to an earlier release
    #[command(after_help = examples::ROLLBACK)]
    Rollback(Rollback),
    /// List the releases that rollback can use
    #[command(after_help = examples::RELEASES)]
    Releases,
    /// Set or rotate the app's token without downtime
    #[command(after_help = examples::SET_TOKEN)]
    SetToken(SetToken),
    /// Print the current token
    #[command(after_help = examples::TOKEN)]
    Token,
    /// Set, import, list and delete the app's other secrets, without downtime
    #[command(subcommand, after_help = examples::SECRETS)]
    Secrets(SecretsVerb),
    /// Show the resources, the running release and its health
    #[command(after_help = examples::STATUS)]
    Status,
    /// Show the log of the app, of its requests or of the agent
    #[command(after_help = examples::LOGS)]
    Logs(Logs),
    /// Run a command in the environment of the running release, such as a shell of the app
    #[command(after_help = examples::RUN)]
    Run(Run),
    /// Open a shell on the instance, or run a command there; opens port 22 only meanwhile
    #[command(after_help = examples::SSH)]
    Ssh(Ssh),
    /// Open the app's URL in the browser, or print it
    #[command(after_help = examples::OPEN)]
    Open,
    /// Estimate the cost per month, without any call
    #[command(after_help = examples::COST)]
    Cost,
    /// Check whether up would work, and show how to fix what would fail
    #[command(after_help = examples::DOCTOR)]
    Doctor,
    /// List all deployments of the account and region, including orphaned ones
    #[command(after_help = examples::LIST)]
    List,
    /// Delete all resources of the deployment
    #[command(after_help = examples::DOWN)]
    Down(Down),
    /// Print the least IAM policy for the user or role that runs devopsctl
    #[command(after_help = examples::POLICY)]
    Policy(Policy),
    /// Print the JSON Schema of deploy.yaml, for editors
    #[command(after_help = examples::SCHEMA)]
    Schema,
    /// Manage the local AWS
    #[command(subcommand, after_help = examples::SANDBOX)]
    Sandbox(SandboxVerb),
    /// Generate shell completions
    #[command(after_help = examples::COMPLETIONS)]
    Completions(Completions),
    /// Write the man pages
    #[command(hide = true)]
    Man(Man),
}
