//! The tags that the agent watches: which release it is to run, and which version the token has reached. The token's is
//! a doorbell only; the agent always takes SSM's newest, so that nobody who may write tags can bring an old one back.

use std::time::Duration;

use super::kinds::{Id, Kind};
use super::step::{Resource, only};
use super::{Action, Observed, Planned, Sight, Tags, history, instance, set_tags, token};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{Aws, explain};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::base::{names, secret};
use crate::resources::context::Context;

/// What to do: have the agent see these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release, if the tag is another.
    pub release: Option<String>,
    /// The release to which `rollback` goes from then on, if it is another.
    pub previous: Option<String>,
    /// Whether the agent is to try again what it gave up.
    pub again: bool,
    /// Other instances that are to see the token's version, beside the one that the plan is about.
    pub others: Vec<String>,
}

/// What the instance is to be told.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The release that it is to run.
    pub release: String,
}

/// What steps about other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The value of `devopsctl:try` that was set in this run.
    pub attempt: String,
}

/// Those of the instance that counts.
pub const ID: Id = Id::of(Kind::Orders);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        only([Kind::Token, Kind::Release, Kind::Instance])
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let again = sight.have.gave_up(&self.release, sight.current);
        Ok(diff(&self.release, sight.before(&self.release), sight.have.token.looked()?, sight.current, again))
    }
}

/// Rings where the tags are not what they should be. `before`: what `rollback` goes to once another release is to run.
/// `again`: the agent gave up on just this.
fn diff(
    release: &str,
    before: Option<String>,
    token: Option<&token::State>,
    current: Option<&instance::State>,
    again: bool,
) -> Option<Planned<Change>> {
    let tag = |key| current.and_then(|instance| instance.tags.get(key)).map(String::as_str);
    let new_release = tag(names::TAG_RELEASE) != Some(release);
    let version = token.map(|token| token.version.to_string());
    let new_token = version.is_none() || tag(names::TAG_TOKEN) != version.as_deref();
    let mut reasons = Vec::new();
    if current.is_some() && new_release {
        reasons.push(format!("another release is to run: {}", super::release::short(release)));
    }
    if new_token {
        reasons.push("the token has another version than the instance was told".into());
    }
    if again {
        reasons.push("the instance gave up and is to try again".into());
    }
    let previous = before.filter(|before| new_release && tag(names::TAG_PREVIOUS) != Some(before));
    let change = Change { release: new_release.then(|| release.to_owned()), previous, again, others: Vec::new() };
    let action = if current.is_none() { Action::Create } else { Action::Update };
    (!reasons.is_empty()).then(|| Planned::new(action, reasons, change))
}

/// Has the instance that serves run a release that was there before.
///
/// # Errors
/// That the token was not looked at.
pub fn rollback(to: &str, have: &Observed, current: &instance::State) -> Result<Option<Planned<Change>>> {
    let again = have.gave_up(to, Some(current));
    Ok(diff(to, history::before(have, to), have.token.looked()?, Some(current), again))
}

/// Tells all that live of a new version of the token: one that is about to take over must not come with the old one.
/// `stored`: the version, if it is known already.
pub fn rotation(
    stored: Option<i64>,
    current: Option<&instance::State>,
    all: &[instance::State],
) -> Option<Planned<Change>> {
    let (current, version) = (current?, stored.map(|version| version.to_string()));
    let told = |state: &instance::State| version.is_some() && state.tags.get(names::TAG_TOKEN) == version.as_ref();
    let others = instance::alive(all).filter(|state| state.id != current.id).map(|state| state.id.clone());
    let change = Change { release: None, previous: None, again: false, others: others.collect() };
    let reasons = vec!["the token has another version than the instance was told".to_owned()];
    (!instance::alive(all).all(told)).then(|| Planned::new(Action::Update, reasons, change))
}

/// Does it; says what stands then.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let instance = context.output::<instance::Output>(&instance::ID)?;
    let mut instances = vec![instance.id.as_str()];
    instances.extend(change.others.iter().map(String::as_str));
    let mut tags = Tags::new();
    // A new instance was launched with both.
    let told = change.release.clone().filter(|_| instance.told.is_none());
    let what = told.map_or_else(String::new, |release| format!("release {} and ", super::release::short(&release)));
    let releases = [(names::TAG_RELEASE, change.release), (names::TAG_PREVIOUS, change.previous)];
    tags.extend(releases.into_iter().filter_map(|(tag, release)| Some((tag.to_owned(), release?))));
    if change.again {
        let again = secret::random_hex(4)?;
        tags.insert(names::TAG_TRY.into(), again.clone());
        context.learn(Output { attempt: again });
    }
    let (aws, name) = (&context.aws, context.name.as_str());
    let known = context.known::<token::Output>(&token::ID).map(|token| token.version);
    let version = match (instance.told, known) {
        // What was launched just now carries the release and the token's version already.
        (Some(told), _) => check(aws, name, &instances, told).await?,
        (None, Some(version)) => tell(aws, name, &instances, tags, version).await?,
        (None, None) => tell(aws, name, &instances, tags, newest(aws, name).await?).await?,
    };
    context.learn_of(&token::ID, token::Output { version });
    Ok(format!("told of {what}token version {version}"))
}

/// Sets the tags, with this version of the token, and looks until the two agree: another writer may have been between.
async fn tell(aws: &Aws, name: &str, instances: &[&str], mut tags: Tags, version: i64) -> Result<i64> {
    tags.insert(names::TAG_TOKEN.into(), version.to_string());
    let set = set_tags(aws, instances, &tags).await;
    set.map_err(|error| explain(format!("the instance {} cannot be tagged", instances.join(", ")), &error))?;
    check(aws, name, instances, version).await
}

/// Looks whether there is a newer version than the instances were told; then tells them.
async fn check(aws: &Aws, name: &str, instances: &[&str], told: i64) -> Result<i64> {
    match newest(aws, name).await? {
        newest if newest > told => Box::pin(tell(aws, name, instances, Tags::new(), newest)).await,
        _ => Ok(told),
    }
}

/// Just written, SSM may not show it yet.
async fn newest(aws: &Aws, name: &str) -> Result<i64> {
    let mut backoff = Backoff::new(Duration::from_secs(30));
    loop {
        let version = token::version(aws, name).await;
        match version.map_err(|error| explain("the token's version cannot be read", &error))? {
            Some(version) => return Ok(version),
            None if backoff.wait().await == Retry::Again => {}
            None => {
                return Err(Failure::failed(format!("the token of {name} is gone"))
                    .next(Next::from("set one: ").run("set-token --generate")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current(release: &str, token: Option<&str>) -> instance::State {
        let mut tags = Tags::from([(names::TAG_RELEASE.into(), release.into())]);
        tags.extend(token.map(|token| (names::TAG_TOKEN.to_owned(), token.to_owned())));
        instance::State {
            id: "i-1".into(),
            phase: instance::Phase::Running,
            kind: String::new(),
            image: String::new(),
            ip: None,
            profile: None,
            metadata: true,
            tags,
            launched: 0,
        }
    }

    #[test]
    fn it_rings_only_for_a_reason() {
        let token = token::State { version: 3, tags: Tags::new() };
        let before = || Some("r0".to_owned());
        assert_eq!(diff("r1", before(), Some(&token), Some(&current("r1", Some("3"))), false), None);
        for (release, version, again) in
            [("r2", Some("3"), false), ("r1", Some("2"), false), ("r1", None, false), ("r1", Some("3"), true)]
        {
            let change = diff("r1", before(), Some(&token), Some(&current(release, version)), again).unwrap().change;
            assert_eq!(
                change.previous.is_some(),
                release == "r2",
                "what is gone back to changes with the release alone"
            );
        }
        assert!(diff("r1", before(), None, Some(&current("r1", Some("3"))), false).is_some());
    }

    #[test]
    fn all_that_live_are_told_unless_they_know() {
        let mut other = current("r1", Some("3"));
        other.id = "i-2".into();
        let all = [current("r1", Some("4")), other];
        let planned = rotation(Some(4), Some(&all[0]), &all).unwrap();
        assert_eq!(planned.change.others, ["i-2"]);
        assert_eq!(rotation(Some(4), Some(&all[0]), &all[..1]), None);
        assert!(rotation(None, Some(&all[0]), &all[..1]).is_some());
        assert_eq!(rotation(None, None, &[]), None);
    }
}
