//! The one policy for trying again: exponential, jittered, bounded by time.

use std::time::{Duration, Instant};

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The pause is over.
    Again,
    /// The time is up.
    Enough,
}

/// Pauses that grow, up to five seconds each, until the budget is spent.
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

    /// For waiting on something that is known to come soon: pauses stay below `ceiling`.
    pub fn polling(budget: Duration, ceiling: Duration) -> Self {
        Self { ceiling, ..Self::new(budget) }
    }

    /// Waits, or says that there is no time left.
    pub async fn wait(&mut self) -> Retry {
        let pause = self.next.mul_f64(jitter());
        if self.started.elapsed() + pause > self.budget {
            return Retry::Enough;
        }
        tokio::time::sleep(pause).await;
        self.next = (self.next * 2).min(self.ceiling);
        Retry::Again
    }
}

/// Between one half and one, so that many who failed together do not come back together.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without randomness all pauses are the longest, which is harmless.
    getrandom::fill(&mut byte).map_or(1.0, |()| 0.5 + f64::from(byte[0]) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_ends_within_its_budget() {
        let mut backoff = Backoff { started: Instant::now(), ..Backoff::new(Duration::ZERO) };
        assert_eq!(backoff.wait().await, Retry::Enough);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_up_to_the_ceiling() {
        let mut backoff = Backoff::polling(Duration::from_secs(3600), Duration::from_secs(1));
        for _ in 0..10 {
            assert_eq!(backoff.wait().await, Retry::Again);
        }
        assert_eq!(backoff.next, Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_in_bounds() {
        for _ in 0..1000 {
            assert!((0.5..=1.0).contains(&jitter()));
        }
    }
}
