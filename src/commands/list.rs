//! `list`: every deployment of the account and region, with or without a `deploy.yaml` of it: how old it is, how it is,
//! where it is reached, what it costs; of those that may have been forgotten, what ends them.

use std::process::ExitCode;

use super::status::ago;
use super::{connect, elsewhere, file, load, warn_of_open_doors};
use crate::aws::{Aws, identity};
use crate::base::error::{Result, command};
use crate::base::interrupt::Interrupt;
use crate::commands::cli::Globals;
use crate::commands::documents;
use crate::engine::cost::{self, Cost};
use crate::engine::deployments::{self, Deployment, State};
use crate::resources::inventory::{self, owner};
use crate::ui::{Ui, aligned};
use futures_util::future::try_join_all;

pub(super) async fn run(globals: Globals, ui: Ui) -> Result<ExitCode> {
    let interrupt = Interrupt::listen(ui.sink());
    let aws = connect(&globals, &ui, &interrupt, region(&globals)?.as_ref()).await?;
    let list = interrupt.or(List::look(&globals, &ui, &aws)).await?;
    if globals.json {
        ui.document(&list.document());
        return Ok(ExitCode::SUCCESS);
    }
    if list.rows.is_empty() {
        let begin = command(&format!("up{}{}", aws.flag(), list.elsewhere));
        ui.result(&format!("no deployment stands in account {}, {}; to begin: {begin}", list.account, aws.region));
        return Ok(ExitCode::SUCCESS);
    }
    list.lines().iter().for_each(|line| ui.result(line));
    list.talk().into_iter().for_each(|line| ui.say(line));
    Ok(ExitCode::SUCCESS)
}

/// A file that is here says which region is meant; without one it is found as always.
fn region(globals: &Globals) -> Result<Option<String>> {
    match file(globals) {
        Ok(file) if globals.region.is_none() => Ok(load(globals, &file)?.region),
        _ => Ok(None),
    }
}

/// What was found, and what to add to a command so that it goes to the same place.
struct List {
    account: String,
    region: String,
    flag: &'static str,
    elsewhere: String,
    rows: Vec<Row>,
}

struct Row {
    found: Deployment,
    url: Option<String>,
    cost: Cost,
}

impl List {
    /// Everything is looked at at once; only the bucket's name takes the account's number.
    async fn look(globals: &Globals, ui: &Ui, aws: &Aws) -> Result<Self> {
        let bucket = async {
            let account = identity(aws).await?.account;
            let stored = inventory::stored(aws, &account).await?;
            Ok((account, stored))
        };
        let (mut found, (account, stored)) = tokio::try_join!(inventory::observe(aws), bucket)?;
        found.stored = stored;
        for group in &found.groups {
            let instances: Vec<_> =
                found.instances.iter().filter(|one| owner(&one.tags) == owner(&group.tags)).cloned().collect();
            warn_of_open_doors(ui, &group.doors, &instances);
        }
        let row = |found: Deployment| async {
            let url = match found.front.clone() {
                Some((address, front)) => Some(aws.front(address, front).await?),
                None => None,
            };
            let cost = cost::of(&aws.region, &found.costs);
            Result::Ok(Row { found, url, cost })
        };
        let rows = try_join_all(deployments::sort(&found).into_iter().map(row)).await?;
        let elsewhere = elsewhere(Some(&aws.region), globals.profile.as_deref());
        Ok(Self { account, region: aws.region.clone(), flag: aws.flag(), elsewhere, rows })
    }

    /// The command that ends one.
    fn down(&self, name: &str) -> String {
        command(&format!("down --name {name}{}{}", self.flag, self.elsewhere))
    }

    fn total(&self) -> Cost {
        let all = self.rows.iter().map(|row| &row.found.costs);
        let mut sum = cost::Standing::default();
        for one in all {
            sum.instances.extend(one.instances.iter().cloned());
            sum.disk_gib = sum.disk_gib.saturating_add(one.disk_gib);
            sum.addresses = sum.addresses.saturating_add(one.addresses);
        }
        cost::of(&self.region, &sum)
    }

    /// A line for each; below one that may be forgotten, what is left of it and what ends it.
    fn lines(&self) -> Vec<String> {
        let cells: Vec<[String; 5]> = self.rows.iter().map(Row::cells).collect();
        let below = |row: &Row| {
            let (found, down) = (&row.found, self.down(&row.found.name));
            found.state.forgotten().then(|| format!("  left: {}; to end it: {down}", found.stands.join(", ")))
        };
        let lines = aligned(&cells).into_iter().zip(&self.rows);
        lines.flat_map(|(line, row)| [Some(line), below(row)]).flatten().collect()
    }

    fn talk(&self) -> Vec<String> {
        let place = format!("in account {}, {}", self.account, self.region);
        let nothing = if self.flag.is_empty() { "" } else { "; the sandbox itself costs nothing" };
        let all = format!("all {place}: {}{nothing}", self.total().short());
        let serves = self.rows.iter().any(|row| !row.found.state.forgotten());
        [Some(all), serves.then(|| format!("to end one: {}", self.down("NAME")))].into_iter().flatten().collect()
    }

    fn document(&self) -> documents::List {
        documents::List {
            v: documents::Version,
            account: self.account.clone(),
            region: self.region.clone(),
            cost: (&self.total()).into(),
            deployments: self.rows.iter().map(|row| row.document(self.down(&row.found.name))).collect(),
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 5] {
        let none = || "-".to_owned();
        [
            self.found.name.clone(),
            self.found.since.map_or_else(none, ago),
            self.words(),
            self.url.clone().unwrap_or_else(none),
            self.cost.short(),
        ]
    }

    /// Of what is left, what costs on.
    fn words(&self) -> String {
        let words = self.found.state.words();
        let costs = &self.found.costs;
        match self.found.state {
            State::Stopped | State::Remains => match (costs.disk_gib > 0, costs.addresses > 0) {
                (true, true) => format!("{words}, disk and address cost on"),
                (true, false) => format!("{words}, the disk costs on"),
                (false, true) => format!("{words}, the address costs on"),
                (false, false) => words.to_owned(),
            },
            _ => words.to_owned(),
        }
    }

    fn document(&self, down: String) -> documents::Listed {
        let Deployment { name, since, state, stands, .. } = &self.found;
        documents::Listed {
            name: name.clone(),
            since: *since,
            state: state.name().to_owned(),
            forgotten: state.forgotten(),
            url: self.url.clone(),
            stands: stands.iter().map(ToString::to_string).collect(),
            cost: (&self.cost).into(),
            down,
        }
    }
}
