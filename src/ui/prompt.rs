//! Questions to the person at the terminal.

use std::io::IsTerminal;

use dialoguer::{Confirm, Password};

use crate::error::{Exit, Failure, Result};

/// Asks a question that is answered no unless yes is said.
///
/// # Errors
/// Without a terminal there is nobody to ask; and when the terminal goes away.
pub fn confirm(question: &str) -> Result<bool> {
    if !terminal() {
        return Err(Failure::new(Exit::Usage, "there is no terminal to ask on")
            .because(format!("the question is: {question}"))
            .next("add --yes to say yes"));
    }
    Confirm::new().with_prompt(question).default(false).interact().map_err(gone)
}

/// Asks twice for a token, without echo.
///
/// # Errors
/// Without a terminal, and when the terminal goes away.
pub fn new_token() -> Result<String> {
    if !terminal() {
        return Err(Failure::new(Exit::Usage, "there is no terminal to type the token on")
            .next("pipe it in with --stdin, or have one made with --generate"));
    }
    Password::new()
        .with_prompt("New token")
        .with_confirmation("The same again", "These two were not the same.")
        .interact()
        .map_err(gone)
}

fn terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn gone(error: dialoguer::Error) -> Failure {
    Failure::new(Exit::Interrupted, "the question was not answered")
        .because(error.to_string())
        .next("run the same command again")
}
