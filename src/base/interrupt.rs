//! Ctrl-C: the first lets what is under way finish and starts nothing new; the second leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::error::{Exit, Failure, Result};
use super::event::{Event, Sink};

/// Whether the user wants to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    lent: Arc<AtomicBool>,
    bell: Arc<Notify>,
}

impl Interrupt {
    /// Listens from now on.
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
                sink.event(Event::Warn("stopping after what is under way; Ctrl-C again leaves at once".into()));
                handle.bell.notify_waiters();
            }
        });
        interrupt
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Runs what has the terminal to itself, and so hears Ctrl-C itself: here it says nothing meanwhile.
    pub async fn lend<T>(&self, work: impl Future<Output = T>) -> T {
        self.lent.store(true, Ordering::SeqCst);
        let done = work.await;
        self.lent.store(false, Ordering::SeqCst);
        done
    }

    /// An error once it was asked for.
    ///
    /// # Errors
    /// That the user stopped it.
    pub fn check(&self) -> Result<()> {
        if self.asked() { Err(stopped()) } else { Ok(()) }
    }

    /// Runs what changes nothing, and drops it when asked to stop.
    ///
    /// # Errors
    /// Its own, or that the user stopped it.
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
    Failure::new(Exit::Interrupted, "stopped, as you asked").next("the same command goes on from here").cutting_short()
}
