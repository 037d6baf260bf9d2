//! Ctrl-C: the first one lets running steps finish and starts none; the second one exits at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::error::{Exit, Failure, Result};
use super::event::{Event, Sink};

/// Whether the user pressed Ctrl-C.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    lent: Arc<AtomicBool>,
    bell: Arc<Notify>,
}

impl Interrupt {
    /// Starts to listen for Ctrl-C.
    pub fn listen(sink: Arc<dyn Sink>) -> Self {
        let interrupt = Self::default();
        let handle = interrupt.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if handle.lent.load(Ordering::SeqCst) {
                    continue;
                }
                if handle.asked.swap(true, Ordering::SeqCst) {
                    std::process::exit(Exit::Interrupted as i32);
                }
                sink.event(Event::Warn("stopping after the running steps; press Ctrl-C again to exit at once".into()));
                handle.bell.notify_waiters();
            }
        });
        interrupt
    }

    /// Whether Ctrl-C was pressed.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Runs work that owns the terminal and handles Ctrl-C itself; meanwhile Ctrl-C is ignored here.
    pub async fn lend<T>(&self, work: impl Future<Output = T>) -> T {
        self.lent.store(true, Ordering::SeqCst);
        let done = work.await;
        self.lent.store(false, Ordering::SeqCst);
        done
    }

    /// Fails once Ctrl-C was pressed.
    pub fn check(&self) -> Result<()> {
        if self.asked() { Err(stopped()) } else { Ok(()) }
    }

    /// Runs work that changes nothing, and drops it on Ctrl-C.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let bell = self.bell.notified();
        tokio::pin!(bell);
        bell.as_mut().enable();
        self.check()?;
        tokio::select! {
            done = work => done,
            () = bell => Err(stopped()),
        }
    }
}

fn stopped() -> Failure {
    Failure::new(Exit::Interrupted, "stopped by Ctrl-C")
        .next("run the same command again to continue from here")
        .cutting_short()
}
