//! What the parameter holds: the token, and for a while the one before it.

use serde::{Deserialize, Serialize};

use crate::base::error::{Failure, Result};
use crate::base::secret::Secret;

/// What the parameter holds.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The token that counts.
    pub current: Secret,
    /// The one before, while it still counts.
    #[serde(default)]
    pub previous: Option<Secret>,
    /// Until when, in seconds since 1970.
    #[serde(default)]
    pub previous_until: Option<i64>,
}

impl Document {
    /// A token alone.
    pub fn of(token: Secret) -> Self {
        Self { current: token, previous: None, previous_until: None }
    }

    /// This token, and the one that counted until then for some time yet. The same token again changes nothing.
    pub(super) fn after(found: Option<Self>, fresh: &str, until: i64) -> Self {
        match found {
            Some(same) if *same.current == *fresh => same,
            Some(old) => Self { current: fresh.into(), previous: Some(old.current), previous_until: Some(until) },
            None => Self::of(fresh.into()),
        }
    }

    /// The one before and until when it counts, as long as it does.
    pub fn before(&self, now: i64) -> Option<(&str, i64)> {
        let until = self.previous_until.unwrap_or_default();
        self.previous
            .as_deref()
            .filter(|previous| now < until && **previous != *self.current)
            .map(|before| (before, until))
    }

    /// SSM refuses `{{`, which it takes for a reference to another parameter; JSON can say it otherwise.
    pub(super) fn to_json(&self) -> Result<Secret> {
        // What the error says of the token is left out.
        let text = serde_json::to_string(self).map_err(|_| Failure::bug("cannot write the token as JSON"))?;
        Ok(Secret::from(text).replace("{{", "{\\u007b").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_reach_the_other_side() {
        let text = Document::of("a{{{b}}".into()).to_json().unwrap();
        assert!(!text.contains("{{"), "{}", &*text);
        let back: Document = serde_json::from_str(&text).unwrap();
        assert_eq!(&*back.current, "a{{{b}}");
    }

    #[test]
    fn the_one_before_counts_until_its_time_is_over() {
        let document = Document::after(Some(Document::of("old".into())), "new", 100);
        assert_eq!(document.before(99), Some(("old", 100)));
        assert_eq!(document.before(100), None);
        assert!(Document::after(Some(document), "newer", 200).before(99) == Some(("new", 200)));
        assert_eq!(Document::of("alone".into()).before(0), None);
        assert_eq!(Document::after(None, "after what cannot be read", 100).before(0), None);
    }

    #[test]
    fn the_same_token_again_is_not_its_own_predecessor() {
        let document = Document::after(Some(Document::of("old".into())), "new", 100);
        let again = Document::after(Some(document), "new", 200);
        assert_eq!(again.before(99), Some(("old", 100)), "nor does its time begin anew");
        assert_eq!(Document::after(Some(Document::of("same".into())), "same", 100).before(0), None);
    }
}
