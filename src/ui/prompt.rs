//! Questions on the terminal.

use std::io::IsTerminal;

use dialoguer::{Confirm, Input, Password, Select};

use super::printable;
use crate::base::error::{Exit, Failing, Failure, Result};

/// Asks a question; the default answer is no.
///
/// # Errors
/// There is no terminal, or it was closed.
pub fn confirm(question: &str) -> Result<bool> {
    if !terminal() {
        return Err(no_terminal(question).next("add --yes to answer yes"));
    }
    Confirm::new().with_prompt(printable::text(question)).default(false).interact().map_err(gone)
}

/// Asks twice for a token, without echo.
pub fn new_token() -> Result<String> {
    if !terminal() {
        return Err(Failure::new(Exit::Usage, "there is no terminal to type the token on")
            .next("pipe it in with --stdin, or generate one with --generate"));
    }
    Password::new()
        .with_prompt("New token")
        .with_confirmation("Repeat the token", "The two tokens differ.")
        .interact()
        .map_err(gone)
}

/// Asks for the value of a secret, without echo.
pub fn new_secret(name: &str) -> Result<String> {
    if !terminal() {
        return Err(Failure::new(Exit::Usage, format!("there is no terminal to type the value of {name} on"))
            .next("pipe it in with --stdin, or generate one with --generate"));
    }
    Password::new().with_prompt(printable::text(&format!("Value of {name}"))).interact().map_err(gone)
}

/// Asks to choose one of several; the first is the default. `instead`: the next step without a terminal.
pub fn choose(question: &str, items: &[String], instead: &str) -> Result<usize> {
    if !terminal() {
        return Err(no_terminal(question).because(items.join("\n")).next(instead));
    }
    let items: Vec<_> = items.iter().map(|item| printable::text(item)).collect();
    Select::new().with_prompt(printable::text(question)).items(&items).default(0).interact().map_err(gone)
}

/// Asks for a line that passes `check`. `instead`: the next step without a terminal.
pub fn ask(question: &str, check: impl Fn(&str) -> Result<(), String>, instead: &str) -> Result<String> {
    if !terminal() {
        return Err(no_terminal(question).next(instead));
    }
    let valid = |text: &String| check(text);
    Input::<String>::new().with_prompt(printable::text(question)).validate_with(valid).interact_text().map_err(gone)
}

fn no_terminal(question: &str) -> Failing {
    Failure::new(Exit::Usage, "there is no terminal to ask on").because(format!("the question is: {question}"))
}

/// Whether there is a terminal. Ctrl-C then ends the question and not the program, which has to clean up.
fn terminal() -> bool {
    let there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if there {
        // Once a listener is registered, the signal no longer kills the process.
        let _ = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    }
    there
}

fn gone(error: dialoguer::Error) -> Failure {
    // The selection hides the cursor.
    let _ = console::Term::stderr().show_cursor();
    Failure::new(Exit::Interrupted, "the question was not answered")
        .because(error.to_string())
        .next("run the same command again")
}
