//! Lines for narrow terminals: broken between words, with indented continuation lines.

use textwrap::{Options, WordSeparator, WordSplitter};

/// Marks of a command to copy: a line that the terminal itself breaks is copied in one piece.
const TO_COPY: [&str; 4] = ["devopsctl ", "cargo run", "curl ", "$("];

/// Breaks a line that is wider than the terminal; continuation lines are indented by this many columns.
pub(super) fn line(text: &str, width: u16, indent: usize) -> String {
    if TO_COPY.iter().any(|mark| text.contains(mark)) {
        return text.to_owned();
    }
    let indent = " ".repeat(indent);
    let options = Options::new(usize::from(width).max(40))
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let lines: Vec<String> = text.split('\n').map(|line| textwrap::fill(line, &options)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn words_stay_whole_and_continuation_lines_are_indented() {
        let text = "+ security group, ingress, key pair, role, token, bucket";
        assert_eq!(line(text, 40, 2), "+ security group, ingress, key pair,\n  role, token, bucket");
        assert_eq!(line(text, 80, 2), text);
        // Colours have no width.
        assert_eq!(line("\x1b[32m✓\x1b[0m address: 203.0.113.7 of all addresses", 40, 2).lines().count(), 1);
        // Existing line breaks stay.
        assert_eq!(line("name       hello\nsecond", 40, 2), "name       hello\nsecond");
    }

    #[test]
    fn commands_to_copy_are_not_broken() {
        let text = "try it: curl -H \"Authorization: Token $(devopsctl token)\" http://127.0.0.1:18080";
        assert_eq!(line(text, 40, 2), text);
    }
}
