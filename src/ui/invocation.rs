//! How the user called this program. Commands that are shown repeat it.

use crate::base::error::Failure;
use crate::base::next::{Command, Next};

/// The program's name and the global options of the running command.
#[derive(Clone, Debug)]
pub struct Invocation {
    program: &'static str,
    options: String,
}

impl Invocation {
    /// `options`: such as ` --sandbox`, with a leading space.
    pub fn new(options: String) -> Self {
        // After `cargo run`, the program is not on `PATH`.
        let program = if std::env::var_os("CARGO").is_some() { "cargo run -q --" } else { "devopsctl" };
        Self { program, options }
    }

    /// A command that acts on the same deployment.
    pub fn run(&self, line: &str) -> String {
        self.spell(&Command { line: line.to_owned(), same_options: true })
    }

    /// A command without the global options.
    pub fn run_bare(&self, line: &str) -> String {
        self.spell(&Command { line: line.to_owned(), same_options: false })
    }

    /// A next step, with its commands spelled out.
    pub fn next(&self, next: &Next) -> String {
        next.spelled(|command| self.spell(command))
    }

    /// The failure, with the commands of its next step spelled out.
    pub fn failure(&self, failure: Failure) -> Failure {
        match failure.next_step().map(|next| self.next(next)) {
            Some(next) => failure.instead(next),
            None => failure,
        }
    }

    fn spell(&self, command: &Command) -> String {
        let options = if command.same_options { self.options.as_str() } else { "" };
        format!("{} {}{options}", self.program, command.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_repeat_the_global_options_where_asked() {
        let invocation = Invocation { program: "devopsctl", options: " --sandbox --file x.yaml".into() };
        let next = Next::from("run ").run("up --yes").and(", or ").run_bare("policy");
        assert_eq!(invocation.next(&next), "run devopsctl up --yes --sandbox --file x.yaml, or devopsctl policy");
        assert_eq!(next.to_string(), "run devopsctl up --yes, or devopsctl policy");
        let failure = invocation.failure(Failure::failed("no instance").next(next));
        assert!(failure.next_step().is_some_and(|next| next.to_string().contains("--file x.yaml, or")));
    }
}
