//! How long is waited for the edge, and for what: pure, from what the instance reports.

use std::time::{Duration, Instant};

use crate::base::error::{Exit, Failure, Result};
use crate::resources::reports::{Edge, Report};

/// What a command needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: what it changes is no concern of the edge.
    Nothing,
    /// That it runs, and would serve if the address led there.
    Ready,
    /// That it serves.
    Serving,
}

impl Need {
    /// Whether that is so, by the settings of the release that serves.
    pub fn met(self, report: &Report) -> bool {
        let edge = report.edge.as_ref().filter(|edge| edge.release == report.release);
        let phase = edge.map_or("", |edge| edge.phase.as_str());
        match self {
            Need::Nothing => true,
            Need::Ready => matches!(phase, "serving" | "waiting"),
            Need::Serving => phase == "serving",
        }
    }
}

/// Errors of the ACME protocol that do not pass by waiting: <https://www.rfc-editor.org/rfc/rfc8555#section-6.7>
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

/// How long it has been as it is.
#[derive(Debug)]
pub struct Patience {
    phase: String,
    error: Option<String>,
    since: Instant,
}

impl Patience {
    /// Begins at this moment.
    pub fn new(now: Instant) -> Self {
        Self { phase: String::new(), error: None, since: now }
    }

    /// Takes in what the instance says; what to show, if it says something new.
    ///
    /// # Errors
    /// That it has been so for too long, or that no waiting will help. `up` is the command that goes on from there.
    pub fn look(&mut self, edge: &Edge, now: Instant, up: &str) -> Result<Option<String>> {
        let changed = self.phase != edge.phase || self.error.is_some() != edge.error.is_some();
        let other = changed || self.error != edge.error;
        if changed {
            self.since = now;
        }
        (self.phase, self.error) = (edge.phase.clone(), edge.error.clone());
        let waited = now.saturating_duration_since(self.since);
        let hopeless = edge.error.as_deref().is_some_and(|error| FINAL.iter().any(|word| error.contains(word)));
        if waited > self.patience() || (hopeless && edge.phase == "certificate") {
            return Err(self.failure(waited, up));
        }
        Ok(other.then(|| self.words()))
    }

    /// The first failure may be an address that has only just been attached; Caddy tries again after a minute.
    fn patience(&self) -> Duration {
        Duration::from_secs(match (self.phase.as_str(), &self.error) {
            ("waiting", _) => 600,
            ("certificate", Some(_)) => 75,
            ("failed", _) => 30,
            _ => 180,
        })
    }

    fn words(&self) -> String {
        let error = self.error.as_deref().unwrap_or_default();
        match self.phase.as_str() {
            "waiting" => error.to_owned(),
            "certificate" if error.is_empty() => "the certificate is on its way".to_owned(),
            "certificate" => format!("no certificate yet: {error}"),
            "failed" => format!("trying again: {error}"),
            "serving" => "serves".to_owned(),
            _ => "the instance fetches Caddy".to_owned(),
        }
    }

    fn failure(&self, waited: Duration, up: &str) -> Failure {
        let error = self.error.clone().unwrap_or_else(|| "the instance does not say why".to_owned());
        let what = match self.phase.as_str() {
            "certificate" => "there is no certificate for the app".to_owned(),
            "waiting" => format!("no certificate was asked for within {} minutes", waited.as_secs() / 60),
            _ => "the edge (Caddy) does not serve the app".to_owned(),
        };
        Failure::new(Exit::Unhealthy, what)
            .because(error)
            .standing("The app runs, and is not served in clear. The instance goes on trying by itself.")
            .next(format!("when that is mended: {up}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(phase: &str, error: Option<&str>) -> Edge {
        Edge { https: true, phase: phase.into(), error: error.map(str::to_owned), ..Edge::default() }
    }

    #[test]
    fn one_that_waits_for_the_address_can_take_over_but_does_not_serve() {
        for (phase, ready, serving) in
            [("serving", true, true), ("waiting", true, false), ("certificate", false, false)]
        {
            let report = Report { edge: Some(edge(phase, None)), ..Report::default() };
            assert_eq!(Need::Ready.met(&report), ready, "{phase}");
            assert_eq!(Need::Serving.met(&report), serving, "{phase}");
        }
        let none = Report::default();
        assert!(Need::Nothing.met(&none) && !Need::Ready.met(&none) && !Need::Serving.met(&none));
        let before = Report { release: Some("new".into()), edge: Some(edge("serving", None)), ..Report::default() };
        assert!(!Need::Serving.met(&before), "it has the settings of another release still");
    }

    #[test]
    fn what_may_pass_is_waited_for_and_what_will_not_is_not() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let dns = edge("certificate", Some("urn:ietf:params:acme:error:dns: no such name"));
        assert!(patience.look(&edge("certificate", None), at(0), "up").unwrap().is_some());
        assert!(patience.look(&edge("certificate", None), at(170), "up").unwrap().is_none());
        assert!(patience.look(&dns, at(175), "up").unwrap().unwrap().contains("no such name"));
        assert!(patience.look(&dns, at(240), "up").is_ok());
        assert!(patience.look(&dns, at(251), "up").is_err());
        let limit =
            edge("certificate", Some("HTTP 429 urn:ietf:params:acme:error:rateLimited - too many certificates"));
        let failure = Patience::new(start).look(&limit, at(0), "devopsctl up").unwrap_err();
        assert!(failure.reasons().concat().contains("too many certificates"));
    }

    #[test]
    fn an_old_certificate_that_cannot_be_renewed_is_no_reason_to_give_up() {
        let start = Instant::now();
        let limit = edge("serving", Some("urn:ietf:params:acme:error:rateLimited"));
        assert!(Patience::new(start).look(&limit, start, "up").is_ok());
    }
}
