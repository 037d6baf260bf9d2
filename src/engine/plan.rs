//! (What is wanted, what stands) → the steps between them. Pure: no call, no clock, no choice left to the executor.

mod wanted;

use std::net::Ipv4Addr;

pub use wanted::{Policies, Wanted};

use super::history;
use super::observe::Observed;
use crate::base::error::Result;
use crate::base::event::Topic;
use crate::base::names;
use crate::resources::orders::Orders;
use crate::resources::reports::{Phase, ProxyPhase};
use crate::resources::{
    Action, Planned, Tags, address, association, attachment, bucket, edge, ingress, instance, key_pair, orders, record,
    release, reports, role, security_group, token,
};

/// After so many seconds a new instance that is not healthy does not become so any more. An `up` waits for ten minutes.
const HOPELESS: i64 = 20 * 60;

/// The kinds of steps, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Security group
    SecurityGroup,
    /// What the security group lets in
    Ingress,
    /// Key pair
    KeyPair,
    /// An instance profile of our name that gives no credentials
    Detachment,
    /// Role, policy, instance profile
    Role,
    /// SSM parameter
    Token,
    /// Bucket
    Bucket,
    /// Object in the bucket
    Release,
    /// Caddy, in the bucket
    Edge,
    /// The record of a name that is no longer wanted
    OldRecord,
    /// Elastic IP
    Address,
    /// The domain's record
    Record,
    /// Instance
    Instance,
    /// Instance ↔ instance profile
    Attachment,
    /// What the instance is asked to do
    Orders,
    /// A new instance must be healthy before the address leads to it
    Ready,
    /// Elastic IP ↔ instance
    Association,
    /// Instances that another one replaces
    Leftovers,
    /// The agents' reports
    Reports,
}

impl Kind {
    /// The name that a person sees.
    pub fn title(self) -> Topic {
        match self {
            Kind::SecurityGroup => "security group",
            Kind::Ingress => "ingress",
            Kind::KeyPair => "key pair",
            Kind::Detachment => "old profile",
            Kind::Role => "role",
            Kind::Token => "token",
            Kind::Bucket => "bucket",
            Kind::Release => "release",
            Kind::Edge => "edge",
            Kind::OldRecord => "old record",
            Kind::Address => "address",
            Kind::Record => "record",
            Kind::Instance => "instance",
            Kind::Attachment => "profile",
            Kind::Orders => "orders",
            Kind::Ready => "new instance",
            Kind::Association => "association",
            Kind::Leftovers => "old instance",
            Kind::Reports => "reports",
        }
    }

    /// What must be done before, on the way up.
    fn needs_up(self) -> &'static [Kind] {
        match self {
            Kind::SecurityGroup | Kind::KeyPair | Kind::Detachment | Kind::Token | Kind::Bucket => &[],
            // What is no longer wanted leads to what serves.
            Kind::OldRecord => &[Kind::Ready],
            // It says of which name there is a record: of the old one for as long as there is, of the new one before.
            Kind::Address => &[Kind::Ready, Kind::OldRecord],
            Kind::Record => &[Kind::Address],
            Kind::Ingress => &[Kind::SecurityGroup],
            Kind::Role => &[Kind::Detachment],
            Kind::Release | Kind::Edge => &[Kind::Bucket],
            Kind::Instance => &[Kind::SecurityGroup, Kind::KeyPair, Kind::Token],
            Kind::Attachment => &[Kind::Detachment, Kind::Role, Kind::Instance],
            Kind::Orders => &[Kind::Token, Kind::Release, Kind::Instance],
            Kind::Ready => {
                &[Kind::Role, Kind::Release, Kind::Edge, Kind::Instance, Kind::Attachment, Kind::Orders, Kind::Ingress]
            }
            // Once the address leads to it, the instance asks where the name leads; and that it leads nowhere is remembered
            // by those who were asked, for a quarter of an hour:
            // https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/SOA-NSrecords.html
            Kind::Association => &[Kind::Address, Kind::Record, Kind::Instance, Kind::Ingress, Kind::Ready],
            Kind::Leftovers => &[Kind::Attachment, Kind::Orders, Kind::Ready, Kind::Association],
            Kind::Reports => &[],
        }
    }

    /// What must be gone before, on the way down. Reports and logs are the agent's to write for as long as it lives.
    fn needs_down(self) -> &'static [Kind] {
        match self {
            Kind::SecurityGroup | Kind::Bucket | Kind::Reports => &[Kind::Instance],
            // A name must not lead to an address that may be somebody else's by then; and the address knows the name.
            Kind::Address => &[Kind::Record],
            _ => &[],
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its module's Change")]
pub enum Change {
    SecurityGroup(security_group::Change),
    Ingress(ingress::Change),
    KeyPair(key_pair::Change),
    Role(role::Change),
    Token(token::Change),
    Bucket(bucket::Change),
    Release(release::Change),
    Edge(edge::Change),
    Instance(instance::Change),
    Attachment(attachment::Change),
    Address(address::Change),
    Record(record::Change),
    Association(association::Change),
    Orders(orders::Change),
    Ready(Ready),
    Reports(reports::Change),
}

/// Wait until the new instance runs this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The release's id.
    pub release: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub kind: Kind,
    /// In one word.
    pub action: Action,
    /// Why.
    pub reasons: Vec<String>,
    /// Which steps of this plan come first.
    pub needs: Vec<Kind>,
    /// What it does.
    pub change: Change,
}

/// All steps, none before what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one of each kind.
    pub steps: Vec<Step>,
    /// The instance that the steps are about, if it is there already.
    pub instance: Option<String>,
    /// The Elastic IP that stays, if there is one: its id and itself.
    pub address: Option<(String, Ipv4Addr)>,
}

/// From what stands to what is wanted.
///
/// # Errors
/// That something was not looked at.
pub fn up(want: &Wanted, have: &Observed) -> Result<Plan> {
    let (group, key_pair) = (have.security_group.looked()?, have.key_pair.looked()?);
    let (role, token) = (have.role.looked()?, have.token.looked()?);
    let (tags, instance_tags) = (want.tags(), want.instance_tags());
    let leads = |id: &str| have.addresses.iter().any(|address| address.instance.as_deref() == Some(id));
    let origin = want.origin(have);
    let hopeless = |state: &instance::State| is_hopeless(have, state);
    let found = instance::pick(instance_tags.get(names::TAG_SPEC), origin, leads, hopeless, &have.instances);
    let orders = Orders { token: token.map(|token| token.version), ..want.orders(have) };
    let credits = want.credits(have, found);
    let machine = instance::diff(&instance_tags, origin, &orders, credits, found, &have.instances);
    // A new instance has nothing attached yet, whatever the old one has.
    let current = found.filter(|_| machine.as_ref().is_none_or(|planned| planned.action == Action::Update));
    let id = current.map(|instance| instance.id.as_str());
    let mut plan = Plan { instance: id.map(str::to_owned), ..Plan::default() };

    plan.add(Kind::SecurityGroup, security_group::diff(&tags, group), Change::SecurityGroup);
    plan.add(Kind::Ingress, ingress::diff(&want.rules(), group.map(|group| &group.ingress)), Change::Ingress);
    plan.add(Kind::KeyPair, key_pair::diff(&tags, key_pair), Change::KeyPair);
    plan.role(want, role, &tags, found, current);
    plan.add(Kind::Token, token::diff(&tags, token, have.known_token()), Change::Token);
    plan.store(want, have);
    plan.add(Kind::Instance, machine, Change::Instance);
    let again = gave_up(want.release, have, current);
    let told = current.map(instance::State::orders);
    plan.add(Kind::Orders, orders::diff(&orders, told.as_ref(), again), Change::Orders);
    let leftovers = instance::leftovers(id, &have.instances);
    if leftovers.is_some() && want.wait {
        let reasons = vec!["what is there serves until it is healthy".to_owned()];
        let ready = Planned { action: Action::Update, reasons, change: Ready { release: want.release.to_owned() } };
        plan.add(Kind::Ready, Some(ready), Change::Ready);
    }
    plan.address(want, have, id);
    plan.add(Kind::Leftovers, leftovers, Change::Instance);
    plan.connect(Kind::needs_up);
    Ok(plan)
}

/// From the token that stands to another one, or to the same one without the one before it.
///
/// # Errors
/// That the token was not looked at.
pub fn rotation(tags: &Tags, have: &Observed, how: token::Rotation) -> Result<Plan> {
    let token = have.token.looked()?;
    let current = instance::serving(&have.instances, &have.addresses);
    let mut plan = Plan { instance: current.map(|instance| instance.id.clone()), ..Plan::default() };
    let stored = if let token::Rotation::Stored(version) = how { Some(version) } else { None };
    plan.add(Kind::Token, token::rotation(tags, token, have.known_token(), how), Change::Token);
    plan.add(Kind::Orders, orders::rotation(stored, current, &have.instances), Change::Orders);
    plan.connect(Kind::needs_up);
    Ok(plan)
}

/// From the release that is to run on the instance that serves to another one that was there before; nothing else changes.
///
/// # Errors
/// That the token was not looked at.
pub fn rollback(have: &Observed, to: &str) -> Result<Plan> {
    let token = have.token.looked()?;
    let current = have.serving().map(|(instance, _)| instance);
    let mut plan = Plan { instance: current.map(|instance| instance.id.clone()), ..Plan::default() };
    let orders = Orders {
        release: Some(to.to_owned()),
        previous: history::before(have, to),
        token: token.map(|token| token.version),
        ..Orders::default()
    };
    let again = gave_up(to, have, current);
    let planned = current.and_then(|current| orders::diff(&orders, Some(&current.orders()), again));
    plan.add(Kind::Orders, planned, Change::Orders);
    plan.connect(Kind::needs_up);
    Ok(plan)
}

/// The token was changed while everything else was done: the instance is told.
pub fn rotated(instance: &str) -> Plan {
    let mut plan = Plan { instance: Some(instance.to_owned()), ..Plan::default() };
    let change = orders::Change::token(Vec::new());
    let reasons = vec!["the token was changed meanwhile".to_owned()];
    plan.add(Kind::Orders, Some(Planned { action: Action::Update, reasons, change }), Change::Orders);
    plan
}

/// Whether what an instance runs failed, or it has not become healthy for so long that it never will.
fn is_hopeless(have: &Observed, state: &instance::State) -> bool {
    match have.report_of(&state.id) {
        Some(report) if report.healthy => false,
        Some(report) if report.phase == Phase::Failed => true,
        _ => have.at - state.launched > HOPELESS,
    }
}

/// Whether the agent tried just what is wanted now, and gave up; or waits long before it asks for a certificate again.
fn gave_up(release: &str, have: &Observed, current: Option<&instance::State>) -> bool {
    let report = current.and_then(|instance| have.report_of(&instance.id));
    report.filter(|report| report.orders.release.as_deref() == Some(release)).is_some_and(|report| {
        let proxy = report.proxy.as_ref().filter(|proxy| proxy.phase == ProxyPhase::Certificate);
        report.phase == Phase::Failed || proxy.is_some_and(|proxy| proxy.error.is_some())
    })
}

/// From what stands to nothing.
///
/// # Errors
/// That something was not looked at.
pub fn down(have: &Observed) -> Result<Plan> {
    let mut plan = Plan::default();
    let instances = !have.instances.is_empty();
    plan.add(Kind::SecurityGroup, security_group::removal(have.security_group.looked()?), Change::SecurityGroup);
    plan.add(Kind::KeyPair, key_pair::removal(have.key_pair.looked()?), Change::KeyPair);
    plan.add(Kind::Role, role::removal(have.role.looked()?), Change::Role);
    plan.add(Kind::Token, token::removal(have.token.looked()?), Change::Token);
    plan.add(Kind::Bucket, bucket::removal(have.contents.looked()?, instances), Change::Bucket);
    plan.add(Kind::Instance, instance::removal(&have.instances), Change::Instance);
    plan.add(Kind::Record, record::removal(None, &have.records), Change::Record);
    plan.add(Kind::Address, address::removal(&have.addresses), Change::Address);
    plan.add(Kind::Reports, reports::removal(!have.reports.is_empty(), instances), Change::Reports);
    plan.connect(Kind::needs_down);
    Ok(plan)
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether something of that kind is to be done.
    pub fn has(&self, kind: Kind) -> bool {
        self.steps.iter().any(|step| step.kind == kind)
    }

    /// Whether something is made that costs by the hour.
    pub fn costs(&self) -> bool {
        self.launches() || self.steps.iter().any(|step| (step.kind, step.action) == (Kind::Address, Action::Create))
    }

    /// Whether an instance will be launched.
    pub fn launches(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.change, Change::Instance(instance::Change::Launch { .. })))
    }

    /// `found`: the instance that stands, which `current` is unless it is replaced.
    fn role(
        &mut self,
        want: &Wanted,
        role: Option<&role::State>,
        tags: &Tags,
        found: Option<&instance::State>,
        current: Option<&instance::State>,
    ) {
        let profile = names::role(&want.deployment.name, want.region);
        let stale = attachment::stale(&profile, role, found);
        let attach = attachment::diff(&profile, stale.is_some(), current);
        self.add(Kind::Detachment, stale, Change::Attachment);
        self.add(
            Kind::Role,
            role::diff(&want.policies.role, want.deployment.permissions_boundary.as_deref(), tags, role),
            Change::Role,
        );
        self.add(Kind::Attachment, attach, Change::Attachment);
    }

    fn store(&mut self, want: &Wanted, have: &Observed) {
        let keep = history::in_use(have);
        let Some(store) = &have.store else {
            self.add(Kind::Bucket, Some(bucket::unseen()), Change::Bucket);
            self.add(Kind::Edge, edge::diff(want.edge, None), Change::Edge);
            return self.add(Kind::Release, Some(release::unseen(want.release, keep)), Change::Release);
        };
        let bucket = bucket::diff(&want.policies.bucket, store.bucket.as_ref());
        self.add(Kind::Bucket, bucket, Change::Bucket);
        self.add(Kind::Edge, edge::diff(want.edge, Some(store.edge)), Change::Edge);
        self.add(Kind::Release, release::diff(want.release, &store.releases, keep), Change::Release);
    }

    fn address(&mut self, want: &Wanted, have: &Observed, instance: Option<&str>) {
        let record = record::target(want.deployment.network.record(), &have.records);
        self.add(Kind::OldRecord, record::removal(record, &have.records), Change::Record);
        if !want.deployment.network.static_ip {
            return self.add(Kind::Address, address::removal(&have.addresses), Change::Address);
        }
        let keep = want.kept_address(have);
        self.address = keep.map(|address| (address.id.clone(), address.ip));
        self.add(Kind::Address, address::diff(&want.address_tags(have), keep, &have.addresses), Change::Address);
        let lead = record.and_then(|record| record::diff(keep.map(|address| address.ip), record));
        self.add(Kind::Record, lead, Change::Record);
        self.add(Kind::Association, association::diff(instance, keep), Change::Association);
    }

    fn add<C>(&mut self, kind: Kind, planned: Option<Planned<C>>, change: impl Fn(C) -> Change) {
        if let Some(planned) = planned {
            let Planned { action, reasons, change: what } = planned;
            self.steps.push(Step { kind, action, reasons, needs: Vec::new(), change: change(what) });
        }
    }

    /// Only what is in the plan can be waited for: the rest stands already.
    fn connect(&mut self, needs: impl Fn(Kind) -> &'static [Kind]) {
        let kinds: Vec<Kind> = self.steps.iter().map(|step| step.kind).collect();
        for step in &mut self.steps {
            step.needs = needs(step.kind).iter().copied().filter(|need| kinds.contains(need)).collect();
        }
        self.steps.sort_by_key(|step| step.kind);
        let mut rest = std::mem::take(&mut self.steps);
        // Needs form no circle, so one is always ready.
        while let Some(ready) = rest.iter().position(|step| step.needs.iter().all(|need| self.has(*need))) {
            self.steps.push(rest.remove(ready));
        }
        self.steps.append(&mut rest);
    }
}

#[cfg(test)]
mod tests;
