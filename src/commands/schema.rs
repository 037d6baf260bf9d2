//! `schema`: prints what an editor needs to complete and check `deploy.yaml`. It calls nothing.

use std::process::ExitCode;

use crate::base::error::Result;
use crate::config;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui) -> Result<ExitCode> {
    ui.result(config::schema().trim_end());
    Ok(ExitCode::SUCCESS)
}
