//! The commands under test: how an account stands before each, the command itself, and what must stand after it.

use aws_sdk_ec2::types::Filter;

use crate::account::{Account, Line, NAME, REGION, Ran};
use crate::census::{Wanted, census};
use crate::proxy::{Calls, Trap};

/// What a cell ends with: nothing, or what went wrong.
pub type Outcome = Result<(), String>;

/// A command in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// `up` from nothing.
    Up,
    /// `up` for another type of instance.
    Replace,
    /// `up --refresh-image`, where there is a newer image.
    Refresh,
    /// `set-token` for what runs.
    SetToken,
    /// The same, with some time for the old token.
    Grace,
    /// `down` of what runs.
    Down,
}

/// All of them.
pub const ALL: [Scenario; 6] =
    [Scenario::Up, Scenario::SetToken, Scenario::Grace, Scenario::Replace, Scenario::Refresh, Scenario::Down];
/// The public parameter with the newest image's id.
const IMAGE: &str = "/aws/service/debian/release/13/latest/amd64";
/// The token that is set.
const TOKEN: &str = "a-token-for-the-matrix";

/// `up`, in the folder of a project.
pub fn up(project: &str) -> Line<'_> {
    Line { words: "up --no-wait --yes", input: "", project }
}

/// `up --refresh-image`, in the folder of a project.
pub fn refresh(project: &str) -> Line<'_> {
    Line { words: "up --no-wait --yes --refresh-image", input: "", project }
}

/// `down`, in the folder of a project.
pub fn down(project: &str) -> Line<'_> {
    Line { words: "down --yes", input: "", project }
}

/// `set-token`, in the folder of a project.
pub fn set_token<'a>(project: &'a str, token: &'a str) -> Line<'a> {
    Line { words: "set-token --stdin --no-wait", input: token, project }
}

impl Scenario {
    /// What stands above its table.
    pub fn title(self) -> &'static str {
        match self {
            Scenario::Up => "up",
            Scenario::Replace => "replacing up",
            Scenario::Refresh => "up --refresh-image",
            Scenario::SetToken => "set-token",
            Scenario::Grace => "set-token --grace",
            Scenario::Down => "down",
        }
    }

    /// The command.
    pub fn line(self) -> Line<'static> {
        match self {
            Scenario::Up | Scenario::Replace => up(NAME),
            Scenario::Refresh => refresh(NAME),
            Scenario::SetToken => set_token(NAME, TOKEN),
            Scenario::Grace => Line { words: "set-token --stdin --no-wait --grace 1h", ..set_token(NAME, TOKEN) },
            Scenario::Down => down(NAME),
        }
    }

    /// Makes the account as it is before.
    pub async fn prepare(self, account: &Account) -> Outcome {
        match self {
            Scenario::Up => account.reset().await,
            _ => account.stand().await?,
        }
        if self == Scenario::Replace {
            account.project(NAME, "t3.small");
        }
        if self == Scenario::Refresh {
            account.control(&format!("emulator/publish?region={REGION}")).await;
        }
        Ok(())
    }

    /// Runs it.
    pub async fn run(self, account: &Account, trap: Option<Trap>) -> Ran {
        account.run(self.line(), trap).await
    }

    /// Prepares, and runs it into a trap. Steps that run at once do not always make the same calls, so a call that did
    /// not come is waited for in another run.
    pub async fn sprung(self, account: &Account, trap: &Trap) -> Result<Ran, String> {
        for _ in 0..3 {
            self.prepare(account).await?;
            let ran = self.run(account, Some(trap.clone())).await;
            if ran.calls.sprung() {
                return Ok(ran);
            }
        }
        Err("the call did not come in three runs".to_owned())
    }

    /// Looks at what it left.
    pub async fn check(self, account: &Account) -> Outcome {
        let stands = census(&account.aws).await;
        let kind = if self == Scenario::Replace { "t3.small" } else { "t3.micro" };
        let token = matches!(self, Scenario::SetToken | Scenario::Grace).then_some(TOKEN);
        match self {
            Scenario::Grace => {
                stands.holds(&[Wanted { name: NAME, kind, token }])?;
                keeps_the_one_made_up(account).await
            }
            Scenario::Down => stands.is_empty(),
            Scenario::Refresh => {
                stands.holds(&[Wanted { name: NAME, kind, token }])?;
                has_the_newest_image(account).await
            }
            _ => stands.holds(&[Wanted { name: NAME, kind, token }]),
        }
    }

    /// What it calls when nothing goes wrong.
    pub async fn calls(self, account: &Account) -> Result<Calls, String> {
        self.prepare(account).await?;
        let ran = self.run(account, None).await;
        ended_well(&ran, "without any fault")?;
        self.check(account).await?;
        Ok(ran.calls)
    }
}

/// The token that `up` made counts beside the one that was set, for most of an hour yet.
async fn keeps_the_one_made_up(account: &Account) -> Outcome {
    let name = format!("/devopsctl/{NAME}/token");
    let held = account.aws.ssm.get_parameter().name(name).with_decryption(true).send().await.unwrap();
    let held = held.parameter.and_then(|held| held.value).unwrap_or_default();
    let held: serde_json::Value = serde_json::from_str(&held).map_err(|error| error.to_string())?;
    let previous = held["previous"].as_str().map(str::len);
    let left = held["previous_until"].as_i64().unwrap_or_default() - devopsctl::base::clock::now();
    if previous == Some(43) && (3000..=3600).contains(&left) {
        return Ok(());
    }
    Err(format!("the token before has {previous:?} characters and counts {left} seconds"))
}

/// The instance is of the newest image.
pub async fn has_the_newest_image(account: &Account) -> Outcome {
    let found = account.aws.ssm.get_parameters().names(IMAGE).send().await.unwrap();
    let newest = found.parameters().first().and_then(|parameter| parameter.value()).unwrap_or_default().to_owned();
    let id = Filter::builder().name("image-id").values(&newest).build();
    let running = Filter::builder().name("instance-state-name").values("running").build();
    let found = account.aws.ec2.describe_instances().filters(id).filters(running).send().await.unwrap();
    let count = found.reservations().iter().flat_map(|one| one.instances()).count();
    if count == 1 { Ok(()) } else { Err(format!("{count} instances are of the newest image {newest}")) }
}

/// The command ended with 0.
pub fn ended_well(ran: &Ran, which: &str) -> Outcome {
    ended(ran, which, 0)
}

/// The command ended with this code, and not as programs end that break down.
pub fn ended(ran: &Ran, which: &str, code: i32) -> Outcome {
    let broken = ran.said.contains("devopsctl itself failed");
    if ran.code == Some(code) && !broken {
        return Ok(());
    }
    let how = ran.code.map_or("killed".to_owned(), |code| format!("code {code}"));
    Err(format!("{which}: {how} after {:.1?} instead of {code}:\n{}", ran.took, ran.said.trim_end()))
}

/// All of it is gone after `down`.
pub async fn goes_away(account: &Account) -> Outcome {
    ended_well(&account.run(down(NAME), None).await, "down")?;
    census(&account.aws).await.is_empty()
}

/// One more `up` has nothing to do.
pub async fn is_settled(account: &Account) -> Outcome {
    let ran = account.run(up(NAME), None).await;
    ended_well(&ran, "up once more")?;
    let changes = ran.calls.changes();
    if changes.is_empty() { Ok(()) } else { Err(format!("up once more changes something: {changes:?}")) }
}
