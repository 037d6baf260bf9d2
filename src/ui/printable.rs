//! Removes control characters from text. Logs, reports, tags and AWS's messages are untrusted: an escape sequence in them could
//! rename the window, hide a line or reverse a command before it is copied.
//!
//! Everything that `ui` prints passes through this module. Only `ui` adds colours, afterwards.

use std::borrow::Cow;
use std::fmt::Write;

use crate::base::event::Event;

/// Replaces an unprintable character.
const REPLACEMENT: char = '\u{fffd}';

/// Format characters (Unicode's category Cf) and the separators of lines and paragraphs, as of Unicode 16:
/// <https://www.unicode.org/Public/16.0.0/ucd/extracted/DerivedGeneralCategory.txt>
const FORMATS: [(char, char); 22] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{2064}'),
    ('\u{2066}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// Whether a terminal would interpret the character, or show nothing for it.
pub(super) fn unprintable(character: char) -> bool {
    let within = |(first, last): &(char, char)| (*first..=*last).contains(&character);
    // `is_control` is C0, DEL and C1.
    (character.is_control() && !matches!(character, '\n' | '\t')) || FORMATS.iter().any(within)
}

/// The text with each such character replaced.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if !text.contains(unprintable) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|one| if unprintable(one) { REPLACEMENT } else { one }).collect())
}

impl Event {
    /// The same event without unprintable characters. Every sink calls it first.
    pub(super) fn printable(self) -> Self {
        let text = |what: String| text(&what).into_owned();
        match self {
            Event::Wait(what) => Event::Wait(text(what)),
            Event::Say(line) => Event::Say(text(line)),
            Event::Warn(line) => Event::Warn(text(line)),
            Event::Begin(topic, what) => Event::Begin(topic, text(what)),
            Event::Go(topic, what) => Event::Go(topic, text(what)),
            Event::Done(topic, what) => Event::Done(topic, text(what)),
            Event::Fail(topic, what) => Event::Fail(topic, text(what)),
            Event::Leave(topic, what) => Event::Leave(topic, text(what)),
        }
    }
}

/// JSON with each such character as an escape. They occur only in its strings, so nothing is lost.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if unprintable(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Strings with many unprintable characters.
    pub fn hostile() -> impl Strategy<Value = String> {
        let bad = FORMATS.iter().map(|(first, _)| *first).chain("\0\u{7}\u{1b}\r\u{7f}\u{85}\u{9b}\n\t".chars());
        let one = prop_oneof![any::<char>(), proptest::sample::select(bad.collect::<Vec<_>>())];
        proptest::collection::vec(one, 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn text_has_no_unprintable_character(input in hostile()) {
            let shown = text(&input);
            prop_assert!(!shown.contains(unprintable), "{shown:?}");
            prop_assert_eq!(shown.chars().count(), input.chars().count());
        }

        #[test]
        fn json_escapes_lose_nothing(input in hostile()) {
            let written = serde_json::to_string(&input).unwrap();
            let shown = json(&written);
            prop_assert!(!shown.contains(unprintable), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), input);
        }
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        let plain = "längst 日本語 🚀 é\tcolumn\nline";
        assert_eq!(text(plain), plain);
        assert_eq!(text("\u{1b}]0;pwned\u{7}"), "\u{fffd}]0;pwned\u{fffd}");
    }
}
