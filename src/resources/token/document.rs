//! The content of the parameter: the token, and during a rotation window the previous one.

use serde::{Deserialize, Serialize};

use crate::base::error::{Failure, Result};
use crate::base::secret::Secret;

/// The content of the parameter.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The current token.
    pub current: Secret,
    /// The previous token, during the rotation window.
    #[serde(default)]
    pub previous: Option<Secret>,
    /// The end of the rotation window, in seconds since 1970.
    #[serde(default)]
    pub previous_until: Option<i64>,
}

impl Document {
    /// A document without a previous token.
    pub fn of(token: Secret) -> Self {
        Self { current: token, previous: None, previous_until: None }
    }

    /// This token, and the previous one until the given time. The same token again changes nothing.
    pub(super) fn after(found: Option<Self>, fresh: &str, until: i64) -> Self {
        match found {
            Some(same) if *same.current == *fresh => same,
            Some(old) => Self { current: fresh.into(), previous: Some(old.current), previous_until: Some(until) },
            None => Self::of(fresh.into()),
        }
    }

    /// The previous token and the end of its rotation window, if it has not ended.
    pub fn before(&self, now: i64) -> Option<(&str, i64)> {
        let until = self.previous_until.unwrap_or_default();
        self.previous
            .as_deref()
            .filter(|previous| now < until && **previous != *self.current)
            .map(|before| (before, until))
    }

    /// SSM refuses `{{`, which it takes for a reference to another parameter; JSON has an escape for it.
    pub(super) fn to_json(&self) -> Result<Secret> {
        // The error would quote the token, so it is omitted.
        let text = serde_json::to_string(self).map_err(|_| Failure::bug("cannot write the token as JSON"))?;
        Ok(Secret::from(text).replace("{{", "{\\u007b").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_escaped() {
        let text = Document::of("a{{{b}}".into()).to_json().unwrap();
        assert!(!text.contains("{{"), "{}", &*text);
        let back: Document = serde_json::from_str(&text).unwrap();
        assert_eq!(&*back.current, "a{{{b}}");
    }

    #[test]
    fn the_previous_token_is_accepted_until_its_window_ends() {
        let document = Document::after(Some(Document::of("old".into())), "new", 100);
        assert_eq!(document.before(99), Some(("old", 100)));
        assert_eq!(document.before(100), None);
        assert!(Document::after(Some(document), "newer", 200).before(99) == Some(("new", 200)));
        assert_eq!(Document::of("alone".into()).before(0), None);
        assert_eq!(Document::after(None, "after an invalid document", 100).before(0), None);
    }

    #[test]
    fn the_same_token_again_is_not_its_own_previous_one() {
        let document = Document::after(Some(Document::of("old".into())), "new", 100);
        let again = Document::after(Some(document), "new", 200);
        assert_eq!(again.before(99), Some(("old", 100)), "its rotation window does not restart");
        assert_eq!(Document::after(Some(Document::of("same".into())), "same", 100).before(0), None);
    }
}
