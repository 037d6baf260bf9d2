//! (Wanted state, observed state) → the steps between them. Pure: no call, no clock, and no decision left to the
//! executor.

use std::collections::{BTreeMap, BTreeSet};

use super::observe::Observed;
use crate::base::error::Result;
use crate::config::CpuCredits;
use crate::resources::context::Start;
use crate::resources::instance::Credits;
use crate::resources::outputs::Outputs;
use crate::resources::{
    Action, Change, Id, Kind, Planned, Sight, Step, Tags, Wanted, instance, kinds, orders, secrets, token,
};

/// All steps, each after its dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one for each resource.
    pub steps: Vec<Step>,
    /// Existing resources that steps refer to.
    pub outputs: Outputs,
}

/// The steps from the observed state to the wanted state.
///
/// # Errors
/// A kind was not read.
pub fn up(wanted: &[Wanted], have: &Observed) -> Result<Plan> {
    plan(&Sight::new(wanted, have))
}

fn plan(sight: &Sight<'_>) -> Result<Plan> {
    let mut steps = kinds::surplus(sight)?;
    for wanted in sight.wanted {
        steps.extend(wanted.step(sight)?);
    }
    Ok(Plan::of(steps, kinds::outputs(sight)))
}

/// The steps that delete everything, and the data volumes only if the user asks for that.
///
/// # Errors
/// A kind was not read.
pub fn down(have: &Observed, deletes_data: bool) -> Result<Plan> {
    plan(&Sight { deletes_data, ..Sight::new(&[], have) })
}

/// The steps that replace the token, or that end its rotation window.
///
/// # Errors
/// The token was not read.
pub fn rotation(tags: &Tags, have: &Observed, how: token::Rotation) -> Result<Plan> {
    let token = have.token.looked()?;
    let current = instance::serving(&have.instances, &have.addresses);
    let stored = if let token::Rotation::Stored(version) = how { Some(version) } else { None };
    let rotated = token::rotation(tags, token, have.known_token(), how);
    let told = orders::rotation(stored, current, &have.instances);
    Ok(Plan::about(current, have, [step(token::ID, rotated), step(orders::ID, told)].into_iter().flatten().collect()))
}

/// The steps that set or delete secrets, as one change of the app. `restart`: whether the instance gets the order to use them.
///
/// # Errors
/// The secrets were not read.
pub fn secrets(tags: &Tags, have: &Observed, edits: &BTreeMap<String, secrets::Edit>, restart: bool) -> Result<Plan> {
    let found = have.secrets.looked()?;
    let current = instance::serving(&have.instances, &have.addresses);
    let edit = |(name, edit): (&String, &secrets::Edit)| {
        let planned = secrets::edit(*edit, found.and_then(|found| found.get(name)), tags)?;
        Some(planned.step(secrets::id(name), Vec::new()))
    };
    let mut steps: Vec<Step> = edits.iter().filter_map(edit).collect();
    if restart {
        let stored = found.map_or_else(|| secrets::NONE.to_owned(), secrets::fingerprint);
        let stored = Some(stored.as_str()).filter(|_| steps.is_empty());
        let needs = steps.iter().map(|step| step.id.clone()).collect();
        steps.extend(orders::secrets(stored, current, &have.instances).map(|planned| planned.step(orders::ID, needs)));
    }
    Ok(Plan::about(current, have, steps))
}

/// The step that makes the instances read the secrets that are kept elsewhere; `newest`: their fingerprint.
pub fn references(have: &Observed, newest: &str) -> Plan {
    let current = instance::serving(&have.instances, &have.addresses);
    let told = orders::references(newest, current, &have.instances);
    Plan::about(current, have, told.map(|planned| planned.step(orders::ID, Vec::new())).into_iter().collect())
}

/// The step that makes the serving instance run an earlier release; nothing else changes.
///
/// # Errors
/// The token was not read.
pub fn rollback(have: &Observed, to: &str) -> Result<Plan> {
    let current = have.serving().map(|(instance, _)| instance);
    let told = current.map(|current| orders::rollback(to, have, current)).transpose()?.flatten();
    Ok(Plan::about(current, have, step(orders::ID, told).into_iter().collect()))
}

/// The token changed while the other steps ran: orders the new version.
pub fn rotated() -> Plan {
    let change = orders::Change::only(orders::OfSsm::Token, Vec::new());
    let reasons = vec!["the token changed in the meantime".to_owned()];
    let planned = Planned { action: Action::Update, reasons, change };
    Plan::of(vec![planned.step(orders::ID, Vec::new())], Outputs::default())
}

/// The step that resets the CPU credits after a boot; `None` if they are already right.
pub fn settled(instance: Option<instance::Output>, wanted: CpuCredits) -> Option<Plan> {
    let instance = instance.filter(|instance| instance.unlimited)?;
    let credits = Credits::wanted(wanted, true).filter(|credits| *credits == Credits::Standard)?;
    let (id, tags) = (instance.id, Tags::new());
    let change = instance::Change::Update { id, start: false, metadata: false, credits: Some(credits), tags };
    let reasons = vec!["the instance has booted".to_owned()];
    let planned = Planned { action: Action::Update, reasons, change };
    Some(Plan::of(vec![planned.step(instance::ID, Vec::new())], Outputs::default()))
}

fn step<C: Into<Change>>(id: Id, planned: Option<Planned<C>>) -> Option<Step> {
    planned.map(|planned| planned.step(id, vec![token::ID]))
}

impl Plan {
    /// A plan for an existing instance.
    fn about(current: Option<&instance::State>, have: &Observed, steps: Vec<Step>) -> Self {
        let sight = Sight { found: current, current, ..Sight::new(&[], have) };
        Self::of(steps, kinds::outputs(&sight))
    }

    /// Orders the steps by their dependencies. A dependency without a step in the plan already exists.
    fn of(mut steps: Vec<Step>, outputs: Outputs) -> Self {
        let ids: BTreeSet<Id> = steps.iter().map(|step| step.id.clone()).collect();
        for step in &mut steps {
            step.needs.retain(|need| *need != step.id && ids.contains(need));
        }
        steps.sort_by(|a, b| a.id.cmp(&b.id));
        let mut plan = Self { steps: Vec::new(), outputs };
        // The dependencies have no cycle, so one step is always ready.
        while let Some(ready) = steps.iter().position(|step| step.needs.iter().all(|need| plan.has(need))) {
            plan.steps.push(steps.remove(ready));
        }
        plan.steps.append(&mut steps);
        plan
    }

    /// The outputs that its steps start with.
    pub fn start(&self, have: &Observed) -> Start {
        Start {
            account: have.account.clone(),
            partition: have.partition.clone(),
            by: have.by.clone(),
            burstable: have.kind.present().is_some_and(|kind| kind.burstable),
            image: have.image.present().cloned(),
            outputs: self.outputs.clone(),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the plan changes that resource.
    pub fn has(&self, id: &Id) -> bool {
        self.steps.iter().any(|step| step.id == *id)
    }

    /// Whether the plan creates a resource that is billed by the hour.
    pub fn costs(&self) -> bool {
        self.launches()
            || self.steps.iter().any(|step| (step.id.kind, step.action) == (Kind::ElasticIp, Action::Create))
    }

    /// Whether the plan launches an instance.
    pub fn launches(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.change, Change::Instance(instance::Change::Launch { .. })))
    }
}

#[cfg(test)]
mod tests;
