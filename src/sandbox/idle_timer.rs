//! Ends the sandbox after a time without use.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Counts the time since the last use.
pub struct IdleTimer {
    limit: Duration,
    last: Mutex<Instant>,
}

impl IdleTimer {
    /// A timer that starts now.
    pub fn new(limit: Duration) -> Self {
        Self { limit, last: Mutex::new(Instant::now()) }
    }

    /// The idle time after which the sandbox ends.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Restarts the timer.
    pub fn restart(&self) {
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
    }

    /// The time that is left.
    pub fn remaining(&self) -> Duration {
        self.remaining_at(Instant::now())
    }

    /// Returns when the timer has expired.
    pub async fn expired(&self) {
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                return;
            }
            tokio::time::sleep(remaining).await;
        }
    }

    fn remaining_at(&self, now: Instant) -> Duration {
        let last = *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.limit.saturating_sub(now.saturating_duration_since(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_counts_from_the_last_use() {
        let idle = IdleTimer::new(Duration::from_secs(60));
        let start = *idle.last.lock().unwrap();
        assert_eq!(idle.remaining_at(start + Duration::from_secs(20)), Duration::from_secs(40));
        assert_eq!(idle.remaining_at(start + Duration::from_secs(90)), Duration::ZERO);
        *idle.last.lock().unwrap() = start + Duration::from_secs(50);
        assert_eq!(idle.remaining_at(start + Duration::from_secs(90)), Duration::from_secs(20));
    }
}
