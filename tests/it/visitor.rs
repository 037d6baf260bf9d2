//! Somebody who asks all the time, each time on a connection of his own, and to whom only certain answers may be given.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::http::{client, runtime};
use crate::project::until;

#[derive(Default)]
struct Log {
    done: AtomicBool,
    answered: AtomicU32,
    wrong: Mutex<Vec<String>>,
}

/// Visitors, from their start to their end.
pub struct Visitors {
    log: Arc<Log>,
    tasks: Vec<JoinHandle<()>>,
}

impl Visitors {
    /// So many begin to ask, with this token, as fast as they are answered; any answer but these is wrong.
    pub fn start(count: u32, url: &str, token: &str, right: &'static [u16]) -> Self {
        Self::unhurried(count, url, token, right, Duration::ZERO)
    }

    /// The same, with a pause between an answer and the next question.
    pub fn unhurried(count: u32, url: &str, token: &str, right: &'static [u16], pause: Duration) -> Self {
        let log = Arc::new(Log::default());
        let visit = || visit(log.clone(), url.to_owned(), token.to_owned(), right, pause);
        let tasks = (0..count).map(|_| runtime().spawn(visit())).collect();
        Self { log, tasks }
    }

    /// How many answers they have got.
    pub fn answered(&self) -> u32 {
        self.log.answered.load(Ordering::SeqCst)
    }

    /// They go on until they have got some more answers, then end: how many there were. All must have been right.
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
