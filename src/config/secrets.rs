//! `app.secrets`: the names of the secrets that the app needs. Values are never in the file.

use std::collections::BTreeMap;

use super::reader::{Found, Reader, Wrong};
use super::tree::{Node, Value};
use super::{Deployment, Reference, check, reference, table};
use crate::base::error::{Exit, Failure, Result};

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOrigin {
    /// A user sets it with `secrets set`.
    Set,
    /// `up` generates it once.
    Generated,
    /// It is kept elsewhere in AWS, and the instance reads it there.
    Reference(Reference),
}

/// Whether a variable can have this name.
pub fn is_variable(name: &str) -> bool {
    check::env_key(name).is_ok()
}

/// Checks that the app of this deployment can have a secret of this name.
///
/// # Errors
/// The reason why not.
pub fn check_secret(deployment: &Deployment, name: &str) -> Result<()> {
    check::secret(name, &deployment.token.env, &deployment.app.env).map_err(|wrong| {
        let failure = Failure::new(Exit::Usage, format!("{name} cannot be a secret: it {}", wrong.what));
        failure.standing("No call was made.").next(wrong.hint)
    })
}

/// Reads `app.secrets`.
pub(super) fn section(
    reader: &mut Reader,
    found: Option<Found>,
    env: &BTreeMap<String, String>,
    token_env: &str,
) -> BTreeMap<String, SecretOrigin> {
    if let Some(Found { node, .. }) = found.as_ref().filter(|found| !matches!(found.node.value, Value::List(_))) {
        hide_values(reader, node);
    }
    let span = found.as_ref().map(|found| found.node.span);
    let mut secrets = BTreeMap::new();
    for found in reader.list(found, "write\n  secrets:\n    - DATABASE_URL\n    - SECRET_KEY: generate") {
        let Some((name, origin)) = secret(reader, &found) else { continue };
        let wrong = match check::secret(&name, token_env, env) {
            Err(wrong) => Some(wrong),
            Ok(()) if secrets.contains_key(&name) => Some(Wrong::new("is listed twice", "remove one of the two")),
            Ok(()) => None,
        };
        match wrong {
            Some(wrong) => {
                let what = format!("`{}`: `{name}` {}", found.path, wrong.what);
                reader.find(found.node.span, what, "here", wrong.hint);
            }
            None => drop(secrets.insert(name, origin)),
        }
    }
    let references = secrets.values().filter_map(|origin| match origin {
        SecretOrigin::Reference(reference) => Some(reference),
        SecretOrigin::Set | SecretOrigin::Generated => None,
    });
    if let (Err(wrong), Some(span)) = (reference::fit(references), span) {
        reader.find(span, format!("`app.secrets` {}", wrong.what), "this list", wrong.hint);
    }
    secrets
}

/// Hides every text that may be a secret.
fn hide_values(reader: &mut Reader, node: &Node) {
    match &node.value {
        Value::Map(entries) => entries.iter().for_each(|(_, node)| hide_values(reader, node)),
        Value::List(nodes) => nodes.iter().for_each(|node| hide_values(reader, node)),
        _ => reader.hide(node.span),
    }
}

/// A name alone, with the word, or with a reference. Any other text beside a name may be the secret itself.
fn secret(reader: &mut Reader, found: &Found) -> Option<(String, SecretOrigin)> {
    let (label, hint) = match &found.node.value {
        Value::Text(name) => return Some((name.clone(), SecretOrigin::Set)),
        Value::Map(entries) => match &entries[..] {
            [(key, node)] if matches!(&node.value, Value::Text(word) if word == table::SECRETS.word) => {
                return Some((key.name.clone(), SecretOrigin::Generated));
            }
            [(key, node)] if matches!(&node.value, Value::Text(text) if Reference::is_meant(text)) => {
                return referred(reader, &key.name, node);
            }
            entries => {
                entries.iter().for_each(|(_, node)| hide_values(reader, node));
                ("this is more than a name", "write only the name; set the value with `devopsctl secrets set NAME`")
            }
        },
        other => (other.kind(), "write the name, in quotes if it is needed"),
    };
    let what =
        format!("`{}` must list names, each alone, as `NAME: {}` or with a reference", found.path, table::SECRETS.word);
    reader.find(found.node.span, what, label, hint);
    None
}

fn referred(reader: &mut Reader, name: &str, node: &Node) -> Option<(String, SecretOrigin)> {
    let Value::Text(text) = &node.value else { return None };
    match Reference::parse(text) {
        Ok(reference) => Some((name.to_owned(), SecretOrigin::Reference(reference))),
        Err(wrong) => {
            reader.find(node.span, format!("the reference of `{name}` {}", wrong.what), "here", wrong.hint);
            None
        }
    }
}
