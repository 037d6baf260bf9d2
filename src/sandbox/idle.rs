//! When the sandbox was last used, and so when it ends.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The clock of one sandbox.
pub struct Idle {
    limit: Duration,
    last: Mutex<Instant>,
}

impl Idle {
    /// Used just now.
    pub fn new(limit: Duration) -> Self {
        Self { limit, last: Mutex::new(Instant::now()) }
    }

    /// How long it may stay unused.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Somebody uses it.
    pub fn used(&self) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    /// How long it stays if nobody does.
    pub fn left(&self) -> Duration {
        self.left_at(Instant::now())
    }

    /// Returns when nobody has used it for the whole limit.
    pub async fn over(&self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn left_at(&self, now: Instant) -> Duration {
        let last = *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.limit.saturating_sub(now.saturating_duration_since(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_from_the_last_use() {
        let idle = Idle::new(Duration::from_secs(60));
        let start = *idle.last.lock().unwrap();
        assert_eq!(idle.left_at(start + Duration::from_secs(20)), Duration::from_secs(40));
        assert_eq!(idle.left_at(start + Duration::from_secs(90)), Duration::ZERO);
        *idle.last.lock().unwrap() = start + Duration::from_secs(50);
        assert_eq!(idle.left_at(start + Duration::from_secs(90)), Duration::from_secs(20));
    }
}
