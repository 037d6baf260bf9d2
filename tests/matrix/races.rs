//! Commands at once: what stands afterwards is what some order of them could have given, and nothing is doubled.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::account::{Account, Line, NAME, Ran};
use crate::census::{Wanted, census};
use crate::scenario::{Outcome, Scenario, down, ended_well, goes_away, is_settled, set_token, up};
use crate::{Cell, Part};

type Race = fn(Arc<Account>) -> BoxFuture<'static, Outcome>;

/// All of them; each is run several times, because no two runs meet in the same way.
const RACES: [(&str, Race); 8] = [
    ("two up from nothing", |account| Box::pin(two_up(account, Scenario::Up))),
    ("two up that replace", |account| Box::pin(two_up(account, Scenario::Replace))),
    ("up as soon as down has returned", |account| Box::pin(up_after_down(account))),
    ("up and down, from nothing", |account| Box::pin(up_and_down(account, Scenario::Up))),
    ("up and down, where it stands", |account| Box::pin(up_and_down(account, Scenario::Down))),
    ("set-token and up, from nothing", |account| Box::pin(set_token_and_up(account, Scenario::Up))),
    ("set-token and up that replaces", |account| Box::pin(set_token_and_up(account, Scenario::Replace))),
    ("ten set-token", |account| Box::pin(ten_set_token(account))),
];
const ROUNDS: [&str; 5] = ["1st", "2nd", "3rd", "4th", "5th"];

/// The cells: every race, one round or all.
pub fn cells(part: Part) -> Vec<Cell> {
    let rounds = if part == Part::All { &ROUNDS[..] } else { &ROUNDS[..1] };
    let cells = RACES.iter().flat_map(|(row, race)| {
        rounds.iter().map(|column| Cell {
            table: "raced".to_owned(),
            row: (*row).to_owned(),
            column,
            work: Box::new(|account| race(account)),
        })
    });
    cells.collect()
}

/// One may end with an error, because the other has changed things under it: in words, and with the code for that.
fn ended_in_words(ran: &Ran, which: &str) -> Outcome {
    if ran.code == Some(1) && ran.said.contains("help:") && !ran.said.contains("devopsctl itself failed") {
        return Ok(());
    }
    ended_well(ran, which)
}

fn kind(scenario: Scenario) -> &'static str {
    if scenario == Scenario::Replace { "t3.small" } else { "t3.micro" }
}

/// After one more `up` all is right, and `down` leaves nothing.
async fn comes_right(account: &Account, kind: &str, token: Option<&str>) -> Outcome {
    ended_well(&account.run(up(NAME), None).await, "up after it")?;
    census(&account.aws).await.holds(&[Wanted { name: NAME, kind, token }])?;
    is_settled(account).await?;
    goes_away(account).await
}

async fn two_up(account: Arc<Account>, from: Scenario) -> Outcome {
    from.prepare(&account).await?;
    let ran = account.run_all(&[up(NAME), up(NAME)], None).await;
    for one in &ran {
        ended_in_words(one, "up beside up")?;
    }
    let stands = census(&account.aws).await;
    comes_right(&account, kind(from), None).await?;
    // Looked at last, so that what is wrong for good is told rather than what one more `up` mends.
    if ran.iter().all(|one| one.code == Some(0)) {
        stands.holds(&[Wanted { name: NAME, kind: kind(from), token: None }])?;
    }
    Ok(())
}

/// What AWS still holds of what was deleted is waited out.
async fn up_after_down(account: Arc<Account>) -> Outcome {
    Scenario::Down.prepare(&account).await?;
    account
        .control("emulator/delays?bucket=0.5&interface=0.3&shutting-down=0.3&pending=0.3&profile=0.5&unknown=0.1")
        .await;
    ended_well(&account.run(down(NAME), None).await, "down")?;
    ended_well(&account.run(up(NAME), None).await, "up after down")?;
    census(&account.aws).await.holds(&[Wanted { name: NAME, kind: "t3.micro", token: None }])?;
    is_settled(&account).await?;
    goes_away(&account).await
}

async fn up_and_down(account: Arc<Account>, from: Scenario) -> Outcome {
    from.prepare(&account).await?;
    for one in account.run_all(&[up(NAME), down(NAME)], None).await {
        ended_in_words(&one, "up beside down")?;
    }
    comes_right(&account, "t3.micro", None).await?;
    // And the other way round: whatever the two left, down takes away.
    from.prepare(&account).await?;
    account.run_all(&[up(NAME), down(NAME)], None).await;
    goes_away(&account).await
}

/// In either order it is the token that was set, and the instance was told its version.
async fn set_token_and_up(account: Arc<Account>, from: Scenario) -> Outcome {
    const TOKEN: &str = "a-token-set-beside-up";
    from.prepare(&account).await?;
    for one in account.run_all(&[set_token(NAME, TOKEN), up(NAME)], None).await {
        ended_well(&one, "set-token beside up")?;
    }
    census(&account.aws).await.holds(&[Wanted { name: NAME, kind: kind(from), token: Some(TOKEN) }])?;
    comes_right(&account, kind(from), Some(TOKEN)).await
}

async fn ten_set_token(account: Arc<Account>) -> Outcome {
    Scenario::SetToken.prepare(&account).await?;
    let tokens: Vec<String> = (0..10).map(|number| format!("token-number-{number}")).collect();
    let lines: Vec<Line<'_>> = tokens.iter().map(|token| set_token(NAME, token)).collect();
    for one in account.run_all(&lines, None).await {
        ended_well(&one, "set-token beside nine others")?;
    }
    let stands = census(&account.aws).await;
    let value = stands.parameters.first().map(|parameter| parameter.value.clone()).unwrap_or_default();
    let Some(token) = tokens.iter().find(|token| value.contains(&format!("\"{token}\""))) else {
        return Err(format!("the token is none of the ten: {value}"));
    };
    stands.holds(&[Wanted { name: NAME, kind: "t3.micro", token: Some(token) }])?;
    comes_right(&account, "t3.micro", Some(token)).await
}
