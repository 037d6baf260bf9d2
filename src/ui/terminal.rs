//! A terminal: one line a thing that is worked on, finished lines above them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Event, Sink, Topic};

pub(super) struct Terminal {
    lines: MultiProgress,
    running: Mutex<BTreeMap<Topic, ProgressBar>>,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { lines: MultiProgress::new(), running: Mutex::default() }
    }

    fn begin(&self, topic: Topic, what: String) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = running.entry(topic).or_insert_with(|| {
            let bar = self.lines.add(ProgressBar::new_spinner().with_prefix(topic));
            bar.set_style(style());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        bar.set_message(what);
    }

    fn end(&self, topic: Topic, line: String) {
        if let Some(bar) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(topic) {
            bar.finish_and_clear();
        }
        self.print(line);
    }

    fn print(&self, line: String) {
        // A terminal that has gone away is noticed by the next write to it.
        let _ = self.lines.println(line);
    }
}

/// A template that does not parse would show as no style at all, and a test would see it.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner:.cyan} {prefix}: {wide_msg} {elapsed:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn painted(code: &str, text: &str) -> String {
    if super::color() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

impl Sink for Terminal {
    fn event(&self, event: Event) {
        match event {
            Event::Say(line) => self.print(line),
            Event::Warn(line) => self.print(format!("{} {line}", painted("33", "warning:"))),
            Event::Begin(topic, what) | Event::Go(topic, what) => self.begin(topic, what),
            Event::Done(topic, what) => self.end(topic, format!("{} {topic}: {what}", painted("32", "✓"))),
            Event::Fail(topic, what) => self.end(topic, format!("{} {topic}: {what}", painted("31", "✗"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_parses() {
        assert!(indicatif::ProgressStyle::with_template("{spinner:.cyan} {prefix}: {wide_msg} {elapsed:.dim}").is_ok());
    }
}
