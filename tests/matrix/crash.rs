//! Killed at every call that changes something: before AWS hears of it, when AWS has acted and the command has not heard,
//! and just after. The same command again must succeed and leave exactly one of everything; `down` must leave nothing.

use std::sync::Arc;

use crate::account::Account;
use crate::proxy::{Calls, Evil, Point, Trap};
use crate::scenario::{Outcome, Scenario, ended_well, goes_away, is_settled};
use crate::{Cell, Part};

const COLUMNS: [(&str, Evil); 3] =
    [("before", Evil::KillBefore), ("during", Evil::KillDuring), ("after", Evil::KillAfter)];

/// What of it runs always.
const FEW: [(Scenario, &str); 8] = [
    (Scenario::Up, "ec2:RunInstances"),
    (Scenario::Up, "ssm:PutParameter"),
    (Scenario::SetToken, "ssm:PutParameter"),
    (Scenario::Replace, "ec2:RunInstances"),
    (Scenario::Refresh, "ec2:RunInstances"),
    (Scenario::Up, "route53:ChangeResourceRecordSets"),
    (Scenario::Down, "ec2:TerminateInstances"),
    (Scenario::Down, "s3:DELETE bucket"),
];

/// The cells of one command, which makes these calls when it is left alone.
pub fn cells(scenario: Scenario, calls: &Calls, part: Part) -> Vec<Cell> {
    let points = chosen(scenario, calls.changes(), &FEW, part);
    let cells = points.into_iter().flat_map(|point| COLUMNS.map(|(column, evil)| (point.clone(), column, evil)));
    let cells = cells.map(|(point, column, evil)| Cell {
        table: format!("killed: {}", scenario.title()),
        row: point.to_string(),
        column,
        work: Box::new(move |account| Box::pin(cell(account, scenario, Trap { point, evil }))),
    });
    cells.collect()
}

/// The points that run: all, or the named few. A name that no call bears any more stays in the table, to be found wrong.
pub fn chosen(scenario: Scenario, points: Vec<Point>, few: &[(Scenario, &str)], part: Part) -> Vec<Point> {
    if part == Part::All {
        return points;
    }
    let named = few.iter().filter(|(of, _)| *of == scenario);
    named.map(|(_, action)| Point { action: (*action).to_owned(), nth: 1 }).collect()
}

async fn cell(account: Arc<Account>, scenario: Scenario, trap: Trap) -> Outcome {
    let killed = scenario.sprung(&account, &trap).await?;
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
