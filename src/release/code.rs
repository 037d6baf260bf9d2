//! Splits Python's source into logical lines, without comments and the content of strings.
//!
//! This is not a parser: the parsers for Rust are internal to other projects or too large. To find out whether a line assigns,
//! defines, imports or decorates, its end and its strings are enough. TOML's strings, comments and brackets are like Python's, so
//! pyproject.toml is read in the same way.

use regex::Regex;

/// A logical line: brackets and backslashes join several physical lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The number of its first physical line, from 1.
    pub number: usize,
    /// Its indentation.
    pub indent: usize,
    /// The code without comments; each string is replaced by its index in `strings`, in quotes.
    pub code: String,
    /// The content of the strings.
    pub strings: Vec<String>,
}

impl Line {
    /// The string with this index in `code`.
    pub fn string(&self, index: &str) -> &str {
        index.parse::<usize>().ok().and_then(|index| self.strings.get(index)).map_or("", String::as_str)
    }
}

/// All lines that are not blank.
pub fn lines(text: &str) -> Vec<Line> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let mut reader = Reader { chars: text.chars().collect(), at: 0, number: 1 };
    let mut lines = Vec::new();
    while reader.peek(0).is_some() {
        reader.line(&mut lines);
    }
    lines
}

/// Whether the code contains this word, or imports everything of another module. Comments and strings do not count.
pub fn mentions(source: &str, word: &str) -> bool {
    let other = |c: char| !c.is_alphanumeric() && c != '_';
    lines(source)
        .iter()
        .any(|line| line.code.split(other).any(|part| part == word) || line.code.trim_end().ends_with("import *"))
}

/// The logical lines that are not indented.
pub fn top_level(source: &str) -> Vec<String> {
    lines(source).into_iter().filter(|line| line.indent == 0).map(|line| line.code).collect()
}

/// The top-level packages that the module always imports, each with its line; without indented and relative imports.
pub fn imports(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for line in lines(source).iter().filter(|line| line.indent == 0) {
        let names = match line.code.split_once(' ') {
            Some(("import", names)) => names.split(',').collect(),
            Some(("from", rest)) => vec![rest],
            _ => Vec::new(),
        };
        let word = |name: &str| name.split_whitespace().next().map(root).unwrap_or_default().to_owned();
        let names = names.into_iter().map(word).filter(|name| !name.is_empty());
        found.extend(names.map(|name| (line.number, name)));
    }
    found
}

/// The first part of a dotted name.
pub fn root(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// A constant pattern.
pub fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a regex")
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    number: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek(0)?;
        self.at += 1;
        self.number += usize::from(next == '\n');
        Some(next)
    }

    fn line(&mut self, lines: &mut Vec<Line>) {
        let mut line = Line { number: self.number, indent: self.indent(), ..Line::default() };
        let mut depth = 0_usize;
        while let Some(next) = self.take() {
            match next {
                '#' => self.skip_comment(),
                '"' | '\'' => self.string(next, &mut line),
                '\n' if depth == 0 => break,
                ';' if depth == 0 => {
                    let rest = Line { number: self.number, indent: line.indent, ..Line::default() };
                    keep(std::mem::replace(&mut line, rest), lines);
                }
                '\\' if self.peek(0) == Some('\n') => {
                    self.take();
                    blank(&mut line.code);
                }
                next if next.is_whitespace() => blank(&mut line.code),
                next => {
                    match next {
                        '(' | '[' | '{' => depth += 1,
                        ')' | ']' | '}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    line.code.push(next);
                }
            }
        }
        keep(line, lines);
    }

    fn indent(&mut self) -> usize {
        let mut indent = 0;
        while let Some(next @ (' ' | '\t' | '\u{c}')) = self.peek(0) {
            indent = if next == '\t' { (indent / 8 + 1) * 8 } else { indent + 1 };
            self.at += 1;
        }
        indent
    }

    fn skip_comment(&mut self) {
        while self.peek(0).is_some_and(|next| next != '\n') {
            self.at += 1;
        }
    }

    fn string(&mut self, quote: char, line: &mut Line) {
        let raw = take_prefix(&mut line.code).contains(['r', 'R']);
        let triple = self.peek(0) == Some(quote) && self.peek(1) == Some(quote);
        if triple {
            self.at += 2;
        }
        let mut text = String::new();
        while let Some(next) = self.peek(0) {
            let closes = next == quote && (!triple || (self.peek(1) == Some(quote) && self.peek(2) == Some(quote)));
            if closes {
                self.at += if triple { 3 } else { 1 };
                break;
            }
            // An unclosed string ends with its line, so that the rest of the file can be read.
            if next == '\n' && !triple {
                break;
            }
            self.take();
            if next != '\\' {
                text.push(next);
                continue;
            }
            if let Some(escaped) = self.take() {
                if raw || !(escaped == '\\' || escaped == '"' || escaped == '\'') {
                    text.push('\\');
                }
                text.push(escaped);
            }
        }
        line.code.push_str(&format!("\"{}\"", line.strings.len()));
        line.strings.push(text);
    }
}

/// Removes and returns the prefix of a string, such as the `rb` of `rb"x"`.
fn take_prefix(code: &mut String) -> String {
    let word = code.len() - code.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    let start = code.len() - word;
    let is_prefix = (1..=2).contains(&word) && code[start..].chars().all(|c| "rRbBuUfFtT".contains(c));
    if is_prefix { code.split_off(start) } else { String::new() }
}

fn blank(code: &mut String) {
    if !code.is_empty() && !code.ends_with(' ') {
        code.push(' ');
    }
}

fn keep(mut line: Line, lines: &mut Vec<Line>) {
    line.code.truncate(line.code.trim_end().len());
    if !line.code.is_empty() {
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(text: &str) -> Vec<String> {
        lines(text).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn logical_lines_are_joined_and_split() {
        let text =
            "a = 1  # b = 2\n'''\nc = 3\n'''\nd = f(\n    'x', # e\n    r\"y\\\"\",\n)\nf = 1; g = 2\nh = \\\n  3\n";
        assert_eq!(code(text), ["a = 1", "\"0\"", "d = f( \"0\", \"1\", )", "f = 1", "g = 2", "h = 3"]);
        let numbers: Vec<usize> = lines(text).iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 2, 5, 9, 9, 10]);
        assert_eq!(lines(text)[2].strings, ["x", "y\\\""]);
    }

    #[test]
    fn an_unclosed_string_ends_with_its_line() {
        assert_eq!(code("a = 'oops\nb = 1\n"), ["a = \"0\"", "b = 1"]);
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_are_ignored() {
        assert_eq!(code("\u{feff}a = 1\r\nif a:\r\n\tb = 2\r\n"), ["a = 1", "if a:", "b = 2"]);
        assert_eq!(lines("a\n\tb")[1].indent, 8);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_the_end(text in any::<String>()) {
            let count = text.replace("\r\n", "\n").replace('\r', "\n").matches('\n').count() + 1;
            prop_assert!(lines(&text).iter().all(|line| (1..=count).contains(&line.number)));
        }

        #[test]
        fn any_sequence_of_quotes_is_read_to_the_end(text in "[a\"'\\\\#\n();frb ]{0,60}") {
            for line in lines(&text) {
                prop_assert!(!line.code.contains('#') && !line.code.contains('\'') && !line.code.contains('\n'));
            }
        }

        #[test]
        fn comments_and_strings_are_not_code(words in "[a-z =().]{0,40}", quote in "\"|'|\"\"\"|'''") {
            prop_assert_eq!(code(&format!("# {words}\n")), Vec::<String>::new());
            let found = lines(&format!("x = {quote}{words}{quote}\ny = 1\n"));
            prop_assert_eq!(&found[0].code, "x = \"0\"");
            prop_assert_eq!(&found[0].strings[0], &words);
            prop_assert_eq!((found[1].code.as_str(), found[1].number), ("y = 1", 2));
        }

        #[test]
        fn text_before_a_line_only_moves_it(before in "(# [a-z\"']*\n|\"\"\"[a-z'\n]*\"\"\"\n|\n){0,5}") {
            let found = lines(&format!("{before}app = Flask(__name__)\n"));
            let last = found.last().unwrap();
            prop_assert_eq!(&last.code, "app = Flask(__name__)");
            prop_assert_eq!(last.number, before.matches('\n').count() + 1);
        }
    }
}
