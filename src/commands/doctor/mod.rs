//! `doctor`: would `up` work here? Each check passes, warns or fails, with a next step unless it passes. Nothing is changed.
//!
//! - [`local`] the file, the app, uv: no call; [`import_check`] whether the app can be imported here
//! - [`identity`] credentials; [`account`] region, network, addresses and image; [`instance_type`]; [`quota`] vCPUs; [`plan`] the
//!   account's plan; [`secrets`] those that the app needs
//! - [`permissions`] what `up` creates, asked with EC2's `DryRun`; what `up` reads, read
//!
//! Observing and judging are separate: a judgement is a pure function of what was observed.

pub mod account;
pub mod identity;
pub mod import_check;
pub mod instance_type;
pub mod local;
pub mod permissions;
pub mod plan;
pub mod quota;
pub mod secrets;
mod verb;

use crate::base::error::{Exit, Failure};
use crate::base::next::Next;

pub(super) use verb::run;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does not prevent `up`.
    Pass,
    /// `up` works, but the user should know something; or the check could not be made.
    Warn,
    /// It prevents `up`.
    Fail(Exit),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The subject.
    pub what: &'static str,
    /// The result.
    pub state: State,
    /// What was found, in a line.
    pub seen: String,
    /// What to do next; `None` if it passes.
    pub next: Option<Next>,
}

impl Check {
    fn pass(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, state: State::Pass, seen: seen.into(), next: None }
    }

    fn warn(what: &'static str, seen: impl Into<String>, next: impl Into<Next>) -> Self {
        Self { what, state: State::Warn, seen: seen.into(), next: Some(next.into()) }
    }

    fn fail(what: &'static str, seen: impl Into<String>, next: impl Into<Next>) -> Self {
        Self { what, state: State::Fail(Exit::Failed), seen: seen.into(), next: Some(next.into()) }
    }

    /// A failed check, with the failure of `up`.
    pub fn failed(what: &'static str, failure: &Failure) -> Self {
        let findings = failure.findings_in_file();
        let finding = findings.first();
        let mut seen = vec![failure.what().to_owned()];
        seen.extend(failure.reasons().into_iter().map(str::to_owned));
        if let Some(first) = finding {
            seen = match findings.len() {
                1 => vec![first.what.clone()],
                many => vec![format!("{many} mistakes; the first one"), first.what.clone()],
            };
        }
        let hint = || finding.map(|finding| Next::from(&finding.hint)).unwrap_or_default();
        let next = failure.next_step().cloned().unwrap_or_else(hint);
        Self {
            what,
            state: State::Fail(failure.exit()),
            seen: seen.join(": "),
            next: Some(next.mapped(&|text: &str| text.replace('\n', " "))),
        }
    }

    /// A check of something that only `doctor` looks at: without the permission to look, it is a warning.
    fn unseen(what: &'static str, failure: &Failure) -> Self {
        match failure.exit() {
            Exit::Denied => Self::warn(
                what,
                format!("not checked: {}", refused(failure)),
                Next::default().run_bare("policy").and(" prints the permissions that are needed"),
            ),
            _ => Self::failed(what, failure),
        }
    }

    /// [`Check::unseen`], where a failure to look is only a warning in any case.
    fn unknown(what: &'static str, failure: &Failure) -> Self {
        Self { state: State::Warn, ..Self::unseen(what, failure) }
    }

    /// Whether it prevents `up`.
    pub fn is_failed(&self) -> bool {
        matches!(self.state, State::Fail(_))
    }
}

/// The exit code of the verb. Missing permissions take precedence, because they make every other result uncertain; if only
/// `deploy.yaml` is wrong, it is a usage error.
pub fn exit(checks: &[Check]) -> Option<Exit> {
    let failed = |check: &Check| match check.state {
        State::Fail(exit) => Some(exit),
        _ => None,
    };
    let exits: Vec<Exit> = checks.iter().filter_map(failed).collect();
    match exits.as_slice() {
        [] => None,
        all if all.contains(&Exit::Denied) => Some(Exit::Denied),
        all if all.iter().all(|exit| *exit == Exit::Usage) => Some(Exit::Usage),
        _ => Some(Exit::Failed),
    }
}

/// `ec2:DescribeInstanceTypes is denied`
fn refused(failure: &Failure) -> String {
    match action(failure) {
        Some(action) => format!("{action} is denied"),
        None => failure.what().to_owned(),
    }
}

/// The denied call, from the reason that [`explain`](crate::aws::explain) gives.
fn action(failure: &Failure) -> Option<&str> {
    failure.reasons().first()?.split_once(" says ").map(|(action, _)| action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(exit: Exit) -> Check {
        Check::failed("x", &Failure::new(exit, "it is wrong").because("of this").next("do\n  that"))
    }

    #[test]
    fn a_failed_check_has_a_reason_and_a_next_step() {
        let check = failing(Exit::Failed);
        assert_eq!(
            (check.seen.as_str(), check.next.clone().unwrap().to_string()),
            ("it is wrong: of this", "do   that".to_owned())
        );
        assert!(check.is_failed());
    }

    #[test]
    fn the_exit_code_is_of_the_most_important_failure() {
        let (pass, warn) = (Check::pass("x", ""), Check::warn("x", "", ""));
        assert_eq!(exit(&[pass.clone(), warn]), None);
        assert_eq!(exit(&[pass, failing(Exit::Usage)]), Some(Exit::Usage));
        assert_eq!(exit(&[failing(Exit::Usage), failing(Exit::Failed)]), Some(Exit::Failed));
        assert_eq!(exit(&[failing(Exit::Usage), failing(Exit::Denied), failing(Exit::Failed)]), Some(Exit::Denied));
    }

    #[test]
    fn a_denied_look_that_up_does_not_need_is_a_warning() {
        let denied = Failure::new(Exit::Denied, "x").because("ec2:DescribeImages says AccessDenied: no").next("y");
        let check = Check::unseen("addresses", &denied);
        assert_eq!(check.state, State::Warn);
        assert_eq!(check.seen, "not checked: ec2:DescribeImages is denied");
        assert!(Check::unseen("addresses", &Failure::failed("no answer").next("y")).is_failed());
    }
}
