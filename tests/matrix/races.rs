//! Concurrent commands: the result is that of some sequential order, and no resource is duplicated.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::account::{Account, Line, NAME, Ran};
use crate::inventory::{Inventory, Wanted, inventory};
use crate::scenario::{
    Outcome, Scenario, down, ended_well, goes_away, has_the_newest_image, is_settled, refresh, set_secret, set_token,
    up,
};
use crate::{Cell, Part};

type Race = fn(Arc<Account>, bool) -> BoxFuture<'static, Outcome>;

/// The races. Each runs several times, because the timing differs.
const RACES: [(&str, Race); 13] = [
    ("two up from nothing", |account, slow| Box::pin(two_up(account, slow, Scenario::Up))),
    ("two up that replace", |account, slow| Box::pin(two_up(account, slow, Scenario::Replace))),
    ("two up --refresh-image", |account, slow| Box::pin(two_up(account, slow, Scenario::Refresh))),
    ("up --refresh-image and up", |account, slow| Box::pin(refresh_and_up(account, slow))),
    ("up as soon as down has returned", |account, slow| Box::pin(up_after_down(account, slow))),
    ("up and down, from nothing", |account, slow| Box::pin(up_and_down(account, slow, Scenario::Up))),
    ("up and down of a running deployment", |account, slow| Box::pin(up_and_down(account, slow, Scenario::Down))),
    ("set-token and up, from nothing", |account, slow| Box::pin(set_token_and_up(account, slow, Scenario::Up))),
    ("set-token and up that replaces", |account, slow| Box::pin(set_token_and_up(account, slow, Scenario::Replace))),
    ("ten set-token", |account, slow| Box::pin(ten_set_token(account, slow))),
    ("two secrets set of one name", |account, slow| Box::pin(two_secrets_set(account, slow))),
    ("ten secrets set", |account, slow| Box::pin(ten_secrets_set(account, slow))),
    ("secrets set and up that generates", |account, slow| Box::pin(secrets_set_and_up(account, slow))),
];
/// With AWS's delays, or without any delay.
const ROUNDS: [(&str, bool); 6] =
    [("1st", false), ("2nd", false), ("3rd", false), ("1st, slow", true), ("2nd, slow", true), ("3rd, slow", true)];
const SLOW: &str =
    "emulator/delays?unknown=0.1&pending=0.2&shutting-down=0.2&interface=0.2&tags=1&profile=0.4&bucket=0.4";

/// The cells: every race, for the first round or all rounds.
pub fn cells(part: Part) -> Vec<Cell> {
    let rounds = if part == Part::All { &ROUNDS[..] } else { &ROUNDS[..1] };
    let cells = RACES.iter().flat_map(|(row, race)| {
        rounds.iter().map(|(column, slow)| Cell {
            table: "raced".to_owned(),
            row: (*row).to_owned(),
            column,
            work: Box::new(|account| race(account, *slow)),
        })
    });
    cells.collect()
}

async fn begin(account: &Account, from: Scenario, slow: bool) -> Outcome {
    from.prepare(account).await?;
    if slow {
        account.control(SLOW).await;
    }
    Ok(())
}

/// One command may fail because of the other, with a message and its exit code. A deleted resource has lost its tags, so AWS may
/// answer that the call is not allowed.
fn ended_in_words(ran: &Ran, which: &str) -> Outcome {
    if matches!(ran.code, Some(1 | 5)) && ran.said.contains("help:") && !ran.said.contains("devopsctl itself failed") {
        return Ok(());
    }
    ended_well(ran, which)
}

/// The expected deployment afterwards.
fn wanted(from: Scenario, token: Option<&str>) -> Wanted<'_> {
    let kind = if from == Scenario::Replace { "t3.small" } else { "t3.micro" };
    Wanted { token, ..Wanted::new(NAME, kind) }
}

fn holds(found: &Inventory, wanted: &Wanted<'_>, when: &str) -> Outcome {
    found.holds(std::slice::from_ref(wanted)).map_err(|why| format!("{when}: {why}"))
}

/// Asserts that one more `up` repairs everything, and that `down` leaves nothing.
async fn comes_right(account: &Account, wanted: &Wanted<'_>) -> Outcome {
    ended_well(&account.run(up(NAME), None).await, "up after it")?;
    holds(&inventory(&account.aws).await, wanted, "after one more up")?;
    is_settled(account).await?;
    goes_away(account).await
}

async fn two_up(account: Arc<Account>, slow: bool, from: Scenario) -> Outcome {
    begin(&account, from, slow).await?;
    let ran = account.run_all(&[from.line(), from.line()], None).await;
    for one in &ran {
        ended_in_words(one, "up beside up")?;
    }
    let found = inventory(&account.aws).await;
    let wanted = wanted(from, None);
    if from == Scenario::Refresh {
        has_the_newest_image(&account).await?;
    }
    comes_right(&account, &wanted).await?;
    // Checked last, so that permanent errors are reported first.
    if ran.iter().all(|one| one.code == Some(0)) {
        holds(&found, &wanted, "when both had returned")?;
    }
    Ok(())
}

/// In either order the newest image stays.
async fn refresh_and_up(account: Arc<Account>, slow: bool) -> Outcome {
    begin(&account, Scenario::Refresh, slow).await?;
    for one in account.run_all(&[refresh(NAME), up(NAME)], None).await {
        ended_in_words(&one, "up beside up --refresh-image")?;
    }
    ended_well(&account.run(up(NAME), None).await, "up after both")?;
    has_the_newest_image(&account).await?;
    comes_right(&account, &wanted(Scenario::Refresh, None)).await
}

/// Waits for pending deletions in AWS.
async fn up_after_down(account: Arc<Account>, slow: bool) -> Outcome {
    begin(&account, Scenario::Down, slow).await?;
    ended_well(&account.run(down(NAME), None).await, "down")?;
    ended_well(&account.run(up(NAME), None).await, "up after down")?;
    let wanted = wanted(Scenario::Up, None);
    holds(&inventory(&account.aws).await, &wanted, "when it had returned")?;
    comes_right(&account, &wanted).await
}

async fn up_and_down(account: Arc<Account>, slow: bool, from: Scenario) -> Outcome {
    begin(&account, from, slow).await?;
    for one in account.run_all(&[up(NAME), down(NAME)], None).await {
        ended_in_words(&one, "up beside down")?;
    }
    comes_right(&account, &wanted(Scenario::Up, None)).await?;
    // The other way round: `down` removes whatever is left.
    begin(&account, from, slow).await?;
    for one in account.run_all(&[up(NAME), down(NAME)], None).await {
        ended_in_words(&one, "up beside down")?;
    }
    goes_away(&account).await
}

/// In either order the token is the set one, and the instance's tag has its version.
async fn set_token_and_up(account: Arc<Account>, slow: bool, from: Scenario) -> Outcome {
    const TOKEN: &str = "a-token-set-beside-up";
    begin(&account, from, slow).await?;
    for one in account.run_all(&[set_token(NAME, TOKEN), up(NAME)], None).await {
        ended_well(&one, "set-token beside up")?;
    }
    let found = inventory(&account.aws).await;
    let wanted = wanted(from, Some(TOKEN));
    comes_right(&account, &wanted).await?;
    holds(&found, &wanted, "when both had returned")
}

async fn ten_set_token(account: Arc<Account>, slow: bool) -> Outcome {
    begin(&account, Scenario::Down, slow).await?;
    let tokens: Vec<String> = (0..10).map(|number| format!("token-number-{number}")).collect();
    let lines: Vec<Line<'_>> = tokens.iter().map(|token| set_token(NAME, token)).collect();
    for one in account.run_all(&lines, None).await {
        ended_well(&one, "set-token beside nine others")?;
    }
    let found = inventory(&account.aws).await;
    let value = found.parameters.first().map(|parameter| parameter.value.clone()).unwrap_or_default();
    let Some(token) = tokens.iter().find(|token| value.contains(&format!("\"{token}\""))) else {
        return Err(format!("the token is none of the ten: {value}"));
    };
    let wanted = wanted(Scenario::SetToken, Some(token));
    holds(&found, &wanted, "when all had returned")?;
    comes_right(&account, &wanted).await
}

/// The last one counts, and the instance is told of it.
async fn two_secrets_set(account: Arc<Account>, slow: bool) -> Outcome {
    const WORDS: &str = "secrets set --stdin --no-wait DATABASE_URL";
    begin(&account, Scenario::Down, slow).await?;
    let values = ["the first value", "the second value"];
    for one in account.run_all(&values.map(|value| set_secret(NAME, WORDS, value)), None).await {
        ended_well(&one, "secrets set beside another")?;
    }
    let found = inventory(&account.aws).await;
    let path = "/devopsctl/hello/secrets/DATABASE_URL";
    let value = found.parameters.iter().find(|one| one.name == path).map(|one| one.value.clone()).unwrap_or_default();
    let secrets = [("DATABASE_URL", values.into_iter().find(|one| *one == value).unwrap_or("one of the two"))];
    let wanted = Wanted { secrets: &secrets, ..wanted(Scenario::Down, None) };
    holds(&found, &wanted, "when both had returned")?;
    comes_right(&account, &wanted).await
}

/// None is lost.
async fn ten_secrets_set(account: Arc<Account>, slow: bool) -> Outcome {
    begin(&account, Scenario::Down, slow).await?;
    let names: Vec<String> = (0..10).map(|number| format!("SECRET_{number}")).collect();
    let words: Vec<String> = names.iter().map(|name| format!("secrets set --stdin --no-wait {name}")).collect();
    let lines: Vec<Line<'_>> = words.iter().zip(&names).map(|(words, name)| set_secret(NAME, words, name)).collect();
    for one in account.run_all(&lines, None).await {
        ended_well(&one, "secrets set beside nine others")?;
    }
    let secrets: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let wanted = Wanted { secrets: &secrets, ..wanted(Scenario::Down, None) };
    holds(&inventory(&account.aws).await, &wanted, "when all had returned")?;
    comes_right(&account, &wanted).await
}

/// In either order the instance is told of both secrets.
async fn secrets_set_and_up(account: Arc<Account>, slow: bool) -> Outcome {
    begin(&account, Scenario::Generate, slow).await?;
    let set = set_secret(NAME, "secrets set --stdin --no-wait DATABASE_URL", "set beside up");
    for one in account.run_all(&[set, up(NAME)], None).await {
        ended_well(&one, "secrets set beside up")?;
    }
    let secrets = [("DATABASE_URL", "set beside up"), ("SESSION_KEY", "")];
    let wanted = Wanted { secrets: &secrets, app_role: true, releases: 2, gib: 11, ..wanted(Scenario::Generate, None) };
    holds(&inventory(&account.aws).await, &wanted, "when both had returned")?;
    comes_right(&account, &wanted).await
}
