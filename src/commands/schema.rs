//! `schema`: prints the JSON Schema of `deploy.yaml`, for editors. It makes no call.

use std::process::ExitCode;

use crate::base::error::Result;
use crate::config;
use crate::ui::Ui;

pub(super) fn run(ui: &Ui) -> Result<ExitCode> {
    ui.result(config::schema().trim_end());
    Ok(ExitCode::SUCCESS)
}
