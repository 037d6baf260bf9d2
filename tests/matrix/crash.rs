//! Kills the command at every call that changes something: before AWS receives it, after AWS has acted but before the response,
//! and just after. The same command again must succeed and leave exactly one of each resource; `down` must leave nothing.

use std::sync::Arc;

use crate::account::Account;
use crate::proxy::{Calls, Fault, Injection, Point};
use crate::scenario::{Outcome, Scenario, ended_well, goes_away, is_settled};
use crate::{Cell, Part};

const COLUMNS: [(&str, Fault); 3] =
    [("before", Fault::KillBefore), ("during", Fault::KillDuring), ("after", Fault::KillAfter)];

/// The cells that always run.
const FEW: [(Scenario, &str); 14] = [
    (Scenario::Up, "ec2:RunInstances"),
    (Scenario::Up, "ssm:PutParameter"),
    (Scenario::SetToken, "ssm:PutParameter"),
    (Scenario::SetSecret, "ssm:PutParameter"),
    (Scenario::SetSecret, "ec2:CreateTags"),
    (Scenario::Generate, "ssm:PutParameter"),
    (Scenario::Replace, "ec2:RunInstances"),
    (Scenario::Refresh, "ec2:RunInstances"),
    (Scenario::Up, "ec2:CreateVolume"),
    (Scenario::Generate, "ec2:ModifyVolume"),
    (Scenario::Replace, "ec2:DetachVolume"),
    (Scenario::Up, "route53:ChangeResourceRecordSets"),
    (Scenario::Down, "ec2:TerminateInstances"),
    (Scenario::Down, "s3:DELETE bucket"),
];

/// The cells of one command, which makes these calls without a fault.
pub fn cells(scenario: Scenario, calls: &Calls, part: Part) -> Vec<Cell> {
    let points = chosen(scenario, calls.changes(), &FEW, part);
    let cells = points.into_iter().flat_map(|point| COLUMNS.map(|(column, fault)| (point.clone(), column, fault)));
    let cells = cells.map(|(point, column, fault)| Cell {
        table: format!("killed: {}", scenario.title()),
        row: point.to_string(),
        column,
        work: Box::new(move |account| Box::pin(cell(account, scenario, Injection { point, fault }))),
    });
    cells.collect()
}

/// The selected points: all, or the named few. A name without a call stays in the table and fails.
pub fn chosen(scenario: Scenario, points: Vec<Point>, few: &[(Scenario, &str)], part: Part) -> Vec<Point> {
    if part == Part::All {
        return points;
    }
    let named = few.iter().filter(|(of, _)| *of == scenario);
    named.map(|(_, action)| Point { action: (*action).to_owned(), nth: 1 }).collect()
}

async fn cell(account: Arc<Account>, scenario: Scenario, injection: Injection) -> Outcome {
    let killed = scenario.triggered(&account, &injection).await?;
    if let Some(code) = killed.code {
        return Err(format!("it was not killed but ended with {code}:\n{}", killed.said));
    }
    let again = scenario.run(&account, None).await;
    ended_well(&again, "the same command again")?;
    scenario.check(&account).await?;
    if scenario == Scenario::Down {
        return Ok(());
    }
    is_settled(&account).await?;
    goes_away(&account).await
}
