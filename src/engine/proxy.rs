//! How long to wait for the proxy, and why: pure, from the instance's reports.

use std::time::{Duration, Instant};

use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::resources::reports::{Proxy, ProxyPhase, Report};

/// What a command needs of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the command's change does not reach the proxy.
    Nothing,
    /// It runs, and would serve if the address pointed to it.
    Ready,
    /// It serves.
    Serving,
}

impl Need {
    /// Whether the need is met, with the settings of the serving release.
    pub fn met(self, report: &Report) -> bool {
        let proxy = report.proxy.as_ref().filter(|proxy| proxy.release == report.release);
        let phase = proxy.map(|proxy| &proxy.phase);
        match self {
            Need::Nothing => true,
            Need::Ready => matches!(phase, Some(ProxyPhase::Serving | ProxyPhase::Waiting)),
            Need::Serving => phase == Some(&ProxyPhase::Serving),
        }
    }
}

/// ACME errors that waiting does not resolve: <https://www.rfc-editor.org/rfc/rfc8555#section-6.7>
const FINAL: [&str; 9] = [
    "accountDoesNotExist",
    "badCSR",
    "caa",
    "externalAccountRequired",
    "malformed",
    "rateLimited",
    "rejectedIdentifier",
    "unsupportedIdentifier",
    "unknown profile",
];

/// How long the proxy has been in its phase.
#[derive(Debug)]
pub struct Patience {
    phase: ProxyPhase,
    error: Option<String>,
    since: Instant,
}

impl Patience {
    /// Starts at this time.
    pub fn new(now: Instant) -> Self {
        Self { phase: ProxyPhase::default(), error: None, since: now }
    }

    /// Processes a report; returns the text to show if it is new. `up`: the command to run after an error.
    ///
    /// # Errors
    /// The phase lasts too long, or waiting cannot help.
    pub fn look(&mut self, proxy: &Proxy, now: Instant) -> Result<Option<String>> {
        let changed = self.phase != proxy.phase || self.error.is_some() != proxy.error.is_some();
        let other = changed || self.error != proxy.error;
        if changed {
            self.since = now;
        }
        (self.phase, self.error) = (proxy.phase.clone(), proxy.error.clone());
        let waited = now.saturating_duration_since(self.since);
        let hopeless = proxy.error.as_deref().is_some_and(|error| FINAL.iter().any(|word| error.contains(word)));
        if waited > self.patience() || (hopeless && proxy.phase == ProxyPhase::Certificate) {
            return Err(self.failure(waited));
        }
        Ok(other.then(|| self.words()))
    }

    /// The first failure may be an address that was attached a moment ago; Caddy retries after a minute.
    fn patience(&self) -> Duration {
        Duration::from_secs(match (&self.phase, &self.error) {
            (ProxyPhase::Waiting, _) => 600,
            (ProxyPhase::Certificate, Some(_)) => 75,
            (ProxyPhase::Failed, _) => 30,
            _ => 180,
        })
    }

    fn words(&self) -> String {
        let error = self.error.as_deref().unwrap_or_default();
        match self.phase {
            ProxyPhase::Waiting => error.to_owned(),
            ProxyPhase::Certificate if error.is_empty() => "waiting for the certificate".to_owned(),
            ProxyPhase::Certificate => format!("no certificate yet: {error}"),
            ProxyPhase::Failed => format!("retrying: {error}"),
            ProxyPhase::Serving => "serves".to_owned(),
            _ => "the instance fetches Caddy".to_owned(),
        }
    }

    fn failure(&self, waited: Duration) -> Failure {
        let error = self.error.clone().unwrap_or_else(|| "the instance reports no reason".to_owned());
        let what = match self.phase {
            ProxyPhase::Certificate => "there is no certificate for the app".to_owned(),
            ProxyPhase::Waiting => format!("no certificate was requested within {} minutes", waited.as_secs() / 60),
            _ => "the proxy (Caddy) does not serve the app".to_owned(),
        };
        Failure::new(Exit::Unhealthy, what)
            .because(error)
            .standing("The app runs, and is not served over plain HTTP. The instance keeps retrying by itself.")
            .next(Next::from("when that is fixed: ").run("up"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(phase: ProxyPhase, error: Option<&str>) -> Proxy {
        Proxy { https: true, phase, error: error.map(str::to_owned), ..Proxy::default() }
    }

    #[test]
    fn a_proxy_that_waits_for_the_address_can_take_over_but_does_not_serve() {
        for (phase, ready, serving) in [
            (ProxyPhase::Serving, true, true),
            (ProxyPhase::Waiting, true, false),
            (ProxyPhase::Certificate, false, false),
        ] {
            let report = Report { proxy: Some(proxy(phase.clone(), None)), ..Report::default() };
            assert_eq!(Need::Ready.met(&report), ready, "{phase:?}");
            assert_eq!(Need::Serving.met(&report), serving, "{phase:?}");
        }
        let none = Report::default();
        assert!(Need::Nothing.met(&none) && !Need::Ready.met(&none) && !Need::Serving.met(&none));
        let serving = Some(proxy(ProxyPhase::Serving, None));
        let before = Report { release: Some("new".into()), proxy: serving, ..Report::default() };
        assert!(!Need::Serving.met(&before), "it still has the settings of another release");
    }

    #[test]
    fn only_an_error_that_may_resolve_is_waited_for() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let dns = proxy(ProxyPhase::Certificate, Some("urn:ietf:params:acme:error:dns: no such name"));
        assert!(patience.look(&proxy(ProxyPhase::Certificate, None), at(0)).unwrap().is_some());
        assert!(patience.look(&proxy(ProxyPhase::Certificate, None), at(170)).unwrap().is_none());
        assert!(patience.look(&dns, at(175)).unwrap().unwrap().contains("no such name"));
        assert!(patience.look(&dns, at(240)).is_ok());
        assert!(patience.look(&dns, at(251)).is_err());
        let limit = proxy(
            ProxyPhase::Certificate,
            Some("HTTP 429 urn:ietf:params:acme:error:rateLimited - too many certificates"),
        );
        let failure = Patience::new(start).look(&limit, at(0)).unwrap_err();
        assert!(failure.reasons().concat().contains("too many certificates"));
    }

    #[test]
    fn a_failed_renewal_does_not_end_the_wait() {
        let start = Instant::now();
        let limit = proxy(ProxyPhase::Serving, Some("urn:ietf:params:acme:error:rateLimited"));
        assert!(Patience::new(start).look(&limit, start).is_ok());
    }
}
