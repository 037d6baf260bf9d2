//! The orders of an instance. They are its tags, which this file and `agent/orders/orders.py` write and read. Both
//! sides are tested with the cases in `tests/orders`.
//!
//! An invalid value counts as missing, so `up` sets it again and `rollback` never uses it: any principal that may tag the
//! instance can also set invalid tags.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, Serialize};

use super::kinds::{Id, Kind};
use super::outputs::Outputs;
use super::step::{Resource, only};
use super::{Action, Observed, Planned, Sight, Tags, history, instance, references, secrets};
use crate::base::error::Result;
use crate::base::names;
use crate::config::Reference;

mod tell;

pub use tell::apply;

const RELEASE: &str = "devopsctl:release";
const PREVIOUS: &str = "devopsctl:previous";
const TOKEN: &str = "devopsctl:token";
const ATTEMPT: &str = "devopsctl:try";
const ADDRESS: &str = "devopsctl:address";
const SECRETS: &str = "devopsctl:secrets";
const REFERENCES: &str = "devopsctl:references";
const DATA: &str = names::TAG_DATA;
/// The order to give the volume back.
pub const NO_DATA: &str = "none";

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
    /// `devopsctl:references`: the fingerprint of the secrets to which the release refers. The agent takes the newest; `none` expects
    /// nothing.
    #[serde(deserialize_with = "fingerprint")]
    pub references: Option<String>,
    /// `devopsctl:data`: the volume to use, or [`NO_DATA`]: stop what uses it, and unmount it. Without this order the instance has no
    /// volume yet, and a release that needs one waits.
    #[serde(deserialize_with = "of_data")]
    pub data: Option<String>,
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
        let known = |key| tag(key).filter(|text| secrets::is_fingerprint(text)).map(str::to_owned);
        Self {
            release: release(RELEASE),
            token: tag(TOKEN).and_then(number),
            attempt: tag(ATTEMPT).filter(|text| is_attempt(text)).map(str::to_owned),
            secrets: known(SECRETS),
            references: known(REFERENCES),
            data: tag(DATA).filter(|text| is_of_data(text)).map(str::to_owned),
            previous: release(PREVIOUS),
            address: tag(ADDRESS).and_then(|text| text.parse().ok()),
        }
    }

    /// The fingerprint of the secrets in them. Older orders have none, and their instance got no secrets.
    pub fn of_secrets(&self) -> &str {
        self.secrets.as_deref().unwrap_or(secrets::NONE)
    }

    /// The fingerprint of the references in them.
    pub fn of_references(&self) -> &str {
        self.references.as_deref().unwrap_or(secrets::NONE)
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
            (REFERENCES, self.references.clone()),
            (DATA, self.data.clone()),
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

/// Only a volume, or none.
fn of_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| is_of_data(text)))
}

fn is_of_data(text: &str) -> bool {
    text == NO_DATA || names::is_volume(text)
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
    /// Neither.
    Nothing,
}

impl OfSsm {
    /// Whether the token's version is ordered.
    fn has_token(self) -> bool {
        matches!(self, Self::Token | Self::Both)
    }

    /// Whether the secrets are ordered.
    fn has_secrets(self) -> bool {
        matches!(self, Self::Secrets | Self::Both)
    }
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
    /// The references of that release.
    pub references: References,
}

/// The references of a release, by the variable's name.
pub type References = BTreeMap<String, Reference>;

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The value of `devopsctl:try` that was set in this run.
    pub attempt: Option<String>,
    /// The fingerprint of the references that the instance must follow.
    pub references: Option<String>,
}

/// The orders of the current instance.
pub const ID: Id = Id::of(Kind::Orders);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, sight: &Sight<'_>) -> Vec<Id> {
        let roles = match (sight.wants(Kind::AppRole), self.references.is_empty()) {
            (true, _) => only([Kind::Role, Kind::AppRole]),
            (false, false) => only([Kind::Role]),
            (false, true) => Vec::new(),
        };
        [only([Kind::Token, Kind::Release, Kind::Instance]), secrets::ids(sight), roles].concat()
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let known = sight.have.secrets.looked()?.map_or_else(|| secrets::NONE.to_owned(), secrets::fingerprint);
        let told = sight.current.map(instance::State::orders);
        let differ = told.is_some_and(|told| told.of_secrets() != known) || secrets::generates(sight)?;
        let references = Some(fingerprint_of(&self.references, sight));
        planned(&self.release, sight.have, sight.current, references, (OfSsm::Both, differ))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(wanted) = sight.the::<Self>().filter(|wanted| !wanted.references.is_empty()) {
            outputs.set(ID, Output { attempt: None, references: Some(fingerprint_of(&wanted.references, sight)) });
        }
    }
}

/// The fingerprint of these references, as they were looked up.
pub(super) fn fingerprint_of(wanted: &References, sight: &Sight<'_>) -> String {
    let named = wanted.iter().map(|(name, reference)| (name.as_str(), reference));
    let none = references::Found::new();
    references::fingerprint(named, sight.have.references.present().unwrap_or(&none))
}

/// The step that makes the serving instance run an existing release. It does not order the secrets: nothing else may change. The
/// release has references of its own, whose versions are not known here.
///
/// # Errors
/// The token was not read.
pub fn rollback(to: &str, have: &Observed, current: &instance::State) -> Result<Option<Planned<Change>>> {
    let other = current.orders().release.as_deref() != Some(to);
    planned(to, have, Some(current), other.then(|| secrets::NONE.to_owned()), (OfSsm::Token, false))
}

fn planned(
    release: &str,
    have: &Observed,
    current: Option<&instance::State>,
    references: Option<String>,
    secrets: (OfSsm, bool),
) -> Result<Option<Planned<Change>>> {
    let wanted = Orders {
        references,
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
    let references = wanted.references.clone().filter(|known| known != given.of_references());
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
    if references.is_some() && release.is_none() && told.is_some() {
        reasons.push(NEW_REFERENCES.to_owned());
    }
    if retry {
        reasons.push("the instance failed and must retry".to_owned());
    }
    let change =
        Change { tell: Orders { release, previous, references, ..none.clone() }, retry, of_ssm, others: Vec::new() };
    let action = if told.is_none() { Action::Create } else { Action::Update };
    (!reasons.is_empty()).then(|| Planned::new(action, reasons, change))
}

const NEW_TOKEN: &str = "the token's version differs from the one in the instance's orders";
const NEW_SECRETS: &str = "the secrets differ from the ones in the instance's orders";
const NEW_REFERENCES: &str =
    "the versions of the secrets that are kept elsewhere differ from the ones in the instance's orders";

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

/// Orders the references with this fingerprint on all live instances.
pub fn references(known: &str, current: Option<&instance::State>, all: &[instance::State]) -> Option<Planned<Change>> {
    let mut planned =
        everywhere(OfSsm::Nothing, NEW_REFERENCES, |orders| orders.of_references() == known, current, all)?;
    planned.change.tell.references = Some(known.to_owned());
    Some(planned)
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
pub(crate) mod tests;
