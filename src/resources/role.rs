//! What the instance may do: a role with one inline policy, in an instance profile. All three bear the same name, which
//! carries the region because IAM is global.

use std::time::{Duration, Instant};

use aws_sdk_iam::types::Tag;
use serde_json::{Value, json};

use super::document::Document;
use super::{Action, Planned, Tags, missing, ours, untagged};
use crate::aws::retry::{Backoff, patiently};
use crate::aws::{ApiError, Aws, call, explain};
use crate::base::clock::now;
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::resources::context::Context;
use crate::resources::{Foreign, Lookup};

/// Role, policy and profile as they stand, each perhaps missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The role's tags, if it is there.
    pub role: Option<Tags>,
    /// The ARN of the role's permissions boundary, if it has one.
    pub boundary: Option<String>,
    /// The inline policy, if there is one.
    pub policy: Option<Document>,
    /// The instance profile, if there is one.
    pub profile: Option<Profile>,
    /// When the newer one of role and profile was made, in seconds since 1970.
    pub made: Option<i64>,
}

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `AIPA…`: another one when it was made anew under the same name.
    pub id: String,
    /// Whether our role is in it.
    pub holds_role: bool,
    /// The names of others that are: IAM puts one role in a profile at most, so ours has no place then.
    pub others: Vec<String>,
    /// All its tags.
    pub tags: Tags,
    /// When it was made, in seconds since 1970.
    pub made: i64,
}

/// A role as IAM shows it.
struct Found {
    tags: Tags,
    boundary: Option<String>,
    made: i64,
}

impl State {
    /// Whether an instance that the profile with this id is attached to gets the role's credentials from it.
    pub fn serves(&self, attached: &str) -> bool {
        self.role.is_some() && self.profile.as_ref().is_some_and(|profile| profile.holds_role && profile.id == attached)
    }
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make what is missing, and tag what stands.
    Ensure(Ensure),
    /// Remove what stands, in the order that IAM asks for.
    Delete { have: State },
}

/// What is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensure {
    /// The role itself.
    pub role: bool,
    /// The permissions boundary: of the role that is made, or of the role that stands.
    pub boundary: Option<String>,
    /// Its policy's document.
    pub policy: Option<Document>,
    /// The instance profile.
    pub profile: bool,
    /// The role in its profile.
    pub membership: bool,
    /// Roles that are not ours, out of our profile.
    pub others: Vec<String>,
    /// Tags of what is made.
    pub tags: Tags,
    /// Tags that the role lacks.
    pub role_tags: Tags,
    /// Tags that the profile lacks.
    pub profile_tags: Tags,
    /// When what stands was made, in seconds since 1970.
    pub made: Option<i64>,
}

impl Ensure {
    /// Whether policies may not yet see the tags or the boundary of what is made, or was a moment ago by a command that was
    /// killed, or by another one.
    fn fresh(&self) -> bool {
        let recent = self.made.is_some_and(|made| now().saturating_sub(made) < FRESH);
        self.role || self.profile || self.boundary.is_some() || recent
    }
}

/// For so many seconds policies may not see the tags of what was made.
const FRESH: i64 = 60;
/// How long a denial is taken for such a delay. Mostly it is one for good, and the user waits.
const UNSEEN: Duration = Duration::from_secs(30);
/// How long IAM may take to become consistent; Terraform's AWS provider waits as long (`propagationTimeout`).
const CONSISTENT: Duration = Duration::from_secs(120);

/// Looks at all three at once.
pub async fn observe(aws: &Aws, name: &str) -> Result<Lookup<State>> {
    let role = names::role(name, &aws.region);
    let (found, policy, profile) =
        tokio::try_join!(get_role(aws, &role), get_policy(aws, &role), get_profile(aws, &role))
            .map_err(|error| explain("cannot look for the role", &error))?;
    if let Some(found) = &found
        && !ours(&found.tags, name)
    {
        return Ok(Lookup::NotOurs(Foreign::new("IAM role", role)));
    }
    if let Some(profile) = &profile
        && !ours(&profile.tags, name)
    {
        return Ok(Lookup::NotOurs(Foreign::new("instance profile", role)));
    }
    let made = found.as_ref().map(|role| role.made).max(profile.as_ref().map(|profile| profile.made));
    let (role, boundary) = found.map(|role| (role.tags, role.boundary)).unzip();
    let state = State { role, boundary: boundary.flatten(), policy, profile, made };
    Ok((state != State::default()).then_some(state).into())
}

async fn get_role(aws: &Aws, role: &str) -> Result<Option<Found>, ApiError> {
    let answer = present(call("iam:GetRole", || aws.iam.get_role().role_name(role).send()).await)?;
    Ok(answer.and_then(|answer| answer.role).map(|role| {
        let boundary = role.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
        Found { tags: from_iam(role.tags), boundary, made: role.create_date.secs() }
    }))
}

async fn get_policy(aws: &Aws, role: &str) -> Result<Option<Document>, ApiError> {
    let request = || aws.iam.get_role_policy().role_name(role).policy_name(role).send();
    let answer = present(call("iam:GetRolePolicy", request).await)?;
    // IAM hands the document out percent-encoded.
    Ok(answer.map(|answer| Document::read(&percent_decoded(&answer.policy_document))))
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

/// The id of the instance profile that has this name now, `AIPA…`.
pub(super) async fn profile_id(aws: &Aws, name: &str) -> Result<Option<String>> {
    let found =
        get_profile(aws, name).await.map_err(|error| explain("cannot look for the instance profile", &error))?;
    Ok(found.map(|profile| profile.id))
}

fn present<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is missing, and a policy that is not the one we write. A boundary that nobody asks for any more stays: to take it
/// away is for an administrator.
pub fn diff(policy: &Document, boundary: Option<&str>, tags: &Tags, have: Option<&State>) -> Option<Planned<Change>> {
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
        (!no_role && unbounded, "its permissions boundary is missing or another"),
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

/// What is to be done so that none stands.
pub fn removal(have: Option<&State>) -> Option<Planned<Change>> {
    have.map(|have| Planned::delete(Change::Delete { have: have.clone() }))
}

/// The inline policy: read the token and the releases of this deployment, write its own reports and logs.
pub fn policy(partition: &str, account: &str, region: &str, name: &str, bucket: &str) -> Value {
    let parameter = |path: &str| format!("arn:{partition}:ssm:{region}:{account}:parameter{path}");
    let object = |key: &str| format!("arn:{partition}:s3:::{bucket}/{key}");
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": parameter(&names::token_parameter(name))},
            {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": parameter(&format!("{}/*", names::report_path(name)))},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": object(&format!("{}*", names::releases_prefix(name)))},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": object(&format!("{}logs/*", names::bucket_prefix(name)))},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": object(&format!("{}*", names::TOOLS_PREFIX))},
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": object(&names::certificates_key(name))},
        ]
    })
}

fn trust() -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    })
    .to_string()
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let name = names::role(&context.name, &context.aws.region);
    match change {
        Change::Ensure(ensure) => {
            // Role with policy and profile do not wait for each other; the membership needs both.
            tokio::try_join!(ensure_role(context, &name, &ensure), ensure_profile(context, &name, &ensure))?;
            for other in &ensure.others {
                leave_profile(context, &name, other).await.map_err(|error| cannot_be_made(&error))?;
            }
            if ensure.membership {
                join_profile(context, &name, ensure.fresh()).await.map_err(|error| cannot_be_made(&error))?;
            }
            Ok(name)
        }
        Change::Delete { have } => {
            delete(context, &name, &have)
                .await
                .map_err(|error| explain("the instance's role cannot be deleted", &error))?;
            Ok("gone".into())
        }
    }
}

fn cannot_be_made(error: &ApiError) -> Failure {
    explain("the instance's role cannot be made", error)
}

async fn ensure_role(context: &Context, name: &str, ensure: &Ensure) -> Result<()> {
    let iam = &context.aws.iam;
    if ensure.role {
        let request = || {
            let description = format!("What the instance of {} may do", context.name);
            let create = iam.create_role().role_name(name).assume_role_policy_document(trust());
            let create = create.set_permissions_boundary(ensure.boundary.clone());
            create.description(description).set_tags(Some(to_iam(&ensure.tags))).send()
        };
        let answer = call("iam:CreateRole", request).await;
        // Not where a statement denies it: then nothing that deploy.yaml says helps.
        let denied =
            answer.as_ref().is_err_and(|error| error.is(&["AccessDenied"]) && !error.message.contains("explicit deny"));
        made(context, answer).await.map_err(|failure| match &ensure.boundary {
            None if denied => failure.because(
                "your permissions may demand a boundary for roles: name its ARN in deploy.yaml as permissions_boundary",
            ),
            _ => failure,
        })?;
    } else if let Some(boundary) = &ensure.boundary {
        let request = || iam.put_role_permissions_boundary().role_name(name).permissions_boundary(boundary).send();
        call("iam:PutRolePermissionsBoundary", request).await.map_err(|error| cannot_be_made(&error))?;
    }
    if !ensure.role_tags.is_empty() {
        let request = || iam.tag_role().role_name(name).set_tags(Some(to_iam(&ensure.role_tags))).send();
        call("iam:TagRole", request).await.map_err(|error| cannot_be_made(&error))?;
    }
    if let Some(document) = &ensure.policy {
        let request =
            || iam.put_role_policy().role_name(name).policy_name(name).policy_document(document.as_str()).send();
        once_known(ensure.fresh(), || call("iam:PutRolePolicy", &request))
            .await
            .map_err(|error| cannot_be_made(&error))?;
    }
    Ok(())
}

async fn ensure_profile(context: &Context, name: &str, ensure: &Ensure) -> Result<()> {
    let iam = &context.aws.iam;
    if ensure.profile {
        let tags = to_iam(&ensure.tags);
        let request = || iam.create_instance_profile().instance_profile_name(name).set_tags(Some(tags.clone())).send();
        let answer = call("iam:CreateInstanceProfile", request).await;
        if let Some(profile) = answer.as_ref().ok().and_then(|answer| answer.instance_profile()) {
            context.set_profile(profile.instance_profile_id());
        }
        made(context, answer).await?;
    }
    if !ensure.profile_tags.is_empty() {
        let tags = to_iam(&ensure.profile_tags);
        let request = || iam.tag_instance_profile().instance_profile_name(name).set_tags(Some(tags.clone())).send();
        call("iam:TagInstanceProfile", request).await.map_err(|error| cannot_be_made(&error))?;
    }
    Ok(())
}

/// A profile holds one role at most: `LimitExceeded` means that one is in it, which is ours if we were there before.
async fn join_profile(context: &Context, name: &str, fresh: bool) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let request = || iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name).send();
    match once_known(fresh, || call("iam:AddRoleToInstanceProfile", &request)).await {
        Err(error) if error.is(&["LimitExceeded"]) => match get_profile(&context.aws, name).await? {
            Some(Profile { holds_role: true, .. }) => Ok(()),
            _ => Err(error),
        },
        answer => answer.map(|_| ()),
    }
}

async fn leave_profile(context: &Context, profile: &str, role: &str) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let request = || iam.remove_role_from_instance_profile().instance_profile_name(profile).role_name(role).send();
    gone(&context.aws, call("iam:RemoveRoleFromInstanceProfile", request).await, Bearer::Profile(profile)).await
}

/// The role or profile whose tags a policy checks for a call.
#[derive(Clone, Copy)]
enum Bearer<'a> {
    Role(&'a str),
    Profile(&'a str),
}

impl Bearer<'_> {
    async fn is_absent(self, aws: &Aws) -> bool {
        match self {
            Bearer::Role(name) => matches!(get_role(aws, name).await, Ok(None)),
            Bearer::Profile(name) => matches!(get_profile(aws, name).await, Ok(None)),
        }
    }
}

/// Treats the removal as done where the resource is gone, by this call or before it. A policy that checks tags denies the call
/// where their bearer is absent.
async fn gone<T>(aws: &Aws, answer: Result<T, ApiError>, bearer: Bearer<'_>) -> Result<(), ApiError> {
    let Err(error) = present(answer) else { return Ok(()) };
    // A bearer that was just made may be absent at the first look.
    for pause in [Duration::ZERO, Duration::from_secs(2)] {
        tokio::time::sleep(pause).await;
        if !(error.is(&["AccessDenied"]) && bearer.is_absent(aws).await) {
            return Err(error);
        }
    }
    Ok(())
}

/// IAM is eventually consistent: what was just made may be unknown to the next call for some seconds. A policy that judges by
/// tags or a boundary may not see those of something `fresh`, and then denies the call.
async fn once_known<T, F: Future<Output = Result<T, ApiError>>>(
    fresh: bool,
    attempt: impl Fn() -> F,
) -> Result<T, ApiError> {
    let began = Instant::now();
    let denied = |error: &ApiError| fresh && error.is(&["AccessDenied"]) && began.elapsed() < UNSEEN;
    patiently(Backoff::new(CONSISTENT), |error| error.absent() || denied(error), attempt).await
}

/// Somebody was faster, or the answer to our first try was lost: what is there is ours if its tag says so.
async fn made<T>(context: &Context, answer: Result<T, ApiError>) -> Result<()> {
    match answer {
        Err(error) if error.is(&["EntityAlreadyExists"]) => {
            let found = observe(&context.aws, &context.name).await?;
            found.foreign().map_or(Ok(()), |foreign| Err(foreign.refuse()))
        }
        Err(error) => Err(cannot_be_made(&error)),
        Ok(_) => Ok(()),
    }
}

async fn delete(context: &Context, name: &str, have: &State) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    if let Some(profile) = &have.profile {
        let own = profile.holds_role.then_some(name);
        for role in own.into_iter().chain(profile.others.iter().map(String::as_str)) {
            leave_profile(context, name, role).await?;
        }
    }
    let profile = async {
        if have.profile.is_some() {
            let request = || iam.delete_instance_profile().instance_profile_name(name).send();
            let answer = once_free(|| call("iam:DeleteInstanceProfile", &request)).await;
            gone(&context.aws, answer, Bearer::Profile(name)).await?;
        }
        Ok(())
    };
    let role = async {
        if have.policy.is_some() {
            delete_policy(context, name, name).await?;
        }
        if have.role.is_some() {
            delete_role(context, name).await?;
        }
        Ok(())
    };
    tokio::try_join!(profile, role).map(|_| ())
}

/// A role keeps a policy that somebody gave it since, or by hand; with it, it cannot be deleted.
async fn delete_role(context: &Context, name: &str) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let request = || iam.delete_role().role_name(name).send();
    let answer = match call("iam:DeleteRole", request).await {
        Err(error) if error.is(&["DeleteConflict"]) => {
            strip(context, name).await?;
            once_free(|| call("iam:DeleteRole", &request)).await
        }
        answer => answer,
    };
    gone(&context.aws, answer, Bearer::Role(name)).await
}

async fn delete_policy(context: &Context, role: &str, policy: &str) -> Result<(), ApiError> {
    let request = || context.aws.iam.delete_role_policy().role_name(role).policy_name(policy).send();
    gone(&context.aws, call("iam:DeleteRolePolicy", request).await, Bearer::Role(role)).await
}

/// What was just taken out or off may still count for some seconds.
async fn once_free<T, F: Future<Output = Result<T, ApiError>>>(attempt: impl Fn() -> F) -> Result<T, ApiError> {
    let conflict = |error: &ApiError| error.is(&["DeleteConflict"]);
    patiently(Backoff::new(CONSISTENT), conflict, attempt).await
}

/// Takes every policy off the role.
async fn strip(context: &Context, name: &str) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    let (inline, attached) = tokio::join!(
        call("iam:ListRolePolicies", || iam.list_role_policies().role_name(name).send()),
        call("iam:ListAttachedRolePolicies", || iam.list_attached_role_policies().role_name(name).send()),
    );
    for policy in present(inline)?.map(|answer| answer.policy_names).unwrap_or_default() {
        delete_policy(context, name, &policy).await?;
    }
    let attached = present(attached)?.and_then(|answer| answer.attached_policies).unwrap_or_default();
    for arn in attached.into_iter().filter_map(|policy| policy.policy_arn) {
        let request = || iam.detach_role_policy().role_name(name).policy_arn(&arn).send();
        gone(&context.aws, call("iam:DetachRolePolicy", request).await, Bearer::Role(name)).await?;
    }
    Ok(())
}

fn from_iam(tags: Option<Vec<Tag>>) -> Tags {
    tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn to_iam(tags: &Tags) -> Vec<Tag> {
    // A tag without key or value is not built; ours have both.
    tags.iter().filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok()).collect()
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn every_part_that_is_missing_is_made_and_no_other() {
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
    fn what_was_made_a_moment_ago_is_fresh_whoever_made_it() {
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
    fn a_boundary_is_set_where_it_is_missing_or_another_and_never_taken_away() {
        let bounded = |arn: Option<&str>| State { boundary: arn.map(str::to_owned), ..whole() };
        let diff = |wanted, state: State| diff(&document(), wanted, &Tags::new(), Some(&state));
        assert_eq!(diff(Some("a"), bounded(Some("a"))), None);
        assert_eq!(diff(None, bounded(Some("a"))), None);
        for state in [bounded(None), bounded(Some("b"))] {
            let planned = diff(Some("a"), state).unwrap();
            assert_eq!(planned.reasons, ["its permissions boundary is missing or another"]);
            let Change::Ensure(ensure) = planned.change else { panic!() };
            assert_eq!((ensure.boundary.as_deref(), ensure.role, ensure.policy), (Some("a"), false, None));
        }
        let planned = super::diff(&document(), Some("a"), &Tags::new(), None).unwrap();
        let Change::Ensure(ensure) = planned.change else { panic!() };
        assert_eq!((ensure.boundary.as_deref(), ensure.role), (Some("a"), true));
    }

    #[test]
    fn another_role_leaves_the_profile() {
        let theirs = Profile { others: vec!["theirs".into()], ..profile(false) };
        let planned = diff(&document(), None, &Tags::new(), Some(&State { profile: Some(theirs), ..whole() })).unwrap();
        let Change::Ensure(ensure) = planned.change else { panic!() };
        assert_eq!((ensure.others, ensure.membership), (vec!["theirs".to_owned()], true));
    }

    #[test]
    fn an_edited_policy_is_put_back() {
        let state = State { policy: Some(Document::read(r#"{"Statement": []}"#)), ..whole() };
        assert_eq!(
            diff(&document(), None, &Tags::new(), Some(&state)).unwrap().reasons,
            ["its policy is missing or was changed"]
        );
    }

    #[test]
    fn the_policy_reaches_nothing_of_others() {
        for statement in written()["Statement"].as_array().unwrap() {
            let resource = statement["Resource"].as_str().unwrap();
            let shared = resource.ends_with("-an/_tools/*") && statement["Action"] == "s3:GetObject";
            let own = resource.contains("/devopsctl/hello/") || resource.contains("-an/hello/");
            assert!(own || shared, "{resource}");
        }
    }
}
