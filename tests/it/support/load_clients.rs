//! Clients that send requests all the time, each on a new connection, and accept only certain statuses.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::http::{client, runtime};
use super::project::until;

#[derive(Default)]
struct Log {
    done: AtomicBool,
    answered: AtomicU32,
    wrong: Mutex<Vec<String>>,
}

/// Running clients.
pub struct LoadClients {
    log: Arc<Log>,
    tasks: Vec<JoinHandle<()>>,
}

impl LoadClients {
    /// Starts clients with this token that send requests without a pause. Any other status than these is wrong.
    pub fn start(count: u32, url: &str, token: &str, right: &'static [u16]) -> Self {
        Self::with_pause(count, url, token, right, Duration::ZERO)
    }

    /// The same with a pause between requests.
    pub fn with_pause(count: u32, url: &str, token: &str, right: &'static [u16], pause: Duration) -> Self {
        let log = Arc::new(Log::default());
        let visit = || visit(log.clone(), url.to_owned(), token.to_owned(), right, pause);
        let tasks = (0..count).map(|_| runtime().spawn(visit())).collect();
        Self { log, tasks }
    }

    /// The number of responses so far.
    pub fn answered(&self) -> u32 {
        self.log.answered.load(Ordering::SeqCst)
    }

    /// Waits for more responses, ends the clients, and returns the number of responses. All must have been right.
    #[track_caller]
    pub fn end(self, more: u32) -> u32 {
        let before = self.answered();
        until(120, "visitors are answered", || (self.answered() >= before + more).then_some(()));
        self.log.done.store(true, Ordering::SeqCst);
        for task in self.tasks {
            runtime().block_on(task).unwrap();
        }
        let wrong = self.log.wrong.lock().unwrap();
        let answered = self.log.answered.load(Ordering::SeqCst);
        assert!(wrong.is_empty(), "{answered} answered, {} wrong: {wrong:?}", wrong.len());
        answered
    }
}

async fn visit(log: Arc<Log>, url: String, token: String, right: &[u16], pause: Duration) {
    while !log.done.load(Ordering::SeqCst) {
        let request = client().get(&url).header("Authorization", format!("Token {token}"));
        match request.send().await {
            Ok(answer) if right.contains(&answer.status().as_u16()) => {
                let _ = log.answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(answer) => log.wrong.lock().unwrap().push(answer.status().to_string()),
            Err(error) => log.wrong.lock().unwrap().push(format!("{error:?}")),
        }
        tokio::time::sleep(pause).await;
    }
}
