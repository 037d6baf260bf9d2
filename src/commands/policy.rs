//! `policy`: prints what the command line may need to do, as an IAM policy. It calls nothing: whoever needs it most has
//! no credentials yet, or only those of somebody who is to create it.

use std::process::ExitCode;

use crate::cli::{Globals, Policy};
use crate::error::Result;
use crate::policy::Scope;
use crate::sandbox;
use crate::ui::Ui;

pub(super) fn run(globals: &Globals, ui: &Ui, arguments: Policy) -> Result<ExitCode> {
    let account = arguments.account.or_else(|| globals.sandbox.then(|| sandbox::ACCOUNT.to_owned()));
    let policy = Scope { account, region: globals.region.clone(), plan: arguments.plan }.policy();
    ui.result(&format!("{policy:#}"));
    Ok(ExitCode::SUCCESS)
}
