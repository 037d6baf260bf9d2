//! The data volume in words.

use super::Session;
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::engine::cost::{self, Standing};
use crate::engine::observe::Observed;
use crate::resources::volume::{Phase, State};

/// All data volumes that exist.
pub(super) fn volumes(observed: &Observed) -> impl Iterator<Item = &State> {
    observed.volumes.present().into_iter().flatten().filter(|volume| volume.phase != Phase::Deleting)
}

/// Their total size.
pub(super) fn gib(observed: &Observed) -> u32 {
    volumes(observed).fold(0, |sum, volume| sum.saturating_add(volume.gib))
}

/// A volume that stays, what it costs, and how to delete it.
pub(super) fn stays(session: &Session, volume: &State) -> String {
    let cost = cost::of(&session.aws.region, &Standing { disk_gib: volume.gib, ..Standing::default() });
    let cost = super::cost::sandboxed(session, cost.short());
    let down = session.ui.run(&format!("down --delete-data {}", session.name()));
    let State { id, gib, zone, .. } = volume;
    format!("the data volume {id} stays ({gib} GiB in {zone}, {cost}); `up` takes it up again; delete it: {down}")
}

/// Checks the name after `--delete-data`.
///
/// # Errors
/// It is not the deployment's.
pub(super) fn agreed(session: &Session, named: Option<&String>) -> Result<bool> {
    match named {
        Some(named) if named != session.name() => {
            let name = session.name();
            Err(Failure::new(Exit::Usage, format!("--delete-data names {named}, but this deployment is {name}"))
                .standing("Nothing was changed.")
                .next(Next::from("to delete its data: ").run(format!("down --delete-data {name}"))))
        }
        named => Ok(named.is_some()),
    }
}
