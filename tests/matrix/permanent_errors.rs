//! Permanent errors: no permission, expired credentials, limits, a lack of capacity. The command ends at once with its own
//! message, without a retry, and continues when the cause is gone. It does without some responses.

use std::sync::Arc;

use crate::account::Account;
use crate::aws_errors::Why;
use crate::crash::chosen;
use crate::proxy::{Calls, Fault, Injection, Point};
use crate::scenario::{Outcome, Scenario, ended, ended_well};
use crate::{Cell, Part};

/// Errors of every call: cause, exit code, and text of the message.
const COLUMNS: [(&str, Why, i32, &str); 2] = [
    ("denied", Why::Denied, 5, "ask an administrator to allow"),
    ("expired", Why::Expired, 5, "the AWS credentials have expired"),
];

/// Errors of one call only.
const LIMITS: [(&str, &str, Why, &str); 4] = [
    ("no capacity", "ec2:RunInstances", Why::Other(500, "InsufficientInstanceCapacity"), "AWS has no capacity"),
    ("vCPU limit", "ec2:RunInstances", Why::Other(400, "VcpuLimitExceeded"), "vCPU quota"),
    ("instance limit", "ec2:RunInstances", Why::Other(400, "InstanceLimitExceeded"), "limit is reached"),
    ("address limit", "ec2:AllocateAddress", Why::Other(400, "AddressLimitExceeded"), "all Elastic IPs"),
];

/// Calls that are retried when denied, because the tags of a new resource may not be in effect.
const LATE: [&str; 3] = ["iam:AddRoleToInstanceProfile", "iam:AttachRolePolicy", "iam:PutRolePolicy"];

/// Whether the command does without the response.
fn done_without(action: &str, why: Why) -> bool {
    match action {
        "ec2:DescribeSubnets" | "ec2:DescribeRouteTables" => why == Why::Denied,
        // The instance reads these secrets with its own role.
        "secretsmanager:DescribeSecret" | "ssm:DescribeParameters" => why == Why::Denied,
        "ec2:DescribeInstanceCreditSpecifications" => true,
        _ => false,
    }
}

/// The cells that always run.
const FEW: [(Scenario, &str); 8] = [
    (Scenario::Up, "ec2:DescribeInstances"),
    (Scenario::Up, "ec2:DescribeRouteTables"),
    (Scenario::Up, "iam:CreateRole"),
    (Scenario::SetToken, "ssm:PutParameter"),
    (Scenario::SetSecret, "ssm:PutParameter"),
    (Scenario::Generate, "ssm:PutParameter"),
    (Scenario::Generate, "secretsmanager:DescribeSecret"),
    (Scenario::Down, "ec2:ReleaseAddress"),
];

/// The cells of one command, which makes these calls without a fault.
pub fn cells(scenario: Scenario, calls: &Calls, part: Part) -> Vec<Cell> {
    let cell = |point: Point, (column, why, code, words): (&'static str, Why, i32, &'static str)| Cell {
        table: format!("refused: {}", scenario.title()),
        row: point.to_string(),
        column,
        work: Box::new(move |account| {
            let without = done_without(&point.action, why);
            let injection = Injection { point, fault: Fault::Refuse(why, usize::MAX) };
            match without {
                true => Box::pin(went_on(account, scenario, injection)),
                false => Box::pin(refused(account, scenario, injection, code, words)),
            }
        }),
    };
    let points = chosen(scenario, calls.points(), &FEW, part);
    let mut cells: Vec<Cell> =
        points.into_iter().flat_map(|point| COLUMNS.map(|column| cell(point.clone(), column))).collect();
    for (column, action, why, words) in LIMITS {
        let point = Point { action: action.to_owned(), nth: 1 };
        if calls.points().contains(&point) {
            cells.push(cell(point, (column, why, 1, words)));
        }
    }
    cells
}

async fn went_on(account: Arc<Account>, scenario: Scenario, injection: Injection) -> Outcome {
    let ran = scenario.triggered(&account, &injection).await?;
    ended_well(&ran, "without that answer")?;
    if ran.calls.sent() != 1 {
        return Err(format!("it was sent {} times", ran.calls.sent()));
    }
    scenario.check(&account).await
}

async fn refused(account: Arc<Account>, scenario: Scenario, injection: Injection, code: i32, words: &str) -> Outcome {
    let ran = scenario.triggered(&account, &injection).await?;
    ended(&ran, "refused", code)?;
    // The output is wrapped to the width of a terminal.
    let said = ran.said.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
    if !said.contains(words) {
        return Err(format!("{words:?} is missing in:\n{}", ran.said));
    }
    let late = matches!(scenario, Scenario::Up | Scenario::Generate)
        && LATE.contains(&injection.point.action.as_str())
        && matches!(injection.fault, Fault::Refuse(Why::Denied, _));
    if ran.calls.sent() != 1 && !late {
        return Err(format!("it was sent {} times", ran.calls.sent()));
    }
    if let Some((action, times)) = ran.calls.polled().filter(|_| !late) {
        return Err(format!("after the refusal it went on to wait: {action} was sent {times} times"));
    }
    let again = scenario.run(&account, None).await;
    ended_well(&again, "when the cause is gone")?;
    scenario.check(&account).await
}
