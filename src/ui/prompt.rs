//! Questions to the person at the terminal.

use std::io::IsTerminal;

use dialoguer::{Confirm, Input, Password, Select};

use super::printable;
use crate::base::error::{Exit, Failing, Failure, Result};

/// Asks a question that is answered no unless yes is said.
///
/// # Errors
/// Without a terminal there is nobody to ask; and when the terminal goes away.
pub fn confirm(question: &str) -> Result<bool> {
    if !terminal() {
        return Err(nobody(question).next("add --yes to say yes"));
    }
    Confirm::new().with_prompt(printable::text(question)).default(false).interact().map_err(gone)
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

/// Has one of several chosen; the first unless another is.
///
/// # Errors
/// Without a terminal there is nobody to ask, and `instead` is what can be typed; and when the terminal goes away.
pub fn choose(question: &str, items: &[String], instead: &str) -> Result<usize> {
    if !terminal() {
        return Err(nobody(question).because(items.join("\n")).next(instead));
    }
    let items: Vec<_> = items.iter().map(|item| printable::text(item)).collect();
    Select::new().with_prompt(printable::text(question)).items(&items).default(0).interact().map_err(gone)
}

/// Has a line typed that `check` takes.
///
/// # Errors
/// As [`choose`].
pub fn ask(question: &str, check: impl Fn(&str) -> Result<(), String>, instead: &str) -> Result<String> {
    if !terminal() {
        return Err(nobody(question).next(instead));
    }
    let valid = |text: &String| check(text);
    Input::<String>::new().with_prompt(printable::text(question)).validate_with(valid).interact_text().map_err(gone)
}

fn nobody(question: &str) -> Failing {
    Failure::new(Exit::Usage, "there is no terminal to ask on").because(format!("the question is: {question}"))
}

/// Whether there is one. Who is asked on it and types Ctrl-C ends the question, not the program: it has to tidy up.
fn terminal() -> bool {
    let there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if there {
        // Once somebody has listened, the signal kills no more.
        let _ = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    }
    there
}

fn gone(error: dialoguer::Error) -> Failure {
    // It was hidden while something could be chosen.
    let _ = console::Term::stderr().show_cursor();
    Failure::new(Exit::Interrupted, "the question was not answered")
        .because(error.to_string())
        .next("run the same command again")
}
