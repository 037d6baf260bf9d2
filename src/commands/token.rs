//! `token`: prints the current one, nothing else.

use std::process::ExitCode;

use super::Session;
use crate::base::error::{Failure, Result};
use crate::commands::documents;
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
    let token = document.current;
    match session.globals.json {
        true => {
            let name = session.name().to_owned();
            session.ui.document(&documents::Token { v: documents::Version, name, token: token.to_string(), version });
        }
        false => session.ui.result(&token),
    }
    Ok(ExitCode::SUCCESS)
}
