//! The deployment as `status` shows it.

use crate::base::clock;
use crate::commands::documents;
use crate::engine::cost::Cost;
use crate::engine::observe::Observed;
use crate::engine::proxy::Need;
use crate::resources::history::History;
use crate::resources::instance::{self, Build, State};
use crate::resources::orders::Orders;
use crate::resources::reports::{Proxy, Report};
use crate::resources::{NameConflict, elastic_ip, secrets, volume};

/// What there is to show.
pub struct View<'a> {
    pub name: &'a str,
    pub observed: &'a Observed,
    pub current: Option<&'a State>,
    pub address: Option<&'a elastic_ip::State>,
    pub report: Option<&'a Report>,
    pub url: Option<String>,
    pub cost: Cost,
    pub image: Option<Build>,
}

impl View<'_> {
    /// Whether the wanted release runs with the newest token and is served, and all its processes run.
    pub fn healthy(&self) -> bool {
        let served = |report: &Report| report.proxy.is_none() || Need::Serving.met(report);
        let complete = |report: &Report| report.processes.values().all(|process| process.since.is_some());
        self.runs() && self.report.is_some_and(|report| served(report) && complete(report))
    }

    pub fn proxy(&self) -> Option<&Proxy> {
        self.report.and_then(|report| report.proxy.as_ref())
    }

    pub fn runs(&self) -> bool {
        let Some(report) = self.report else { return false };
        report.healthy
            && !self.is_overdue()
            && self.current.is_some_and(|instance| instance.phase == instance::Phase::Running)
            && report.release == self.orders().release
            && report.token >= self.observed.token.present().map(|token| token.version)
    }

    /// Whether the instance is running but its report is overdue.
    pub fn is_overdue(&self) -> bool {
        let running = self.current.filter(|instance| instance.phase == instance::Phase::Running);
        let overdue =
            |instance: &State| self.report.is_some_and(|report| report.is_overdue(instance.launched, clock::now()));
        running.is_some_and(overdue)
    }

    pub fn orders(&self) -> Orders {
        self.current.map(State::orders).unwrap_or_default()
    }

    /// The fingerprint of the stored secrets.
    pub fn stored_secrets(&self) -> String {
        self.observed.secrets.present().map_or_else(|| secrets::NONE.to_owned(), secrets::fingerprint)
    }

    /// The end of the rotation window: until then the previous token is valid as well.
    pub fn window_end(&self) -> Option<i64> {
        self.report.and_then(|report| report.grace_until)
    }

    pub fn document(&self) -> documents::Status {
        let (observed, report) = (self.observed, self.report);
        documents::Status {
            v: documents::Version,
            name: self.name.to_owned(),
            healthy: self.healthy(),
            url: self.url.clone(),
            account: observed.account.clone(),
            instance: self.current.map(|State { id, kind, phase, ip, .. }| documents::Instance {
                id: id.clone(),
                r#type: kind.clone(),
                state: phase.name().to_owned(),
                ip: *ip,
            }),
            image: self.image.as_ref().map(|image| documents::ImageBuild {
                id: image.id.clone(),
                name: image.name.clone(),
                created: image.created,
                newer: image.newer.clone(),
            }),
            address: self.address.map(|address| documents::Address { id: address.id.clone(), ip: address.ip }),
            security_group: observed
                .security_group
                .present()
                .map(|group| documents::SecurityGroup { id: group.id.clone() }),
            release: documents::Wanted {
                wanted: self.orders().release,
                running: report.and_then(|report| report.release.clone()),
                previous: History::of(observed).previous,
            },
            token: documents::TokenState {
                newest: observed.token.present().map(|token| token.version),
                running: report.and_then(|report| report.token),
                grace_until: self.window_end(),
            },
            secrets: documents::SecretsState {
                stored: self.stored_secrets(),
                ordered: self.orders().secrets,
                running: report.and_then(|report| report.secrets.clone()),
            },
            data: volume::kept(observed).map(Into::into),
            report: report.cloned(),
            cost: (&self.cost).into(),
            foreign: observed.conflicts().map(NameConflict::describe).collect(),
        }
    }
}
