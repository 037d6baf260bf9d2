//! Events → lines. Results go to stdout, messages to stderr; no other module writes to either.

mod errors;
mod invocation;
mod printable;
mod prompt;
mod table;
mod terminal;
mod wrapped;

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::base::event::{Event, Sink};
use crate::base::next::Next;
pub use errors::render;
pub use invocation::Invocation;
pub use prompt::{ask, choose, confirm, new_secret, new_token};
pub use table::aligned;

/// How much is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// `-q`: only results and errors.
    pub quiet: bool,
    /// `-v`: every call, and no progress bars.
    pub verbose: bool,
}

/// The two streams, the sink, and how the program was called.
#[derive(Clone)]
pub struct Ui {
    sink: Arc<dyn Sink>,
    invocation: Arc<Invocation>,
}

impl Ui {
    /// Progress bars on a terminal, plain lines elsewhere.
    pub fn new(style: Style, invocation: Invocation) -> Self {
        let sink: Arc<dyn Sink> = if style.quiet {
            Arc::new(Quiet)
        } else if style.verbose || !std::io::stderr().is_terminal() {
            Arc::new(Plain { verbose: style.verbose })
        } else {
            Arc::new(terminal::Terminal::new())
        };
        Self { sink, invocation: Arc::new(invocation) }
    }

    /// A command that acts on the same deployment, as this user types it.
    pub fn run(&self, line: &str) -> String {
        self.invocation.run(line)
    }

    /// A command without the global options, as this user types it.
    pub fn run_bare(&self, line: &str) -> String {
        self.invocation.run_bare(line)
    }

    /// A next step, with its commands as this user types them.
    pub fn next(&self, next: &Next) -> String {
        self.invocation.next(next)
    }

    /// The sink, for code that only sends events.
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.sink)
    }

    /// The sink, borrowed.
    pub fn sink_ref(&self) -> &dyn Sink {
        &*self.sink
    }

    /// Shows what the command waits for, until the next event.
    pub fn wait(&self, what: impl Into<String>) {
        self.sink.event(Event::Wait(what.into()));
    }

    /// Clears the waiting line before a question or another program writes to the terminal.
    pub fn make_way(&self) {
        self.sink.make_way();
    }

    /// A message.
    pub fn say(&self, line: impl Into<String>) {
        self.sink.event(Event::Say(line.into()));
    }

    /// A warning.
    pub fn warn(&self, line: impl Into<String>) {
        self.sink.event(Event::Warn(line.into()));
    }

    /// A result of two columns, on stdout: a label and its text.
    pub fn pair(&self, what: &str, how: &str) {
        self.entry(&format!("{what:<10} "), how);
    }

    /// A result, on stdout. On a narrow terminal, continuation lines are indented to where the text begins.
    pub fn entry(&self, first: &str, text: &str) {
        let line = format!("{first}{text}");
        match std::io::stdout().is_terminal() {
            true => self.result(&wrapped::line(&line, console::Term::stdout().size().1, first.chars().count())),
            false => self.result(&line),
        }
    }

    /// A result for `--json`: one of the documents of `commands`.
    pub fn document(&self, document: &impl Serialize) {
        // A document contains nothing that JSON cannot represent.
        if let Ok(text) = serde_json::to_string(document) {
            self.result(&printable::json(&text));
        }
    }

    /// A secret, on stdout: unchanged, so that it can be piped, and a line end.
    pub fn exactly(&self, secret: &str) {
        match std::io::stdout().is_terminal() {
            true => self.result(secret),
            false => _ = writeln!(std::io::stdout(), "{secret}"),
        }
    }

    /// A line of a log, on stdout. A terminal shows the program that printed it, if it is the log of several.
    pub fn line(&self, origin: Option<&str>, text: &str) {
        let Some(origin) = origin.filter(|_| std::io::stdout().is_terminal()) else { return self.result(text) };
        self.make_way();
        let (origin, text) = (format!("{:<10} | ", printable::text(origin)), printable::text(text));
        let origin = if color() { format!("\x1b[36m{origin}\x1b[0m") } else { origin };
        let _ = writeln!(std::io::stdout(), "{origin}{text}");
    }

    /// A result, on stdout. A closed pipe is not an error.
    pub fn result(&self, line: &str) {
        self.make_way();
        let _ = writeln!(std::io::stdout(), "{}", printable::text(line));
    }
}

/// stderr for lines of other crates, such as those of `-v`.
pub fn stderr() -> impl Write {
    Cleaned(std::io::stderr())
}

/// Removes control characters. Each line is written in one piece.
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

/// Whether stderr gets colour: <https://no-color.org>
pub fn color() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

struct Quiet;

impl Sink for Quiet {
    fn event(&self, _: Event) {}
}

/// One line per event, for files and CI.
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
