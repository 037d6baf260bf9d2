//! What the user does next, as data: text, and commands of this program. `ui` spells the commands out.

use std::fmt;

/// The next step of an error or a check: text and commands, in reading order.
///
/// ```
/// use devopsctl::base::next::Next;
/// let next = Next::from("set one: ").run("set-token --generate").and("; or see the docs");
/// assert_eq!(next.to_string(), "set one: devopsctl set-token --generate; or see the docs");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Run(Command),
}

/// A command of this program: the verb and its arguments, without the program's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The verb and its arguments.
    pub line: String,
    /// Whether the global options of the running command are repeated, so that it acts on the same deployment.
    pub same_options: bool,
}

impl Next {
    /// Adds text.
    #[must_use]
    pub fn and(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Text(text.into()));
        self
    }

    /// Adds a command that acts on the same deployment as the running one.
    #[must_use]
    pub fn run(self, line: impl Into<String>) -> Self {
        self.command(line.into(), true)
    }

    /// Adds a command that takes no global option, such as `policy`.
    #[must_use]
    pub fn run_bare(self, line: impl Into<String>) -> Self {
        self.command(line.into(), false)
    }

    fn command(mut self, line: String, same_options: bool) -> Self {
        self.0.push(Part::Run(Command { line, same_options }));
        self
    }

    /// The same with each of its texts changed.
    pub(crate) fn mapped(&self, change: &impl Fn(&str) -> String) -> Self {
        let part = |part: &Part| match part {
            Part::Text(text) => Part::Text(change(text)),
            Part::Run(command) => Part::Run(Command { line: change(&command.line), ..*command }),
        };
        Self(self.0.iter().map(part).collect())
    }

    /// The text with each command as `spell` writes it.
    pub fn spelled(&self, spell: impl Fn(&Command) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Run(command) => spell(command),
        };
        self.0.iter().map(part).collect()
    }
}

impl From<String> for Next {
    fn from(text: String) -> Self {
        Self::default().and(text)
    }
}

impl From<&str> for Next {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for Next {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

/// The program's own name, and no options.
impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled(|command| format!("devopsctl {}", command.line)))
    }
}
