//! `status`: the resources, the running release, its health and its URL. The exit code is 0 only if the app is healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use super::Session;
use crate::base::error::{Exit, Result};
use crate::base::{clock, names};
use crate::commands::documents;
use crate::engine::cost::{self, Cost};
use crate::engine::deployments;
use crate::engine::observe::{Ask, Observed};
use crate::engine::proxy::Need;
use crate::resources::history::History;
use crate::resources::instance::{self, Build, State};
use crate::resources::orders::Orders;
use crate::resources::release::{self, Notes, short};
use crate::resources::reports::{Proxy, Report, Threads, Updates};
use crate::resources::{NameConflict, elastic_ip, ingress, secrets};

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let observed = session.interrupt.or(session.observe(Ask::default())).await?;
    let current = instance::serving(&observed.instances, &observed.addresses);
    let report = current.and_then(|instance| observed.report_of(&instance.id));
    let leads =
        |address: &&elastic_ip::State| current.is_some_and(|state| address.instance.as_ref() == Some(&state.id));
    let address = observed.addresses.iter().find(leads).or_else(|| observed.addresses.first());
    let ip = address.map(|address| address.ip).or_else(|| current.and_then(|instance| instance.ip));
    let url = session.aws.url_of(ip.filter(|_| current.is_some()), &session.deployment.network).await?;
    let cost = cost(session, &observed);
    let image = session.interrupt.or(async { Ok(image(session, current).await) }).await?;
    let view = View { name: session.name(), observed: &observed, current, address, report, url, cost, image };
    if session.globals.json {
        session.ui.document(&view.document());
    } else {
        let notes = session.interrupt.or(async { Ok(notes(session, &observed).await) }).await?;
        for (what, how) in view.lines(session, &notes).await {
            session.ui.pair(what, &how);
        }
    }
    Ok(if view.healthy() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Unhealthy as u8) })
}

/// The image of the instance; also whether there is a newer build, if the image is still the one in the file.
async fn image(session: &Session, current: Option<&State>) -> Option<Build> {
    let current = current.filter(|current| !current.image.is_empty())?;
    let machine = session.aws.machine(&session.deployment.instance);
    let subnet = session.deployment.network.subnet.as_deref();
    let spec = instance::spec(&session.deployment.instance, &machine.image, subnet);
    let same = current.tags.get(names::TAG_SPEC) == Some(&spec);
    Some(instance::build(&session.aws, &current.image, same.then_some(machine.parameter.as_str())).await)
}

/// The cost of the resources. Disk sizes come from the file, because EC2 reports them only with the volumes.
fn cost(session: &Session, observed: &Observed) -> Cost {
    let disks = u32::try_from(observed.instances.len()).unwrap_or(u32::MAX);
    let disk_gib = session.deployment.instance.disk_gib.saturating_mul(disks);
    cost::of(&session.aws.region, &deployments::costs(&observed.instances, &observed.addresses, disk_gib))
}

/// The metadata of the running, wanted and previous release. If it cannot be read, the release is shown without it.
async fn notes(session: &Session, observed: &Observed) -> BTreeMap<String, Notes> {
    let History { runs, wanted, previous } = History::of(observed);
    let ids: BTreeSet<String> = [runs, wanted, previous].into_iter().flatten().collect();
    let look = ids.into_iter().map(async |id| {
        let found = release::notes(&session.aws, &observed.account, session.name(), &id).await;
        Some((id, found.ok()??))
    });
    join_all(look).await.into_iter().flatten().collect()
}

struct View<'a> {
    name: &'a str,
    observed: &'a Observed,
    current: Option<&'a State>,
    address: Option<&'a elastic_ip::State>,
    report: Option<&'a Report>,
    url: Option<String>,
    cost: Cost,
    image: Option<Build>,
}

impl View<'_> {
    /// Whether the wanted release runs with the newest token and is served.
    fn healthy(&self) -> bool {
        self.runs() && self.report.is_some_and(|report| report.proxy.is_none() || Need::Serving.met(report))
    }

    fn proxy(&self) -> Option<&Proxy> {
        self.report.and_then(|report| report.proxy.as_ref())
    }

    fn runs(&self) -> bool {
        let Some(report) = self.report else { return false };
        report.healthy
            && !self.is_overdue()
            && self.current.is_some_and(|instance| instance.phase == instance::Phase::Running)
            && report.release == self.orders().release
            && report.token >= self.observed.token.present().map(|token| token.version)
    }

    /// Whether the instance is running but its report is overdue.
    fn is_overdue(&self) -> bool {
        let running = self.current.filter(|instance| instance.phase == instance::Phase::Running);
        let overdue =
            |instance: &State| self.report.is_some_and(|report| report.is_overdue(instance.launched, clock::now()));
        running.is_some_and(overdue)
    }

    fn orders(&self) -> Orders {
        self.current.map(State::orders).unwrap_or_default()
    }

    async fn lines(&self, session: &Session, notes: &BTreeMap<String, Notes>) -> Vec<(&'static str, String)> {
        if self.observed.nothing() {
            let up = session.ui.run("up");
            return vec![("name", self.name.to_owned()), ("app", format!("not deployed; deploy it: {up}"))];
        }
        let mut lines = vec![("name", self.name.to_owned())];
        let none = || "none".to_owned();
        lines.push(("url", self.url.clone().unwrap_or_else(none)));
        lines.push(("app", self.app()));
        lines.extend(self.https(session).await.map(|https| ("https", https)));
        lines.push(("release", self.release(notes)));
        lines.extend(self.before(session, notes).map(|before| ("before", before)));
        lines.push(("token", self.token() + &self.previous_token().await));
        lines.extend(self.secrets(session).map(|secrets| ("secrets", secrets)));
        lines.extend(self.role().map(|role| ("role", role)));
        lines.push((
            "instance",
            self.current.map_or_else(none, |state| format!("{} ({}, {})", state.id, state.kind, state.phase.name())),
        ));
        lines.extend(self.image(session).map(|image| ("image", image)));
        lines.extend(self.updates(session).map(|updates| ("updates", updates)));
        lines.extend(self.reboot(session).map(|reboot| ("reboot", reboot)));
        lines.push(("address", self.address.map_or_else(none, |address| format!("{} ({})", address.ip, address.id))));
        lines.push((
            "group",
            self.observed
                .security_group
                .present()
                .map_or_else(none, |group| format!("{} allows {}", group.id, ingress::list(&group.ingress))),
        ));
        lines.extend(self.ssh_rules().map(|sources| ("ssh", sources)));
        let others = instance::alive(&self.observed.instances).filter(|state| self.current != Some(*state));
        lines.extend(others.map(|state| ("also", format!("{} ({}, {})", state.id, state.kind, state.phase.name()))));
        lines.push(("cost", super::cost::words(session, &self.cost)));
        lines.push(("account", format!("{} {}", self.observed.account, session.aws.region)));
        if let Some(threads) = self.report.and_then(|report| report.threads.as_ref()) {
            lines.push(("threads", busy(threads)));
        }
        if let Some(error) = self.report.and_then(|report| report.error.as_deref()) {
            lines.push(("error", error.to_owned()));
        }
        lines.extend(self.observed.conflicts().map(|conflict| ("not ours", conflict.describe())));
        lines
    }

    fn app(&self) -> String {
        let Some(report) = self.report else {
            return "no report yet".into();
        };
        let reported = format!("reported {}", ago(report.at));
        if self.is_overdue() {
            return format!(
                "no recent report: the agent has stopped or cannot reach AWS (last report: {}, {reported})",
                report.phase
            );
        }
        match (self.healthy(), report.healthy) {
            (true, _) if report.threads.is_some() => format!("healthy, but no thread is free ({reported})"),
            (true, _) => format!("healthy ({reported})"),
            _ if self.runs() => format!("running, but not served yet ({reported})"),
            (false, true) => format!("the previous version still serves; the new one: {} ({reported})", report.phase),
            (false, false) => format!("not healthy: {} ({reported})", report.phase),
        }
    }

    /// The certificate, or why there is none.
    async fn https(&self, session: &Session) -> Option<String> {
        if !session.deployment.network.https {
            let public = session.aws.flag().is_empty();
            return public.then(|| "off: anyone on the network path can read the token".to_owned());
        }
        let proxy = self.proxy()?;
        let error = proxy.error.as_deref();
        let Some(certificate) = &proxy.certificate else {
            return Some(format!("no certificate yet: {}", error.unwrap_or("waiting for it")));
        };
        let (names, until) = (certificate.names.join(", "), clock::until(certificate.until).await);
        let renewal = error.map(|error| format!("; the renewal failed: {error}")).unwrap_or_default();
        Some(format!("for {names}, from {}, until {until}{renewal}", certificate.issuer))
    }

    /// Whether the app can use its role in AWS, if it has one.
    fn role(&self) -> Option<String> {
        let role = self.report?.role.as_ref()?;
        Some(match &role.error {
            Some(error) => format!("the app cannot use its AWS permissions: {error}"),
            None => "the app has its AWS permissions".to_owned(),
        })
    }

    /// The image that the instance was launched from.
    fn image(&self, session: &Session) -> Option<String> {
        let image = self.image.as_ref()?;
        let id = image.name.as_ref().map_or_else(|| image.id.clone(), |name| format!("{name} ({})", image.id));
        let age = image.age(clock::now()).map(|age| format!(", {age}")).unwrap_or_default();
        let refresh = || format!("; a newer build is available: {}", session.ui.run("up --refresh-image"));
        let newer = image.newer.as_ref().map(|_| refresh()).unwrap_or_default();
        Some(format!("{id}{age}{newer}"))
    }

    /// What applies security updates on the instance.
    fn updates(&self, session: &Session) -> Option<String> {
        let Updates { by, on, at, error, .. } = self.report?.updates.as_ref()?;
        let why = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let Some(by) = by else {
            // A machine that is a process has no operating system of its own.
            return error.as_ref().map(|_| format!("security updates are not applied{why}"));
        };
        if !on {
            let logs = session.ui.run("logs --agent");
            let next = error.as_ref().map_or("; the agent enables it".to_owned(), |_| format!("; see {logs}"));
            return Some(format!("{by} is off{why}{next}"));
        }
        let last = at.map_or("it has not run yet".to_owned(), |at| format!("last run {}", ago(at)));
        let failed = error.as_ref().map(|error| {
            let ssh = session.ui.run("ssh");
            let unit = if by == "dnf" { "devopsctl-updates" } else { "apt-daily-upgrade" };
            format!(", which failed: {error}; see why: {ssh} -- sudo journalctl -u {unit}")
        });
        Some(format!("{by} applies security updates; {last}{}", failed.unwrap_or_default()))
    }

    /// How to reboot, if updates need it. A new image needs no reboot and loses no request.
    fn reboot(&self, session: &Session) -> Option<String> {
        self.report?.updates.as_ref().filter(|updates| updates.reboot)?;
        let reboot = session.ui.run("ssh") + " -- sudo systemctl reboot";
        let newer = self.image.as_ref().is_some_and(|image| image.newer.is_some());
        let other = format!("; or without downtime: {}", session.ui.run("up --refresh-image"));
        let other = if newer { other } else { String::new() };
        Some(format!(
            "some updates need a reboot, which is never automatic: {reboot} (the app is unavailable for about a minute){other}"
        ))
    }

    /// The open SSH ports.
    fn ssh_rules(&self) -> Option<String> {
        let group = self.observed.security_group.present().filter(|group| !group.ssh_rules.is_empty())?;
        let sources: Vec<String> = group.ssh_rules.iter().map(|rule| rule.source.to_string()).collect();
        Some(format!("port 22 is open for {} during an ssh session", sources.join(", ")))
    }

    fn release(&self, notes: &BTreeMap<String, Notes>) -> String {
        let running = self.report.and_then(|report| report.release.as_deref());
        match (running, self.orders().release.as_deref()) {
            (Some(running), Some(wanted)) if running == wanted => described(running, notes.get(running)),
            (running, wanted) => {
                let name = |id: Option<&str>| id.map_or_else(|| "none".to_owned(), |id| described(id, notes.get(id)));
                format!("{} is running, {} is wanted", name(running), name(wanted))
            }
        }
    }

    /// The release that `rollback` would use.
    fn before(&self, session: &Session, notes: &BTreeMap<String, Notes>) -> Option<String> {
        let history = History::of(self.observed);
        let (back, command) = (history.back()?, session.ui.run("rollback"));
        Some(match history.pending() {
            true => format!("{} is still running; withdraw the new one: {command}", short(back)),
            false => format!("{}; roll back to it: {command}", described(back, notes.get(back))),
        })
    }

    fn token(&self) -> String {
        let running = self.report.and_then(|report| report.token);
        match (running, self.observed.token.present().map(|token| token.version)) {
            (_, None) => "none".into(),
            (Some(running), Some(newest)) if running >= newest => format!("version {newest}"),
            (Some(running), Some(newest)) => format!("version {newest}; the app has version {running}"),
            (None, Some(newest)) => format!("version {newest}; the app has none yet"),
        }
    }

    /// The fingerprint of the stored secrets.
    fn stored_secrets(&self) -> String {
        self.observed.secrets.present().map_or_else(|| secrets::NONE.to_owned(), secrets::fingerprint)
    }

    /// How the app gets the secrets, if it has others than are stored.
    fn secrets(&self, session: &Session) -> Option<String> {
        let (report, stored) = (self.report?, self.stored_secrets());
        if report.secrets.as_deref().unwrap_or(secrets::NONE) == stored {
            return None;
        }
        if report.secrets.is_none() && report.healthy {
            let up = session.ui.run("up");
            return Some(format!("the running release is from before devopsctl had secrets: {up} will use them"));
        }
        if self.orders().of_secrets() == stored {
            return Some("the app does not have the newest yet".to_owned());
        }
        Some(format!("changed since the app started; it gets them with its next start: {}", session.ui.run("up")))
    }

    /// The end of the rotation window: until then the previous token is valid as well.
    fn window_end(&self) -> Option<i64> {
        self.report.and_then(|report| report.grace_until)
    }

    async fn previous_token(&self) -> String {
        match self.window_end() {
            None => String::new(),
            Some(at) if at > clock::now() => {
                format!("; the previous one is valid until {}", clock::until(at).await)
            }
            Some(_) => "; the app still has the previous one, although it has expired".into(),
        }
    }

    fn document(&self) -> documents::Status {
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
            report: report.cloned(),
            cost: (&self.cost).into(),
            foreign: observed.conflicts().map(NameConflict::describe).collect(),
        }
    }
}

/// What happens to requests while all threads are busy. `THREAD_SECONDS` in `agent/workers/worker.py` is how long they wait.
fn busy(threads: &Threads) -> String {
    format!(
        "all {} are busy since {}: a request waits 30 seconds for a free one, then gets a 503; shorten open connections and \
         slow requests, or increase app.threads",
        threads.busy,
        ago(threads.since)
    )
}

/// A release with its age, author and source.
pub(super) fn described(id: &str, notes: Option<&Notes>) -> String {
    let Some(notes) = notes else { return short(id).to_owned() };
    let origin = notes.origin();
    let comma = if origin.is_empty() { "" } else { ", " };
    format!("{} ({}{comma}{origin})", short(id), ago(notes.at))
}

/// The time since then.
pub(super) fn ago(at: i64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or_default());
    let age = SystemTime::now().duration_since(then).unwrap_or_default();
    format!("{} ago", indicatif::HumanDuration(age))
}
