//! `list`: every deployment of the account and region, with its age, state, URL and cost. Orphaned deployments are shown with
//! the command that deletes them.

use std::process::ExitCode;

use super::status::ago;
use super::{connect, file, load, warn_of_ssh_rules};
use crate::aws::{Aws, identity};
use crate::base::error::Result;
use crate::base::interrupt::Interrupt;
use crate::commands::cli::{Globals, place};
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
        let up = ui.run_bare(&format!("up{}", list.place));
        ui.result(&format!("no deployments in account {}, {}; create one: {up}", list.account, aws.region));
        return Ok(ExitCode::SUCCESS);
    }
    list.lines().iter().for_each(|line| ui.result(line));
    list.summary().into_iter().for_each(|line| ui.say(line));
    Ok(ExitCode::SUCCESS)
}

/// The region of the `deploy.yaml`, if there is one.
fn region(globals: &Globals) -> Result<Option<String>> {
    match file(globals) {
        Ok(file) if globals.region.is_none() => Ok(load(globals, &file)?.region),
        _ => Ok(None),
    }
}

/// The deployments, and the options that a shown command needs to reach them.
struct List {
    ui: Ui,
    account: String,
    region: String,
    sandbox: bool,
    place: String,
    rows: Vec<Row>,
}

struct Row {
    found: Deployment,
    url: Option<String>,
    cost: Cost,
}

impl List {
    /// Observes everything concurrently; only the bucket needs the account's id first.
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
            warn_of_ssh_rules(ui, &group.ssh_rules, &instances);
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
        let place = format!("{}{}", aws.flag(), place(Some(&aws.region), globals.profile.as_deref()));
        let sandbox = !aws.flag().is_empty();
        Ok(Self { ui: ui.clone(), account, region: aws.region.clone(), sandbox, place, rows })
    }

    /// The command that deletes a deployment.
    fn down(&self, name: &str) -> String {
        self.ui.run_bare(&format!("down --name {name}{}", self.place))
    }

    /// The command that deletes what is left of it: its data, if that is all.
    fn removal(&self, found: &Deployment) -> String {
        match found.stands[..] {
            [deployments::DATA] => {
                self.ui.run_bare(&format!("down --name {0} --delete-data {0}{1}", found.name, self.place))
            }
            _ => self.down(&found.name),
        }
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

    /// A line for each deployment; below an orphaned one, its resources and the command that deletes them.
    fn lines(&self) -> Vec<String> {
        let cells: Vec<[String; 5]> = self.rows.iter().map(Row::cells).collect();
        let below = |row: &Row| {
            let (found, down) = (&row.found, self.removal(&row.found));
            found.state.forgotten().then(|| format!("  left: {}; delete it: {down}", found.stands.join(", ")))
        };
        let lines = aligned(&cells).into_iter().zip(&self.rows);
        lines.flat_map(|(line, row)| [Some(line), below(row)]).flatten().collect()
    }

    fn summary(&self) -> Vec<String> {
        let nothing = if self.sandbox { "; the sandbox itself costs nothing" } else { "" };
        let total = format!("total in account {}, {}: {}{nothing}", self.account, self.region, self.total().short());
        let serves = self.rows.iter().any(|row| !row.found.state.forgotten());
        let down = serves.then(|| format!("delete a deployment: {}", self.down("NAME")));
        [Some(total), down].into_iter().flatten().collect()
    }

    fn document(&self) -> documents::List {
        documents::List {
            v: documents::Version,
            account: self.account.clone(),
            region: self.region.clone(),
            cost: (&self.total()).into(),
            deployments: self.rows.iter().map(|row| row.document(self.removal(&row.found))).collect(),
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

    /// The state, and of an orphaned deployment what still costs money.
    fn words(&self) -> String {
        let words = self.found.state.words();
        let costs = &self.found.costs;
        match self.found.state {
            State::Stopped | State::Remains if self.found.stands == [deployments::DATA] => {
                format!("{words}, its data still costs money")
            }
            State::Stopped | State::Remains => match (costs.disk_gib > 0, costs.addresses > 0) {
                (true, true) => format!("{words}, disk and address still cost money"),
                (true, false) => format!("{words}, the disk still costs money"),
                (false, true) => format!("{words}, the address still costs money"),
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
