//! Reads `.env` files: names and values as python-dotenv reads them, without its substitution of `${NAME}`.
//!
//! The crates for this (dotenvy, dotenvs) always put the environment's value in the place of a `$NAME`, which would store another
//! password than the one in the file. The errors of dotenvy also quote the line.
//!
//! A text that tools read in different ways is refused with its line's number. No error contains text of the file, because a
//! line that cannot be read may be part of a secret.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::base::secret::Secret;
use crate::config;

/// A variable of the file.
pub struct Entry {
    /// Its name, which is valid for an environment variable.
    pub name: String,
    /// Its value; may be empty.
    pub value: Secret,
}

/// Why a line cannot be read. The texts are constants, so they cannot contain a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The mistake, as a phrase.
    pub what: &'static str,
    /// How to correct it.
    pub hint: &'static str,
}

type Parsed<T> = Result<T, Mistake>;

/// The variables of a file, in its order.
///
/// # Errors
/// A line cannot be read, or a name is set twice.
pub fn parse(text: &str) -> Parsed<Vec<Entry>> {
    let text = Zeroizing::new(text.replace("\r\n", "\n").replace('\r', "\n"));
    let mut reader = Reader { rest: &text, line: 1 };
    let (mut entries, mut seen) = (Vec::new(), BTreeMap::new());
    while reader.next_line() {
        let line = reader.line;
        let entry = reader.entry()?;
        if seen.insert(entry.name.clone(), line).is_some() {
            return Err(Mistake {
                line,
                what: "sets a name that an earlier line sets",
                hint: "remove one of the lines",
            });
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The text that is left, and the number of its first line.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Skips blank lines and comments. Returns whether anything is left.
    fn next_line(&mut self) -> bool {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn entry(&mut self) -> Parsed<Entry> {
        if let Some(after) = self.rest.strip_prefix("export").filter(|after| after.starts_with([' ', '\t'])) {
            self.take(self.rest.len() - after.trim_start_matches([' ', '\t']).len());
        }
        let end = self.rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(self.rest.len());
        let name = self.take(end);
        self.blanks();
        if !config::is_variable(name) || !self.rest.starts_with('=') {
            return Err(self.mistake("is not NAME=value", "begin it with a name of letters, digits and _, and ="));
        }
        self.take(1);
        self.blanks();
        Ok(Entry { name: name.to_owned(), value: self.value()? })
    }

    fn value(&mut self) -> Parsed<Secret> {
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            Some('#') => Err(self.mistake("has a value that begins with #", "put the value into quotes")),
            _ => self.plain(),
        }
    }

    /// A value without quotes, up to the line's end or a comment after white space.
    fn plain(&mut self) -> Parsed<Secret> {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let comment = line.match_indices('#').find(|(at, _)| line[..*at].ends_with(char::is_whitespace));
        let value = line[..comment.map_or(line.len(), |(at, _)| at)].trim_end();
        if value.starts_with("-----BEGIN ") {
            let hint = "put all lines of the value into one pair of quotes";
            return Err(self.mistake("begins a value of several lines without quotes", hint));
        }
        self.literal(value)?;
        self.take(line.len());
        Ok(value.into())
    }

    /// A value in quotes, which may have several lines, and nothing but a comment after it.
    fn quoted(&mut self, quote: char) -> Parsed<Secret> {
        let text = &self.rest[1..];
        let mut escaped = false;
        let end = text.find(|c| {
            let closes = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let Some(end) = end else {
            return Err(self
                .mistake("opens a quote that nothing closes", "close the quote; write a quote inside as \\' or \\\""));
        };
        let raw = &text[..end];
        if quote == '"' {
            self.literal(raw)?;
        }
        let value = unescaped(raw, quote);
        self.take(end + 2);
        self.blanks();
        let line = self.rest.split('\n').next().unwrap_or_default();
        if !line.is_empty() && !line.starts_with('#') {
            return Err(self.mistake("has text after the closing quote", "put the whole value into one pair of quotes"));
        }
        self.take(line.len());
        Ok(value)
    }

    /// Other tools put a variable of the environment in its place, which is another value on every machine.
    fn literal(&self, value: &str) -> Parsed<()> {
        match value.contains("${") {
            true => Err(self.mistake(
                "refers to another variable with ${",
                "write the variable's value instead; a literal ${ needs single quotes",
            )),
            false => Ok(()),
        }
    }

    fn blanks(&mut self) {
        self.take(self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len());
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn mistake(&self, what: &'static str, hint: &'static str) -> Mistake {
        Mistake { line: self.line, what, hint }
    }
}

/// The text with its escapes replaced. A backslash before any other character stays.
fn unescaped(raw: &str, quote: char) -> Secret {
    // With this capacity no smaller copy is left in memory.
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(next) = chars.next() {
        let meant = (next == '\\').then(|| chars.peek().and_then(|escaped| meaning(*escaped, quote))).flatten();
        value.push(meant.unwrap_or(next));
        if meant.is_some() {
            chars.next();
        }
    }
    value.into()
}

fn meaning(escaped: char, quote: char) -> Option<char> {
    match escaped {
        '\\' | '\'' => Some(escaped),
        _ if quote == '\'' => None,
        '"' => Some('"'),
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        text: String,
        values: Option<BTreeMap<String, String>>,
        refused: Option<usize>,
    }

    /// `tests/secrets/test_env_files.py` compares the same cases with python-dotenv.
    #[test]
    fn the_shared_cases_are_read() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/secrets/env_files.json")).unwrap();
        for Case { text, values, refused } in cases {
            match parse(&text) {
                Ok(entries) => {
                    let found = entries.iter().map(|entry| (entry.name.clone(), entry.value.to_string())).collect();
                    assert_eq!(Some(found), values, "{text:?}");
                }
                Err(mistake) => assert_eq!(Some(mistake.line), refused, "{text:?}: {mistake:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_of_its_lines(text in "(A=|B|['\"\\\\#= \n\r${}xé]){0,40}") {
            let lines = text.replace("\r\n", "\n").replace('\r', "\n").matches('\n').count() + 1;
            if let Err(mistake) = parse(&text) {
                prop_assert!((1..=lines).contains(&mistake.line));
            }
        }

        #[test]
        fn a_value_in_double_quotes_is_read_back(value in "[ -~\n\té]{0,40}") {
            prop_assume!(!value.contains("${"));
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let entries = parse(&format!("A=\"{quoted}\"  # why\n")).unwrap();
            prop_assert_eq!(&*entries[0].value, value);
        }

        #[test]
        fn a_value_in_single_quotes_is_read_back(value in "[ -~\n\té]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            prop_assert_eq!(&*parse(&format!("A='{quoted}'")).unwrap()[0].value, value);
        }
    }
}
