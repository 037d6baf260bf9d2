//! The permissions of the instance: a role with one inline policy, in an instance profile. All three have the same
//! name, which contains the region because IAM is global.

use serde_json::{Value, json};

use super::document::Document;
use super::iam::{from_iam, get_policy, get_role, present};
use super::kinds::{Id, Kind};
use super::outputs::Outputs;
use super::step::{Resource, Step};
use super::{Action, Planned, Sight, Tags, instance_profile, missing, ours, untagged};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::error::Result;
use crate::base::names;
use crate::resources::{Lookup, NameConflict};

mod change;

pub use change::{Change, Ensure, apply};

/// The state of role, policy and profile, each possibly missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The role's tags, if it exists.
    pub role: Option<Tags>,
    /// The ARN of the role's permissions boundary, if it has one.
    pub boundary: Option<String>,
    /// The inline policy, if there is one.
    pub policy: Option<Document>,
    /// The instance profile, if it exists.
    pub profile: Option<Profile>,
    /// When the newer one of role and profile was created, in seconds since 1970.
    pub made: Option<i64>,
}

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `AIPA…`: differs if a profile was re-created under the same name.
    pub id: String,
    /// Whether our role is in it.
    pub holds_role: bool,
    /// The names of other roles in it: IAM allows one role per profile, so ours cannot be added then.
    pub others: Vec<String>,
    /// All tags.
    pub tags: Tags,
    /// When it was created, in seconds since 1970.
    pub made: i64,
}

impl State {
    /// Whether an instance with the profile of this id gets the role's credentials.
    pub fn serves(&self, attached: &str) -> bool {
        self.role.is_some() && self.profile.as_ref().is_some_and(|profile| profile.holds_role && profile.id == attached)
    }
}

/// The wanted role, with its profile.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The policy.
    pub policy: Document,
    /// The ARN of its permissions boundary.
    pub boundary: Option<String>,
    /// The tags of role and profile.
    pub tags: Tags,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The instance profile's id, `AIPA…`.
    pub profile: String,
}

impl State {
    /// The output, if there is a profile.
    pub fn output(&self) -> Option<Output> {
        self.profile.as_ref().map(|profile| Output { profile: profile.id.clone() })
    }
}

/// The only role of the deployment.
pub const ID: Id = Id::of(Kind::Role);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, sight: &Sight<'_>) -> Vec<Id> {
        instance_profile::detachment(sight.found).into_iter().collect()
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        Ok(diff(&self.policy, self.boundary.as_deref(), &self.tags, sight.have.role.looked()?))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(role) = sight.have.role.present().and_then(State::output) {
            outputs.set(ID, role);
        }
    }

    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let delete = |have: &State| Planned::delete(Change::Delete { have: have.clone() });
        sight.removal(ID.kind, Vec::new(), || Ok(sight.have.role.looked()?.map(delete)))
    }
}

/// Reads all three concurrently.
pub async fn observe(aws: &Aws, name: &str) -> Result<Lookup<State>> {
    let role = names::role(name, &aws.region);
    let (found, policy, profile) =
        tokio::try_join!(get_role(aws, &role), get_policy(aws, &role), get_profile(aws, &role))
            .map_err(|error| explain("cannot look up the role", &error))?;
    if let Some(found) = &found
        && !ours(&found.tags, name)
    {
        return Ok(Lookup::NotOurs(NameConflict::new("IAM role", role)));
    }
    if let Some(profile) = &profile
        && !ours(&profile.tags, name)
    {
        return Ok(Lookup::NotOurs(NameConflict::new("instance profile", role)));
    }
    let made = found.as_ref().map(|role| role.made).max(profile.as_ref().map(|profile| profile.made));
    let (role, boundary) = found.map(|role| (role.tags, role.boundary)).unzip();
    let state = State { role, boundary: boundary.flatten(), policy, profile, made };
    Ok((state != State::default()).then_some(state).into())
}

async fn get_profile(aws: &Aws, name: &str) -> Result<Option<Profile>, ApiError> {
    let request = || aws.iam.get_instance_profile().instance_profile_name(name).send();
    let answer = present(call("iam:GetInstanceProfile", request).await)?;
    Ok(answer.and_then(|answer| answer.instance_profile).map(|profile| {
        let (own, others): (Vec<String>, Vec<String>) =
            profile.roles.into_iter().map(|role| role.role_name).partition(|role| role == name);
        let (holds_role, id) = (!own.is_empty(), profile.instance_profile_id);
        Profile { id, holds_role, others, tags: from_iam(profile.tags), made: profile.create_date.secs() }
    }))
}

/// The id of the current instance profile of this name, `AIPA…`.
pub(super) async fn profile_id(aws: &Aws, name: &str) -> Result<Option<String>> {
    let found = get_profile(aws, name).await.map_err(|error| explain("cannot look up the instance profile", &error))?;
    Ok(found.map(|profile| profile.id))
}

/// The missing parts, and a policy that differs from ours. A boundary that is no longer configured stays: only an
/// administrator should remove it.
fn diff(policy: &Document, boundary: Option<&str>, tags: &Tags, have: Option<&State>) -> Option<Planned<Change>> {
    let absent = State::default();
    let state = have.unwrap_or(&absent);
    let (no_role, no_profile) = (state.role.is_none(), state.profile.is_none());
    let new_policy = state.policy.as_ref() != Some(policy);
    let unbounded = boundary.is_some() && state.boundary.as_deref() != boundary;
    let membership = no_role || !state.profile.as_ref().is_some_and(|profile| profile.holds_role);
    let role_tags = state.role.as_ref().map(|have| missing(tags, have)).unwrap_or_default();
    let profile_tags = state.profile.as_ref().map(|have| missing(tags, &have.tags)).unwrap_or_default();
    let mut reasons: Vec<String> = [
        (no_role, "there is no role"),
        (!no_role && new_policy, "its policy is missing or was changed"),
        (!no_role && unbounded, "its permissions boundary is missing or different"),
        (no_profile, "there is no instance profile"),
        (!no_role && !no_profile && membership, "the role is not in its profile"),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .map(|(_, reason)| reason.to_owned())
    .collect();
    reasons.extend(untagged(&role_tags));
    reasons.extend(untagged(&profile_tags).into_iter().map(|reason| format!("{reason} on the instance profile")));
    if reasons.is_empty() {
        return None;
    }
    let action = if have.is_none() { Action::Create } else { Action::Update };
    let policy = (new_policy || no_role).then(|| policy.clone());
    let boundary = boundary.filter(|_| unbounded || no_role).map(str::to_owned);
    let tags = tags.clone();
    let others = state.profile.as_ref().map(|profile| profile.others.clone()).unwrap_or_default();
    let ensure = Ensure {
        role: no_role,
        boundary,
        policy,
        profile: no_profile,
        membership,
        others,
        tags,
        role_tags,
        profile_tags,
        made: state.made,
    };
    Some(Planned::new(action, reasons, Change::Ensure(ensure)))
}

/// The inline policy: read the token, the secrets and the releases of this deployment, write its own reports and logs and the
/// records that the commands of releases and of schedules ran, and get credentials of the app's role for the app.
pub fn policy(partition: &str, account: &str, region: &str, name: &str, bucket: &str) -> Value {
    let parameter = |path: &str| format!("arn:{partition}:ssm:{region}:{account}:parameter{path}");
    let object = |key: &str| format!("arn:{partition}:s3:::{bucket}/{key}");
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": parameter(&names::token_parameter(name))},
            {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": parameter(&names::secrets_path(name))},
            {"Effect": "Allow", "Action": "ssm:GetParametersByPath", "Resource": parameter(&format!("{}/*", names::secrets_path(name)))},
            {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": parameter(&format!("{}/*", names::report_path(name)))},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": object(&format!("{}*", names::releases_prefix(name)))},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": object(&format!("{}logs/*", names::bucket_prefix(name)))},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": object(&format!("{}*", names::TOOLS_PREFIX))},
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": object(&names::certificates_key(name))},
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": object(&format!("{}*", names::released_prefix(name)))},
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": object(&format!("{}*", names::schedule_prefix(name)))},
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": format!("arn:{partition}:iam::{account}:role/{}", names::app_role(name, region))},
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::super::iam::FRESH;
    use super::*;
    use crate::base::clock::now;

    fn written() -> Value {
        policy("aws", "123456789012", "eu-central-1", "hello", "devopsctl-123456789012-eu-central-1-an")
    }

    fn document() -> Document {
        Document::from(&written())
    }

    fn profile(holds_role: bool) -> Profile {
        Profile { id: "AIPA1".into(), holds_role, others: Vec::new(), tags: Tags::new(), made: 0 }
    }

    fn whole() -> State {
        State { role: Some(Tags::new()), policy: Some(document()), profile: Some(profile(true)), ..State::default() }
    }

    #[test]
    fn whole_is_kept() {
        assert_eq!(diff(&document(), None, &Tags::new(), Some(&whole())), None);
    }

    #[test]
    fn only_missing_parts_are_created() {
        for (role, with_policy, with_profile, member) in (0..16).map(|n| (n & 1 > 0, n & 2 > 0, n & 4 > 0, n & 8 > 0)) {
            let state = State {
                role: role.then(Tags::new),
                policy: (role && with_policy).then(document),
                profile: with_profile.then(|| profile(role && member)),
                ..State::default()
            };
            let planned = diff(&document(), None, &Tags::new(), Some(&state));
            if state == whole() {
                assert_eq!(planned, None);
                continue;
            }
            let Some(Change::Ensure(ensure)) = planned.map(|planned| planned.change) else { panic!() };
            assert_eq!(ensure.role, state.role.is_none());
            assert_eq!(ensure.policy.is_some(), state.policy.is_none());
            assert_eq!(ensure.profile, state.profile.is_none());
            assert_eq!(ensure.membership, !state.profile.is_some_and(|profile| profile.holds_role));
        }
    }

    #[test]
    fn a_recent_role_is_fresh_whichever_run_created_it() {
        let fresh = |made| {
            let state = State { policy: None, made, ..whole() };
            let planned = diff(&document(), None, &Tags::new(), Some(&state)).unwrap();
            let Change::Ensure(ensure) = planned.change else { panic!() };
            ensure.fresh()
        };
        assert!(fresh(Some(now())) && fresh(Some(now() - FRESH + 5)));
        assert!(!fresh(Some(now() - FRESH)) && !fresh(None));
    }

    #[test]
    fn a_missing_tag_is_set_where_it_is_missing() {
        let tags = Tags::from([("team".to_owned(), "web".to_owned())]);
        let state = State { role: Some(tags.clone()), ..whole() };
        let planned = diff(&document(), None, &tags, Some(&state)).unwrap();
        assert_eq!(planned.reasons, ["tag team is missing or different on the instance profile"]);
        let Change::Ensure(ensure) = planned.change else { panic!() };
        assert_eq!((ensure.role_tags, ensure.profile_tags, ensure.policy), (Tags::new(), tags, None));
    }

    #[test]
    fn a_missing_or_different_boundary_is_set_and_never_removed() {
        let bounded = |arn: Option<&str>| State { boundary: arn.map(str::to_owned), ..whole() };
        let diff = |wanted, state: State| diff(&document(), wanted, &Tags::new(), Some(&state));
        assert_eq!(diff(Some("a"), bounded(Some("a"))), None);
        assert_eq!(diff(None, bounded(Some("a"))), None);
        for state in [bounded(None), bounded(Some("b"))] {
            let planned = diff(Some("a"), state).unwrap();
            assert_eq!(planned.reasons, ["its permissions boundary is missing or different"]);
            let Change::Ensure(ensure) = planned.change else { panic!() };
            assert_eq!((ensure.boundary.as_deref(), ensure.role, ensure.policy), (Some("a"), false, None));
        }
        let planned = super::diff(&document(), Some("a"), &Tags::new(), None).unwrap();
        let Change::Ensure(ensure) = planned.change else { panic!() };
        assert_eq!((ensure.boundary.as_deref(), ensure.role), (Some("a"), true));
    }

    #[test]
    fn another_role_is_removed_from_the_profile() {
        let theirs = Profile { others: vec!["theirs".into()], ..profile(false) };
        let planned = diff(&document(), None, &Tags::new(), Some(&State { profile: Some(theirs), ..whole() })).unwrap();
        let Change::Ensure(ensure) = planned.change else { panic!() };
        assert_eq!((ensure.others, ensure.membership), (vec!["theirs".to_owned()], true));
    }

    #[test]
    fn a_changed_policy_is_restored() {
        let state = State { policy: Some(Document::read(r#"{"Statement": []}"#)), ..whole() };
        assert_eq!(
            diff(&document(), None, &Tags::new(), Some(&state)).unwrap().reasons,
            ["its policy is missing or was changed"]
        );
    }

    #[test]
    fn the_policy_allows_nothing_of_other_deployments() {
        for statement in written()["Statement"].as_array().unwrap() {
            let resource = statement["Resource"].as_str().unwrap();
            let shared = resource.ends_with("-an/_tools/*") && statement["Action"] == "s3:GetObject";
            let role = resource.ends_with(":role/devopsctl-hello-eu-central-1-app");
            let own = resource.contains("/devopsctl/hello/") || resource.contains("-an/hello/") || role;
            assert!(own || shared, "{resource}");
        }
    }
}
