//! The data volume while a new instance replaces an old one: the wait until the new one needs only its data, and what happens with the
//! data if the new one does not become healthy.

use super::{Goal, Need, Watch, wait};
use crate::base::error::{Failure, Result};
use crate::base::event::Event;
use crate::resources::context::Context;
use crate::resources::instance::{self, Phase};
use crate::resources::{attachment, data_gate, health_gate, volume};

/// Waits until the new instance waits for its data.
///
/// # Errors
/// As for [`wait`].
pub(in crate::engine) async fn apply(context: &Context, gate: data_gate::Change) -> Result<String> {
    let (id, goal) = Goal::of(context, &gate.release, Need::Nothing)?;
    let goal = Goal { data: true, ..goal };
    let waited = context.or_interrupt(wait(&Watch::of(context), &id, &goal)).await;
    waited
        .map_err(|failure| failure.standing("The old instance keeps serving, with its data, at the same address."))?;
    Ok(format!("{id} waits for the data"))
}

/// The failure of the gate, after the old instance has its data again, if it had any.
pub(super) async fn after(context: &Context, failure: Failure, gate: &health_gate::Change) -> Failure {
    let Some(old) = &gate.back else { return failure.standing(gate.kept) };
    // The user, or another failure, ended the wait: the next `up` continues.
    if context.interrupted() {
        return failure.standing(format!("The data volume is with the new instance; {old} does not serve without it."));
    }
    context.tell(Event::Warn(format!("the new instance did not become healthy; giving the data back to {old}")));
    match give_back(context, old).await {
        Ok(()) => {
            failure.standing(format!("The old instance {old} has its data again and serves, at the same address."))
        }
        Err(other) => failure.because(format!("the data could not be given back: {}", other.what())).standing(format!(
            "The app does not serve: the old instance {old} waits for its data volume. Its data is complete."
        )),
    }
}

async fn give_back(context: &Context, old: &str) -> Result<()> {
    let volume = context.output::<volume::Output>(&volume::ID)?.id;
    let found = instance::observe(&context.aws, &context.name).await?;
    if found.iter().any(|state| state.id == old && matches!(state.phase, Phase::Stopping | Phase::Stopped)) {
        instance::start(context, old).await?;
    }
    attachment::give(context, &volume, old).await
}
