//! `policy`: prints the IAM policy that devopsctl needs. It makes no call, because its user may not have credentials yet.

use std::process::ExitCode;

use crate::base::error::Result;
use crate::commands::cli::{Globals, Policy};
use crate::resources::policy::{LARGEST_MANAGED_POLICY, Scope};
use crate::sandbox;
use crate::ui::Ui;

pub(super) fn run(globals: &Globals, ui: &Ui, arguments: Policy) -> Result<ExitCode> {
    let account = arguments.account.or_else(|| globals.sandbox.then(|| sandbox::ACCOUNT.to_owned()));
    let Policy { boundary, boundary_document, plan, .. } = arguments;
    let scope = Scope { account, region: globals.region.clone(), boundary, plan };
    let policy = if boundary_document { scope.boundary_document() } else { scope.policy() };
    let size = policy.to_string().len();
    if size > LARGEST_MANAGED_POLICY {
        ui.warn(format!(
            "the policy has {size} characters, and a managed policy can have {LARGEST_MANAGED_POLICY}: use it as an inline \
             policy of a role, or omit --region"
        ));
    }
    ui.result(&format!("{policy:#}"));
    Ok(ExitCode::SUCCESS)
}
