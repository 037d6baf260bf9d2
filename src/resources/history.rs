//! The order of releases: pure, from the orders and reports of the instances. The running and the wanted release differ
//! until a new release has passed its health check.

use std::collections::BTreeSet;

use super::{Observed, instance};

/// The releases of the serving instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The running release.
    pub runs: Option<String>,
    /// The wanted release.
    pub wanted: Option<String>,
    /// The release that ran before.
    pub previous: Option<String>,
}

impl History {
    /// From orders and report.
    pub fn of(have: &Observed) -> Self {
        let Some((instance, report)) = have.serving() else { return Self::default() };
        let orders = instance.orders();
        let previous = orders.previous.filter(|previous| Some(previous) != orders.release.as_ref());
        Self { runs: report.and_then(|report| report.release.clone()), wanted: orders.release, previous }
    }

    /// Whether the running release is not the wanted one: the new one failed, or is starting.
    pub fn pending(&self) -> bool {
        self.runs.is_some() && self.runs != self.wanted
    }

    /// The target of `rollback`: the running release, if another one is wanted; otherwise the one that ran before.
    pub fn back(&self) -> Option<&str> {
        if self.pending() { self.runs.as_deref() } else { self.previous.as_deref() }
    }
}

/// The target of a later rollback once `next` is ordered: the release that serves now, because a release that never
/// served is no target. If none serves, or `next` itself does, the target stays.
pub fn before(have: &Observed, next: &str) -> Option<String> {
    let (instance, report) = have.serving()?;
    let orders = instance.orders();
    let serves = match report {
        Some(report) => report.release.clone(),
        None => orders.release,
    };
    serves.filter(|serves| serves != next).or(orders.previous)
}

/// The releases that an instance runs, should run, or would roll back to.
pub fn in_use(have: &Observed) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for state in instance::alive(&have.instances) {
        let orders = state.orders();
        used.extend([orders.release, orders.previous].into_iter().flatten());
        let report = have.report_of(&state.id);
        used.extend(report.into_iter().flat_map(|report| [&report.release, &report.orders.release]).flatten().cloned());
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::orders::Orders;
    use crate::resources::orders::tests::{id, instance as running};
    use crate::resources::reports::Report;

    /// One instance: the ordered release, the rollback target, and the reported release. Releases are hexadecimal
    /// digits.
    fn seen(wanted: &str, previous: Option<&str>, report: Option<Option<&str>>) -> Observed {
        let orders = Orders { release: Some(id(wanted)), ..Orders::default() };
        let state = running("i-1", &Orders { previous: previous.map(id), ..orders.clone() });
        let said =
            |release: Option<&str>| Report { release: release.map(id), orders: orders.clone(), ..Report::default() };
        let reports = report.map(|release| ("i-1".to_owned(), said(release))).into_iter().collect();
        Observed { instances: vec![state], reports, ..Observed::default() }
    }

    #[test]
    fn the_rollback_target_is_a_release_that_served() {
        let before = |have: &Observed, next| before(have, &id(next));
        let some = |release: &str| Some(id(release));
        assert_eq!(before(&Observed::default(), "b"), None);
        assert_eq!(before(&seen("a", None, Some(Some("a"))), "b"), some("a"));
        // b is broken: from c, the rollback target is a.
        assert_eq!(before(&seen("b", Some("a"), Some(Some("a"))), "c"), some("a"));
        // Back to a: the target stays.
        assert_eq!(before(&seen("b", Some("a"), Some(Some("a"))), "a"), some("a"));
        assert_eq!(before(&seen("b", Some("e"), Some(Some("a"))), "a"), some("e"));
        // None ever served: the target stays.
        assert_eq!(before(&seen("a", None, Some(None)), "b"), None);
        assert_eq!(before(&seen("a", Some("e"), Some(None)), "b"), some("e"));
        // Without a report, the ordered release counts.
        assert_eq!(before(&seen("a", Some("e"), None), "b"), some("a"));
        assert_eq!(before(&seen("a", Some("e"), None), "a"), some("e"));
    }

    #[test]
    fn rollback_goes_to_the_release_that_runs_or_else_ran_before() {
        let back = |have: &Observed| History::of(have).back().map(str::to_owned);
        assert_eq!(back(&Observed::default()), None);
        assert_eq!(back(&seen("b", Some("a"), Some(Some("b")))), Some(id("a")));
        assert_eq!(back(&seen("b", None, Some(Some("b")))), None);
        // b failed: the target is the running release.
        assert_eq!(back(&seen("b", Some("e"), Some(Some("a")))), Some(id("a")));
        assert!(History::of(&seen("b", Some("e"), Some(Some("a")))).pending());
        // After a rollback, a release is not its own target.
        assert_eq!(back(&seen("a", Some("a"), Some(Some("a")))), None);
        assert_eq!(back(&seen("b", Some("a"), Some(None))), Some(id("a")));
        assert_eq!(back(&seen("b", Some("a"), None)), Some(id("a")));
    }

    #[test]
    fn releases_of_every_instance_are_in_use() {
        let mut have = seen("b", Some("a"), Some(Some("c")));
        let mut other = have.instances[0].clone();
        other.id = "i-2".into();
        other.tags.extend(Orders { release: Some(id("d")), ..Orders::default() }.tags());
        have.instances.push(other);
        assert_eq!(in_use(&have).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"].map(id));
    }
}
