//! An IAM policy document in canonical form: documents with the same content are equal, whatever their white space and
//! order of keys.

use std::sync::Arc;

use serde_json::Value;

/// The document's text. A clone is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Arc<str>);

impl Document {
    /// The document that AWS returned. Text that is not JSON stays as it is, so it equals no document of ours.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).map_or_else(|_| Self(text.into()), |value: Value| Self::from(&value))
    }

    /// The text for AWS.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Value> for Document {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_order_of_keys_and_white_space_are_ignored() {
        let ours = Document::from(&json!({"Version": "1", "Statement": [{"Sid": "A", "Effect": "Deny"}]}));
        assert_eq!(Document::read(r#"{ "Statement": [{"Effect": "Deny", "Sid": "A"}], "Version": "1" }"#), ours);
        assert_eq!(Document::read(ours.as_str()), ours);
        assert_ne!(Document::read(r#"{"Statement": [{"Effect": "Allow", "Sid": "A"}], "Version": "1"}"#), ours);
        assert_ne!(Document::read("{"), ours);
    }
}
