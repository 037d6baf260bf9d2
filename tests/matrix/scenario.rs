//! The commands under test: the account before each, the command itself, and the expected result.

use aws_sdk_ec2::types::Filter;

use crate::account::{Account, Line, NAME, REGION, Ran};
use crate::inventory::{Wanted, inventory};
use crate::proxy::{Calls, Injection};

/// The result of a cell: nothing, or what is wrong.
pub type Outcome = Result<(), String>;

/// A command in its situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// `up` from nothing.
    Up,
    /// `up` with another instance type.
    Replace,
    /// `up --refresh-image` with a newer image.
    Refresh,
    /// `set-token` for a running deployment.
    SetToken,
    /// The same with a rotation window.
    Grace,
    /// `secrets set` for a running deployment.
    SetSecret,
    /// `up` of a running deployment that now needs a generated secret, two that are kept elsewhere, permissions for its app, and more
    /// room for its data.
    Generate,
    /// `down` of a running deployment.
    Down,
}

/// All of them.
pub const ALL: [Scenario; 8] = [
    Scenario::Up,
    Scenario::SetToken,
    Scenario::Grace,
    Scenario::SetSecret,
    Scenario::Generate,
    Scenario::Replace,
    Scenario::Refresh,
    Scenario::Down,
];
/// The public parameter with the newest image's id.
const IMAGE: &str = "/aws/service/debian/release/13/latest/amd64";
/// The new token.
const TOKEN: &str = "a-token-for-the-matrix";
/// The new secret.
const SECRET: (&str, &str) = ("DATABASE_URL", "a secret for the matrix");
/// An app with a generated one, two that are kept elsewhere, and permissions, as `deploy.yaml` has it.
const MORE: &str = "path: app, \
                    secrets: [{SESSION_KEY: generate}, {URL: ssm:/matrix/url}, {PASSWORD: 'secretsmanager:matrix/db#password'}], \
                    permissions: [policy.json, 'arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess']";

/// The size of its data, which grows.
const MORE_GIB: u32 = 11;

/// `up`, in the folder of a project.
pub fn up(project: &str) -> Line<'_> {
    Line { words: "up --no-wait --yes", input: "", project }
}

/// `up --refresh-image`, in the folder of a project.
pub fn refresh(project: &str) -> Line<'_> {
    Line { words: "up --no-wait --yes --refresh-image", input: "", project }
}

/// `down` that deletes the data too, in the folder of a project.
pub fn down(project: &str) -> Line<'_> {
    let words = match project {
        NAME => "down --yes --delete-data hello",
        _ => "down --yes --delete-data other",
    };
    Line { words, input: "", project }
}

/// `set-token`, in the folder of a project.
pub fn set_token<'a>(project: &'a str, token: &'a str) -> Line<'a> {
    Line { words: "set-token --stdin --no-wait", input: token, project }
}

/// `secrets set`, in the folder of a project.
pub fn set_secret<'a>(project: &'a str, words: &'a str, value: &'a str) -> Line<'a> {
    Line { words, input: value, project }
}

impl Scenario {
    /// The title of its table.
    pub fn title(self) -> &'static str {
        match self {
            Scenario::Up => "up",
            Scenario::Replace => "replacing up",
            Scenario::Refresh => "up --refresh-image",
            Scenario::SetToken => "set-token",
            Scenario::Grace => "set-token --grace",
            Scenario::SetSecret => "secrets set",
            Scenario::Generate => "generating up",
            Scenario::Down => "down",
        }
    }

    /// The command.
    pub fn line(self) -> Line<'static> {
        match self {
            Scenario::Up | Scenario::Replace | Scenario::Generate => up(NAME),
            Scenario::SetSecret => set_secret(NAME, "secrets set --stdin --no-wait DATABASE_URL", SECRET.1),
            Scenario::Refresh => refresh(NAME),
            Scenario::SetToken => set_token(NAME, TOKEN),
            Scenario::Grace => Line { words: "set-token --stdin --no-wait --grace 1h", ..set_token(NAME, TOKEN) },
            Scenario::Down => down(NAME),
        }
    }

    /// Prepares the account.
    pub async fn prepare(self, account: &Account) -> Outcome {
        match self {
            Scenario::Up => account.reset().await,
            _ => account.stand().await?,
        }
        if self == Scenario::Replace {
            account.project(NAME, "t3.small");
        }
        if self == Scenario::Generate {
            keep_elsewhere(account).await;
            account.project_with(NAME, "t3.micro", MORE, MORE_GIB);
        }
        if self == Scenario::Refresh {
            account.control(&format!("emulator/publish-image?region={REGION}")).await;
        }
        Ok(())
    }

    /// Runs it.
    pub async fn run(self, account: &Account, injection: Option<Injection>) -> Ran {
        account.run(self.line(), injection).await
    }

    /// Prepares the account and runs the command with a fault. Concurrent steps do not always make the same calls, so a fault that
    /// was not injected is tried in another run.
    pub async fn triggered(self, account: &Account, injection: &Injection) -> Result<Ran, String> {
        for _ in 0..3 {
            self.prepare(account).await?;
            let ran = self.run(account, Some(injection.clone())).await;
            if ran.calls.triggered() {
                return Ok(ran);
            }
        }
        Err("the call did not come in three runs".to_owned())
    }

    /// Checks the result.
    pub async fn check(self, account: &Account) -> Outcome {
        let found = inventory(&account.aws).await;
        let kind = if self == Scenario::Replace { "t3.small" } else { "t3.micro" };
        let token = matches!(self, Scenario::SetToken | Scenario::Grace).then_some(TOKEN);
        let wanted = Wanted { token, ..Wanted::new(NAME, kind) };
        match self {
            Scenario::SetSecret => found.holds(&[Wanted { secrets: &[SECRET], ..wanted }]),
            Scenario::Generate => {
                let secrets = &[("SESSION_KEY", "")];
                found.holds(&[Wanted { secrets, app_role: true, releases: 2, gib: MORE_GIB, ..wanted }])
            }
            Scenario::Grace => {
                found.holds(&[wanted])?;
                keeps_the_one_made_up(account).await
            }
            Scenario::Down => found.is_empty(),
            Scenario::Refresh => {
                found.holds(&[wanted])?;
                has_the_newest_image(account).await
            }
            _ => found.holds(&[wanted]),
        }
    }

    /// Its calls without a fault.
    pub async fn calls(self, account: &Account) -> Result<Calls, String> {
        self.prepare(account).await?;
        let ran = self.run(account, None).await;
        ended_well(&ran, "without any fault")?;
        self.check(account).await?;
        Ok(ran.calls)
    }
}

/// Creates the secrets that are kept elsewhere, unless they exist.
async fn keep_elsewhere(account: &Account) {
    let put = account.aws.ssm.put_parameter().name("/matrix/url").value("a url for the matrix").overwrite(true);
    put.r#type(aws_sdk_ssm::types::ParameterType::SecureString).send().await.unwrap();
    let make = account.aws.secrets_manager.create_secret().name("matrix/db");
    // It may exist.
    let _ = make.secret_string(r#"{"password": "a password for the matrix"}"#).send().await;
}

/// Asserts that the generated token still counts beside the new one.
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

/// Asserts that the instance has the newest image.
pub async fn has_the_newest_image(account: &Account) -> Outcome {
    let found = account.aws.ssm.get_parameters().names(IMAGE).send().await.unwrap();
    let newest = found.parameters().first().and_then(|parameter| parameter.value()).unwrap_or_default().to_owned();
    let id = Filter::builder().name("image-id").values(&newest).build();
    let running = Filter::builder().name("instance-state-name").values("running").build();
    let found = account.aws.ec2.describe_instances().filters(id).filters(running).send().await.unwrap();
    let count = found.reservations().iter().flat_map(|one| one.instances()).count();
    if count == 1 { Ok(()) } else { Err(format!("{count} instances are of the newest image {newest}")) }
}

/// Asserts exit code 0.
pub fn ended_well(ran: &Ran, which: &str) -> Outcome {
    ended(ran, which, 0)
}

/// Asserts the exit code, and that there was no panic.
pub fn ended(ran: &Ran, which: &str, code: i32) -> Outcome {
    let broken = ran.said.contains("devopsctl itself failed");
    if ran.code == Some(code) && !broken {
        return Ok(());
    }
    let how = ran.code.map_or("killed".to_owned(), |code| format!("code {code}"));
    Err(format!("{which}: {how} after {:.1?} instead of {code}:\n{}", ran.took, ran.said.trim_end()))
}

/// Asserts that `down` leaves nothing.
pub async fn goes_away(account: &Account) -> Outcome {
    ended_well(&account.run(down(NAME), None).await, "down")?;
    inventory(&account.aws).await.is_empty()
}

/// Asserts that one more `up` has nothing to do.
pub async fn is_settled(account: &Account) -> Outcome {
    let ran = account.run(up(NAME), None).await;
    ended_well(&ran, "up once more")?;
    let changes = ran.calls.changes();
    if changes.is_empty() { Ok(()) } else { Err(format!("up once more changes something: {changes:?}")) }
}
