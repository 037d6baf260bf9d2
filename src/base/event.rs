//! Progress events of the engine and the verbs, and the sinks that show them.

use std::borrow::Cow;

/// A progress event.
#[derive(Clone, Debug)]
pub enum Event {
    /// What the command waits for. Only terminals show it, until the next event.
    Wait(String),
    /// A message.
    Say(String),
    /// A warning: nothing failed, but the user should know.
    Warn(String),
    /// Work on a topic began: what it does.
    Begin(Topic, String),
    /// Work on the topic continues: what it waits for.
    Go(Topic, String),
    /// The work is done: the resulting state.
    Done(Topic, String),
    /// The work failed; the error itself is shown at the end.
    Fail(Topic, String),
    /// The work was skipped: why.
    Leave(Topic, String),
}

/// What a line is about: "instance", "record shop.example.com".
pub type Topic = Cow<'static, str>;

/// Receives events. There is one for terminals, one for files and CI, one for `--quiet`.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// Clears the waiting line: another writer is about to use the terminal.
    fn make_way(&self) {}
}
