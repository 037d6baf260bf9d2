//! What the engine and the verbs have to tell, and who takes it.

use std::borrow::Cow;

/// What the engine and the verbs have to tell.
#[derive(Clone, Debug)]
pub enum Event {
    /// What is waited for, as long as there is nothing to tell: shown on a terminal alone, and gone with what comes next.
    Wait(String),
    /// A line of talk.
    Say(String),
    /// Something the user should know though nothing failed.
    Warn(String),
    /// Work on one thing began: its name, and what is being done.
    Begin(Topic, String),
    /// The same work goes on: what it waits for.
    Go(Topic, String),
    /// The work is done: what stands now.
    Done(Topic, String),
    /// The work failed; the error itself is told at the end.
    Fail(Topic, String),
    /// The work was left as it is, because of something else: why.
    Leave(Topic, String),
}

/// What a line is about: "instance", "record shop.example.com".
pub type Topic = Cow<'static, str>;

/// Receives events. One for terminals, one for files and CI, one for `--quiet`.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// Somebody else is about to write to the terminal.
    fn make_way(&self) {}
}
