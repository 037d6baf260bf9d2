//! The value of a reference, for `secrets get`: the caller's own permissions count, not those of the instance.

use serde_json::Value;

use crate::aws::{Aws, call, explain};
use crate::base::error::{Failure, Result};
use crate::base::secret::Secret;
use crate::config::{Reference, Source};

/// The value as the app gets it, and its version for users. `agent/orders/references.py` has the same rules.
///
/// # Errors
/// A call fails, or there is no such text.
pub async fn value(aws: &Aws, name: &str, reference: &Reference) -> Result<(Secret, String)> {
    let what = format!("cannot read {name} ({})", reference.source);
    let (text, version) = match &reference.source {
        Source::Parameter(parameter) => {
            let request = || aws.ssm.get_parameter().name(parameter).with_decryption(true).send();
            let answer = call("ssm:GetParameter", request).await.map_err(|error| explain(what, &error))?;
            let found = answer.parameter;
            let version = found.as_ref().map_or(0, |found| found.version()).to_string();
            (found.and_then(|found| found.value), version)
        }
        Source::Secret(id) => {
            let request = || aws.secrets_manager.get_secret_value().secret_id(id).send();
            let answer = call("secretsmanager:GetSecretValue", request).await.map_err(|error| explain(what, &error))?;
            (answer.secret_string, answer.version_id.unwrap_or_default())
        }
    };
    let unusable = |why: &str| {
        Failure::failed(format!("{name} ({reference}) {why}"))
            .next("correct it where it is kept, or the reference in deploy.yaml")
    };
    let text = Secret::from(text.ok_or_else(|| unusable("is binary, and a variable is text"))?);
    let Some(key) = &reference.key else { return Ok((text, version)) };
    // The error would quote the value, so it is omitted.
    let Ok(Value::Object(mut object)) = serde_json::from_str(&text) else {
        return Err(unusable("is not a JSON object"));
    };
    match object.remove(key) {
        Some(Value::String(text)) => Ok((text.into(), version)),
        Some(plain @ (Value::Number(_) | Value::Bool(_))) => Ok((plain.to_string().into(), version)),
        Some(_) => Err(unusable("is not text, a number or a truth value")),
        None => Err(unusable("does not have that key")),
    }
}
