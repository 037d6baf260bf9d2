//! What passes, at every call, reading or writing: the command must succeed all the same, with exactly one of everything.

use std::sync::Arc;

use crate::account::Account;
use crate::crash::chosen;
use crate::proxy::{Calls, Evil, Trap};
use crate::refusal::Why;
use crate::scenario::{Outcome, Scenario, ended_well};
use crate::{Cell, Part};

const COLUMNS: [(&str, Evil); 6] = [
    ("throttled twice", Evil::Refuse(Why::Throttled, 2)),
    ("a 500", Evil::Refuse(Why::Broken, 1)),
    ("a slow 503", Evil::RefuseSlowly(Why::Away)),
    ("reset before", Evil::ResetBefore),
    ("reset after", Evil::ResetAfter),
    ("cut off", Evil::Truncate),
];

/// What of it runs always.
const FEW: [(Scenario, &str); 5] = [
    (Scenario::Up, "ec2:RunInstances"),
    (Scenario::SetToken, "ssm:PutParameter"),
    (Scenario::Refresh, "ec2:RunInstances"),
    (Scenario::Up, "route53:ChangeResourceRecordSets"),
    (Scenario::Down, "ec2:TerminateInstances"),
];

/// The cells of one command, which makes these calls when it is left alone.
pub fn cells(scenario: Scenario, calls: &Calls, part: Part) -> Vec<Cell> {
    let points = chosen(scenario, calls.points(), &FEW, part);
    let cells = points.into_iter().flat_map(|point| COLUMNS.map(|(column, evil)| (point.clone(), column, evil)));
    let cells = cells.map(|(point, column, evil)| Cell {
        table: format!("failed: {}", scenario.title()),
        row: point.to_string(),
        column,
        work: Box::new(move |account| Box::pin(cell(account, scenario, Trap { point, evil }))),
    });
    cells.collect()
}

async fn cell(account: Arc<Account>, scenario: Scenario, trap: Trap) -> Outcome {
    let ran = scenario.sprung(&account, &trap).await?;
    ended_well(&ran, "with the fault")?;
    scenario.check(&account).await
}
