//! Which release comes before which: pure, from what the instances' tags and reports say. What runs and what is to run are
//! two things, as long as a new release has not proved itself.

use std::collections::BTreeSet;

use super::{Observed, instance};
use crate::base::names;

/// The releases that count, of the instance that serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What runs.
    pub runs: Option<String>,
    /// What is to run.
    pub wanted: Option<String>,
    /// What ran before it.
    pub previous: Option<String>,
}

impl History {
    /// As tags and report say it.
    pub fn of(have: &Observed) -> Self {
        let Some((instance, report)) = have.serving() else { return Self::default() };
        let tag = |key: &str| instance.tags.get(key).cloned();
        let (wanted, previous) = (tag(names::TAG_RELEASE), tag(names::TAG_PREVIOUS));
        let previous = previous.filter(|previous| Some(previous) != wanted.as_ref());
        Self { runs: report.and_then(|report| report.release.clone()), wanted, previous }
    }

    /// Whether something runs that is not what is to run: that one failed, or is on its way.
    pub fn pending(&self) -> bool {
        self.runs.is_some() && self.runs != self.wanted
    }

    /// Where `rollback` goes: to what runs, if that is not what is wanted; else to what ran before.
    pub fn back(&self) -> Option<&str> {
        if self.pending() { self.runs.as_deref() } else { self.previous.as_deref() }
    }
}

/// What is before `next` once that is to run: what serves now. One that never served is no way back. Nothing serves, or
/// `next` itself: then what was before stays.
pub fn before(have: &Observed, next: &str) -> Option<String> {
    let (instance, report) = have.serving()?;
    let tag = |key: &str| instance.tags.get(key).cloned();
    let serves = match report {
        Some(report) => report.release.clone(),
        None => tag(names::TAG_RELEASE),
    };
    serves.filter(|serves| serves != next).or_else(|| tag(names::TAG_PREVIOUS))
}

/// What an instance runs, is to run, or may go back to.
pub fn in_use(have: &Observed) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for state in instance::alive(&have.instances) {
        used.extend(
            [names::TAG_RELEASE, names::TAG_PREVIOUS].into_iter().filter_map(|key| state.tags.get(key).cloned()),
        );
        let report = have.report_of(&state.id);
        used.extend(
            report.into_iter().flat_map(|report| [report.release.clone(), report.wanted.release.clone()]).flatten(),
        );
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Tags;
    use crate::resources::reports::{Heard, Report};

    /// One instance: what it is told, what is before that, and what it says of itself.
    fn seen(wanted: &str, previous: Option<&str>, report: Option<Option<&str>>) -> Observed {
        let mut tags = Tags::from([(names::TAG_RELEASE.into(), wanted.into())]);
        tags.extend(previous.map(|previous| (names::TAG_PREVIOUS.to_owned(), previous.to_owned())));
        let state = instance::State {
            id: "i-1".into(),
            phase: instance::Phase::Running,
            kind: String::new(),
            image: String::new(),
            ip: None,
            profile: None,
            metadata: true,
            tags,
            launched: 0,
        };
        let said = |release: Option<&str>| Report {
            release: release.map(str::to_owned),
            wanted: Heard { release: Some(wanted.into()), ..Heard::default() },
            ..Report::default()
        };
        let reports = report.map(|release| ("i-1".to_owned(), said(release))).into_iter().collect();
        Observed { instances: vec![state], reports, ..Observed::default() }
    }

    #[test]
    fn what_serves_is_before_what_comes_and_what_never_served_is_not() {
        let before = |have: &Observed, next| before(have, next);
        let some = |release: &str| Some(release.to_owned());
        assert_eq!(before(&Observed::default(), "b"), None);
        assert_eq!(before(&seen("a", None, Some(Some("a"))), "b"), some("a"));
        // b is broken: c is after a.
        assert_eq!(before(&seen("b", Some("a"), Some(Some("a"))), "c"), some("a"));
        // Back to a: what was before stays.
        assert_eq!(before(&seen("b", Some("a"), Some(Some("a"))), "a"), some("a"));
        assert_eq!(before(&seen("b", Some("z"), Some(Some("a"))), "a"), some("z"));
        // Nothing has ever served: there is no way back but the one there was.
        assert_eq!(before(&seen("a", None, Some(None)), "b"), None);
        assert_eq!(before(&seen("a", Some("z"), Some(None)), "b"), some("z"));
        // The report is missing: what was wanted is the best guess.
        assert_eq!(before(&seen("a", Some("z"), None), "b"), some("a"));
        assert_eq!(before(&seen("a", Some("z"), None), "a"), some("z"));
    }

    #[test]
    fn the_way_back_is_to_what_runs_and_else_to_what_ran_before() {
        let back = |have: &Observed| History::of(have).back().map(str::to_owned);
        assert_eq!(back(&Observed::default()), None);
        assert_eq!(back(&seen("b", Some("a"), Some(Some("b")))).as_deref(), Some("a"));
        assert_eq!(back(&seen("b", None, Some(Some("b")))), None);
        // b failed: what runs is the way back, whatever was before.
        assert_eq!(back(&seen("b", Some("z"), Some(Some("a")))).as_deref(), Some("a"));
        assert!(History::of(&seen("b", Some("z"), Some(Some("a")))).pending());
        // It was taken back: what is wanted is no way back from itself.
        assert_eq!(back(&seen("a", Some("a"), Some(Some("a")))), None);
        assert_eq!(back(&seen("b", Some("a"), Some(None))).as_deref(), Some("a"));
        assert_eq!(back(&seen("b", Some("a"), None)).as_deref(), Some("a"));
    }

    #[test]
    fn what_any_instance_runs_or_may_go_back_to_is_in_use() {
        let mut have = seen("b", Some("a"), Some(Some("c")));
        let mut other = have.instances[0].clone();
        other.id = "i-2".into();
        other.tags.insert(names::TAG_RELEASE.into(), "d".into());
        have.instances.push(other);
        assert_eq!(in_use(&have).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
