//! What `status` prints, line by line.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::view::View;
use crate::base::clock;
use crate::commands::Session;
use crate::resources::history::History;
use crate::resources::release::{Notes, short};
use crate::resources::reports::{Process, Threads, Updates};
use crate::resources::{ingress, instance, secrets, volume};

impl View<'_> {
    /// What it is, and how.
    pub async fn lines(&self, session: &Session, notes: &BTreeMap<String, Notes>) -> Vec<(&'static str, String)> {
        if self.observed.nothing() {
            let up = session.ui.run("up");
            let lines = vec![("name", self.name.to_owned()), ("app", format!("not deployed; deploy it: {up}"))];
            return lines.into_iter().chain(self.data(session).map(|data| ("data", data))).collect();
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
        lines.extend(self.data(session).map(|data| ("data", data)));
        lines.extend(self.role().map(|role| ("role", role)));
        lines.extend(self.processes().map(|process| ("process", process)));
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
        lines.extend(self.schedule().await.into_iter().map(|run| ("schedule", run)));
        lines.push(("cost", crate::commands::cost::words(session, &self.cost)));
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

    /// The data volume, and how full it is.
    fn data(&self, session: &Session) -> Option<String> {
        let volume = volume::kept(self.observed)?;
        let Some(holder) = volume.holder() else { return Some(crate::commands::data::stays(session, volume)) };
        let seen = self.report.and_then(|report| report.data.as_ref());
        let used = seen.and_then(|data| data.used).map(|used| format!(", {used}% used")).unwrap_or_default();
        let error = seen.and_then(|data| data.error.as_ref()).map(|error| format!(": {error}")).unwrap_or_default();
        Some(format!("{} ({} GiB in {}{used}) on {holder}{error}", volume.id, volume.gib, volume.zone))
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

    /// The processes beside the web server.
    fn processes(&self) -> impl Iterator<Item = String> {
        self.report.into_iter().flat_map(|report| report.processes.iter().map(|(name, process)| program(name, process)))
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
}

/// What a process beside the web server does.
fn program(name: &str, process: &Process) -> String {
    let restarts = match process.restarts {
        0 => String::new(),
        1 => "; restarted once".to_owned(),
        times => format!("; restarted {times} times"),
    };
    let error = process.error.as_ref().map_or_else(String::new, |error| format!("; it ended: {error}"));
    match process.since {
        Some(since) => format!("{name}: started {}{restarts}{error}", ago(since)),
        None if process.error.is_none() => format!("{name}: starting"),
        None => format!("{name}: not running{restarts}{error}"),
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
pub fn described(id: &str, notes: Option<&Notes>) -> String {
    let Some(notes) = notes else { return short(id).to_owned() };
    let origin = notes.origin();
    let comma = if origin.is_empty() { "" } else { ", " };
    format!("{} ({}{comma}{origin})", short(id), ago(notes.at))
}

/// The time since then.
pub fn ago(at: i64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or_default());
    let age = SystemTime::now().duration_since(then).unwrap_or_default();
    format!("{} ago", indicatif::HumanDuration(age))
}
