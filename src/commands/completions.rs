//! `completions` and `man`, generated from the definitions of the command line. They make no call and need neither a
//! `deploy.yaml` nor credentials.

use std::process::ExitCode;

use clap::{Command, CommandFactory};

use crate::base::error::{Exit, Failure, Result};
use crate::commands::cli::{Cli, Completions, Man};
use crate::ui::Ui;

/// The program's name, even if it was started by another name.
const PROGRAM: &str = "devopsctl";

pub(super) fn completions(ui: &Ui, arguments: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut shown(), PROGRAM, &mut script);
    ui.result(String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The command line without hidden verbs, which scripts for bash and zsh would offer.
fn shown() -> Command {
    Cli::command().mut_subcommand("sandbox", |whole| {
        let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
        let about = whole.get_about().cloned().unwrap_or_default();
        Command::new("sandbox").about(about).args(whole.get_arguments()).subcommands(verbs)
    })
}

/// One page for the program and one for each visible verb: `devopsctl.1`, `devopsctl-up.1`, `devopsctl-sandbox-start.1`.
pub(super) fn man(ui: &Ui, arguments: &Man) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write the man pages to {}", folder.display()))
            .because(error.to_string())
            .next("choose a folder that you can write to")
    })?;
    ui.say(format!("wrote the man pages to {}", folder.display()));
    Ok(ExitCode::SUCCESS)
}
