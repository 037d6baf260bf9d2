//! What the instance may do: a role with one inline policy, in an instance profile. All three bear the same name, which
//! carries the region because IAM is global.

use aws_sdk_iam::types::Tag;
use serde_json::{Value, json};

use super::{Action, Planned, Tags, ours};
use crate::aws::{ApiError, Aws, call, explain};
use crate::engine::context::Context;
use crate::engine::observe::Foreign;
use crate::error::Result;
use crate::names;

/// Role, policy and profile as they stand, each perhaps missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The role is there.
    pub role: bool,
    /// The inline policy's document, if there is one.
    pub policy: Option<Value>,
    /// The instance profile, if there is one.
    pub profile: Option<Profile>,
}

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `AIPA…`: another one when it was made anew under the same name.
    pub id: String,
    /// Whether our role is in it.
    pub holds_role: bool,
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make what is missing, in this order.
    Ensure { role: bool, policy: Option<String>, profile: bool, membership: bool, tags: Tags },
    /// Remove what stands, in the order that IAM asks for.
    Delete { have: State },
}

/// Looks at all three at once.
pub async fn observe(aws: &Aws, name: &str) -> Result<(Option<State>, Option<Foreign>)> {
    let role = names::role(name, &aws.region);
    let (found, policy, profile) =
        tokio::try_join!(get_role(aws, &role), get_policy(aws, &role), get_profile(aws, &role))
            .map_err(|error| explain("cannot look for the role", &error))?;
    if let Some(tags) = &found
        && !ours(tags, name)
    {
        return Ok((None, Some(Foreign::new("IAM role", role))));
    }
    if let Some((_, tags)) = &profile
        && !ours(tags, name)
    {
        return Ok((None, Some(Foreign::new("instance profile", role))));
    }
    let state = State { role: found.is_some(), policy, profile: profile.map(|(profile, _)| profile) };
    Ok(((state != State::default()).then_some(state), None))
}

async fn get_role(aws: &Aws, role: &str) -> Result<Option<Tags>, ApiError> {
    let answer = present(call("iam:GetRole", || aws.iam.get_role().role_name(role).send()).await)?;
    Ok(answer.and_then(|answer| answer.role).map(|role| from_iam(role.tags)))
}

async fn get_policy(aws: &Aws, role: &str) -> Result<Option<Value>, ApiError> {
    let request = || aws.iam.get_role_policy().role_name(role).policy_name(role).send();
    let answer = present(call("iam:GetRolePolicy", request).await)?;
    // IAM hands the document out percent-encoded. One that cannot be read is not the one we wrote.
    Ok(answer.map(|answer| serde_json::from_str(&percent_decoded(&answer.policy_document)).unwrap_or(Value::Null)))
}

async fn get_profile(aws: &Aws, name: &str) -> Result<Option<(Profile, Tags)>, ApiError> {
    let request = || aws.iam.get_instance_profile().instance_profile_name(name).send();
    let answer = present(call("iam:GetInstanceProfile", request).await)?;
    Ok(answer.and_then(|answer| answer.instance_profile).map(|profile| {
        let holds_role = profile.roles.iter().any(|role| role.role_name == name);
        (Profile { id: profile.instance_profile_id, holds_role }, from_iam(profile.tags))
    }))
}

fn present<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is missing, and a policy that is not the one we write.
pub fn diff(policy: &Value, tags: &Tags, have: Option<&State>) -> Option<Planned<Change>> {
    let absent = State::default();
    let state = have.unwrap_or(&absent);
    let new_policy = state.policy.as_ref() != Some(policy);
    let membership = !state.profile.as_ref().is_some_and(|profile| profile.holds_role) || !state.role;
    let mut reasons = Vec::new();
    let mut because = |holds: bool, reason: &str| {
        if holds {
            reasons.push(reason.to_owned());
        }
    };
    because(!state.role, "there is no role");
    because(state.role && new_policy, "its policy is missing or was changed");
    because(state.profile.is_none(), "there is no instance profile");
    because(state.role && state.profile.is_some() && membership, "the role is not in its profile");
    if reasons.is_empty() {
        return None;
    }
    let action = if have.is_none() { Action::Create } else { Action::Update };
    let policy = (new_policy || !state.role).then(|| policy.to_string());
    let change =
        Change::Ensure { role: !state.role, policy, profile: state.profile.is_none(), membership, tags: tags.clone() };
    Some(Planned::new(action, reasons, change))
}

/// What is to be done so that none stands.
pub fn removal(have: Option<&State>) -> Option<Planned<Change>> {
    have.map(|have| Planned::delete(Change::Delete { have: have.clone() }))
}

/// The inline policy: read the token and the releases of this deployment, write its own reports and logs.
pub fn policy(partition: &str, account: &str, region: &str, name: &str, bucket: &str) -> Value {
    let parameter = |path: &str| format!("arn:{partition}:ssm:{region}:{account}:parameter{path}");
    let object = |path: &str| format!("arn:{partition}:s3:::{bucket}/{}{path}", names::bucket_prefix(name));
    json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": parameter(&names::token_parameter(name))},
            {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": parameter(&format!("{}/*", names::report_path(name)))},
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": object("releases/*")},
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": object("logs/*")},
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
        Change::Ensure { role, policy, profile, membership, tags } => {
            let failed = |error| explain("the instance's role cannot be made", &error);
            // Role with policy and profile do not wait for each other; the membership needs both.
            let role = async {
                if role {
                    create_role(context, &name, &tags).await?;
                }
                match policy {
                    Some(document) => put_policy(context, &name, &document).await,
                    None => Ok(()),
                }
            };
            let profile = async { if profile { create_profile(context, &name, &tags).await } else { Ok(()) } };
            tokio::try_join!(role, profile).map_err(failed)?;
            if membership {
                join_profile(context, &name).await.map_err(failed)?;
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

async fn create_role(context: &Context, name: &str, tags: &Tags) -> Result<(), ApiError> {
    let request = || {
        let description = format!("What the instance of {} may do", context.name);
        context
            .aws
            .iam
            .create_role()
            .role_name(name)
            .assume_role_policy_document(trust())
            .description(description)
            .set_tags(Some(to_iam(tags)))
            .send()
    };
    exists_is_fine(call("iam:CreateRole", request).await)
}

async fn put_policy(context: &Context, name: &str, document: &str) -> Result<(), ApiError> {
    let request =
        || context.aws.iam.put_role_policy().role_name(name).policy_name(name).policy_document(document).send();
    call("iam:PutRolePolicy", request).await.map(|_| ())
}

async fn create_profile(context: &Context, name: &str, tags: &Tags) -> Result<(), ApiError> {
    let request =
        || context.aws.iam.create_instance_profile().instance_profile_name(name).set_tags(Some(to_iam(tags))).send();
    exists_is_fine(call("iam:CreateInstanceProfile", request).await)
}

/// A profile holds one role at most: `LimitExceeded` means that one is in it, which can only be ours.
async fn join_profile(context: &Context, name: &str) -> Result<(), ApiError> {
    let request = || context.aws.iam.add_role_to_instance_profile().instance_profile_name(name).role_name(name).send();
    match call("iam:AddRoleToInstanceProfile", request).await {
        Err(error) if error.is(&["LimitExceeded"]) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

fn exists_is_fine<T>(answer: Result<T, ApiError>) -> Result<(), ApiError> {
    match answer {
        Err(error) if error.is(&["EntityAlreadyExists"]) => Ok(()),
        answer => answer.map(|_| ()),
    }
}

async fn delete(context: &Context, name: &str, have: &State) -> Result<(), ApiError> {
    let iam = &context.aws.iam;
    if have.profile.as_ref().is_some_and(|profile| profile.holds_role) {
        let request = || iam.remove_role_from_instance_profile().instance_profile_name(name).role_name(name).send();
        present(call("iam:RemoveRoleFromInstanceProfile", request).await)?;
    }
    let profile = async {
        if have.profile.is_some() {
            let request = || iam.delete_instance_profile().instance_profile_name(name).send();
            present(call("iam:DeleteInstanceProfile", request).await)?;
        }
        Ok(())
    };
    let role = async {
        if have.policy.is_some() {
            let request = || iam.delete_role_policy().role_name(name).policy_name(name).send();
            present(call("iam:DeleteRolePolicy", request).await)?;
        }
        if have.role {
            present(call("iam:DeleteRole", || iam.delete_role().role_name(name).send()).await)?;
        }
        Ok(())
    };
    tokio::try_join!(profile, role).map(|_| ())
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

    fn document() -> Value {
        policy("aws", "123456789012", "eu-central-1", "hello", "devopsctl-123456789012-eu-central-1-an")
    }

    fn whole() -> State {
        State { role: true, policy: Some(document()), profile: Some(Profile { id: "AIPA1".into(), holds_role: true }) }
    }

    #[test]
    fn whole_is_kept() {
        assert_eq!(diff(&document(), &Tags::new(), Some(&whole())), None);
    }

    #[test]
    fn every_part_that_is_missing_is_made_and_no_other() {
        for (role, with_policy, profile, member) in (0..16).map(|n| (n & 1 > 0, n & 2 > 0, n & 4 > 0, n & 8 > 0)) {
            let state = State {
                role,
                policy: (role && with_policy).then(document),
                profile: profile.then(|| Profile { id: "AIPA1".into(), holds_role: role && member }),
            };
            let planned = diff(&document(), &Tags::new(), Some(&state));
            if state == whole() {
                assert_eq!(planned, None);
                continue;
            }
            let Some(Change::Ensure { role: make, policy, profile: make_profile, membership, .. }) =
                planned.map(|planned| planned.change)
            else {
                panic!()
            };
            assert_eq!(make, !state.role);
            assert_eq!(policy.is_some(), state.policy.is_none());
            assert_eq!(make_profile, state.profile.is_none());
            assert_eq!(membership, !state.profile.is_some_and(|profile| profile.holds_role));
        }
    }

    #[test]
    fn an_edited_policy_is_put_back() {
        let state = State { policy: Some(json!({"Statement": []})), ..whole() };
        assert_eq!(
            diff(&document(), &Tags::new(), Some(&state)).unwrap().reasons,
            ["its policy is missing or was changed"]
        );
    }

    #[test]
    fn the_policy_reaches_nothing_of_others() {
        for statement in document()["Statement"].as_array().unwrap() {
            let resource = statement["Resource"].as_str().unwrap();
            assert!(resource.contains("/devopsctl/hello/") || resource.contains("-an/hello/"), "{resource}");
        }
    }
}
