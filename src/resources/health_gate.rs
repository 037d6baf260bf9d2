//! Waits until the new release is healthy, before what only the old one needs is removed: the old instance, or the app's role.

use super::kinds::{Id, Kind};
use super::step::{Resource, only};
use super::{Action, Planned, Sight, attachment, instance};
use crate::base::error::Result;

/// A new release replaces the old one only when it is healthy.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The release that it must run.
    pub release: String,
    /// Whether it needs a data volume.
    pub data: bool,
}

/// Wait until the instance runs this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release's id.
    pub release: String,
    /// A sentence about what stays if it does not become healthy.
    pub kept: &'static str,
    /// The instance that gets the data volume back if the new release does not become healthy.
    pub back: Option<String>,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::HealthGate)
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        use Kind::{Attachment, Ingress, Instance, InstanceProfile, Orders, Proxy, Release, Role};
        // It detaches the volume only afterwards if the release needs none.
        let data = if self.data { only([Attachment]) } else { Vec::new() };
        [only([Role, Release, Proxy, Instance, InstanceProfile, Orders, Ingress]), data].concat()
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
            None if attachment::is_unwanted(sight) => (
                "the data volume stays attached until the new release is healthy",
                "The data volume was not detached, because the previous release may need it.",
            ),
            None => return Ok(None),
        };
        // The instance that served until now, whether it still has the volume or has given it back already.
        let old: Vec<instance::State> = sight.leftovers().filter(|_| self.data).cloned().collect();
        let back = instance::serving(&old, &sight.have.addresses).map(|state| state.id.clone());
        let change = Change { release: self.release.clone(), kept, back };
        Ok(Some(Planned::new(Action::Update, vec![reason.to_owned()], change)))
    }
}
