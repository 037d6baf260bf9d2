//! The app's permissions: a role of its own, with the policies that `app.permissions` names.
//!
//! The agent assumes the role and gives its credentials to the app. The trust policy names the account and not the instance's role,
//! because AWS replaces a role in a trust policy by its id, and the id changes when the role is created again. The condition limits
//! it to that role: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles>

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::document::Document;
use super::iam::{get_policy, get_role, list_policies};
use super::kinds::{Id, Kind};
use super::step::{Resource, Step, only};
use super::{Action, Planned, Sight, Tags, missing, ours, untagged};
use crate::aws::{Aws, explain};
use crate::base::error::Result;
use crate::base::names;
use crate::resources::{Lookup, NameConflict};

mod change;

pub use change::{Change, Ensure, apply};

/// The state of the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// All tags.
    pub tags: Tags,
    /// The ARN of its permissions boundary, if it has one.
    pub boundary: Option<String>,
    /// The trust policy.
    pub trust: Document,
    /// The inline policy with the role's name.
    pub policy: Option<Document>,
    /// The names of all inline policies.
    pub inline: BTreeSet<String>,
    /// The ARNs of attached policies.
    pub attached: BTreeSet<String>,
    /// When it was created, in seconds since 1970.
    pub made: i64,
}

/// The wanted role.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name, and that of its inline policy.
    pub name: String,
    /// The trust policy.
    pub trust: Document,
    /// The file with the inline policy, as `deploy.yaml` names it.
    pub file: Option<PathBuf>,
    /// The inline policy.
    pub policy: Option<Document>,
    /// The ARNs of policies to attach.
    pub managed: BTreeSet<String>,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// All tags.
    pub tags: Tags,
}

/// The only role of the app.
pub const ID: Id = Id::of(Kind::AppRole);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(self.changes(sight.have.app_role.looked()?))
    }

    /// A release that needs the role may serve until the new one is healthy.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let delete = |_: &State| Planned::delete(Change::Delete);
        let needs = only([Kind::Orders, Kind::HealthGate]);
        sight.removal(ID.kind, needs, || Ok(sight.have.app_role.looked()?.map(delete)))
    }
}

impl Wanted {
    /// The differences. A boundary that is no longer configured stays, as with the instance's role.
    fn changes(&self, have: Option<&State>) -> Option<Planned<Change>> {
        let ensure = Ensure {
            create: have.is_none(),
            trust: have.is_none_or(|have| have.trust != self.trust).then(|| self.trust.clone()),
            boundary: self.boundary.clone().filter(|_| have.is_none_or(|have| have.boundary != self.boundary)),
            policy: self.policy.clone().filter(|_| have.is_none_or(|have| have.policy != self.policy)),
            attach: have.map_or_else(|| self.managed.clone(), |have| &self.managed - &have.attached),
            detach: have.map(|have| &have.attached - &self.managed).unwrap_or_default(),
            remove: have.map(|have| self.unwanted(have)).unwrap_or_default(),
            tags: have.map_or_else(|| self.tags.clone(), |have| missing(&self.tags, &have.tags)),
            made: have.map(|have| have.made),
            file: self.file.clone(),
        };
        let Some(_) = have else {
            return Some(Planned::create("there is no role for the app", Change::Ensure(ensure)));
        };
        let reasons = self.reasons(&ensure);
        (!reasons.is_empty()).then(|| Planned::new(Action::Update, reasons, Change::Ensure(ensure)))
    }

    /// The inline policies to delete.
    fn unwanted(&self, have: &State) -> BTreeSet<String> {
        have.inline.iter().filter(|policy| self.policy.is_none() || **policy != self.name).cloned().collect()
    }

    fn reasons(&self, ensure: &Ensure) -> Vec<String> {
        let file = self.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
        let mut reasons = Vec::new();
        reasons.extend(ensure.trust.as_ref().map(|_| "its trust policy was changed".to_owned()));
        reasons.extend(ensure.boundary.as_ref().map(|_| "its permissions boundary is missing or different".to_owned()));
        reasons.extend(ensure.policy.as_ref().map(|_| format!("its policy differs from {file}")));
        reasons.extend(ensure.attach.iter().map(|arn| format!("{arn} is not attached")));
        let surplus = "in addition to those of app.permissions";
        reasons.extend(ensure.detach.iter().map(|arn| format!("{arn} is attached {surplus}")));
        reasons.extend((!ensure.remove.is_empty()).then(|| format!("it has a policy {surplus}")));
        reasons.extend(untagged(&ensure.tags));
        reasons
    }
}

/// The trust policy: only the instance's role may assume the app's.
pub fn trust(partition: &str, account: &str, region: &str, name: &str) -> Value {
    let iam = |what: &str| format!("arn:{partition}:iam::{account}:{what}");
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": iam("root")},
            "Action": "sts:AssumeRole",
            "Condition": {"ArnEquals": {"aws:PrincipalArn": iam(&format!("role/{}", names::role(name, region)))}},
        }]
    })
}

/// Reads the role, and then its policies: most apps have none.
pub async fn observe(aws: &Aws, name: &str) -> Result<Lookup<State>> {
    let role = names::app_role(name, &aws.region);
    let failed = |error| explain("cannot look up the app's role", &error);
    let Some(found) = get_role(aws, &role).await.map_err(failed)? else { return Ok(Lookup::Absent) };
    if !ours(&found.tags, name) {
        return Ok(Lookup::NotOurs(NameConflict::new("IAM role", role)));
    }
    let (policy, (inline, attached)) =
        tokio::try_join!(get_policy(aws, &role), list_policies(aws, &role)).map_err(failed)?;
    Ok(Lookup::Present(State {
        tags: found.tags,
        boundary: found.boundary,
        trust: found.trust,
        policy,
        inline: inline.into_iter().collect(),
        attached: attached.into_iter().collect(),
        made: found.made,
    }))
}

#[cfg(test)]
mod tests;
