//! `token`: prints the current one, nothing else.

use std::process::ExitCode;

use serde_json::json;

use super::Session;
use crate::error::{Failure, Result};
use crate::resources::token;

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let found = session.interrupt.or(token::read(&session.aws, session.name())).await?;
    let Some((document, version)) = found else {
        return Err(Failure::failed(format!("{} has no token yet", session.name())).next(format!(
            "set one ({}), or have one made with everything else ({})",
            session.command("set-token"),
            session.command("up")
        )));
    };
    let line = match session.globals.json {
        true => json!({"v": 1, "name": session.name(), "token": document.current, "version": version}).to_string(),
        false => document.current,
    };
    session.ui.result(&line);
    Ok(ExitCode::SUCCESS)
}
