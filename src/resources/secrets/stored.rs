//! The stored form of a secret's value, and the fingerprint of all secrets. `agent/orders/secrets.py` is the other side; both are
//! tested with the cases in `tests/secrets`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::State;
use crate::base::digest;
use crate::base::error::{Failure, Result};
use crate::base::secret::Secret;

/// The fingerprint of no secrets.
pub const NONE: &str = "none";

/// What a stored text begins with that is a JSON string.
const JSON: &str = "json:";

/// The text that SSM stores for a value. SSM refuses `{{`, which it takes for a reference to another parameter; JSON has an escape
/// for it.
pub(super) fn encode(value: &str) -> Result<Secret> {
    if !value.contains("{{") && !value.starts_with(JSON) {
        return Ok(value.into());
    }
    // The error would quote the value, so it is omitted.
    let text = serde_json::to_string(value).map_err(|_| Failure::bug("cannot write a secret as JSON"))?;
    let text = Secret::from(text);
    Ok(format!("{JSON}{}", &*Secret::from(text.replace('{', "\\u007b"))).into())
}

/// The value of a stored text. A text that devopsctl did not write is the value itself.
pub(super) fn decode(stored: Secret) -> Secret {
    let value = stored.strip_prefix(JSON).and_then(|text| serde_json::from_str::<Secret>(text).ok());
    value.unwrap_or(stored)
}

/// A short hash of all names and versions. A secret that was deleted and set again has its old version number, so the time of the
/// write is part of it. Parameters in folders do not count, because the agent does not read them.
pub fn fingerprint(secrets: &BTreeMap<String, State>) -> String {
    let mut lines = String::new();
    for (name, State { version, modified }) in secrets.iter().filter(|(name, _)| !name.contains('/')) {
        let _ = writeln!(lines, "{name} {version} {modified}");
    }
    if lines.is_empty() { NONE.to_owned() } else { digest::short(lines) }
}

/// Whether this is a fingerprint. It comes from a tag or from a report.
pub fn is_fingerprint(text: &str) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text == NONE || (text.len() == 16 && text.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::primitives::DateTime;
    use serde_json::Value;

    use super::*;
    use crate::resources::secrets::milliseconds;

    fn cases(file: &Value) -> impl Iterator<Item = (&Value, &str, &str)> {
        let cases = file.as_array().unwrap().iter();
        cases.map(|case| (&case["name"], case["value"].as_str().unwrap(), case["stored"].as_str().unwrap()))
    }

    #[test]
    fn values_are_stored_and_read() {
        let file: Value = serde_json::from_str(include_str!("../../../tests/secrets/values.json")).unwrap();
        for (name, value, stored) in cases(&file["written"]) {
            assert_eq!(&*encode(value).unwrap(), stored, "{name}");
            assert_eq!(&*decode(stored.into()), value, "{name}");
        }
        for (name, value, stored) in cases(&file["read"]) {
            assert_eq!(&*decode(stored.into()), value, "{name}");
        }
    }

    #[test]
    fn the_fingerprint_is_that_of_the_agent() {
        let file: Value = serde_json::from_str(include_str!("../../../tests/secrets/fingerprints.json")).unwrap();
        for case in file.as_array().unwrap() {
            let secrets = case["secrets"].as_array().unwrap().iter().map(|secret| {
                let modified = milliseconds(&DateTime::from_secs_f64(secret["modified"].as_f64().unwrap()));
                assert_eq!(Some(modified), secret["milliseconds"].as_i64(), "{}", case["name"]);
                let version = secret["version"].as_i64().unwrap();
                (secret["name"].as_str().unwrap().to_owned(), State { version, modified })
            });
            let made = fingerprint(&secrets.collect());
            assert_eq!(made, case["fingerprint"], "{}", case["name"]);
            assert!(is_fingerprint(&made), "{made}");
        }
    }

    #[test]
    fn a_parameter_in_a_folder_does_not_count() {
        let state = State { version: 1, modified: 1 };
        let one = BTreeMap::from([("KEY".to_owned(), state)]);
        let both = BTreeMap::from([("KEY".to_owned(), state), ("a/b".to_owned(), state)]);
        assert_eq!(fingerprint(&both), fingerprint(&one));
        assert_eq!(fingerprint(&BTreeMap::from([("a/b".to_owned(), state)])), NONE);
    }

    #[test]
    fn a_fingerprint_is_a_word_or_hexadecimal() {
        let id = "0123456789abcdef";
        let wrong = ["", "None", &id[1..], &format!("{id}0"), &id.to_uppercase(), &format!("{}\n", &id[1..])];
        wrong.into_iter().for_each(|wrong| assert!(!is_fingerprint(wrong), "{wrong:?}"));
    }
}
