//! Waits until a new instance is healthy, before the address moves to it and the old instance is terminated.

use super::kinds::{Id, Kind};
use super::step::{Resource, only};
use super::{Action, Planned, Sight};
use crate::base::error::Result;

/// A replacement takes over only when it is healthy.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The release that it must run.
    pub release: String,
}

/// Wait until the new instance runs this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release's id.
    pub release: String,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::HealthGate)
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        use Kind::{Ingress, Instance, InstanceProfile, Orders, Proxy, Release, Role};
        only([Role, Release, Proxy, Instance, InstanceProfile, Orders, Ingress])
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let replaces = sight.leftovers().next().is_some();
        let reasons = vec!["the old instance serves until the new one is healthy".to_owned()];
        let change = Change { release: self.release.clone() };
        Ok(replaces.then(|| Planned::new(Action::Update, reasons, change)))
    }
}
