//! `secrets list`: the names of the app's secrets, those that `deploy.yaml` requires, and those that are kept elsewhere. It reads no
//! value.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use crate::base::error::Result;
use crate::commands::status::ago;
use crate::commands::{Session, documents};
use crate::config::{self, SecretOrigin};
use crate::engine::observe;
use crate::resources::references::{self, Found};
use crate::resources::secrets::{self, State, Stored};
use crate::ui::aligned;

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let (aws, name, app) = (&session.aws, session.name(), &session.deployment.app);
    references::check_region(&app.references(), &aws.region)?;
    let look = async {
        tokio::try_join!(secrets::list(aws, name), secrets::authors(aws, name), observe::references(aws, Some(app)))
    };
    let (stored, authors, found) = session.interrupt.or(look).await?;
    let (known, found) = (authors.is_some(), found.present().cloned().unwrap_or_default());
    let rows = rows(&stored, authors.unwrap_or_default(), &app.secrets, &found);
    for line in references::hidden(&app.references(), &found) {
        session.ui.warn(format!("the version is not shown of {line}"));
    }
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
    /// The state of its source, if it is kept elsewhere.
    source: Option<references::State>,
}

fn rows(
    stored: &Stored,
    mut authors: BTreeMap<String, String>,
    required: &BTreeMap<String, SecretOrigin>,
    found: &Found,
) -> Vec<Row> {
    let names: BTreeSet<&String> = stored.keys().chain(required.keys()).collect();
    let row = |name: &String| {
        let (name, required) = (name.clone(), required.get(name).cloned());
        match &required {
            // A stored value of the same name is not used.
            Some(SecretOrigin::Reference(reference)) => {
                let source = found.get(&reference.source).cloned();
                Row { name, state: None, by: None, required, source }
            }
            _ => Row { state: stored.get(&name).copied(), by: authors.remove(&name), name, required, source: None },
        }
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
        [
            self.name.clone(),
            self.version().map_or_else(unknown, |version| format!("version {version}")),
            self.at().map_or_else(unknown, ago),
            self.by.clone().unwrap_or_else(unknown),
            self.role(),
        ]
    }

    fn role(&self) -> String {
        match (self.state, &self.required, &self.source) {
            (_, Some(SecretOrigin::Reference(reference)), Some(references::State::Unusable(why))) => {
                format!("{reference}: {why}")
            }
            (_, Some(SecretOrigin::Reference(reference)), _) => reference.to_string(),
            (None, Some(SecretOrigin::Generated), _) => "required, up generates it".to_owned(),
            (None, ..) => "required, missing".to_owned(),
            (Some(_), Some(_), _) => "required".to_owned(),
            (Some(_), None, _) if !config::is_variable(&self.name) => "not a variable's name: unset it".to_owned(),
            (Some(_), None, _) => String::new(),
        }
    }

    fn version(&self) -> Option<String> {
        match &self.source {
            Some(references::State::Set { shown, .. }) => Some(shown.clone()),
            _ => self.state.map(|state| state.version.to_string()),
        }
    }

    /// In seconds since 1970.
    fn at(&self) -> Option<i64> {
        match &self.source {
            Some(references::State::Set { at, .. }) => *at,
            _ => self.state.map(|state| state.modified / 1000),
        }
    }

    fn reference(&self) -> Option<String> {
        match &self.required {
            Some(SecretOrigin::Reference(reference)) => Some(reference.to_string()),
            _ => None,
        }
    }

    fn document(self) -> documents::ListedSecret {
        documents::ListedSecret {
            missing: self.is_missing(),
            required: self.required.is_some(),
            generate: self.required == Some(SecretOrigin::Generated),
            version: self.state.map(|state| state.version),
            at: self.at(),
            source_version: self.version().filter(|_| self.source.is_some()),
            reference: self.reference(),
            by: self.by,
            name: self.name,
        }
    }
}
