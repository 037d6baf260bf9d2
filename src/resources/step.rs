//! What a plan is made of, and what a kind of resource has to say for it.

use super::kinds::{Change, Id, Kind};
use super::outputs::Outputs;
use super::{Sight, Tags, untagged};
use crate::base::error::Result;

/// A resource of one kind, as a topology asks for it.
pub trait Resource {
    /// What a step about it does.
    type Change: Into<Change>;

    /// Which one it is.
    fn id(&self) -> Id;

    /// What comes first, as far as the plan has a step about it: the rest stands already.
    fn needs(&self, _: &Sight<'_>) -> Vec<Id> {
        Vec::new()
    }

    /// What is to be done so that it is as asked for; nothing where it is. Pure.
    ///
    /// # Errors
    /// That something was not looked at.
    fn diff(&self, sight: &Sight<'_>) -> Result<Option<Planned<Self::Change>>>;

    /// What stands of this kind, as far as steps about others refer to it.
    fn outputs(_: &Sight<'_>, _: &mut Outputs) {}

    /// The steps that remove what stands of this kind and is not asked for.
    ///
    /// # Errors
    /// That something was not looked at.
    fn surplus(_: &Sight<'_>) -> Result<Vec<Step>> {
        Ok(Vec::new())
    }
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub id: Id,
    /// In one word.
    pub action: Action,
    /// Why.
    pub reasons: Vec<String>,
    /// Which steps come first.
    pub needs: Vec<Id>,
    /// What it does.
    pub change: Change,
}

/// What is to be done about one resource, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned<C> {
    /// In one word.
    pub action: Action,
    /// Why, as a person would say it.
    pub reasons: Vec<String>,
    /// All that the executor needs to know.
    pub change: C,
}

/// What happens to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there, but not as wanted.
    Update,
    /// It can only become as wanted by being made anew.
    Replace,
    /// It is no longer wanted.
    Delete,
}

impl Action {
    /// In one word, as in the JSON of `plan`.
    pub fn name(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Update => "update",
            Action::Replace => "replace",
            Action::Delete => "delete",
        }
    }

    /// Whether it takes away what stands, so that the user is asked first.
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

    /// Sets tags, if there are any to be set.
    pub(super) fn tag(tags: Tags, change: impl FnOnce(Tags) -> C) -> Option<Self> {
        let reasons = untagged(&tags);
        (!reasons.is_empty()).then(|| Self::new(Action::Update, reasons, change(tags)))
    }

    pub(super) fn delete(change: C) -> Self {
        Self::new(Action::Delete, vec!["no longer wanted".to_owned()], change)
    }

    /// As a step about `id`, after those that it needs.
    pub fn step(self, id: Id, needs: Vec<Id>) -> Step
    where
        C: Into<Change>,
    {
        let Self { action, reasons, change } = self;
        Step { id, action, reasons, needs, change: change.into() }
    }
}

/// The only one of each of these kinds.
pub(super) fn only<const N: usize>(kinds: [Kind; N]) -> Vec<Id> {
    kinds.map(Id::of).into()
}
