//! The one retry policy: exponential, jittered, bounded by time.

use std::time::{Duration, Instant};

use crate::aws::ApiError;

/// How long a tag may take to propagate to the instance. AWS documents no bound: three seconds are usual, and more than two minutes
/// were measured.
const UNSEEN: Duration = Duration::from_secs(300);
/// The environment variable with which tests shorten that time by a factor.
pub const HASTE: &str = "DEVOPSCTL_TEST_HASTE";

/// The factor of [`HASTE`]; 1 outside of tests.
pub fn haste() -> u32 {
    std::env::var(HASTE).ok().and_then(|told| told.parse().ok()).filter(|haste| *haste > 0).unwrap_or(1)
}

/// The pause between two reads of an instance's answer.
pub const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// After this time the user is told what the command waits for.
const USUAL: Duration = Duration::from_secs(8);

/// Waits for an instance to see a tag.
#[derive(Debug)]
pub struct Unseen {
    since: Instant,
    haste: u32,
    said: bool,
}

impl Unseen {
    /// Starts when the tag was set.
    pub fn now() -> Self {
        Self { since: Instant::now(), haste: haste(), said: false }
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        self.passed() > UNSEEN
    }

    /// The time in minutes, rounded up.
    pub fn minutes() -> u64 {
        UNSEEN.as_secs().div_ceil(60)
    }

    fn passed(&self) -> Duration {
        self.since.elapsed() * self.haste
    }

    /// Pauses once; says once that it takes longer than usual.
    pub async fn wait(&mut self, instance: &str, say: impl FnOnce(String)) -> Retry {
        if self.is_over() {
            return Retry::Enough;
        }
        if let Some(words) = self.words(instance) {
            say(words);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        Retry::Again
    }

    /// The message, once, when it takes longer than usual.
    fn words(&mut self, instance: &str) -> Option<String> {
        let late = !self.said && self.passed() > USUAL;
        self.said |= late;
        late.then(|| format!("waiting for tags to propagate to {instance}, which can take minutes"))
    }
}

/// Whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The pause is over.
    Again,
    /// The time is up.
    Enough,
}

/// Growing pauses, up to five seconds each, within a budget.
#[derive(Debug)]
pub struct Backoff {
    started: Instant,
    budget: Duration,
    ceiling: Duration,
    next: Duration,
}

impl Backoff {
    /// Gives up when another pause would end later than `budget` from now.
    pub fn new(budget: Duration) -> Self {
        Self { started: Instant::now(), budget, ceiling: Duration::from_secs(5), next: Duration::from_millis(100) }
    }

    /// For polling: pauses stay below `ceiling`.
    pub fn polling(budget: Duration, ceiling: Duration) -> Self {
        Self { ceiling, ..Self::new(budget) }
    }

    /// Pauses, or returns that the budget is used up.
    pub async fn wait(&mut self) -> Retry {
        match self.pause(self.started.elapsed()) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Retry::Again
            }
            None => Retry::Enough,
        }
    }

    /// The next pause, if it fits into the budget after `spent`.
    fn pause(&mut self, spent: Duration) -> Option<Duration> {
        let pause = self.next.mul_f64(jitter());
        self.next = (self.next * 2).min(self.ceiling);
        (spent + pause <= self.budget).then_some(pause)
    }
}

/// Retries while the error `passes` and the backoff has time left.
pub async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(
    mut backoff: Backoff,
    passes: impl Fn(&ApiError) -> bool,
    attempt: impl Fn() -> F,
) -> Result<T, ApiError> {
    loop {
        match attempt().await {
            Err(error) if passes(&error) && backoff.wait().await == Retry::Again => {}
            answer => return answer,
        }
    }
}

/// Between one half and one, so that concurrent clients do not retry at the same time.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without randomness all pauses have full length, which is harmless.
    getrandom::fill(&mut byte).map_or(1.0, |()| 0.5 + f64::from(byte[0]) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_longer_than_was_ever_measured_and_the_message_appears_once() {
        let after = |seconds| Unseen { since: Instant::now() - Duration::from_secs(seconds), haste: 1, said: false };
        assert!(!after(150).is_over());
        assert!(after(301).is_over());
        assert_eq!(after(5).words("i-1"), None);
        let mut late = after(10);
        assert!(late.words("i-1").unwrap().contains("i-1"));
        assert_eq!(late.words("i-1"), None);
    }

    #[test]
    fn pauses_end_within_the_budget() {
        let mut backoff = Backoff::new(Duration::from_secs(60));
        assert!(backoff.pause(Duration::from_secs(59)).is_some());
        assert_eq!(backoff.pause(Duration::from_secs(60)), None);
    }

    #[test]
    fn pauses_grow_up_to_the_ceiling() {
        let mut backoff = Backoff::polling(Duration::from_secs(3600), Duration::from_secs(1));
        let pauses: Vec<_> = (0..20).filter_map(|_| backoff.pause(Duration::ZERO)).collect();
        assert_eq!(pauses.len(), 20);
        assert!(pauses[0] <= Duration::from_millis(100));
        assert!(pauses[10..].iter().all(|pause| (500..=1000).contains(&pause.as_millis())));
    }

    #[test]
    fn jitter_stays_in_bounds() {
        for _ in 0..1000 {
            assert!((0.5..=1.0).contains(&jitter()));
        }
    }
}
