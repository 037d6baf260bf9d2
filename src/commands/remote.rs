//! What an SSH session runs on the instance, as the command line of its login shell.

use super::Session;
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::resources::reports::{self, Ssh};

/// A command of an SSH session.
#[derive(Clone, Copy)]
pub(super) enum Remote<'a> {
    /// A command line for the login shell; a shell if it is empty.
    Shell(&'a [String]),
    /// A program and its arguments, in the environment of the serving release.
    Release(&'a [String]),
}

impl Remote<'_> {
    /// The verb that starts it.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Shell(_) => "ssh",
            Self::Release(_) => "run",
        }
    }

    /// Whether the agent of this report can run it.
    pub(super) fn can_run(self, said: &Ssh) -> bool {
        said.run || matches!(self, Self::Shell(_))
    }

    /// The words of the command line.
    pub(super) async fn line(self, session: &Session, instance: &str) -> Result<Vec<String>> {
        match self {
            Self::Shell(line) => Ok(line.to_vec()),
            Self::Release(words) => {
                let said = reports::read(&session.aws, session.name(), instance).await?;
                let release = said.and_then(|report| report.release).ok_or_else(|| nothing_serves(session.name()))?;
                Ok(in_release(&release, words))
            }
        }
    }
}

fn nothing_serves(name: &str) -> Failure {
    Failure::new(Exit::Unhealthy, format!("no release of {name} is serving"))
        .because("a command runs in the environment of the release that serves")
        .next(Next::from("see why: ").run("status").and("; its log: ").run("logs"))
}

/// Starts `agent/run.py` of a release. `DEVOPSCTL_ROOT` is set on the sandbox's process machines only (`agent/ssh/sshd.py`).
fn in_release(release: &str, words: &[String]) -> Vec<String> {
    let program = format!("\"$DEVOPSCTL_ROOT/opt/devopsctl/releases/{release}/agent/run.py\"");
    let start = ["exec", "\"$DEVOPSCTL_ROOT/bin/python3\"", "-I", &program].map(str::to_owned);
    start.into_iter().chain(words.iter().map(|word| quoted(word))).collect()
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a shell makes of the words, with the program replaced by one that prints them.
    fn read_back(words: &[String]) -> Vec<String> {
        let line = in_release(&"0a".repeat(32), words).split_off(4).join(" ");
        let script = format!("for word in {line}; do printf '%s\\0' \"$word\"; done");
        let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn a_shell_reads_awkward_words_as_they_are() {
        let words = ["", "a b", "it's", "\"x\"", "$(id)", "`id`", "$HOME", "a\nb\n", "*", "~", "\\", "-n", "é;&|<>#!"];
        let words: Vec<String> = words.map(str::to_owned).into();
        assert_eq!(read_back(&words), words);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_shell_reads_any_words_as_they_are(words in proptest::collection::vec("[^\0]{0,12}", 1..6)) {
            prop_assert_eq!(read_back(&words), words);
        }
    }
}
