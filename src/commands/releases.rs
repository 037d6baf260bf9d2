//! `releases`: the releases that `rollback` can use, the newest first.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join_all;

use super::{Purpose, Session};
use crate::base::error::{Exit, Result};
use crate::commands::documents;
use crate::engine::observe::Observed;
use crate::resources::history::History;
use crate::resources::release::{self, Notes, Stored, short};
use crate::ui::aligned;

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let found = session.interrupt.or(Found::look(session)).await?;
    if session.globals.json {
        let releases = found.releases.iter().map(|release| release.document(&found.history)).collect();
        let (v, name) = (documents::Version, session.name().to_owned());
        session.ui.document(&documents::Releases { v, name, releases });
    } else if found.releases.is_empty() {
        session.ui.result(&format!("{} has no releases; create one: {}", session.name(), session.ui.run("up")));
    } else {
        found.lines().iter().for_each(|line| session.ui.result(line));
    }
    Ok(ExitCode::SUCCESS)
}

/// The releases, and the instance's history.
pub(super) struct Found {
    pub observed: Observed,
    pub history: History,
    /// The newest first.
    pub releases: Vec<Release>,
}

/// A release with its metadata.
pub(super) struct Release {
    pub stored: Stored,
    pub notes: Notes,
}

impl Found {
    /// Observes the instance, the releases and their metadata. A release that was deleted meanwhile is skipped.
    pub async fn look(session: &Session) -> Result<Self> {
        let (aws, name) = (&session.aws, session.name());
        let observed = session.running().await?;
        let stored = release::observe(aws, &observed.account, name).await?;
        // Reading the metadata needs the permission to read the app's code, which a verb that looks may lack.
        let withheld = AtomicBool::new(false);
        let look = stored.into_iter().map(async |stored| {
            let notes = match release::notes(aws, &observed.account, name, &stored.id).await {
                Err(failure) if session.purpose == Purpose::Look && failure.exit() == Exit::Denied => {
                    withheld.store(true, Ordering::Relaxed);
                    Some(Notes::default())
                }
                notes => notes?,
            };
            Result::Ok(notes.map(|notes| Release { stored, notes }))
        });
        let releases = try_join_all(look).await?.into_iter().flatten().collect();
        if withheld.into_inner() {
            session.ui.warn("the author and source of each release are not shown: s3:GetObject was denied");
        }
        Ok(Self { history: History::of(&observed), observed, releases })
    }

    /// The release with this id.
    pub fn release(&self, id: &str) -> Option<&Release> {
        self.releases.iter().find(|release| release.stored.id == id)
    }

    /// A line for each: id, age, author, source and role.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.releases, &self.history)
    }
}

impl Release {
    fn document(&self, history: &History) -> documents::Release {
        let is = |release: &Option<String>| release.as_ref() == Some(&self.stored.id);
        let (Stored { id, at, size }, Notes { by, what, target, .. }) = (self.stored.clone(), self.notes.clone());
        let (runs, wanted, previous) = (is(&history.runs), is(&history.wanted), is(&history.previous));
        documents::Release { id, at, size, by, what, target, runs, wanted, previous }
    }
}

fn lines(releases: &[Release], history: &History) -> Vec<String> {
    let unknown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows: Vec<[String; 5]> = releases
        .iter()
        .map(|release| {
            let marks = [("runs", &history.runs), ("wanted", &history.wanted), ("previous", &history.previous)];
            let marks = marks.into_iter().filter(|(_, id)| id.as_ref() == Some(&release.stored.id));
            [
                short(&release.stored.id).to_owned(),
                super::status::ago(release.stored.at),
                unknown(&release.notes.by),
                unknown(&release.notes.what),
                marks.map(|(mark, _)| mark).collect::<Vec<_>>().join(", "),
            ]
        })
        .collect();
    aligned(&rows)
}
