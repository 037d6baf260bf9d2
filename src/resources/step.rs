//! The steps of a plan, and the interface of a kind of resource.

use super::kinds::{Change, Id, Kind};
use super::outputs::Outputs;
use super::{Sight, Tags, untagged};
use crate::base::error::Result;

/// A wanted resource of one kind.
pub trait Resource {
    /// The change of a step.
    type Change: Into<Change>;

    /// Its id.
    fn id(&self) -> Id;

    /// Its dependencies. One without a step in the plan already exists.
    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        Vec::new()
    }

    /// The change to the wanted state; `None` if there is nothing to do. Pure.
    ///
    /// # Errors
    /// A kind was not read.
    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Self::Change>>>;

    /// The outputs of the existing resources of this kind.
    fn outputs(_: &Sight<'_>, _: &mut Outputs) {}

    /// The steps that delete the unwanted resources of this kind.
    ///
    /// # Errors
    /// A kind was not read.
    fn surplus(_: &Sight<'_>) -> Result<Vec<Step>> {
        Ok(Vec::new())
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The resource.
    pub id: Id,
    /// The action, in one word.
    pub action: Action,
    /// The reasons.
    pub reasons: Vec<String>,
    /// The steps that must be done before.
    pub needs: Vec<Id>,
    /// The change.
    pub change: Change,
}

/// The change to one resource, and the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned<C> {
    /// The action, in one word.
    pub action: Action,
    /// The reasons, for a user.
    pub reasons: Vec<String>,
    /// Everything that the executor needs.
    pub change: C,
}

/// The action on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It does not exist.
    Create,
    /// It exists, but differs from the wanted state.
    Update,
    /// It must be replaced to reach the wanted state.
    Replace,
    /// It is no longer wanted.
    Delete,
}

impl Action {
    /// The word for it in the JSON of `plan`.
    pub fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Replace => "replace",
            Action::Delete => "delete",
        }
    }

    /// Whether it removes an existing resource, so that the user must confirm.
    pub fn is_destructive(self) -> bool {
        matches!(self, Action::Replace | Action::Delete)
    }
}

impl<C> Planned<C> {
    pub(super) fn new(action: Action, reasons: Vec<String>, change: C) -> Self {
        Self { action, reasons, change }
    }

    pub(super) fn create(reason: &str, change: C) -> Self {
        Self::new(Action::Create, vec![reason.to_owned()], change)
    }

    /// Sets tags, if there are any.
    pub(super) fn tag(tags: Tags, change: impl FnOnce(Tags) -> C) -> Option<Self> {
        let reasons = untagged(&tags);
        (!reasons.is_empty()).then(|| Self::new(Action::Update, reasons, change(tags)))
    }

    pub(super) fn delete(change: C) -> Self {
        Self::new(Action::Delete, vec!["no longer wanted".to_owned()], change)
    }

    /// The step for `id`, with its dependencies.
    pub fn step(self, id: Id, needs: Vec<Id>) -> Step
    where
        C: Into<Change>,
    {
        let Self { action, reasons, change } = self;
        Step { id, action, reasons, needs, change: change.into() }
    }
}

/// The ids of the only resource of each kind.
pub(super) fn only<const N: usize>(kinds: [Kind; N]) -> Vec<Id> {
    kinds.map(Id::of).into()
}
