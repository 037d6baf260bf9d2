//! Waits until the new release is healthy, before what only the old one needs is removed: the old instance, or the app's role.

use super::kinds::{Id, Kind};
use super::step::{Resource, only};
use super::{Action, Planned, Sight};
use crate::base::error::Result;

/// A new release replaces the old one only when it is healthy.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The release that it must run.
    pub release: String,
}

/// Wait until the instance runs this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release's id.
    pub release: String,
    /// A sentence about what stays if it does not become healthy.
    pub kept: &'static str,
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
        let retires_role = sight.have.app_role.present().is_some() && !sight.wants(Kind::AppRole);
        let (reason, kept) = match sight.leftovers().next() {
            Some(_) => (
                "the old instance serves until the new one is healthy",
                "The old instance keeps serving, at the same address.",
            ),
            None if retires_role && sight.current.is_some() => (
                "the app's role stays until the new release is healthy",
                "The app's role was not deleted, because the previous release may need it.",
            ),
            None => return Ok(None),
        };
        let change = Change { release: self.release.clone(), kept };
        Ok(Some(Planned::new(Action::Update, vec![reason.to_owned()], change)))
    }
}
