//! The data volume: an EBS volume with the app's files, which outlives releases, instances and `down`. It is created once, grows, and
//! is deleted only by `down --delete-data`.

use aws_sdk_ec2::types::{Filter, VolumeAttachmentState, VolumeState};

use super::kinds::{Id, Kind};
use super::outputs::Outputs;
use super::step::{Resource, Step, only};
use super::{
    Action, Observed, Planned, Sight, Tags, any_name_tag, by_name_tag, filter, from_ec2, missing, ours, untagged,
};
use crate::aws::{Aws, call, explain};
use crate::base::error::Result;
use crate::base::names;

mod change;

pub use change::{apply, broken};

/// The value of [`names::TAG_DATA`] on the volume that the app uses.
pub const CURRENT: &str = "current";

/// The state of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// `vol-…`
    pub id: String,
    /// Its size.
    pub gib: u32,
    /// Its availability zone, which never changes.
    pub zone: String,
    /// Its lifecycle state.
    pub phase: Phase,
    /// Its attachment.
    pub attachment: Option<Attachment>,
    /// When it was created, in seconds since 1970.
    pub made: i64,
    /// All tags.
    pub tags: Tags,
}

/// EC2's states, as far as devopsctl distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// creating
    Creating,
    /// available: it can be attached
    Available,
    /// in-use
    InUse,
    /// deleting
    Deleting,
    /// error: its hardware failed
    Broken,
}

/// The attachment of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// `i-…`
    pub instance: String,
    /// Whether it is complete, and does not end.
    pub complete: bool,
    /// Whether its end is requested, but the instance still uses the volume.
    pub busy: bool,
}

impl State {
    /// The instance that it is attached to.
    pub fn holder(&self) -> Option<&str> {
        self.attachment.as_ref().map(|attachment| attachment.instance.as_str())
    }
}

/// The change to apply.
#[allow(missing_docs, reason = "the words of each variant name its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create it, in the zone of the instance.
    Create { gib: u32, tags: Tags },
    /// Grow it, and set its tags, as needed.
    Update { id: String, grow: Option<u32>, tags: Tags },
    /// Delete it with all data.
    Delete { id: String },
}

/// The wanted volume.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its minimum size.
    pub gib: u32,
    /// The tags, except for the one that marks it.
    pub tags: Tags,
}

/// What steps of other resources refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// `vol-…`
    pub id: String,
}

/// The volume that the app uses.
pub const ID: Id = Id::of(Kind::Volume);

impl Resource for Wanted {
    type Change = Change;

    fn id(&self) -> Id {
        ID
    }

    /// EC2 chooses the zone of the first instance; a later one is launched in the volume's zone.
    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        only([Kind::SecurityGroup, Kind::Instance])
    }

    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Change>>> {
        sight.have.volumes.looked()?;
        let mut tags = self.tags.clone();
        tags.insert(names::TAG_DATA.into(), CURRENT.into());
        Ok(diff(self.gib, &tags, kept(sight.have)))
    }

    fn outputs(sight: &Sight<'_>, outputs: &mut Outputs) {
        if let Some(volume) = kept(sight.have) {
            outputs.set(ID, Output { id: volume.id.clone() });
        }
    }

    /// Data is deleted only if the user asks for it, after the instances that use it.
    fn surplus(sight: &Sight<'_>) -> Result<Vec<Step>> {
        if !sight.deletes_data {
            return Ok(Vec::new());
        }
        let found = sight.have.volumes.looked()?.into_iter().flatten();
        let step = |volume: &State| {
            let planned = Planned::delete(Change::Delete { id: volume.id.clone() });
            planned.step(Id::named(ID.kind, &volume.id), sight.instances())
        };
        Ok(found.filter(|volume| volume.phase != Phase::Deleting).map(step).collect())
    }
}

/// A volume of at least this size with these tags: `have`, or a new one.
fn diff(gib: u32, tags: &Tags, have: Option<&State>) -> Option<Planned<Change>> {
    let Some(have) = have else {
        return Some(Planned::create("does not exist", Change::Create { gib, tags: tags.clone() }));
    };
    let grow = (gib > have.gib).then_some(gib);
    let tags = missing(tags, &have.tags);
    let mut reasons: Vec<String> =
        grow.map(|gib| format!("it grows from {} to {gib} GiB", have.gib)).into_iter().collect();
    reasons.extend(untagged(&tags));
    let change = Change::Update { id: have.id.clone(), grow, tags };
    (!reasons.is_empty()).then(|| Planned::new(Action::Update, reasons, change))
}

/// The volume that the app uses, if it exists: of several an attached one, then the oldest.
pub fn kept(have: &Observed) -> Option<&State> {
    let found = have.volumes.present()?.iter();
    let current = found.filter(|volume| {
        volume.phase != Phase::Deleting && volume.tags.get(names::TAG_DATA).is_some_and(|tag| tag == CURRENT)
    });
    current.min_by_key(|volume| (volume.attachment.is_none(), volume.made, &volume.id))
}

/// Finds the data volumes of a deployment.
pub async fn observe(aws: &Aws, name: &str) -> Result<Vec<State>> {
    Ok(find(aws, by_name_tag(name)).await?.into_iter().filter(|volume| ours(&volume.tags, name)).collect())
}

/// Finds the data volumes and the disks of all deployments.
pub(super) async fn observe_all(aws: &Aws) -> Result<Vec<State>> {
    pages(aws, vec![any_name_tag()]).await
}

/// The disks of instances have our tag, too, but not that of a data volume.
async fn find(aws: &Aws, whose: Filter) -> Result<Vec<State>> {
    pages(aws, vec![whose, filter("tag-key", names::TAG_DATA)]).await
}

async fn pages(aws: &Aws, filters: Vec<Filter>) -> Result<Vec<State>> {
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let request = aws.ec2.describe_volumes().set_filters(Some(filters.clone())).set_next_token(page);
        let answer = call("ec2:DescribeVolumes", || request.clone().send())
            .await
            .map_err(|error| explain("cannot list the volumes", &error))?;
        found.extend(answer.volumes.unwrap_or_default().into_iter().filter_map(state));
        page = answer.next_token.filter(|token| !token.is_empty());
        if page.is_none() {
            return Ok(found);
        }
    }
}

/// The state of one volume; `None` if it does not exist, or is not visible yet.
///
/// # Errors
/// Another error of EC2.
pub async fn look(aws: &Aws, id: &str) -> Result<Option<State>> {
    match call("ec2:DescribeVolumes", || aws.ec2.describe_volumes().volume_ids(id).send()).await {
        Ok(answer) => Ok(answer.volumes.unwrap_or_default().into_iter().find_map(state)),
        Err(error) if error.absent() => Ok(None),
        Err(error) => Err(explain(format!("cannot look up the volume {id}"), &error)),
    }
}

fn state(volume: aws_sdk_ec2::types::Volume) -> Option<State> {
    let attachment = volume.attachments.unwrap_or_default().into_iter().find_map(|one| {
        let complete = one.state == Some(VolumeAttachmentState::Attached);
        let busy = one.state == Some(VolumeAttachmentState::Busy);
        let ended = one.state == Some(VolumeAttachmentState::Detached);
        Some(Attachment { instance: one.instance_id.filter(|_| !ended)?, complete, busy })
    });
    Some(State {
        id: volume.volume_id.filter(|id| names::is_volume(id))?,
        gib: volume.size.and_then(|size| u32::try_from(size).ok())?,
        zone: volume.availability_zone?,
        phase: match volume.state? {
            VolumeState::Creating => Phase::Creating,
            VolumeState::Available => Phase::Available,
            VolumeState::InUse => Phase::InUse,
            VolumeState::Error => Phase::Broken,
            _ => Phase::Deleting,
        },
        attachment,
        made: volume.create_time.map_or(0, |time| time.secs()),
        tags: from_ec2(volume.tags),
    })
}

#[cfg(test)]
mod tests;
