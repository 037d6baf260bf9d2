//! How a [`Failure`] looks: the headline with its causes, then each finding at its place, then what to type next.

use miette::{GraphicalReportHandler, GraphicalTheme};
use textwrap::{WordSeparator, WordSplitter};

use crate::error::Failure;

/// Renders for a terminal of this width.
pub fn render(failure: &Failure, width: usize, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    // An ARN, a path or a command stays in one piece: somebody may want to copy it.
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.clamp(40, 120))
        .with_break_words(false)
        .with_word_separator(WordSeparator::AsciiSpace)
        .with_word_splitter(WordSplitter::NoHyphenation)
        .without_syntax_highlighting();
    let mut out = String::new();
    // Writing to a String cannot fail, and an error about an error would help nobody.
    let _ = handler.render_report(&mut out, failure);
    for finding in failure.findings_in_file() {
        let _ = handler.render_report(&mut out, finding);
    }
    out
}
