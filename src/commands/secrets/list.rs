//! `secrets list`: the names of the app's secrets, and those that `deploy.yaml` requires. It reads no value.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use crate::base::error::Result;
use crate::commands::status::ago;
use crate::commands::{Session, documents};
use crate::config::{self, SecretOrigin};
use crate::resources::secrets::{self, State, Stored};
use crate::ui::aligned;

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let (aws, name) = (&session.aws, session.name());
    let look = async { tokio::try_join!(secrets::list(aws, name), secrets::authors(aws, name)) };
    let (stored, authors) = session.interrupt.or(look).await?;
    let known = authors.is_some();
    let rows = rows(&stored, authors.unwrap_or_default(), &session.deployment.app.secrets);
    if !known && !stored.is_empty() {
        session.ui.warn("the author of each secret is not shown: ssm:DescribeParameters was denied");
    }
    if session.globals.json {
        let secrets = rows.into_iter().map(Row::document).collect();
        session.ui.document(&documents::Secrets { v: documents::Version, name: name.to_owned(), secrets });
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        session.ui.result(&format!("{name} has no secrets; set one: {}", session.ui.run("secrets set NAME")));
    }
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    aligned(&cells).iter().for_each(|line| session.ui.result(line));
    let missing: Vec<&str> = rows.iter().filter(|row| row.is_missing()).map(|row| row.name.as_str()).collect();
    if !missing.is_empty() {
        session.ui.say(format!("next: {}", session.ui.run(&format!("secrets set {}", missing.join(" ")))));
    }
    Ok(ExitCode::SUCCESS)
}

/// A secret that is set or required.
struct Row {
    name: String,
    state: Option<State>,
    by: Option<String>,
    required: Option<SecretOrigin>,
}

fn rows(stored: &Stored, mut authors: BTreeMap<String, String>, required: &BTreeMap<String, SecretOrigin>) -> Vec<Row> {
    let names: BTreeSet<&String> = stored.keys().chain(required.keys()).collect();
    let row = |name: &String| Row {
        name: name.clone(),
        state: stored.get(name).copied(),
        by: authors.remove(name),
        required: required.get(name).copied(),
    };
    names.into_iter().map(row).collect()
}

impl Row {
    /// Whether a user must set it.
    fn is_missing(&self) -> bool {
        self.state.is_none() && self.required == Some(SecretOrigin::Set)
    }

    fn cells(&self) -> [String; 5] {
        let unknown = || "-".to_owned();
        let role = match (self.state, self.required) {
            (None, Some(SecretOrigin::Generated)) => "required, up generates it",
            (None, _) => "required, missing",
            (Some(_), Some(_)) => "required",
            (Some(_), None) if !config::is_variable(&self.name) => "not a variable's name: unset it",
            (Some(_), None) => "",
        };
        [
            self.name.clone(),
            self.state.map_or_else(unknown, |state| format!("version {}", state.version)),
            self.state.map_or_else(unknown, |state| ago(state.modified / 1000)),
            self.by.clone().unwrap_or_else(unknown),
            role.to_owned(),
        ]
    }

    fn document(self) -> documents::ListedSecret {
        documents::ListedSecret {
            missing: self.is_missing(),
            required: self.required.is_some(),
            generate: self.required == Some(SecretOrigin::Generated),
            version: self.state.map(|state| state.version),
            at: self.state.map(|state| state.modified / 1000),
            by: self.by,
            name: self.name,
        }
    }
}
