//! `status`: what stands, what runs on it, is it healthy, where it is. Exit code 0 only if it is healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use super::Session;
use crate::base::error::{Exit, Result};
use crate::base::{grace, names};
use crate::commands::documents;
use crate::engine::cost::{self, Cost};
use crate::engine::deployments;
use crate::engine::history::History;
use crate::engine::observe::{Ask, Observed};
use crate::engine::proxy::Need;
use crate::resources::instance::{self, Build, State};
use crate::resources::orders::Orders;
use crate::resources::release::{self, Notes, short};
use crate::resources::reports::{Proxy, Report, Threads, Updates};
use crate::resources::{Foreign, address, ingress};

pub(super) async fn run(session: &Session) -> Result<ExitCode> {
    let observed = session.interrupt.or(session.observe(Ask::default())).await?;
    let current = instance::serving(&observed.instances, &observed.addresses);
    let report = current.and_then(|instance| observed.report_of(&instance.id));
    let leads = |address: &&address::State| current.is_some_and(|state| address.instance.as_ref() == Some(&state.id));
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

/// The image of an instance; whether there is a newer one, where its kind is still the one in the file.
async fn image(session: &Session, current: Option<&State>) -> Option<Build> {
    let current = current.filter(|current| !current.image.is_empty())?;
    let machine = session.aws.machine(&session.deployment.instance);
    let subnet = session.deployment.network.subnet.as_deref();
    let spec = instance::spec(&session.deployment.instance, &machine.image, subnet);
    let same = current.tags.get(names::TAG_SPEC) == Some(&spec);
    Some(instance::build(&session.aws, &current.image, same.then_some(machine.parameter.as_str())).await)
}

/// What stands costs. How large disks are is taken from the file: EC2 tells it of disks alone.
fn cost(session: &Session, observed: &Observed) -> Cost {
    let disks = u32::try_from(observed.instances.len()).unwrap_or(u32::MAX);
    let disk_gib = session.deployment.instance.disk_gib.saturating_mul(disks);
    cost::of(&session.aws.region, &deployments::costs(&observed.instances, &observed.addresses, disk_gib))
}

/// What is noted on the releases that count. One that cannot be looked at is shown without: the status is not about that.
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
    address: Option<&'a address::State>,
    report: Option<&'a Report>,
    url: Option<String>,
    cost: Cost,
    image: Option<Build>,
}

impl View<'_> {
    /// What is wanted runs, with the newest token, and is served.
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

    /// Whether the instance runs, and should have reported again.
    fn is_overdue(&self) -> bool {
        let running = self.current.filter(|instance| instance.phase == instance::Phase::Running);
        let overdue =
            |instance: &State| self.report.is_some_and(|report| report.is_overdue(instance.launched, grace::now()));
        running.is_some_and(overdue)
    }

    fn orders(&self) -> Orders {
        self.current.map(State::orders).unwrap_or_default()
    }

    async fn lines(&self, session: &Session, notes: &BTreeMap<String, Notes>) -> Vec<(&'static str, String)> {
        if self.observed.nothing() {
            return vec![("nothing", format!("of {} stands; to change that: {}", self.name, session.command("up")))];
        }
        let mut lines = vec![("name", self.name.to_owned())];
        let none = || "none".to_owned();
        lines.push(("url", self.url.clone().unwrap_or_else(none)));
        lines.push(("app", self.app()));
        lines.extend(self.https(session).await.map(|https| ("https", https)));
        lines.push(("release", self.release(notes)));
        lines.extend(self.before(session, notes).map(|before| ("before", before)));
        lines.push(("token", self.token() + &self.grace().await));
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
                .map_or_else(none, |group| format!("{} lets in {}", group.id, ingress::list(&group.ingress))),
        ));
        lines.extend(self.doors().map(|doors| ("ssh", doors)));
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
        lines.extend(self.observed.foreign().map(|foreign| ("not ours", foreign.describe())));
        lines
    }

    fn app(&self) -> String {
        let Some(report) = self.report else {
            return "it has not reported yet".into();
        };
        let said = ago(report.at);
        if self.is_overdue() {
            return format!(
                "no longer reports: the agent has stopped, or cannot reach AWS (last report: {}, {said})",
                report.phase
            );
        }
        match (self.healthy(), report.healthy) {
            (true, _) if report.threads.is_some() => format!("healthy, but no thread is free (said {said})"),
            (true, _) => format!("healthy (said {said})"),
            _ if self.runs() => format!("it runs, and is not served yet (said {said})"),
            (false, true) => format!("what ran before serves on; on the way: {} (said {said})", report.phase),
            (false, false) => format!("not healthy: {} (said {said})", report.phase),
        }
    }

    /// What is served of certificates; what is in the way of one; that there is none.
    async fn https(&self, session: &Session) -> Option<String> {
        if !session.deployment.network.https {
            let public = session.aws.flag().is_empty();
            return public.then(|| "off: whoever is between a client and the app can read the token".to_owned());
        }
        let proxy = self.proxy()?;
        let error = proxy.error.as_deref();
        let Some(certificate) = &proxy.certificate else {
            return Some(format!("no certificate yet: {}", error.unwrap_or("it is on its way")));
        };
        let (names, until) = (certificate.names.join(", "), grace::words(certificate.until).await);
        let renewal = error.map(|error| format!("; it could not be renewed: {error}")).unwrap_or_default();
        Some(format!("for {names}, from {}, until {until}{renewal}", certificate.issuer))
    }

    /// What the instance was launched from.
    fn image(&self, session: &Session) -> Option<String> {
        let image = self.image.as_ref()?;
        let id = image.name.as_ref().map_or_else(|| image.id.clone(), |name| format!("{name} ({})", image.id));
        let age = image.age(grace::now()).map(|age| format!(", {age}")).unwrap_or_default();
        let refresh = || format!("; there is a newer one, to take it: {}", session.command("up --refresh-image"));
        let newer = image.newer.as_ref().map(|_| refresh()).unwrap_or_default();
        Some(format!("{id}{age}{newer}"))
    }

    /// What applies security updates on the instance.
    fn updates(&self, session: &Session) -> Option<String> {
        let Updates { by, on, at, error, .. } = self.report?.updates.as_ref()?;
        let why = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let Some(by) = by else {
            // A machine that is a process has no system of its own.
            return error.as_ref().map(|_| format!("nothing applies security updates{why}"));
        };
        if !on {
            let logs = session.command("logs --agent");
            let next = error.as_ref().map_or("; the agent switches it on".to_owned(), |_| format!("; see {logs}"));
            return Some(format!("{by} is off{why}{next}"));
        }
        let last = at.map_or("it has not run yet".to_owned(), |at| format!("it ran {}", ago(at)));
        let failed = error.as_ref().map(|error| {
            let look = session.command("ssh");
            let unit = if by == "dnf" { "devopsctl-updates" } else { "apt-daily-upgrade" };
            format!(", and failed: {error}; to see why: {look} -- sudo journalctl -u {unit}")
        });
        Some(format!("{by} applies security updates; {last}{}", failed.unwrap_or_default()))
    }

    /// What is done about a reboot that updates need. A new image needs none, and costs no request.
    fn reboot(&self, session: &Session) -> Option<String> {
        self.report?.updates.as_ref().filter(|updates| updates.reboot)?;
        let reboot = session.command("ssh") + " -- sudo systemctl reboot";
        let newer = self.image.as_ref().is_some_and(|image| image.newer.is_some());
        let other = format!("; or, without that: {}", session.command("up --refresh-image"));
        let other = if newer { other } else { String::new() };
        Some(format!(
            "some updates take effect only after a reboot, which nothing does by itself: {reboot} (the app is away for \
             about a minute){other}"
        ))
    }

    /// Who is connected by `devopsctl ssh`.
    fn doors(&self) -> Option<String> {
        let group = self.observed.security_group.present().filter(|group| !group.doors.is_empty())?;
        let sources: Vec<String> = group.doors.iter().map(|door| door.source.to_string()).collect();
        Some(format!("port 22 is open for {}, while somebody is connected", sources.join(", ")))
    }

    fn release(&self, notes: &BTreeMap<String, Notes>) -> String {
        let running = self.report.and_then(|report| report.release.as_deref());
        match (running, self.orders().release.as_deref()) {
            (Some(running), Some(wanted)) if running == wanted => told(running, notes.get(running)),
            (running, wanted) => {
                let name = |id: Option<&str>| id.map_or_else(|| "none".to_owned(), |id| told(id, notes.get(id)));
                format!("{} runs, {} is wanted", name(running), name(wanted))
            }
        }
    }

    /// Where `rollback` goes.
    fn before(&self, session: &Session, notes: &BTreeMap<String, Notes>) -> Option<String> {
        let history = History::of(self.observed);
        let (back, command) = (history.back()?, session.command("rollback"));
        Some(match history.pending() {
            true => format!("{} runs still; to take the new one back: {command}", short(back)),
            false => format!("{}; to go back: {command}", told(back, notes.get(back))),
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

    /// Until when the token before it counts as well.
    fn grace_until(&self) -> Option<i64> {
        self.report.and_then(|report| report.grace_until)
    }

    async fn grace(&self) -> String {
        match self.grace_until() {
            None => String::new(),
            Some(until) if until > grace::now() => {
                format!("; the app has the one before it too, until {}", grace::words(until).await)
            }
            Some(_) => "; the app has the one before it still, though its time is over".into(),
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
                grace_until: self.grace_until(),
            },
            report: report.cloned(),
            cost: (&self.cost).into(),
            foreign: observed.foreign().map(Foreign::describe).collect(),
        }
    }
}

/// What becomes of requests while all threads of the app are taken. `THREAD_SECONDS` in `agent/workers/worker.py` says how long they wait.
fn busy(threads: &Threads) -> String {
    format!(
        "all {} are busy, since {}: a request waits 30 seconds for a free one, then it is answered with 503; \
         shorten what keeps them (open connections, slow requests), or raise app.threads",
        threads.busy,
        ago(threads.since)
    )
}

/// A release, with its age, who uploaded it and what it was made from.
pub(super) fn told(id: &str, notes: Option<&Notes>) -> String {
    let Some(notes) = notes else { return short(id).to_owned() };
    let origin = notes.origin();
    let comma = if origin.is_empty() { "" } else { ", " };
    format!("{} ({}{comma}{origin})", short(id), ago(notes.at))
}

/// How long ago that was.
pub(super) fn ago(at: i64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or_default());
    let age = SystemTime::now().duration_since(then).unwrap_or_default();
    format!("{} ago", indicatif::HumanDuration(age))
}
