//! The domain's A record in Route 53, which points the domain to the address.
//!
//! A zone has records of others, so a record that is not ours is never overwritten. A record cannot have tags, so a TXT
//! record beside it names its owner. Both are written and deleted in one batch, which Route 53 applies completely or
//! not at all: <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html>
//!
//! Route 53 cannot list our records by owner, but the address has the domain as a tag (`devopsctl:domain`): it is set
//! before the record is created, and removed after the record is deleted. So `down`, and an `up` with another domain,
//! find a record that `deploy.yaml` no longer names, and no name ever points to an address that is no longer ours. The
//! tag is lost only if the address is released by hand; then the domain in `deploy.yaml` is still read.

mod look;
mod refusal;

use std::net::Ipv4Addr;

use aws_sdk_route53::types::{
    Change as OneChange, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};

use super::kinds::{Id, Kind};
use super::step::{Resource, Step, only};
use super::{Action, Planned, Sight, elastic_ip};
use crate::aws::{ApiError, call, explain};
use crate::base::error::Result;
use crate::base::names;
use crate::resources::context::Context;

pub use look::observe;
pub use refusal::{Obstacle, check};

/// The TTL in seconds: short enough for a user who waits for a change.
const TTL: i64 = 60;
/// How often a batch is retried after a concurrent change or a lost response.
const TRIES: u32 = 4;

/// A public zone of this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// `Z…`
    pub id: String,
    /// Its name, without the trailing dot.
    pub name: String,
}

/// All records of one type of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// `A`, `AAAA`, `CNAME`, `TXT`.
    pub kind: String,
    /// The TTL in seconds.
    pub ttl: i64,
    /// The values.
    pub values: Vec<String>,
    /// How the answer is determined.
    pub form: Form,
}

/// How the answer of a record is determined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// From its own values.
    Plain,
    /// An alias of another name.
    Alias(String),
    /// By a routing policy, from several records. A plain record cannot coexist with it.
    Routed,
}

/// The content of the TXT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// There is no TXT record.
    None,
    /// This deployment created the record, for this address.
    Ours(Set, Ipv4Addr),
    /// Any other content, verbatim.
    Theirs(String),
}

/// A name in one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The zone.
    pub zone: Zone,
    /// The name.
    pub domain: String,
    /// The records that resolve the name.
    pub sets: Vec<Set>,
    /// The owner of the records.
    pub mark: Mark,
}

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Point the name to the address.
    Lead { from: State },
    /// Delete our records.
    Remove { state: State },
}

/// The wanted record.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name that points to the Elastic IP.
    pub domain: String,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::named(Kind::DnsRecord, &self.domain)
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        vec![elastic_ip::ID]
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let found = target(Some(&self.domain), &sight.have.records);
        Ok(found.and_then(|found| diff(sight.address.map(|address| address.ip), found)))
    }

    /// Deletes all our records except the wanted one. Until a new instance serves, the name points to the old one.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        let step = |state: &State| {
            let reasons = vec![format!("{} is no longer wanted", state.domain)];
            let planned = Planned::new(Action::Delete, reasons, Change::Remove { state: state.clone() });
            planned.step(surplus_id(state), only([Kind::HealthGate]))
        };
        Ok(surplus(sight).map(step).collect())
    }
}

fn surplus<'a>(sight: &'a Sight<'_>) -> impl Iterator<Item = &'a State> {
    let domain = sight.the::<Wanted>().map(|record| record.domain.as_str());
    let keep = target(domain, &sight.have.records);
    sight.have.records.iter().filter(move |state| Some(*state) != keep && !state.ours().is_empty())
}

/// A name may have records in several zones.
fn surplus_id(state: &State) -> Id {
    Id::named(Kind::DnsRecord, format!("{} in {}", state.domain, state.zone.id))
}

/// The records to delete.
pub(super) fn surplus_ids(sight: &Sight<'_>) -> Vec<Id> {
    surplus(sight).map(surplus_id).collect()
}

/// What must change so that the name points to the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Create both records; neither may exist.
    Create,
    /// Overwrite both records; with the reason.
    Update(String),
    /// A conflict: no change is allowed.
    Refuse(Obstacle),
}

impl Set {
    fn plain(kind: &str, value: String) -> Self {
        Self { kind: kind.to_owned(), ttl: TTL, values: vec![value], form: Form::Plain }
    }

    fn leads_to(&self, ip: Ipv4Addr) -> bool {
        self.kind == "A" && self.form == Form::Plain && self.values == [ip.to_string()]
    }

    /// For a person.
    fn words(&self) -> String {
        match &self.form {
            Form::Plain => format!("{} {}", self.kind, self.values.join(", ")),
            Form::Alias(target) => format!("{}, an alias of {target}", self.kind),
            Form::Routed => format!("{}, with a routing policy", self.kind),
        }
    }
}

/// The text that marks a deployment's record. Deployments have unique names in a region.
fn text(name: &str, region: &str, ip: Ipv4Addr) -> String {
    format!("devopsctl: {name} in {region}, for {ip}")
}

impl Mark {
    /// Reads the TXT record.
    fn read(set: Option<Set>, name: &str, region: &str) -> Self {
        let Some(set) = set else { return Mark::None };
        let said = set.values.join(" ");
        let ip = said.trim_matches('"').rsplit(' ').next().and_then(|ip| ip.parse().ok());
        match ip {
            Some(ip) if said == quoted(&text(name, region, ip)) && set.form == Form::Plain => Mark::Ours(set, ip),
            _ => Mark::Theirs(said),
        }
    }
}

/// The format of a TXT value.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

impl State {
    /// What must change so that the name points to `ip`; `None` if the address does not exist yet.
    pub fn judge(&self, ip: Option<Ipv4Addr>) -> Verdict {
        let leads = |set: &Set| ip.is_some_and(|ip| set.leads_to(ip));
        let refuse = |set: &Set| Verdict::Refuse(Obstacle::NameConflict(set.words()));
        if let Mark::Theirs(said) = &self.mark {
            return Verdict::Refuse(Obstacle::Theirs(said.clone()));
        }
        if let Some(ipv6) = self.sets.iter().find(|set| set.kind == "AAAA") {
            return Verdict::Refuse(Obstacle::Ipv6(ipv6.words()));
        }
        match (&self.sets[..], &self.mark) {
            ([], Mark::None) => Verdict::Create,
            // A correct record that was created by hand stays, and keeps its owner.
            ([set], Mark::None) if leads(set) => Verdict::Keep,
            ([], _) => Verdict::Update(format!("{} has no A record", self.domain)),
            ([set], Mark::Ours(mark, for_ip)) if leads(set) && Some(*for_ip) == ip && both_last(set, mark) => {
                Verdict::Keep
            }
            ([set], Mark::Ours(..)) if set.kind == "A" && set.form != Form::Routed => {
                Verdict::Update(format!("{} is {}", self.domain, set.words()))
            }
            ([set, ..], _) => refuse(set),
        }
    }

    /// The records of ours to delete: the mark, and the A record unless its value was changed since. The mark contains
    /// the address, because the address itself may be released already.
    fn ours(&self) -> Vec<(String, &Set)> {
        let Mark::Ours(mark, ip) = &self.mark else { return Vec::new() };
        let record = self.sets.iter().find(|set| set.leads_to(*ip)).map(|set| (self.domain.clone(), set));
        record.into_iter().chain([(names::record_mark(&self.domain), mark)]).collect()
    }
}

/// The A record and its mark.
fn both(domain: &str, text: &str, ip: Ipv4Addr) -> [(String, Set); 2] {
    let (record, mark) = (Set::plain("A", ip.to_string()), Set::plain("TXT", quoted(text)));
    [(domain.to_owned(), record), (names::record_mark(domain), mark)]
}

fn both_last(set: &Set, mark: &Set) -> bool {
    (set.ttl, mark.ttl) == (TTL, TTL)
}

/// The zone of the domain's record: the one with the longest name, which is the only one that resolvers use.
pub fn target<'a>(domain: Option<&str>, found: &'a [State]) -> Option<&'a State> {
    found.iter().find(|state| Some(state.domain.as_str()) == domain)
}

/// The name must point to `ip`; `None` if the address does not exist yet. Conflicts are reported before, by [`check`].
fn diff(ip: Option<Ipv4Addr>, have: &State) -> Option<Planned<Change>> {
    let change = Change::Lead { from: have.clone() };
    match have.judge(ip) {
        Verdict::Keep | Verdict::Refuse(_) => None,
        Verdict::Create => Some(Planned::create(&format!("{} has no A record", have.domain), change)),
        Verdict::Update(reason) => Some(Planned::new(Action::Update, vec![reason], change)),
    }
}

/// Applies the change and returns the new state.
///
/// Does not wait until all of Route 53's servers have the change (`GetChange`): the instance waits until public DNS
/// resolves the name to its address, before it requests a certificate.
/// <https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetChange.html>
pub async fn apply(context: &Context, change: Change) -> Result<String> {
    match change {
        Change::Lead { from } => lead(context, from).await,
        Change::Remove { state } => {
            remove(context, state).await?;
            Ok("deleted".into())
        }
    }
}

/// A batch that conflicts with the existing records changes nothing. Either another command was faster, or the batch
/// was applied and the response was lost: a second read shows which.
async fn lead(context: &Context, mut state: State) -> Result<String> {
    let mut tries = 0;
    loop {
        let ip = context.output::<elastic_ip::Output>(&elastic_ip::ID)?.ip;
        let done = format!("{}. A {ip}", state.domain);
        let both = both(&state.domain, &text(&context.name, &context.aws.region, ip), ip);
        let action = match state.judge(Some(ip)) {
            Verdict::Keep => return Ok(done),
            Verdict::Create => ChangeAction::Create,
            Verdict::Update(_) => ChangeAction::Upsert,
            Verdict::Refuse(obstacle) => return Err(obstacle.refuse(&state)),
        };
        let batch = both.iter().map(|(name, set)| (name.clone(), set)).collect();
        let Err(error) = send(context, &state.zone, action, batch).await else {
            return Ok(format!("{done}; propagates within a minute"));
        };
        tries += 1;
        if !error.is(&[DISAGREES]) || tries == TRIES {
            return Err(explain(format!("cannot create the DNS record of {}", state.domain), &error));
        }
        // A concurrent `up` may have allocated another address; one of the two will be released.
        elastic_ip::look_again(context).await;
        state = look::again(&context.aws, &context.name, state).await?;
    }
}

async fn remove(context: &Context, mut state: State) -> Result<()> {
    let mut tries = 0;
    while !state.ours().is_empty() {
        let error = match send(context, &state.zone, ChangeAction::Delete, state.ours()).await {
            Ok(()) => return Ok(()),
            // The zone was deleted with all its records.
            Err(error) if error.is(&["NoSuchHostedZone"]) => return Ok(()),
            Err(error) => error,
        };
        tries += 1;
        if !error.is(&[DISAGREES]) || tries == TRIES {
            return Err(explain(format!("cannot delete the DNS record of {}", state.domain), &error));
        }
        state = look::again(&context.aws, &context.name, state).await?;
    }
    Ok(())
}

const DISAGREES: &str = "InvalidChangeBatch";

/// Sends one batch.
async fn send(context: &Context, zone: &Zone, action: ChangeAction, sets: Vec<(String, &Set)>) -> Result<(), ApiError> {
    let one = |(name, set): &(String, &Set)| {
        // All required fields are set, so it can be built.
        let change = OneChange::builder().action(action.clone()).resource_record_set(to_route53(name, set)?);
        change.build().ok()
    };
    let batch = ChangeBatch::builder().set_changes(Some(sets.iter().filter_map(one).collect())).build().ok();
    let request = || {
        let change = context.aws.route53.change_resource_record_sets().hosted_zone_id(&zone.id);
        change.set_change_batch(batch.clone()).send()
    };
    call("route53:ChangeResourceRecordSets", request).await.map(|_| ())
}

fn to_route53(name: &str, set: &Set) -> Option<ResourceRecordSet> {
    let values = set.values.iter().filter_map(|value| ResourceRecord::builder().value(value).build().ok());
    let record = ResourceRecordSet::builder().name(name).r#type(RrType::from(set.kind.as_str())).ttl(set.ttl);
    record.set_resource_records(Some(values.collect())).build().ok()
}

#[cfg(test)]
pub(crate) mod tests;
