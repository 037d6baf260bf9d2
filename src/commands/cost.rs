//! `cost`: estimates the cost of `deploy.yaml` per month, item by item. It makes no call and needs no credentials.

use std::process::ExitCode;

use super::{Session, deployment};
use crate::aws::{self, Settings};
use crate::base::error::Result;
use crate::commands::cli::Globals;
use crate::commands::documents;
use crate::config::Deployment;
use crate::engine::cost::{self, Cost, Standing};
use crate::ui::{Ui, aligned};

pub(super) async fn run(globals: &Globals, ui: &Ui) -> Result<ExitCode> {
    let deployment = deployment(globals)?;
    let named = globals.region.as_ref().or(deployment.region.as_ref()).cloned();
    let settings = Settings { region: named, profile: globals.profile.clone() };
    let region = match globals.sandbox {
        true => aws::sandbox_region(&settings),
        false => aws::region(&settings).await.unwrap_or_else(|_| {
            let any = aws::sandbox_region(&settings);
            ui.warn(format!("no region is set, so these are the prices of {any}; set one with --region"));
            any
        }),
    };
    let cost = of(&deployment, &region);
    if globals.json {
        let Deployment { name, instance, data, .. } = deployment;
        let (r#type, disk_gib, cost) = (instance.kind, instance.disk_gib, (&cost).into());
        let (v, data_gib) = (documents::Version, data.map(|data| data.gib));
        ui.document(&documents::Costs { v, name, region, r#type, disk_gib, data_gib, cost });
        return Ok(ExitCode::SUCCESS);
    }
    lines(&deployment, &region, &cost).iter().for_each(|line| ui.result(line));
    notes().into_iter().for_each(|line| ui.say(line));
    Ok(ExitCode::SUCCESS)
}

/// The estimated cost per month.
pub(super) fn of(deployment: &Deployment, region: &str) -> Cost {
    let data_gib = deployment.data.as_ref().map_or(0, |data| data.gib);
    let disk_gib = deployment.instance.disk_gib.saturating_add(data_gib);
    cost::of(region, &Standing::one(&deployment.instance.kind, disk_gib))
}

fn lines(deployment: &Deployment, region: &str, cost: &Cost) -> Vec<String> {
    let known = |money: Option<cost::Money>| money.map_or_else(|| "unknown".to_owned(), |sum| sum.to_string());
    let row = |what: &str, money, of: String| [what.to_owned(), known(money), of];
    let instance = &deployment.instance;
    let data = deployment.data.as_ref().map(|data| format!(", and {} GiB for data", data.gib)).unwrap_or_default();
    aligned(&[
        row("instance", cost.instance, format!("{} in {region}", instance.kind)),
        row("disk", cost.disk, format!("{} GiB of gp3{data}", instance.disk_gib)),
        row("address", cost.address, "one public IPv4 address".to_owned()),
        row("total", cost.month(), "per month of 730 hours".to_owned()),
    ])
}

fn notes() -> [String; 3] {
    [
        format!("list prices in US dollars as of {}, without taxes: {}", cost::AS_OF, cost::SOURCE),
        "the bucket costs less than a cent; traffic to the internet is not included".to_owned(),
        "a new account may get some or all of this for free: https://aws.amazon.com/free".to_owned(),
    ]
}

/// The line that `plan` and `up` show before they create something that costs money.
pub(super) fn line(session: &Session) -> String {
    format!("cost: {}", words(session, &of(&session.deployment, &session.aws.region)))
}

/// The sandbox costs nothing, but shows what an account would cost.
pub(super) fn words(session: &Session, cost: &Cost) -> String {
    sandboxed(session, cost.words())
}

pub(super) fn sandboxed(session: &Session, words: String) -> String {
    let sandbox = if session.aws.flag().is_empty() { "" } else { "; nothing in the sandbox" };
    format!("{words}{sandbox}")
}
