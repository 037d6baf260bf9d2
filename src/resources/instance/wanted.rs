//! Which instance is wanted, which of those that exist counts, and what differs. Pure.

use std::net::Ipv4Addr;

use super::{Change, Credits, ID, Output, Phase, State, alive};
use crate::base::error::Result;
use crate::base::names;
use crate::config;
use crate::resources::kinds::{self, Id};
use crate::resources::orders::{self, Orders, References};
use crate::resources::outputs::Outputs;
use crate::resources::step::{Resource, Step, only};
use crate::resources::{Action, Observed, Planned, Sight, Tags, history, missing, secrets, untagged, volume};

/// The image that an instance must have. Each variant has the id of the newest image, if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// Keep the image that it was launched from.
    Keep(Option<&'a str>),
    /// Use the newest image: an instance with an older one is replaced.
    Refresh(&'a str),
}

impl<'a> Origin<'a> {
    fn newest(self) -> Option<&'a str> {
        match self {
            Origin::Keep(newest) => newest,
            Origin::Refresh(newest) => Some(newest),
        }
    }

    /// The image that replaces this one.
    fn instead_of(self, image: &str) -> Option<&'a str> {
        match self {
            Origin::Refresh(newest) if newest != image => Some(newest),
            _ => None,
        }
    }
}

/// The wanted instance.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The tags, except for spec and orders.
    pub tags: Tags,
    /// The hash of the settings that only a new instance can change: [`spec`].
    pub spec: String,
    /// The release to run.
    pub release: String,
    /// The references of that release.
    pub references: References,
    /// Whether an instance with an older image is replaced.
    pub refresh: bool,
    /// The wanted CPU credits.
    pub cpu_credits: config::CpuCredits,
    /// Whether it needs the data volume, so that it must be in its zone.
    pub data: bool,
    /// Whether a subnet determines its zone.
    pub subnet: bool,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, sight: &Sight<'_>) -> Vec<Id> {
        [only([kinds::Kind::SecurityGroup, kinds::Kind::KeyPair, kinds::Kind::Token]), secrets::ids(sight)].concat()
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let mut tags = self.tags.clone();
        tags.insert(names::TAG_SPEC.into(), self.spec.clone());
        let (have, found) = (sight.have, sight.found);
        // A replacement knows the address before it gets it, so it can have the certificate in time.
        let address = sight.address.map(|address| address.ip);
        let (release, previous) = (Some(self.release.clone()), history::before(have, &self.release));
        let references = Some(orders::fingerprint_of(&self.references, sight)).filter(|known| known != secrets::NONE);
        let orders = Orders { release, previous, address, references, ..Orders::default() };
        let zone = self.zone(have);
        let placed = zone.filter(|_| !self.subnet);
        let launch = |image: Option<&str>| launch(&tags, &orders, (image, placed), &have.instances);
        if found.is_some_and(|found| zone.is_some_and(|zone| found.zone != zone)) {
            let reason =
                format!("the data volume is in {}, which requires a new instance there", zone.unwrap_or_default());
            return Ok(Some(Planned::new(Action::Replace, vec![reason], launch(None))));
        }
        Ok(diff(&tags, self.origin(have), orders.address, self.credits(have, found), found, &launch))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(instance) = sight.current {
            let unlimited = sight.have.unlimited.present().is_some_and(|ids| ids.contains(&instance.id));
            let (id, since, zone) = (instance.id.clone(), instance.launched, Some(instance.zone.clone()));
            outputs.set(ID, Output { id, since, zone, unlimited, launched: false, told: None });
        }
    }

    /// Replaced instances are terminated once the new one serves. Without a wanted instance, terminating ones are
    /// awaited too.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        use kinds::Kind::{Attachment, EipAssociation, HealthGate, InstanceProfile, Orders};
        let needs = || only([InstanceProfile, Orders, Attachment, HealthGate, EipAssociation]);
        let step = |state: &State, reason: &str| {
            let planned = Planned::new(Action::Delete, vec![reason.into()], Change::Terminate { id: state.id.clone() });
            planned.step(Id::named(ID.kind, &state.id), needs())
        };
        Ok(match sight.wants(ID.kind) {
            true => sight.leftovers().map(|state| step(state, "another instance replaces it")).collect(),
            false => sight.have.instances.iter().map(|state| step(state, "no longer wanted")).collect(),
        })
    }
}

impl Wanted {
    fn origin<'a>(&self, have: &'a Observed) -> Origin<'a> {
        match have.image.present().map(String::as_str) {
            Some(newest) if self.refresh => Origin::Refresh(newest),
            newest => Origin::Keep(newest),
        }
    }

    /// The current one of the existing instances: [`pick`].
    pub(in crate::resources) fn choose<'a>(&self, have: &'a Observed) -> Option<&'a State> {
        let leads = |id: &str| have.addresses.iter().any(|address| address.instance.as_deref() == Some(id));
        let zone = self.zone(have);
        let fits = |state: &State| {
            state.tags.get(names::TAG_SPEC) == Some(&self.spec) && zone.is_none_or(|zone| state.zone == zone)
        };
        pick(fits, self.origin(have), leads, |state| have.is_hopeless(state), &have.instances)
    }

    /// Whether the current instance is kept.
    pub(in crate::resources) fn keeps(&self, found: &State, have: &Observed) -> bool {
        found.tags.get(names::TAG_SPEC) == Some(&self.spec)
            && self.origin(have).instead_of(&found.image).is_none()
            && self.zone(have).is_none_or(|zone| found.zone == zone)
    }

    /// The zone that it must be in, because its data is there.
    fn zone<'a>(&self, have: &'a Observed) -> Option<&'a str> {
        volume::kept(have).filter(|_| self.data).map(|volume| volume.zone.as_str())
    }

    /// The wanted CPU credits, if the instance does not have them.
    fn credits(&self, have: &Observed, current: Option<&State>) -> Option<Credits> {
        let current = current.filter(|_| have.kind.present().is_some_and(|kind| kind.burstable))?;
        let healthy = have.report_of(&current.id).is_some_and(|report| report.healthy);
        let wanted = Credits::wanted(self.cpu_credits, healthy)?;
        let unlimited = have.unlimited.present()?.contains(&current.id);
        (unlimited != (wanted == Credits::Unlimited)).then_some(wanted)
    }
}

/// Chooses the current instance: it `fits`: it has the wanted spec, in the zone of its data; of several, the one with the newest image, which an
/// interrupted refresh has left; then the one that `serves` already; then the newest that is not `hopeless`. If none
/// fits, the same choice determines the instance to replace.
///
/// `hopeless`: its app failed, or has not become healthy for a long time. If the image is kept, such a refresh is
/// reverted.
fn pick<'a>(
    fits: impl Fn(&State) -> bool,
    origin: Origin<'_>,
    serves: impl Fn(&str) -> bool,
    hopeless: impl Fn(&State) -> bool,
    have: &'a [State],
) -> Option<&'a State> {
    let fresh = |state: &State| {
        let newest = origin.newest() == Some(state.image.as_str());
        newest && (matches!(origin, Origin::Refresh(_)) || !hopeless(state))
    };
    // The list starts with the newest, and `max_by_key` returns the last of equal elements.
    let rank = |state: &&State| (fits(state), fresh(state), serves(&state.id), !hopeless(state));
    let candidates: Vec<&State> = alive(have).collect();
    candidates.into_iter().rev().max_by_key(rank)
}

/// A launch for this spec with these orders; of this image and in this zone, if they are not EC2's choice.
fn launch(tags: &Tags, orders: &Orders, (image, zone): (Option<&str>, Option<&str>), have: &[State]) -> Change {
    let mut tags = tags.clone();
    tags.extend(orders.tags());
    let dying = have.iter().filter(|state| state.phase == Phase::Dying).map(|state| state.id.clone());
    Change::Launch { tags, image: image.map(str::to_owned), zone: zone.map(str::to_owned), dying: dying.collect() }
}

/// The change to `current` for this spec. A launch includes all orders; a later change of orders, other than the `address`, is a step
/// of its own. `credits`: the wanted CPU credits, if they differ.
fn diff(
    tags: &Tags,
    origin: Origin<'_>,
    address: Option<Ipv4Addr>,
    credits: Option<Credits>,
    current: Option<&State>,
    launch: &dyn Fn(Option<&str>) -> Change,
) -> Option<Planned<Change>> {
    let Some(current) = current else { return Some(Planned::create("does not exist", launch(None))) };
    if current.tags.get(names::TAG_SPEC) != tags.get(names::TAG_SPEC) {
        let reason = "type, image, disk or subnet changed, which requires a new instance".to_owned();
        return Some(Planned::new(Action::Replace, vec![reason], launch(None)));
    }
    if let Some(newest) = origin.instead_of(&current.image) {
        let reason =
            format!("the newest image is {newest}, and it runs {}, which requires a new instance", current.image);
        return Some(Planned::new(Action::Replace, vec![reason], launch(Some(newest))));
    }
    let address = Orders { address, ..Orders::default() };
    let wanted = missing(&tags.clone().into_iter().chain(address.tags()).collect(), &current.tags);
    let start = matches!(current.phase, Phase::Stopping | Phase::Stopped);
    let mut reasons = Vec::new();
    if start {
        reasons.push(format!("it is {}", current.phase.name()));
    }
    if !current.metadata {
        reasons.push("its metadata options were changed".into());
    }
    reasons.extend(credits.map(|credits| format!("its CPU credits are not {}", credits.name())));
    reasons.extend(untagged(&wanted));
    let change = Change::Update { id: current.id.clone(), start, metadata: !current.metadata, credits, tags: wanted };
    (!reasons.is_empty()).then(|| Planned::new(Action::Update, reasons, change))
}

#[cfg(test)]
mod tests;
