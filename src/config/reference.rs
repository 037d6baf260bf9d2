//! References of `app.secrets` to secrets that are kept elsewhere in AWS: `ssm:/shared/db`, `secretsmanager:prod/db#password`.
//!
//! `agent/orders/references.py` is the other side; both are tested with the cases in `tests/secrets/references.json`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use super::check::{Checked, ensure};
use super::reader::Wrong;

const SSM: &str = "ssm:";
const SECRETS_MANAGER: &str = "secretsmanager:";

/// The maximum length of all different sources together: they are metadata of the release, which S3 limits to 2 KB.
const LONGEST: usize = 1024;

/// A name of the Parameter Store: <https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html>
static PARAMETER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^(?:[A-Za-z0-9_.-]+|(?:/[A-Za-z0-9_.-]+){1,15})$").expect("a regex"));
/// A name of Secrets Manager. Services of AWS have a `!` in the names of their secrets, such as `rds!db-…`.
static SECRET: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[A-Za-z0-9/_+=.@!-]+$").expect("a regex"));
static SECRET_ARN: LazyLock<Regex> = LazyLock::new(|| {
    let arn =
        "^arn:aws[a-z-]{0,10}:secretsmanager:([a-z0-9-]{1,32}):[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+-[A-Za-z0-9]{6}$";
    Regex::new(arn).expect("a regex")
});
static KEY: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[A-Za-z0-9_.-]{1,128}$").expect("a regex"));

/// A secret that is kept elsewhere in AWS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Where it is kept.
    pub source: Source,
    /// The key whose value is meant, if the secret is a JSON object.
    pub key: Option<String>,
}

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A parameter of SSM: its name.
    Parameter(String),
    /// A secret of Secrets Manager: its name, or its ARN with the random characters at the end.
    Secret(String),
}

impl Reference {
    /// Whether a text is meant as a reference, valid or not. Any other text may be a secret itself.
    pub fn is_meant(text: &str) -> bool {
        [SSM, SECRETS_MANAGER].iter().any(|prefix| text.starts_with(prefix))
    }

    /// Parses a reference.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let (source, key) = match text.split_once('#') {
            Some((source, key)) => (source, Some(key.to_owned())),
            None => (text, None),
        };
        let source = Source::parse(source)?;
        let Some(key) = key else { return Ok(Self { source, key: None }) };
        ensure(
            matches!(source, Source::Secret(_)),
            "has a key, but a parameter of SSM is one value",
            "remove the part from `#` on",
        )?;
        ensure(KEY.is_match(&key), "has no valid key", "a key has letters, digits and the characters _.-")?;
        Ok(Self { source, key: Some(key) })
    }
}

impl Source {
    /// Parses a source.
    ///
    /// # Errors
    /// The mistake.
    fn parse(text: &str) -> Result<Self, Wrong> {
        if let Some(name) = text.strip_prefix(SSM) {
            return parameter(name).map(|()| Self::Parameter(name.to_owned()));
        }
        let name = text.strip_prefix(SECRETS_MANAGER).unwrap_or_default();
        let arn = name.starts_with("arn:");
        ensure(
            if arn { SECRET_ARN.is_match(name) } else { SECRET.is_match(name) && name.len() <= 512 },
            "names no secret of Secrets Manager",
            match arn {
                true => "write the whole ARN, which ends in a hyphen and six characters",
                false => {
                    "write `secretsmanager:` and the secret's name or ARN; for one key of a JSON object, `#` and the key"
                }
            },
        )?;
        Ok(Self::Secret(name.to_owned()))
    }

    /// Reads a source that a release has as metadata; `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    /// The region of an ARN.
    pub fn region(&self) -> Option<&str> {
        let Self::Secret(arn) = self else { return None };
        Some(SECRET_ARN.captures(arn)?.get(1)?.as_str())
    }
}

/// Only the caller's own parameters: one of another account has an ARN, and a version or label would hide a change.
fn parameter(name: &str) -> Checked {
    ensure(
        !name.starts_with("arn:"),
        "is the ARN of a parameter",
        "write the parameter's name; a parameter of another account cannot be used, a secret of Secrets Manager can",
    )?;
    ensure(
        PARAMETER.is_match(name) && name.len() <= 512,
        "names no parameter of SSM",
        "write `ssm:` and the parameter's name, for example `ssm:/shared/db`, without a version",
    )?;
    let first = name.trim_start_matches('/').split('/').next().unwrap_or_default().to_ascii_lowercase();
    ensure(
        !first.starts_with("aws") && !first.starts_with("ssm"),
        "names a parameter of AWS",
        "name one of your account",
    )?;
    ensure(
        first != "devopsctl",
        "names a parameter that belongs to devopsctl",
        "set the secret with `devopsctl secrets set`, or name a parameter that is not below /devopsctl",
    )
}

/// Checks that the sources of all references together are not too long.
pub(super) fn fit<'a>(references: impl Iterator<Item = &'a Reference>) -> Checked {
    let sources: BTreeSet<String> = references.map(|reference| reference.source.to_string()).collect();
    let length: usize = sources.iter().map(|source| source.len() + 1).sum();
    ensure(
        length <= LONGEST,
        "refers to sources whose names have more than 1024 characters in all",
        "keep several values as keys of one JSON object in Secrets Manager, and refer to them with `#`",
    )
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(name) => write!(f, "{SSM}{name}"),
            Self::Secret(name) => write!(f, "{SECRETS_MANAGER}{name}"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, "#{key}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn references_are_read_as_the_agent_reads_them() {
        let file: Value = serde_json::from_str(include_str!("../../tests/secrets/references.json")).unwrap();
        for case in file["valid"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let Ok(reference) = Reference::parse(text) else { panic!("{text} is not read") };
            let (store, name) = match &reference.source {
                Source::Parameter(name) => ("ssm", name),
                Source::Secret(name) => ("secretsmanager", name),
            };
            assert_eq!((store, name.as_str()), (case["store"].as_str().unwrap(), case["name"].as_str().unwrap()));
            assert_eq!(reference.key.as_deref(), case["key"].as_str(), "{text}");
            assert_eq!(reference.to_string(), text);
            assert_eq!(Source::read(&reference.source.to_string()), Some(reference.source));
        }
        for text in file["invalid"].as_array().unwrap().iter().filter_map(Value::as_str) {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_arn_has_a_region() {
        let region = |text| Reference::parse(text).ok().and_then(|found| found.source.region().map(str::to_owned));
        let arn = "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCd12#password";
        assert_eq!(region(arn).as_deref(), Some("eu-west-1"));
        assert_eq!(region("secretsmanager:prod/db"), None);
    }

    #[test]
    fn the_sources_of_a_release_have_a_maximum_length() {
        let of = |count: usize, key: &str| {
            let text = |at: usize| format!("secretsmanager:{}{at:03}{key}", "x".repeat(80));
            fit((0..count).filter_map(|at| Reference::parse(&text(at)).ok()).collect::<Vec<_>>().iter()).is_ok()
        };
        assert!(of(10, "") && !of(11, "") && !of(11, "#key"));
        let one: Vec<_> = (0..99).filter_map(|at| Reference::parse(&format!("secretsmanager:a#k{at}")).ok()).collect();
        assert!(one.len() == 99 && fit(one.iter()).is_ok());
    }
}
