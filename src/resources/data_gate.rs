//! Waits until a new instance needs only the data volume, before the old one has to give it back: until then the old one serves.

use super::kinds::{Id, Kind};
use super::step::{Resource, only};
use super::{Action, Planned, Sight, attachment};
use crate::base::error::Result;

/// The wanted release runs as soon as it gets its data.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The release's id.
    pub release: String,
}

/// Wait until the instance needs only its data to run this release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release's id.
    pub release: String,
}

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        Id::of(Kind::DataGate)
    }

    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        use Kind::{Instance, InstanceProfile, Orders, Proxy, Release, Role};
        only([Role, Release, Proxy, Instance, InstanceProfile, Orders])
    }

    /// Only for an instance that serves: any other one loses nothing.
    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        let serves = |id: &str| sight.have.report_of(id).is_some_and(|report| report.healthy);
        let serves = attachment::other_holder(sight).is_some_and(|holder| serves(&holder.id));
        let reason = "the old instance serves until the new one waits for the data".to_owned();
        let change = Change { release: self.release.clone() };
        Ok(serves.then(|| Planned::new(Action::Update, vec![reason], change)))
    }
}
