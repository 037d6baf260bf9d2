//! Volume ↔ instance: the data volume is attached to the instance, which then gets the order to use it.
//!
//! Two instances cannot share it. So a new instance waits until the old one has stopped what uses the volume and has unmounted it; it is
//! never taken away by force. Each part is idempotent, and only what AWS shows decides which parts are left.

use super::kinds::{Id, Kind};
use super::step::{Resource, Step, only};
use super::{Action, Planned, Sight, orders, volume};
use crate::base::error::Result;

mod change;

pub use change::{apply, give};

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Take the volume from the instance that has it, attach it to the current one, and order that to use it.
    Attach,
    /// Take it from the instance that has it, and keep it.
    Detach { volume: String, instance: String },
}

/// The wanted attachment.
#[derive(Clone, Debug)]
pub struct Wanted;

/// The attachment of the data volume.
pub const ID: Id = Id::of(Kind::Attachment);

/// What a plan says about a move.
const MOVES: &str = "the app answers 503 for some seconds while its data moves";

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        only([Kind::Volume, Kind::Instance, Kind::DataGate])
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        sight.have.volumes.looked()?;
        Ok(diff(volume::kept(sight.have), sight))
    }

    /// Without `data` in `deploy.yaml` the volume stays, but the instance no longer has it once its new release is healthy.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        if sight.wants(Kind::Attachment) || !sight.wants(Kind::Instance) {
            return Ok(Vec::new());
        }
        Ok(unwanted(sight).into_iter().collect())
    }
}

/// The step that takes the volume from the current instance, if it is attached.
fn unwanted(sight: &Sight<'_>) -> Option<Step> {
    let (volume, instance) = (volume::kept(sight.have)?, sight.current?);
    volume.holder().filter(|holder| *holder == instance.id)?;
    let reason = "deploy.yaml no longer has data; the volume is kept".to_owned();
    let change = Change::Detach { volume: volume.id.clone(), instance: instance.id.clone() };
    let needs = only([Kind::Instance, Kind::InstanceProfile, Kind::Orders, Kind::HealthGate]);
    Some(Planned::new(Action::Update, vec![reason], change).step(ID, needs))
}

/// The volume must be attached to the current instance, and ordered there.
fn diff(volume: Option<&volume::State>, sight: &Sight<'_>) -> Option<Planned<Change>> {
    let current = sight.current;
    let holder = volume.and_then(volume::State::holder);
    let Some(holder) = holder else {
        return Some(Planned::create("no volume is attached to the instance", Change::Attach));
    };
    let reason = match (volume?, current) {
        (_, None) => format!("{holder} has it: {MOVES}"),
        (_, Some(current)) if current.id != holder => format!("{holder} has it: {MOVES}"),
        (volume, _) if !volume.attachment.as_ref().is_some_and(|attachment| attachment.complete) => {
            "the volume is not attached completely".to_owned()
        }
        (volume, Some(current)) if current.orders().data.as_ref() != Some(&volume.id) => {
            "the instance is not told to use its volume".to_owned()
        }
        _ => return None,
    };
    Some(Planned::new(Action::Update, vec![reason], Change::Attach))
}

/// Whether the current instance has the volume although `deploy.yaml` has no data.
pub(super) fn is_unwanted(sight: &Sight<'_>) -> bool {
    sight.wants(Kind::Instance) && !sight.wants(Kind::Attachment) && unwanted(sight).is_some()
}

/// The live instance, other than the current one, that has the volume.
pub(super) fn other_holder<'a>(sight: &Sight<'a>) -> Option<&'a super::instance::State> {
    let holder = volume::kept(sight.have)?.holder()?;
    sight.leftovers().find(|state| state.id == holder)
}

/// The order to use this volume.
fn to_use(volume: &str) -> orders::Orders {
    orders::Orders { data: Some(volume.to_owned()), ..orders::Orders::default() }
}

/// The order to give the volume back.
fn to_give_back() -> orders::Orders {
    to_use(orders::NO_DATA)
}
