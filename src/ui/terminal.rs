//! Progress on a terminal: one line per running topic, finished lines above them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::base::event::{Event, Sink, Topic};

pub(super) struct Terminal {
    lines: MultiProgress,
    running: Mutex<BTreeMap<Topic, ProgressBar>>,
    waiting: Mutex<Option<ProgressBar>>,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { lines: MultiProgress::new(), running: Mutex::default(), waiting: Mutex::default() }
    }

    fn begin(&self, topic: Topic, what: String) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = running.entry(topic.clone()).or_insert_with(|| self.spinner(style(TOPIC)).with_prefix(topic));
        bar.set_message(what);
    }

    fn wait(&self, what: String) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get_or_insert_with(|| self.spinner(style(WAIT))).set_message(what);
    }

    fn spinner(&self, style: ProgressStyle) -> ProgressBar {
        let bar = self.lines.add(ProgressBar::new_spinner().with_style(style));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn end(&self, topic: &Topic, line: String) {
        if let Some(bar) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(topic) {
            bar.finish_and_clear();
        }
        self.print(line);
    }

    fn print(&self, line: String) {
        // The next write notices a closed terminal.
        let _ = self.lines.println(super::wrapped::line(&line, console::Term::stderr().size().1, 2));
    }
}

const TOPIC: &str = "{spinner:.cyan} {prefix}: {wide_msg} {elapsed:.dim}";
const WAIT: &str = "{spinner:.cyan} {wide_msg}";

/// A test checks that the templates parse.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn painted(code: &str, text: &str) -> String {
    if super::color() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

impl Sink for Terminal {
    fn event(&self, event: Event) {
        if !matches!(event, Event::Wait(_)) {
            self.make_way();
        }
        match event.printable() {
            Event::Wait(what) => self.wait(what),
            Event::Say(line) => self.print(line),
            Event::Warn(line) => self.print(format!("{} {line}", painted("33", "warning:"))),
            Event::Begin(topic, what) | Event::Go(topic, what) => self.begin(topic, what),
            Event::Done(topic, what) => self.end(&topic, format!("{} {topic}: {what}", painted("32", "✓"))),
            Event::Leave(topic, what) => self.end(&topic, format!("  {topic}: {what}")),
            Event::Fail(topic, what) => self.end(&topic, format!("{} {topic}: {what}", painted("31", "✗"))),
        }
    }

    fn make_way(&self) {
        if let Some(bar) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_templates_parse() {
        for template in [super::TOPIC, super::WAIT] {
            assert!(indicatif::ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
