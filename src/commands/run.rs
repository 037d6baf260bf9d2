//! `run`: a command in the environment of the serving release, in an SSH session.

use std::process::ExitCode;

use super::remote::Remote;
use super::ssh;
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::{Globals, Run};
use crate::ui::Ui;

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &Run) -> Result<ExitCode> {
    if arguments.command.is_empty() {
        let next =
            Next::from("for example: ").run("run -- flask shell").and(", or: ").run("run -- python manage.py check");
        return Err(Failure::new(Exit::Usage, "run needs a command").next(next));
    }
    ssh::visit(globals, ui, arguments.from, &Remote::Release(&arguments.command)).await
}
