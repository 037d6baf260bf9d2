//! Lines for narrow terminals: broken between words, and what follows stands in.

use textwrap::{Options, WordSeparator, WordSplitter};

/// What somebody may want to copy: a terminal that breaks the line itself gives it back in one piece.
const TO_COPY: [&str; 4] = ["devopsctl ", "cargo run", "curl ", "$("];

/// Breaks what is wider than the terminal; what follows stands in by so many columns.
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
    fn words_stay_whole_and_what_follows_stands_in() {
        let text = "+ security group, ingress, key pair, role, token, bucket";
        assert_eq!(line(text, 40, 2), "+ security group, ingress, key pair,\n  role, token, bucket");
        assert_eq!(line(text, 80, 2), text);
        // Colours take no room.
        assert_eq!(line("\x1b[32m✓\x1b[0m address: 203.0.113.7 of all addresses", 40, 2).lines().count(), 1);
        // A line that has been given its shape keeps it.
        assert_eq!(line("name       hello\nsecond", 40, 2), "name       hello\nsecond");
    }

    #[test]
    fn what_may_be_copied_is_left_to_the_terminal() {
        let text = "try it: curl -H \"Authorization: Token $(devopsctl token)\" http://127.0.0.1:18080";
        assert_eq!(line(text, 40, 2), text);
    }
}
