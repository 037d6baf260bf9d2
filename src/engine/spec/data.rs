//! Whether the data volume can be as `deploy.yaml` wants it.

use crate::base::error::{Failure, Result};
use crate::config::Deployment;
use crate::engine::observe::Observed;
use crate::resources::volume::{self, Phase, State};

/// Checks for problems that only a user can fix. `launches`: whether an instance must be launched.
///
/// # Errors
/// The first problem.
pub fn check(deployment: &Deployment, have: &Observed, launches: bool) -> Result<()> {
    let (Some(wanted), Some(volume)) = (&deployment.data, volume::kept(have)) else { return Ok(()) };
    let State { id, gib, zone, .. } = volume;
    if volume.phase == Phase::Broken {
        return Err(volume::broken(id).standing(NOTHING));
    }
    if wanted.gib < *gib {
        return Err(Failure::failed(format!("the data volume {id} cannot shrink from {gib} to {} GiB", wanted.gib))
            .because("AWS can only grow a volume")
            .standing(NOTHING)
            .next(format!("in deploy.yaml, under data, write gib: {gib}")));
    }
    let foreign = volume.holder().filter(|holder| !have.instances.iter().any(|state| state.id == **holder));
    if let Some(holder) = foreign {
        return Err(Failure::failed(format!("the data volume {id} is attached to {holder}"))
            .because(format!("{holder} is no instance of this deployment, so it is not asked to unmount the volume"))
            .standing(NOTHING)
            .next(format!("unmount it there, then: aws ec2 detach-volume --volume-id {id}")));
    }
    match &have.subnet_zone {
        Some(other) if launches && other != zone => {
            let subnet = deployment.network.subnet.as_deref().unwrap_or_default();
            Err(Failure::failed(format!("the data volume {id} cannot be attached to an instance in {subnet}"))
                .because(format!("the volume is in {zone}, the subnet in {other}, and AWS cannot move a volume"))
                .standing(NOTHING)
                .next(format!("name a subnet in {zone} as network.subnet in deploy.yaml")))
        }
        _ => Ok(()),
    }
}

const NOTHING: &str = "Nothing was changed.";
