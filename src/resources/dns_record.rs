//! The domain's A record in Route 53: with it, DNS leads to the address by itself.
//!
//! A zone holds what others depend on, so nothing in it is overwritten that is not ours. A record cannot carry tags; what
//! says whose it is stands in a TXT record beside it, which is written and removed in the same batch: Route 53 makes all
//! changes of a batch or none. <https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeResourceRecordSets.html>
//!
//! Which names had a record cannot be asked either, but the address says it (`devopsctl:domain`): it is tagged before the
//! record is made, and outlives it. So `down`, and an `up` with another domain, find a record of which `deploy.yaml` knows
//! nothing any more, and nowhere does a name lead to an address that is no longer ours. Only where somebody released the
//! address by hand does that knowledge go; then the domain in `deploy.yaml` is looked at still.

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

/// How long whoever has asked keeps the answer, seconds: not longer than a person waits for a change.
const TTL: i64 = 60;
/// How often it is looked at again because somebody else was quicker, or an answer was lost.
const TRIES: u32 = 4;

/// A public zone of this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// `Z…`
    pub id: String,
    /// Its name, without the dot at its end.
    pub name: String,
}

/// All records of one type that a name has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// `A`, `AAAA`, `CNAME`, `TXT`.
    pub kind: String,
    /// How long whoever has asked keeps the answer, seconds.
    pub ttl: i64,
    /// What it answers.
    pub values: Vec<String>,
    /// How it comes to its answer.
    pub form: Form,
}

/// How a record comes to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// It is written down.
    Plain,
    /// It is what another name answers.
    Alias(String),
    /// It is one of several, between which Route 53 chooses. A plain one cannot stand beside it.
    Routed,
}

/// What the TXT record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// There is none.
    None,
    /// That this deployment made the record, and for which address.
    Ours(Set, Ipv4Addr),
    /// Anything else, word for word.
    Theirs(String),
}

/// A name as one zone has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The zone.
    pub zone: Zone,
    /// The name.
    pub domain: String,
    /// What answers whoever asks where it leads.
    pub sets: Vec<Set>,
    /// Whose that is.
    pub mark: Mark,
}

/// What to do.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Have the name lead to the address.
    Lead { from: State },
    /// Remove what is ours.
    Remove { state: State },
}

/// The record that is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name that leads to the Elastic IP.
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

    /// All of ours but the one that is asked for. Until a new instance serves, the name leads to the one that does.
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
    let domain = sight.wanted.iter().find_map(|wanted| match wanted {
        super::Wanted::DnsRecord(record) => Some(record.domain.as_str()),
        _ => None,
    });
    let keep = target(domain, &sight.have.records);
    sight.have.records.iter().filter(move |state| Some(*state) != keep && !state.ours().is_empty())
}

/// A name may have a record in several zones.
fn surplus_id(state: &State) -> Id {
    Id::named(Kind::DnsRecord, format!("{} in {}", state.domain, state.zone.id))
}

/// The records that are removed.
pub(super) fn surplus_ids(sight: &Sight<'_>) -> Vec<Id> {
    surplus(sight).map(surplus_id).collect()
}

/// What has to be done so that the name leads to the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// Make both records, of which neither may be there.
    Create,
    /// Write both, whatever they hold; with the reason.
    Update(String),
    /// Nothing that may be done.
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

/// The text with which a deployment marks what it has made. Names of deployments are unique in a region.
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

/// As TXT records are written.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

impl State {
    /// What is to be done so that it leads to `ip`; `None` where the address is yet to be made.
    pub fn judge(&self, ip: Option<Ipv4Addr>) -> Verdict {
        let leads = |set: &Set| ip.is_some_and(|ip| set.leads_to(ip));
        let refuse = |set: &Set| Verdict::Refuse(Obstacle::Foreign(set.words()));
        if let Mark::Theirs(said) = &self.mark {
            return Verdict::Refuse(Obstacle::Theirs(said.clone()));
        }
        if let Some(ipv6) = self.sets.iter().find(|set| set.kind == "AAAA") {
            return Verdict::Refuse(Obstacle::Ipv6(ipv6.words()));
        }
        match (&self.sets[..], &self.mark) {
            ([], Mark::None) => Verdict::Create,
            // Made by hand, and right: it stays as it is, and whose it is.
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

    /// What is ours of it, to be removed: the mark; and the record, unless somebody has changed it since it was made. That
    /// is told by the address in the mark, as the address itself may be gone.
    fn ours(&self) -> Vec<(String, &Set)> {
        let Mark::Ours(mark, ip) = &self.mark else { return Vec::new() };
        let record = self.sets.iter().find(|set| set.leads_to(*ip)).map(|set| (self.domain.clone(), set));
        record.into_iter().chain([(names::record_mark(&self.domain), mark)]).collect()
    }
}

/// The record and its mark.
fn both(domain: &str, text: &str, ip: Ipv4Addr) -> [(String, Set); 2] {
    let (record, mark) = (Set::plain("A", ip.to_string()), Set::plain("TXT", quoted(text)));
    [(domain.to_owned(), record), (names::record_mark(domain), mark)]
}

fn both_last(set: &Set, mark: &Set) -> bool {
    (set.ttl, mark.ttl) == (TTL, TTL)
}

/// Where the domain's record belongs: in the zone of the longest name, as resolvers ask no other.
pub fn target<'a>(domain: Option<&str>, found: &'a [State]) -> Option<&'a State> {
    found.iter().find(|state| Some(state.domain.as_str()) == domain)
}

/// The name must lead to `ip`; `None` where the address is yet to be made. What is in the way is told before: [`check`].
fn diff(ip: Option<Ipv4Addr>, have: &State) -> Option<Planned<Change>> {
    let change = Change::Lead { from: have.clone() };
    match have.judge(ip) {
        Verdict::Keep | Verdict::Refuse(_) => None,
        Verdict::Create => Some(Planned::create(&format!("{} has no A record", have.domain), change)),
        Verdict::Update(reason) => Some(Planned::new(Action::Update, vec![reason], change)),
    }
}

/// Does it; says what stands then.
///
/// Nobody waits until all of Route 53's servers know of it (`GetChange`): the instance itself waits until the name leads to
/// it, by the way that everybody asks, before it lets an authority look.
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

/// A batch that disagrees with what stands changes nothing. Somebody was quicker, or it was carried out and the answer was
/// lost: both are seen by looking again.
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
        // Another `up` at the same time has perhaps an address of its own, of which one goes.
        elastic_ip::look_again(context).await;
        state = look::again(&context.aws, &context.name, state).await?;
    }
}

async fn remove(context: &Context, mut state: State) -> Result<()> {
    let mut tries = 0;
    while !state.ours().is_empty() {
        let error = match send(context, &state.zone, ChangeAction::Delete, state.ours()).await {
            Ok(()) => return Ok(()),
            // The zone went, and all that was in it.
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
        // What is asked for is complete, so it is built.
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
