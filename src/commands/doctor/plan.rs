//! The account's plan: accounts since 2025-07-15 are on the free plan, which allows only some instance types, or on the paid
//! plan.

use super::Check;
use crate::aws::time::day;
use crate::aws::{AccountPlan, ApiError};
use crate::base::clock::now;

/// AWS's answer; `None` in a partition without plans.
pub type Answer = Option<Result<AccountPlan, ApiError>>;

/// A plan that ends within this many seconds is a warning.
const SOON: i64 = 14 * 24 * 3600;
const PLAN: &str = "plan";
const UPGRADE: &str = "upgrade to the paid plan (Billing console) before AWS closes the account";

/// Whether the account is on the free plan, if that is known.
pub fn is_free(answer: &Answer) -> Option<bool> {
    Some(answer.as_ref()?.as_ref().ok()?.free)
}

/// `None` without plans. A missing answer does not prevent `up`, so it is no warning.
pub fn judge(answer: &Answer) -> Option<Check> {
    Some(match answer.as_ref()? {
        Ok(plan) => known(plan, now()),
        Err(error) => Check::pass(PLAN, format!("unknown: {}", why(error))),
    })
}

fn known(plan: &AccountPlan, now: i64) -> Check {
    let credits = plan.credits.as_ref().map(|(amount, unit)| format!("{amount:.2} {unit} of credits left"));
    let until = plan.until.and_then(day).map(|day| format!("until {day}"));
    let name = if plan.free { "free plan" } else { "paid plan" };
    let parts = [Some(name.to_owned()), until.filter(|_| plan.free), credits];
    let seen = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if plan.free && plan.status == "EXPIRED" {
        return Check::warn(PLAN, format!("{seen}: it has ended"), UPGRADE);
    }
    match plan.until {
        Some(at) if plan.free && at - now < SOON => Check::warn(PLAN, format!("{seen}: it ends soon"), UPGRADE),
        _ => Check::pass(PLAN, seen),
    }
}

fn why(error: &ApiError) -> String {
    match error.code.as_str() {
        "AccessDeniedException" => format!("{} is denied", error.action),
        "ResourceNotFoundException" => "AWS reports none for this account".to_owned(),
        "" => error.message.clone(),
        code => format!("{} says {code}", error.action),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn plan(free: bool, status: &str, until: Option<i64>) -> AccountPlan {
        AccountPlan { free, status: status.into(), credits: Some((87.5, "USD".into())), until }
    }

    #[test]
    fn credits_are_shown_and_the_end_is_a_warning_before_it_comes() {
        let free = known(&plan(true, "ACTIVE", Some(NOW + SOON)), NOW);
        assert_eq!(free, Check::pass(PLAN, "free plan, until 2026-10-05, 87.50 USD of credits left"));
        let soon = known(&plan(true, "ACTIVE", Some(NOW + SOON - 1)), NOW);
        assert!(soon.state == State::Warn && soon.seen.ends_with("it ends soon"), "{}", soon.seen);
        let over = known(&plan(true, "EXPIRED", Some(NOW - 1)), NOW);
        assert!(over.state == State::Warn && over.seen.ends_with("it has ended"), "{}", over.seen);
        assert_eq!(known(&plan(true, "NOT_STARTED", None), NOW).state, State::Pass);
        let paid = known(&plan(false, "EXPIRED", Some(NOW - 1)), NOW);
        assert_eq!(paid, Check::pass(PLAN, "paid plan, 87.50 USD of credits left"));
    }

    #[test]
    fn an_unknown_plan_passes() {
        for code in ["AccessDeniedException", "ResourceNotFoundException", "InternalServerException", ""] {
            let mut error = ApiError::silent("freetier:GetAccountPlanState", "no answer".into());
            error.code = code.into();
            let answer = Some(Err(error));
            let check = judge(&answer).unwrap();
            assert_eq!((check.state, check.next), (State::Pass, None), "{code}");
            assert!(check.seen.starts_with("unknown: "), "{}", check.seen);
            assert_eq!(is_free(&answer), None);
        }
        assert_eq!(judge(&None), None);
    }
}
