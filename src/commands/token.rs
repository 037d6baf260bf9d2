//! `token`: prints the current token, and nothing else.

use std::process::ExitCode;

use super::Session;
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::commands::documents;
use crate::resources::token;

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let found = session.interrupt.or(token::read(&session.aws, session.name())).await?;
    let Some((document, version)) = found else {
        let next = Next::from("set one: ").run("set-token").and("; or deploy, which generates one: ").run("up");
        return Err(Failure::failed(format!("{} has no token yet", session.name())).next(next));
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
