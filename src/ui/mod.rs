//! Events → lines. stdout carries results, stderr carries talk; nothing else in the crate writes to either.

mod errors;
mod printable;
mod prompt;
mod table;
mod terminal;
mod wrapped;

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::base::event::{Event, Sink};
pub use errors::render;
pub use prompt::{ask, choose, confirm, new_token};
pub use table::aligned;

/// How much is told, and where to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// `-q`: nothing but results and errors.
    pub quiet: bool,
    /// `-v`: every call; bars would be in its way.
    pub verbose: bool,
}

/// The two streams and the sink.
#[derive(Clone)]
pub struct Ui {
    sink: Arc<dyn Sink>,
}

impl Ui {
    /// Bars on a terminal, plain lines elsewhere.
    pub fn new(style: Style) -> Self {
        let sink: Arc<dyn Sink> = if style.quiet {
            Arc::new(Quiet)
        } else if style.verbose || !std::io::stderr().is_terminal() {
            Arc::new(Plain { verbose: style.verbose })
        } else {
            Arc::new(terminal::Terminal::new())
        };
        Self { sink }
    }

    /// The sink, for those who only send events.
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.sink)
    }

    /// The sink, borrowed.
    pub fn sink_ref(&self) -> &dyn Sink {
        &*self.sink
    }

    /// Shows what is waited for, until there is something to tell.
    pub fn wait(&self, what: impl Into<String>) {
        self.sink.event(Event::Wait(what.into()));
    }

    /// Before somebody else writes to the terminal, such as a question or another program.
    pub fn make_way(&self) {
        self.sink.make_way();
    }

    /// A line of talk.
    pub fn say(&self, line: impl Into<String>) {
        self.sink.event(Event::Say(line.into()));
    }

    /// A line of warning.
    pub fn warn(&self, line: impl Into<String>) {
        self.sink.event(Event::Warn(line.into()));
    }

    /// A result of two columns, on stdout: what it is about, and how it is.
    pub fn pair(&self, what: &str, how: &str) {
        self.entry(&format!("{what:<10} "), how);
    }

    /// A result, on stdout, that on a narrow terminal goes on below where its text began.
    pub fn entry(&self, first: &str, text: &str) {
        let line = format!("{first}{text}");
        match std::io::stdout().is_terminal() {
            true => self.result(&wrapped::line(&line, console::Term::stdout().size().1, first.chars().count())),
            false => self.result(&line),
        }
    }

    /// A result for `--json`: one of the documents of `commands`.
    pub fn document(&self, document: &impl Serialize) {
        // They hold nothing that JSON has no way to write.
        if let Ok(text) = serde_json::to_string(document) {
            self.result(&printable::json(&text));
        }
    }

    /// A result, on stdout. A reader that has gone is not an error.
    pub fn result(&self, line: &str) {
        self.make_way();
        let _ = writeln!(std::io::stdout(), "{}", printable::text(line));
    }
}

/// stderr for lines that are made elsewhere, such as those of `-v`.
pub fn stderr() -> impl Write {
    Cleaned(std::io::stderr())
}

/// Writes nothing that a terminal would obey. Each line comes in one piece.
struct Cleaned<W>(W);

impl<W: Write> Write for Cleaned<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(printable::text(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Whether colour is wanted on stderr: <https://no-color.org>
pub fn color() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

struct Quiet;

impl Sink for Quiet {
    fn event(&self, _: Event) {}
}

/// One line an event, for files and CI: what is done, and what is waited for.
struct Plain {
    verbose: bool,
}

impl Sink for Plain {
    fn event(&self, event: Event) {
        let line = match event.printable() {
            Event::Wait(_) => return,
            Event::Say(line) => line,
            Event::Warn(line) => format!("warning: {line}"),
            Event::Begin(..) if !self.verbose => return,
            Event::Begin(topic, what) | Event::Go(topic, what) | Event::Leave(topic, what) => {
                format!("  {topic}: {what}")
            }
            Event::Done(topic, what) => format!("✓ {topic}: {what}"),
            Event::Fail(topic, what) => format!("✗ {topic}: {what}"),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
