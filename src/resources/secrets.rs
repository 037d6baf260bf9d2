//! The app's secrets: one encrypted SSM parameter each, below one path. Every parameter there reaches the app as a variable.
//!
//! The path is only for this deployment, so a parameter there is ours without a tag: a secret may be set in the console, too. A
//! parameter's tags are set when it is created, and are for the account's own rules.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ssm::primitives::DateTime;
use aws_sdk_ssm::types::Parameter;

use super::kinds::{Id, Kind, OfKind};
use super::outputs::Outputs;
use super::step::{Resource, Step};
use super::{Action, Lookup, Planned, Sight, Tags, parameter};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::{Exit, Failure, Result};
use crate::base::names;
use crate::base::secret::{self, Secret};
use crate::resources::context::Context;

mod authors;
mod stored;

pub use authors::authors;
pub use stored::{NONE, fingerprint, is_fingerprint};

/// The maximum length of a value of the standard tier, in bytes. AWS's documentation says both 4 KB and 4096 characters:
/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html>
const LONGEST: usize = 4096;
/// The maximum length of a parameter's name, with its path:
/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html>
const LONGEST_NAME: usize = 1011;
/// As many names as `GetParameters` takes.
const AT_ONCE: usize = 10;

/// The state of one secret, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The version, which increases with each write.
    pub version: i64,
    /// When it was written, in milliseconds since 1970.
    pub modified: i64,
}

/// All secrets by name. The name of a parameter in a folder contains slashes: the app does not get it, but `down` deletes it.
pub type Stored = BTreeMap<String, State>;

/// The change to apply. The name is that of the step, and a new value is in the context.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Generate a value, unless there is one by now.
    Generate { tags: Tags },
    /// Write the value of this run. `stands`: whether the parameter exists; without it, it is created with its tags.
    Write { tags: Tags, stands: bool },
    /// Delete it.
    Delete,
}

/// A secret that the app needs.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Whether a value is generated if it is not set.
    pub generate: bool,
    /// The tags of a new parameter.
    pub tags: Tags,
}

/// The change of one secret by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Write the value in the context.
    Write,
    /// Delete it.
    Delete,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The fingerprint of all secrets before the run; once the instance has its orders, the one in them.
    pub fingerprint: String,
    /// What this run changed: the version by name, or nothing for a deleted secret.
    pub written: BTreeMap<String, Option<i64>>,
}

/// All secrets together.
pub const ID: Id = Id::of(Kind::Secret);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        id(&self.name)
    }

    /// A secret that must be set by a user is refused before, if it is missing.
    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let missing = self.generate && !is_set(sight.have.secrets.looked()?, &self.name);
        let change = || Change::Generate { tags: self.tags.clone() };
        Ok(missing.then(|| Planned::create("it is not set; a value is generated", change())))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Ok(found) = sight.have.secrets.looked() {
            let fingerprint = found.map_or_else(|| NONE.to_owned(), fingerprint);
            outputs.set(ID, Output { fingerprint, written: BTreeMap::new() });
        }
    }

    /// Only `down` deletes secrets: the app gets them whether `deploy.yaml` names them or not.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let found = if sight.wanted.is_empty() { sight.have.secrets.looked()? } else { None };
        let delete = |name: &String| Planned::delete(Change::Delete).step(id(name), Vec::new());
        Ok(found.into_iter().flat_map(|found| found.keys().map(delete)).collect())
    }
}

fn is_set(found: Option<&Stored>, name: &str) -> bool {
    found.is_some_and(|found| found.contains_key(name))
}

/// The id of the secret of this name.
pub fn id(name: &str) -> Id {
    Id::named(Kind::Secret, name)
}

/// The ids of all wanted secrets.
pub(super) fn ids(sight: &Sight<'_>) -> Vec<Id> {
    sight.wanted.iter().filter_map(Wanted::of).map(Resource::id).collect()
}

/// Whether the plan generates a secret.
///
/// # Errors
/// The secrets were not read.
pub(super) fn generates(sight: &Sight<'_>) -> Result<bool> {
    let found = sight.have.secrets.looked()?;
    let missing = |wanted: &Wanted| wanted.generate && !is_set(found, &wanted.name);
    Ok(sight.wanted.iter().filter_map(Wanted::of).any(missing))
}

/// The change that a command asks for; `None` if the secret to delete is not set.
pub fn edit(edit: Edit, have: Option<&State>, tags: &Tags) -> Option<Planned<Change>> {
    let write = |stands| Change::Write { tags: tags.clone(), stands };
    match (edit, have) {
        (Edit::Write, None) => Some(Planned::create("it is not set", write(false))),
        (Edit::Write, Some(_)) => Some(Planned::new(Action::Update, vec!["its value changes".to_owned()], write(true))),
        (Edit::Delete, Some(_)) => Some(Planned::delete(Change::Delete)),
        (Edit::Delete, None) => None,
    }
}

/// Lists all secrets, without their values.
///
/// # Errors
/// A call to SSM fails.
pub async fn observe(aws: &Aws, name: &str) -> Result<Lookup<Stored>> {
    let found = list(aws, name).await?;
    Ok((!found.is_empty()).then_some(found).into())
}

/// The same as a map, which is empty if there are none.
///
/// # Errors
/// A call to SSM fails.
pub async fn list(aws: &Aws, name: &str) -> Result<Stored> {
    let path = names::secrets_path(name);
    let found = parameter::below(aws, &path, true).await;
    let found = found.map_err(|error| explain("cannot list the app's secrets", &error))?;
    Ok(found.iter().filter_map(|parameter| state(&path, parameter)).collect())
}

fn state(path: &str, parameter: &Parameter) -> Option<(String, State)> {
    let name = parameter.name()?.strip_prefix(path)?.strip_prefix('/')?.to_owned();
    let modified = parameter.last_modified_date().map(milliseconds)?;
    Some((name, State { version: parameter.version(), modified }))
}

/// SSM writes times as seconds with three decimal places, which binary fractions only approximate.
pub(super) fn milliseconds(time: &DateTime) -> i64 {
    let rounded = (time.as_nanos() + 500_000).div_euclid(1_000_000);
    i64::try_from(rounded).unwrap_or_default()
}

/// The values and states of these secrets; those that are not set are left out.
///
/// # Errors
/// A call to SSM fails.
pub async fn values(aws: &Aws, name: &str, secrets: &[String]) -> Result<BTreeMap<String, (Secret, State)>> {
    let path = names::secrets_path(name);
    let parameters: Vec<String> = secrets.iter().map(|secret| names::secret_parameter(name, secret)).collect();
    let mut found = BTreeMap::new();
    for some in parameters.chunks(AT_ONCE) {
        let request = || aws.ssm.get_parameters().set_names(Some(some.to_vec())).with_decryption(true).send();
        let answer = call("ssm:GetParameters", request)
            .await
            .map_err(|error| explain("cannot read the app's secrets", &error))?;
        found.extend(answer.parameters.unwrap_or_default().into_iter().filter_map(|parameter| {
            let (name, state) = state(&path, &parameter)?;
            Some((name, (stored::decode(parameter.value?.into()), state)))
        }));
    }
    Ok(found)
}

/// All secrets, once SSM shows what this run wrote: a parameter may not be returned right after it was written. Another command may
/// have changed it again, so this waits for a limited time.
///
/// # Errors
/// A call to SSM fails.
pub async fn newest(context: &Context) -> Result<Stored> {
    let written = context.known::<Output>(&ID).map(|output| output.written).unwrap_or_default();
    let mut backoff = Backoff::new(Duration::from_secs(10));
    loop {
        let found = list(&context.aws, &context.name).await?;
        let shown = written.iter().all(|(name, version)| match (version, found.get(name)) {
            (Some(version), Some(state)) => state.version >= *version,
            (version, state) => version.is_none() && state.is_none(),
        });
        if shown || backoff.wait().await == Retry::Enough {
            return Ok(found);
        }
    }
}

/// The fingerprint that this run knows; the secrets are listed if it changed them or does not know them.
pub(super) async fn known(context: &Context) -> Result<String> {
    match context.known::<Output>(&ID) {
        Some(output) if output.written.is_empty() => Ok(output.fingerprint),
        _ => Ok(fingerprint(&newest(context).await?)),
    }
}

/// Whether a parameter with this name can be below the path, also in a folder. Fewer names are those of variables.
pub fn is_parameter(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let part = |part: &str| !part.is_empty() && part.bytes().all(plain);
    name.len() <= LONGEST_NAME && name.split('/').all(part)
}

/// Checks that this can be the value of a secret: a variable can hold it, and SSM can store it.
///
/// # Errors
/// The mistake, without the value itself.
pub fn check(name: &str, value: &str) -> Result<()> {
    let refuse = |what: &str, next: &str| {
        Err(Failure::new(Exit::Usage, format!("the value of {name} {what}")).standing("No call was made.").next(next))
    };
    if value.is_empty() {
        return refuse("is empty", "set a value, or delete the secret with `secrets unset`");
    }
    if value.contains('\0') {
        return refuse("contains a NUL", "remove it; environment variables cannot contain one");
    }
    match stored::encode(value)?.len() {
        length if length > LONGEST => refuse(
            &format!("is too long: SSM stores at most {LONGEST} bytes, and this one needs {length}"),
            "store large data elsewhere, such as in a file in S3, and set its address as the secret",
        ),
        _ => Ok(()),
    }
}

/// Applies the change and returns the new state.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let name = context.id().name.as_str();
    match change {
        Change::Generate { tags } => generate(context, name, &tags).await,
        Change::Write { tags, stands } => {
            let text = stored::encode(&context.secret(name)?)?;
            let version =
                write(context, name, &text, &tags, stands).await.map_err(|error| cannot("write", name, &error))?;
            wrote(context, Some(version));
            Ok(format!("stored as version {version}"))
        }
        Change::Delete => {
            let parameter = names::secret_parameter(&context.name, name);
            parameter::delete(&context.aws, &parameter).await.map_err(|error| cannot("delete", name, &error))?;
            wrote(context, None);
            Ok("deleted".into())
        }
    }
}

fn cannot(what: &str, name: &str, error: &ApiError) -> Failure {
    explain(format!("cannot {what} the secret {name}"), error)
}

fn wrote(context: &Context, version: Option<i64>) {
    let name = context.id().name.clone();
    context.change(&ID, |output: &mut Output| {
        output.written.insert(name, version);
    });
}

async fn generate(context: &Context, name: &str, tags: &Tags) -> Result<String> {
    let parameter = names::secret_parameter(&context.name, name);
    match parameter::put(&context.aws, &parameter, &secret::generate()?, Some(tags)).await {
        Ok(version) => {
            wrote(context, Some(version));
            Ok("generated".into())
        }
        // Another command set it since the last read: that value is kept.
        Err(error) if error.is(&["ParameterAlreadyExists"]) => {
            wrote(context, Some(1));
            Ok("already set".into())
        }
        Err(error) => Err(cannot("write", name, &error)),
    }
}

async fn write(context: &Context, name: &str, text: &str, tags: &Tags, stands: bool) -> Result<i64, ApiError> {
    let (aws, parameter) = (&context.aws, names::secret_parameter(&context.name, name));
    if !stands {
        match parameter::put(aws, &parameter, text, Some(tags)).await {
            Err(error) if error.is(&["ParameterAlreadyExists"]) => {}
            answer => return answer,
        }
    }
    let version = parameter::put(aws, &parameter, text, None).await?;
    if version == 1 {
        // Another command deleted it since the last read; a write that may overwrite cannot set tags.
        parameter::tag(aws, &parameter, tags).await?;
    }
    Ok(version)
}
