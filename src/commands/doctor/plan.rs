//! The account's plan: accounts since 2025-07-15 are on the free plan or on the paid plan, and the free plan has some
//! instance types alone.

use aws_sdk_ec2::primitives::{DateTime, DateTimeFormat};

use super::{Check, PATIENCE, silence};
use crate::aws::{AccountPlan, ApiError, Aws, has_plans};
use crate::base::grace::now;

/// What AWS said; None where accounts have no plan.
pub type Answer = Option<Result<AccountPlan, ApiError>>;

/// So many seconds before its end it is said what the end means.
const SOON: i64 = 14 * 24 * 3600;
const PLAN: &str = "plan";
const UPGRADE: &str = "take the paid plan (Billing console) before AWS closes the account";

/// Asked once.
pub async fn look(aws: &Aws) -> Answer {
    if !has_plans(&aws.region) {
        return None;
    }
    let late = |_| Err(ApiError::silent("freetier:GetAccountPlanState", silence()));
    Some(tokio::time::timeout(PATIENCE, Box::pin(aws.free_tier.plan())).await.unwrap_or_else(late))
}

/// Whether the account is on the free plan, if that is known.
pub fn is_free(answer: &Answer) -> Option<bool> {
    Some(answer.as_ref()?.as_ref().ok()?.free)
}

/// None where accounts have no plan. An answer that is missing is no obstacle to `up`, so it does not warn.
pub fn judge(answer: &Answer) -> Option<Check> {
    Some(match answer.as_ref()? {
        Ok(plan) => told(plan, now()),
        Err(error) => Check::pass(PLAN, format!("not known: {}", why(error))),
    })
}

fn told(plan: &AccountPlan, now: i64) -> Check {
    let credits = plan.credits.as_ref().map(|(amount, unit)| format!("{amount:.2} {unit} of its credits are left"));
    let until = plan.until.and_then(|at| DateTime::from_secs(at).fmt(DateTimeFormat::DateTime).ok());
    let until = until.and_then(|text| Some(format!("until {}", text.get(..10)?)));
    let name = if plan.free { "free plan" } else { "paid plan" };
    let parts = [Some(name.to_owned()), until.filter(|_| plan.free), credits];
    let seen = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if plan.free && plan.status == "EXPIRED" {
        return Check::warn(PLAN, format!("{seen}: it is over"), UPGRADE);
    }
    match plan.until {
        Some(at) if plan.free && at - now < SOON => Check::warn(PLAN, format!("{seen}: it ends soon"), UPGRADE),
        _ => Check::pass(PLAN, seen),
    }
}

fn why(error: &ApiError) -> String {
    match error.code.as_str() {
        "AccessDeniedException" => format!("{} is not allowed to you", error.action),
        "ResourceNotFoundException" => "AWS names none for this account".to_owned(),
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
    fn what_is_left_of_a_plan_is_said_and_its_end_before_it_comes() {
        let free = told(&plan(true, "ACTIVE", Some(NOW + SOON)), NOW);
        assert_eq!(free, Check::pass(PLAN, "free plan, until 2026-10-05, 87.50 USD of its credits are left"));
        let soon = told(&plan(true, "ACTIVE", Some(NOW + SOON - 1)), NOW);
        assert!(soon.state == State::Warn && soon.seen.ends_with("it ends soon"), "{}", soon.seen);
        let over = told(&plan(true, "EXPIRED", Some(NOW - 1)), NOW);
        assert!(over.state == State::Warn && over.seen.ends_with("it is over"), "{}", over.seen);
        assert_eq!(told(&plan(true, "NOT_STARTED", None), NOW).state, State::Pass);
        let paid = told(&plan(false, "EXPIRED", Some(NOW - 1)), NOW);
        assert_eq!(paid, Check::pass(PLAN, "paid plan, 87.50 USD of its credits are left"));
    }

    #[test]
    fn a_plan_that_is_not_known_is_one_line_and_no_obstacle() {
        for code in ["AccessDeniedException", "ResourceNotFoundException", "InternalServerException", ""] {
            let mut error = ApiError::silent("freetier:GetAccountPlanState", "no answer".into());
            error.code = code.into();
            let answer = Some(Err(error));
            let check = judge(&answer).unwrap();
            assert_eq!((check.state, check.next), (State::Pass, None), "{code}");
            assert!(check.seen.starts_with("not known: "), "{}", check.seen);
            assert_eq!(is_free(&answer), None);
        }
        assert_eq!(judge(&None), None);
    }
}
