//! The orders of an instance. They are its tags, which this file and `agent/orders/orders.py` write and read. Both
//! sides are tested with the cases in `tests/orders`.
//!
//! An invalid value counts as missing, so `up` sets it again and `rollback` never uses it: any principal that may tag the
//! instance can also set invalid tags.

use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, Serialize};

use super::kinds::{Id, Kind};
use super::step::{Resource, only};
use super::{Action, Observed, Planned, Sight, Tags, history, instance, secrets};
use crate::base::error::Result;
use crate::base::names;

mod tell;

pub use tell::apply;

const RELEASE: &str = "devopsctl:release";
const PREVIOUS: &str = "devopsctl:previous";
const TOKEN: &str = "devopsctl:token";
const ATTEMPT: &str = "devopsctl:try";
const ADDRESS: &str = "devopsctl:address";
const SECRETS: &str = "devopsctl:secrets";

/// The orders of an instance. A report contains the orders that it answers.
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
    /// `devopsctl:secrets`: the fingerprint of the secrets that SSM should have by now. As with the token, the agent takes
    /// SSM's newest.
    #[serde(deserialize_with = "fingerprint")]
    pub secrets: Option<String>,
    /// `devopsctl:previous`: the release that `rollback` goes to. The agent does not read it.
    #[serde(skip)]
    pub previous: Option<String>,
    /// `devopsctl:address`: the Elastic IP that points to the instance. Until it is there, no certificate is requested.
    #[serde(skip)]
    pub address: Option<Ipv4Addr>,
}

impl Orders {
    /// The orders in the tags of an instance.
    pub fn of(tags: &Tags) -> Self {
        let tag = |key: &str| tags.get(key).map(String::as_str);
        let release = |key| tag(key).filter(|id| names::is_release(id)).map(str::to_owned);
        Self {
            release: release(RELEASE),
            token: tag(TOKEN).and_then(number),
            attempt: tag(ATTEMPT).filter(|text| is_attempt(text)).map(str::to_owned),
            secrets: tag(SECRETS).filter(|text| secrets::is_fingerprint(text)).map(str::to_owned),
            previous: release(PREVIOUS),
            address: tag(ADDRESS).and_then(|text| text.parse().ok()),
        }
    }

    /// The fingerprint of the secrets in them. Older orders have none, and their instance got no secrets.
    pub fn of_secrets(&self) -> &str {
        self.secrets.as_deref().unwrap_or(secrets::NONE)
    }

    /// The tags with these orders.
    pub fn tags(&self) -> Tags {
        let tags = [
            (RELEASE, self.release.clone()),
            (PREVIOUS, self.previous.clone()),
            (TOKEN, self.token.map(|version| version.to_string())),
            (ATTEMPT, self.attempt.clone()),
            (ADDRESS, self.address.map(|address| address.to_string())),
            (SECRETS, self.secrets.clone()),
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

/// Only a valid release id: it becomes a key in the bucket, and `rollback` offers it.
pub(super) fn release<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|id| names::is_release(id)))
}

/// Only a valid fingerprint.
pub(super) fn fingerprint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| secrets::is_fingerprint(text)))
}

/// The change to apply: give orders to the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The new orders, without the parts below.
    pub tell: Orders,
    /// Whether the agent must retry after a failure.
    pub retry: bool,
    /// What of SSM is ordered. Its state is known only when the orders are given.
    pub of_ssm: OfSsm,
    /// Other instances that need to know it, too.
    pub others: Vec<String>,
}

/// What of SSM is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfSsm {
    /// The token's version.
    Token,
    /// The fingerprint of the secrets.
    Secrets,
    /// Both.
    Both,
}

impl Change {
    /// Orders only what SSM has.
    pub fn only(of_ssm: OfSsm, others: Vec<String>) -> Self {
        Self { tell: Orders::default(), retry: false, of_ssm, others }
    }
}

/// The wanted orders of the instance.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The release to run.
    pub release: String,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The value of `devopsctl:try` that was set in this run.
    pub attempt: String,
}

/// The orders of the current instance.
pub const ID: Id = Id::of(Kind::Orders);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, sight: &Sight<'_>) -> Vec<Id> {
        let roles = if sight.wants(Kind::AppRole) { only([Kind::Role, Kind::AppRole]) } else { Vec::new() };
        [only([Kind::Token, Kind::Release, Kind::Instance]), secrets::ids(sight), roles].concat()
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let known = sight.have.secrets.looked()?.map_or_else(|| secrets::NONE.to_owned(), secrets::fingerprint);
        let told = sight.current.map(instance::State::orders);
        let differ = told.is_some_and(|told| told.of_secrets() != known) || secrets::generates(sight)?;
        planned(&self.release, sight.have, sight.current, (OfSsm::Both, differ))
    }
}

/// The step that makes the serving instance run an existing release. It does not order the secrets: nothing else may change.
///
/// # Errors
/// The token was not read.
pub fn rollback(to: &str, have: &Observed, current: &instance::State) -> Result<Option<Planned<Change>>> {
    planned(to, have, Some(current), (OfSsm::Token, false))
}

fn planned(
    release: &str,
    have: &Observed,
    current: Option<&instance::State>,
    secrets: (OfSsm, bool),
) -> Result<Option<Planned<Change>>> {
    let wanted = Orders {
        release: Some(release.to_owned()),
        previous: history::before(have, release),
        token: have.token.looked()?.map(|token| token.version),
        ..Orders::default()
    };
    let told = current.map(instance::State::orders);
    Ok(diff(&wanted, told.as_ref(), have.gave_up(release, current), secrets))
}

/// The change from the current to the wanted orders; `told` is `None` if the instance will be launched.
/// `wanted.previous` counts only with another release. `retry`: the agent failed with exactly these orders. `differ`: whether the
/// secrets differ from those in the orders.
fn diff(
    wanted: &Orders,
    told: Option<&Orders>,
    retry: bool,
    (of_ssm, differ): (OfSsm, bool),
) -> Option<Planned<Change>> {
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
    if differ && told.is_some() {
        reasons.push(NEW_SECRETS.to_owned());
    }
    if retry {
        reasons.push("the instance failed and must retry".to_owned());
    }
    let change = Change { tell: Orders { release, previous, ..none.clone() }, retry, of_ssm, others: Vec::new() };
    let action = if told.is_none() { Action::Create } else { Action::Update };
    (!reasons.is_empty()).then(|| Planned::new(action, reasons, change))
}

const NEW_TOKEN: &str = "the token's version differs from the one in the instance's orders";
const NEW_SECRETS: &str = "the secrets differ from the ones in the instance's orders";

/// Orders a new version of the token on all live instances: a new instance that is about to take over must not have the
/// old token. `stored`: the version, if it is known already.
pub fn rotation(
    stored: Option<i64>,
    current: Option<&instance::State>,
    all: &[instance::State],
) -> Option<Planned<Change>> {
    let told = |orders: Orders| stored.is_some() && orders.token == stored;
    everywhere(OfSsm::Token, NEW_TOKEN, told, current, all)
}

/// Orders the secrets on all live instances. `stored`: their fingerprint, if no step changes it.
pub fn secrets(
    stored: Option<&str>,
    current: Option<&instance::State>,
    all: &[instance::State],
) -> Option<Planned<Change>> {
    everywhere(OfSsm::Secrets, NEW_SECRETS, |orders| stored == Some(orders.of_secrets()), current, all)
}

fn everywhere(
    of_ssm: OfSsm,
    reason: &str,
    told: impl Fn(Orders) -> bool,
    current: Option<&instance::State>,
    all: &[instance::State],
) -> Option<Planned<Change>> {
    let current = current?;
    let others = instance::alive(all).filter(|state| state.id != current.id).map(|state| state.id.clone());
    let change = Change::only(of_ssm, others.collect());
    let all_told = instance::alive(all).all(|state| told(state.orders()));
    (!all_told).then(|| Planned::new(Action::Update, vec![reason.to_owned()], change))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;

    /// A release id for a test, made of this digit.
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
            secrets: text("secrets"),
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
    fn an_invalid_value_affects_its_own_tag_only() {
        for case in cases(include_str!("../../tests/orders/read.json")) {
            let (orders, tags) = parts(&case);
            assert_eq!(Orders::of(&tags), orders, "{}", case["name"]);
        }
    }

    #[test]
    fn an_instance_gets_orders_only_for_a_reason() {
        let orders = |release, token| Orders { release: Some(id(release)), token, ..Orders::default() };
        let wanted = Orders { previous: Some(id("0")), ..orders("1", Some(3)) };
        let diff = |wanted: &Orders, told: Option<&Orders>, retry| diff(wanted, told, retry, (OfSsm::Both, false));
        assert_eq!(diff(&wanted, Some(&orders("1", Some(3))), false), None);
        for (release, token, retry) in
            [("2", Some(3), false), ("1", Some(2), false), ("1", None, false), ("1", Some(3), true)]
        {
            let change = diff(&wanted, Some(&orders(release, token)), retry).unwrap().change;
            assert_eq!(
                change.tell.previous.is_some(),
                release == "2",
                "the previous release changes with the release only"
            );
        }
        assert!(diff(&orders("1", None), Some(&orders("1", Some(3))), false).is_some());
        let differ = super::diff(&wanted, Some(&orders("1", Some(3))), false, (OfSsm::Both, true)).unwrap();
        assert_eq!(differ.reasons, [NEW_SECRETS]);
    }

    #[test]
    fn every_live_instance_gets_the_orders_of_a_rotation_once() {
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
