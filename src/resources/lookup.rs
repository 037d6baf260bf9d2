//! The result of reading one resource.

use crate::base::error::{Failure, Result};

/// A resource that was not read is not absent: nothing is created or deleted because of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It was not read.
    #[default]
    NotAsked,
    /// It does not exist.
    Absent,
    /// A resource with its name exists, but is not ours.
    NotOurs(NameConflict),
    /// It exists.
    Present(T),
}

impl<T> Lookup<T> {
    /// The resource, if it is known to exist.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(found) => Some(found),
            _ => None,
        }
    }

    /// The resource, for a planner that depends on the result.
    ///
    /// # Errors
    /// It was not read, which is a bug of the command.
    pub fn looked(&self) -> Result<Option<&T>> {
        match self {
            Self::NotAsked => Err(Failure::bug("the plan needs a resource that was not read")),
            other => Ok(other.present()),
        }
    }

    /// The conflict, if there is one.
    pub fn conflict(&self) -> Option<&NameConflict> {
        match self {
            Self::NotOurs(conflict) => Some(conflict),
            _ => None,
        }
    }
}

#[cfg(test)]
impl<T> Lookup<T> {
    /// The resource, mutable.
    pub fn present_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Present(found) => Some(found),
            _ => None,
        }
    }

    /// The resource; it is created if it does not exist.
    pub fn stand(&mut self, make: impl FnOnce() -> T) -> &mut T {
        if self.present().is_none() {
            *self = Self::Present(make());
        }
        self.present_mut().expect("the resource exists")
    }
}

impl<T> From<Option<T>> for Lookup<T> {
    /// The result of a read.
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::Absent, Self::Present)
    }
}

/// A resource with our name that is not ours: it is never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameConflict {
    kind: &'static str,
    name: String,
}

impl NameConflict {
    /// A resource of this kind and name.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The error for this conflict.
    pub fn refuse(&self) -> Failure {
        Failure::failed(format!("the {} {} does not belong to this deployment", self.kind, self.name))
            .because("it has the required name but not the tag `devopsctl:name`")
            .standing("It was not changed.")
            .next("choose another name in deploy.yaml, or delete it if it is unused")
    }

    /// A short text for a warning.
    pub fn describe(&self) -> String {
        format!("the {} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_resource_that_was_not_read_is_refused() {
        let conflict = || Lookup::NotOurs(NameConflict::new("bucket", "x"));
        for (lookup, present) in [(Lookup::Absent, None), (conflict(), None), (Lookup::Present(1), Some(&1))] {
            assert_eq!((lookup.present(), lookup.looked().unwrap()), (present, present));
        }
        assert!(Lookup::<u8>::NotAsked.looked().is_err() && Lookup::<u8>::NotAsked.present().is_none());
        assert_eq!((conflict().conflict().is_some(), Lookup::Present(1).conflict()), (true, None));
    }
}
