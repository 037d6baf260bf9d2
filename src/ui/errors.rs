//! Renders a [`Failure`]: the headline with its causes, the next step, then each finding at its place.

use miette::{GraphicalReportHandler, GraphicalTheme};
use textwrap::{WordSeparator, WordSplitter};

use super::printable;
use crate::base::error::Failure;

/// Renders a failure for a terminal of this width.
pub fn render(failure: &Failure, width: usize, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    // An ARN, a path or a command stays in one piece, so that it can be copied.
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width.clamp(40, 120))
        .with_break_words(false)
        .with_word_separator(WordSeparator::AsciiSpace)
        .with_word_splitter(WordSplitter::NoHyphenation)
        .without_syntax_highlighting();
    let failure = &failure.mapped(&|text| printable::text(text).into_owned());
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = handler.render_report(&mut out, failure);
    for finding in failure.findings_in_file() {
        let _ = handler.render_report(&mut out, finding);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::error::{Exit, Finding};

    proptest! {
        #[test]
        fn no_error_prints_a_control_character(text in printable::tests::hostile()) {
            let failing = || Failure::new(Exit::Failed, &*text).because(&*text).because(&*text).standing(&*text);
            let finding = Finding {
                what: text.clone(),
                label: text.clone(),
                span: (0, text.len().min(1)).into(),
                hint: text.clone(),
                source: miette::NamedSource::new(&text, text.clone()),
            };
            for failure in [failing().next(&*text), failing().findings(vec![finding])] {
                let shown = render(&failure, 80, false);
                prop_assert!(!shown.contains(printable::unprintable), "{shown:?}");
            }
        }
    }
}
