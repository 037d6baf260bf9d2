//! What an instance is asked to do. Its tags say it: they are written and read in this file, and on the instance in
//! `agent/orders/orders.py`. The cases in `tests/orders` hold both sides to the same values.
//!
//! A value that does not have the form of its tag counts as missing, so that `up` sets it again and `rollback` never goes to it:
//! a resource that has tags can be tagged by others, too.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::kinds::{Id, Kind};
use super::step::{Resource, only};
use super::{Action, Observed, Planned, Sight, Tags, history, instance, set_tags, token};
use crate::aws::retry::{Backoff, Retry};
use crate::aws::{Aws, explain};
use crate::base::error::{Failure, Result};
use crate::base::next::Next;
use crate::base::{names, secret};
use crate::resources::context::Context;

const RELEASE: &str = "devopsctl:release";
const PREVIOUS: &str = "devopsctl:previous";
const TOKEN: &str = "devopsctl:token";
const ATTEMPT: &str = "devopsctl:try";
const ADDRESS: &str = "devopsctl:address";

/// What an instance is asked to do. In its report it names the orders that the report answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Orders {
    /// `devopsctl:release`: the release to run.
    #[serde(deserialize_with = "release")]
    pub release: Option<String>,
    /// `devopsctl:token`: the version that SSM should have by now. The agent always takes SSM's newest, so a caller who may
    /// only write tags cannot bring an old token back.
    pub token: Option<i64>,
    /// `devopsctl:try`: changes to have the agent retry what failed.
    #[serde(rename = "try")]
    pub attempt: Option<String>,
    /// `devopsctl:previous`: the release that `rollback` goes to. The agent does not read it.
    #[serde(skip)]
    pub previous: Option<String>,
    /// `devopsctl:address`: the Elastic IP that leads to the instance. Until it is there, no certificate is requested.
    #[serde(skip)]
    pub address: Option<Ipv4Addr>,
}

impl Orders {
    /// As the tags of an instance say them.
    pub fn of(tags: &Tags) -> Self {
        let tag = |key: &str| tags.get(key).map(String::as_str);
        let release = |key| tag(key).filter(|id| names::is_release(id)).map(str::to_owned);
        Self {
            release: release(RELEASE),
            token: tag(TOKEN).and_then(number),
            attempt: tag(ATTEMPT).filter(|text| is_attempt(text)).map(str::to_owned),
            previous: release(PREVIOUS),
            address: tag(ADDRESS).and_then(|text| text.parse().ok()),
        }
    }

    /// The tags that say them.
    pub fn tags(&self) -> Tags {
        let tags = [
            (RELEASE, self.release.clone()),
            (PREVIOUS, self.previous.clone()),
            (TOKEN, self.token.map(|version| version.to_string())),
            (ATTEMPT, self.attempt.clone()),
            (ADDRESS, self.address.map(|address| address.to_string())),
        ];
        tags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

/// At most twelve digits, and nothing else.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn is_attempt(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Only the id of a release: it becomes a key in the bucket, and `rollback` offers it.
pub(super) fn release<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|id| names::is_release(id)))
}

/// What to do: tell the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it has not been told yet. The token's version is known only when it is told.
    pub tell: Orders,
    /// Whether the agent is to retry what failed.
    pub retry: bool,
    /// Other instances to tell of the token's version, beside the one that the plan is about.
    pub others: Vec<String>,
}

impl Change {
    /// Tells of the token's version alone.
    pub fn token(others: Vec<String>) -> Self {
        Self { tell: Orders::default(), retry: false, others }
    }
}

/// The orders that the instance is to have.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The release to run.
    pub release: String,
}

/// What steps about other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The value of `devopsctl:try` that was set in this run.
    pub attempt: String,
}

/// The orders of the instance that counts.
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
        planned(&self.release, sight.have, sight.current)
    }
}

/// Makes the instance that serves run a release that is there already.
///
/// # Errors
/// The token was not looked at.
pub fn rollback(to: &str, have: &Observed, current: &instance::State) -> Result<Option<Planned<Change>>> {
    planned(to, have, Some(current))
}

fn planned(release: &str, have: &Observed, current: Option<&instance::State>) -> Result<Option<Planned<Change>>> {
    let wanted = Orders {
        release: Some(release.to_owned()),
        previous: history::before(have, release),
        token: have.token.looked()?.map(|token| token.version),
        ..Orders::default()
    };
    let told = current.map(instance::State::orders);
    Ok(diff(&wanted, told.as_ref(), have.gave_up(release, current)))
}

/// From the orders that an instance was given to the ones that are wanted; `told` is missing for an instance that is yet to be
/// launched. `wanted.previous` counts only with another release. `retry`: the agent failed with just these orders.
fn diff(wanted: &Orders, told: Option<&Orders>, retry: bool) -> Option<Planned<Change>> {
    let none = Orders::default();
    let given = told.unwrap_or(&none);
    let release = wanted.release.clone().filter(|_| wanted.release != given.release);
    let previous = wanted.previous.clone().filter(|_| release.is_some() && wanted.previous != given.previous);
    let mut reasons = Vec::new();
    if let Some(release) = release.as_ref().filter(|_| told.is_some()) {
        reasons.push(format!("the release changes to {}", super::release::short(release)));
    }
    if wanted.token.is_none() || wanted.token != given.token {
        reasons.push(NEW_TOKEN.to_owned());
    }
    if retry {
        reasons.push("the instance failed and must retry".to_owned());
    }
    let change = Change { tell: Orders { release, previous, ..none.clone() }, retry, others: Vec::new() };
    let action = if told.is_none() { Action::Create } else { Action::Update };
    (!reasons.is_empty()).then(|| Planned::new(action, reasons, change))
}

const NEW_TOKEN: &str = "the token's version differs from the one in the instance's orders";

/// Tells all instances that are alive of a new version of the token: one that is about to take over must not come with the
/// old one. `stored`: the version, if it is known already.
pub fn rotation(
    stored: Option<i64>,
    current: Option<&instance::State>,
    all: &[instance::State],
) -> Option<Planned<Change>> {
    let current = current?;
    let told = |state: &instance::State| stored.is_some() && state.orders().token == stored;
    let others = instance::alive(all).filter(|state| state.id != current.id).map(|state| state.id.clone());
    let change = Change::token(others.collect());
    (!instance::alive(all).all(told)).then(|| Planned::new(Action::Update, vec![NEW_TOKEN.to_owned()], change))
}

/// Does it, and returns what the instance was told.
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    let instance = context.output::<instance::Output>(&instance::ID)?;
    let instances: Vec<&str> = [&instance.id].into_iter().chain(&change.others).map(String::as_str).collect();
    let (aws, name) = (&context.aws, context.name.as_str());
    let (mut orders, mut what) = (change.tell, String::new());
    if change.retry {
        let attempt = secret::random_hex(4)?;
        context.learn(Output { attempt: attempt.clone() });
        orders.attempt = Some(attempt);
    }
    let version = if let Some(told) = instance.told {
        // The instance was launched in this run, with its orders.
        catch_up(aws, name, &instances, told).await?
    } else {
        what.extend(orders.release.as_deref().map(|release| format!("release {}, ", super::release::short(release))));
        let version = match context.known::<token::Output>(&token::ID) {
            Some(token) => token.version,
            None => newest(aws, name).await?,
        };
        tell(aws, name, &instances, Orders { token: Some(version), ..orders }).await?
    };
    context.learn_of(&token::ID, token::Output { version });
    Ok(format!("{what}token version {version}"))
}

/// Gives the orders, then looks whether there is a newer version of the token: another command may have written one meanwhile.
async fn tell(aws: &Aws, name: &str, instances: &[&str], orders: Orders) -> Result<i64> {
    let set = set_tags(aws, instances, &orders.tags()).await;
    set.map_err(|error| explain(format!("cannot tag the instance {}", instances.join(", ")), &error))?;
    catch_up(aws, name, instances, orders.token.unwrap_or_default()).await
}

/// Tells of a newer version of the token than `told`, if there is one.
async fn catch_up(aws: &Aws, name: &str, instances: &[&str], told: i64) -> Result<i64> {
    match newest(aws, name).await? {
        newest if newest > told => {
            let orders = Orders { token: Some(newest), ..Orders::default() };
            Box::pin(tell(aws, name, instances, orders)).await
        }
        _ => Ok(told),
    }
}

/// SSM may not show a parameter that was just written.
async fn newest(aws: &Aws, name: &str) -> Result<i64> {
    let mut backoff = Backoff::new(Duration::from_secs(30));
    loop {
        let version = token::version(aws, name).await;
        match version.map_err(|error| explain("cannot read the token's version", &error))? {
            Some(version) => return Ok(version),
            None if backoff.wait().await == Retry::Again => {}
            None => {
                return Err(Failure::failed(format!("the token of {name} was deleted"))
                    .next(Next::from("set one: ").run("set-token --generate")));
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;

    /// An id of a release for a test: this digit.
    pub(crate) fn id(digit: &str) -> String {
        digit.repeat(64)
    }

    fn cases(text: &str) -> Vec<Value> {
        serde_json::from_str(text).unwrap()
    }

    /// The orders and the tags of a case of `tests/orders`.
    fn parts(case: &Value) -> (Orders, Tags) {
        let orders = &case["orders"];
        let text = |name: &str| orders[name].as_str().map(str::to_owned);
        let orders = Orders {
            release: text("release"),
            previous: text("previous"),
            token: orders["token"].as_i64(),
            attempt: text("attempt"),
            address: text("address").map(|address| address.parse().unwrap()),
        };
        (orders, serde_json::from_value(case["tags"].clone()).unwrap())
    }

    #[test]
    fn orders_become_tags_and_back() {
        for case in cases(include_str!("../../tests/orders/written.json")) {
            let (orders, tags) = parts(&case);
            assert_eq!(orders.tags(), tags, "{}", case["name"]);
            assert_eq!(Orders::of(&tags), orders, "{}", case["name"]);
        }
    }

    #[test]
    fn a_value_without_the_form_of_its_tag_costs_that_tag_alone() {
        for case in cases(include_str!("../../tests/orders/read.json")) {
            let (orders, tags) = parts(&case);
            assert_eq!(Orders::of(&tags), orders, "{}", case["name"]);
        }
    }

    #[test]
    fn an_instance_is_told_only_for_a_reason() {
        let orders = |release, token| Orders { release: Some(id(release)), token, ..Orders::default() };
        let wanted = Orders { previous: Some(id("0")), ..orders("1", Some(3)) };
        assert_eq!(diff(&wanted, Some(&orders("1", Some(3))), false), None);
        for (release, token, retry) in
            [("2", Some(3), false), ("1", Some(2), false), ("1", None, false), ("1", Some(3), true)]
        {
            let change = diff(&wanted, Some(&orders(release, token)), retry).unwrap().change;
            assert_eq!(change.tell.previous.is_some(), release == "2", "the way back changes with the release only");
        }
        assert!(diff(&orders("1", None), Some(&orders("1", Some(3))), false).is_some());
    }

    #[test]
    fn every_live_instance_is_told_of_a_rotation_unless_it_knows() {
        let instance = |name: &str, token| instance::State {
            id: name.into(),
            phase: instance::Phase::Running,
            kind: String::new(),
            image: String::new(),
            ip: None,
            profile: None,
            metadata: true,
            tags: Orders { token: Some(token), ..Orders::default() }.tags(),
            launched: 0,
        };
        let all = [instance("i-1", 4), instance("i-2", 3)];
        let planned = rotation(Some(4), Some(&all[0]), &all).unwrap();
        assert_eq!(planned.change.others, ["i-2"]);
        assert_eq!(rotation(Some(4), Some(&all[0]), &all[..1]), None);
        assert!(rotation(None, Some(&all[0]), &all[..1]).is_some());
        assert_eq!(rotation(None, None, &[]), None);
    }
}
