//! Transient errors at every call: the command must succeed all the same, with exactly one of each resource.

use std::sync::Arc;

use crate::account::Account;
use crate::aws_errors::Why;
use crate::crash::chosen;
use crate::proxy::{Calls, Fault, Injection};
use crate::scenario::{Outcome, Scenario, ended_well};
use crate::{Cell, Part};

const COLUMNS: [(&str, Fault); 6] = [
    ("throttled twice", Fault::Refuse(Why::Throttled, 2)),
    ("a 500", Fault::Refuse(Why::Broken, 1)),
    ("a slow 503", Fault::RefuseSlowly(Why::Away)),
    ("reset before", Fault::ResetBefore),
    ("reset after", Fault::ResetAfter),
    ("cut off", Fault::Truncate),
];

/// The cells that always run.
const FEW: [(Scenario, &str); 7] = [
    (Scenario::Up, "ec2:RunInstances"),
    (Scenario::SetToken, "ssm:PutParameter"),
    (Scenario::SetSecret, "ssm:PutParameter"),
    (Scenario::Generate, "ssm:PutParameter"),
    (Scenario::Refresh, "ec2:RunInstances"),
    (Scenario::Up, "route53:ChangeResourceRecordSets"),
    (Scenario::Down, "ec2:TerminateInstances"),
];

/// The cells of one command, which makes these calls without a fault.
pub fn cells(scenario: Scenario, calls: &Calls, part: Part) -> Vec<Cell> {
    let points = chosen(scenario, calls.points(), &FEW, part);
    let cells = points.into_iter().flat_map(|point| COLUMNS.map(|(column, fault)| (point.clone(), column, fault)));
    let cells = cells.map(|(point, column, fault)| Cell {
        table: format!("failed: {}", scenario.title()),
        row: point.to_string(),
        column,
        work: Box::new(move |account| Box::pin(cell(account, scenario, Injection { point, fault }))),
    });
    cells.collect()
}

async fn cell(account: Arc<Account>, scenario: Scenario, injection: Injection) -> Outcome {
    let ran = scenario.triggered(&account, &injection).await?;
    ended_well(&ran, "with the fault")?;
    scenario.check(&account).await
}
