//! What a look at one thing came to.

use crate::base::error::{Failure, Result};

/// What was not looked at is not absent: nothing is made, and nothing removed, on a look that never happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lookup<T> {
    /// There was no look.
    #[default]
    NotAsked,
    /// There is none.
    Absent,
    /// What bears the name is not ours.
    NotOurs(NameConflict),
    /// It stands.
    Present(T),
}

impl<T> Lookup<T> {
    /// What stands, as far as is known.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(found) => Some(found),
            _ => None,
        }
    }

    /// What stands, for a planner, who decides by it.
    ///
    /// # Errors
    /// That there was no look, which is a mistake of the verb.
    pub fn looked(&self) -> Result<Option<&T>> {
        match self {
            Self::NotAsked => Err(Failure::bug("the plan needs a resource that was not read")),
            other => Ok(other.present()),
        }
    }

    /// What is in the way.
    pub fn foreign(&self) -> Option<&NameConflict> {
        match self {
            Self::NotOurs(foreign) => Some(foreign),
            _ => None,
        }
    }
}

#[cfg(test)]
impl<T> Lookup<T> {
    /// What stands.
    pub fn present_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Present(found) => Some(found),
            _ => None,
        }
    }

    /// What stands; it is made if it is not there.
    pub fn stand(&mut self, make: impl FnOnce() -> T) -> &mut T {
        if self.present().is_none() {
            *self = Self::Present(make());
        }
        self.present_mut().expect("the resource exists")
    }
}

impl<T> From<Option<T>> for Lookup<T> {
    /// What a look found.
    fn from(found: Option<T>) -> Self {
        found.map_or(Self::Absent, Self::Present)
    }
}

/// Something that bears our name but is not ours: it is never touched.
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

    /// That it is in the way.
    pub fn refuse(&self) -> Failure {
        Failure::failed(format!("the {} {} does not belong to this deployment", self.kind, self.name))
            .because("it has the required name but not the tag `devopsctl:name`")
            .standing("It was not changed.")
            .next("choose another name in deploy.yaml, or delete it if it is unused")
    }

    /// For a warning.
    pub fn describe(&self) -> String {
        format!("the {} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_look_that_never_happened_is_refused() {
        let foreign = || Lookup::NotOurs(NameConflict::new("bucket", "x"));
        for (lookup, present) in [(Lookup::Absent, None), (foreign(), None), (Lookup::Present(1), Some(&1))] {
            assert_eq!((lookup.present(), lookup.looked().unwrap()), (present, present));
        }
        assert!(Lookup::<u8>::NotAsked.looked().is_err() && Lookup::<u8>::NotAsked.present().is_none());
        assert_eq!((foreign().foreign().is_some(), Lookup::Present(1).foreign()), (true, None));
    }
}
