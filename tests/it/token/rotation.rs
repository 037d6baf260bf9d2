//! `set-token` under load: clients notice only the new token.
//!
//! Clients with the old or the new token send requests all the time, on kept and on new connections. During the change, 200
//! and 401 are right; before and after it, only one of them. Any other result is wrong.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{get, runtime};
use crate::project::Project;

/// The phase of the change.
const BEFORE: u32 = 0;
const CHANGING: u32 = 1;
const AFTER: u32 = 2;
const DONE: u32 = 3;

/// The number of responses for each client before and after each change.
const ANSWERS: u64 = 25;

#[derive(Default)]
struct Load {
    phase: AtomicU32,
    clients: [Client; 8],
    wrong: std::sync::Mutex<Vec<String>>,
}

/// The responses of one client by phase.
#[derive(Default)]
struct Client {
    answered: [AtomicU64; 4],
    retried: AtomicU64,
}

/// One HTTP/1.1 connection, without a pool that would hide a retry.
pub struct Connection {
    stream: TcpStream,
    pub used: bool,
}

/// The result of a request.
pub enum Exchange {
    /// The status, and whether the connection stays open.
    Answer(u16, bool),
    /// The connection was closed before the first byte of the response.
    Closed,
    Broken(String),
}

impl Connection {
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, used: false }
    }

    pub async fn ask(&mut self, path: &str, token: &str, close: bool) -> Exchange {
        let connection = if close { "Connection: close\r\n" } else { "" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Token {token}\r\n{connection}\r\n");
        if self.stream.write_all(request.as_bytes()).await.is_err() {
            return Exchange::Closed;
        }
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) if bytes.is_empty() => return Exchange::Closed,
                Ok(0) => return Exchange::Broken(format!("cut off: {}", String::from_utf8_lossy(&bytes))),
                Err(error) => return Exchange::Broken(format!("{error} in the middle of an answer")),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            }
            if let Some(answer) = whole(&bytes) {
                self.used = true;
                return answer;
            }
        }
    }
}

/// The status, after the complete response.
fn whole(bytes: &[u8]) -> Option<Exchange> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length: usize = header("Content-Length")?.parse().ok()?;
    if body.len() < length {
        return None;
    }
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let stays = header("Connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
    Some(Exchange::Answer(status, stays))
}

/// Sends requests until the end. `old`: whether the token will be refused after the change.
async fn client(load: Arc<Load>, number: usize, address: String, token: String, old: bool, keep: bool) {
    let mut open: Option<Connection> = None;
    let client = &load.clients[number];
    while load.phase.load(Ordering::SeqCst) != DONE {
        let began = load.phase.load(Ordering::SeqCst);
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => Connection::open(&address).await,
        };
        match connection.ask("/", &token, !keep).await {
            Exchange::Answer(status, stays) => {
                let ended = load.phase.load(Ordering::SeqCst);
                for phase in began..=ended {
                    client.answered[phase as usize].fetch_add(1, Ordering::SeqCst);
                }
                let (then, now) = if old { (200, 401) } else { (401, 200) };
                let right = match (began, ended) {
                    (BEFORE, BEFORE) => status == then,
                    (AFTER | DONE, _) => status == now,
                    _ => status == 200 || status == 401,
                };
                if !right {
                    let which = if old { "old" } else { "new" };
                    load.wrong.lock().unwrap().push(format!("{status} to the {which} token in phase {began}-{ended}"));
                }
                open = (keep && stays).then_some(connection);
            }
            // A server can close an idle connection; clients then retry.
            Exchange::Closed if connection.used => {
                client.retried.fetch_add(1, Ordering::SeqCst);
            }
            Exchange::Closed => load.wrong.lock().unwrap().push("a new connection was closed unanswered".to_owned()),
            Exchange::Broken(how) => load.wrong.lock().unwrap().push(how),
        }
    }
}

/// A request that starts before the change and is answered after it.
async fn slow(address: String, token: String) -> u16 {
    let mut connection = Connection::open(&address).await;
    match connection.ask("/slow", &token, true).await {
        Exchange::Answer(status, _) => status,
        Exchange::Closed => panic!("the slow request was closed unanswered"),
        Exchange::Broken(how) => panic!("the slow request: {how}"),
    }
}

/// Waits until every client has this many responses in the phase, or a wrong one.
fn wait_for_answers(load: &Load, phase: u32, answers: u64) {
    let enough = |client: &Client| client.answered[phase as usize].load(Ordering::SeqCst) >= answers;
    crate::project::until(60, "every client is answered", || {
        (load.clients.iter().all(enough) || !load.wrong.lock().unwrap().is_empty()).then_some(())
    });
}

/// Adds a route that answers when the file `go_on` exists.
fn add_slow_route(project: &Project, go_on: &Path) {
    let app = fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    let slow_route = format!(
        "import time

@app.get('/slow')
def slow():
    open(os.environ['TMPDIR'] + '/slow-begun', 'w').close()
    while not os.path.exists({go_on:?}):
        time.sleep(0.05)
    return 'at last\\n'


if __name__"
    );
    project.file("app/app.py", &app.replace("if __name__", &slow_route));
}

#[test]
fn clients_notice_only_the_token() {
    let project = Project::example();
    let go_on = project.state().join("slow-goes-on");
    add_slow_route(&project, &go_on);
    let url = project.up();
    let begun = project.machine().join("tmp/slow-begun");
    let address = url.trim_start_matches("http://").to_owned();
    let mut token = project.token();
    let (mut answered, mut retried) = (0, 0);
    for round in 0..3 {
        let fresh = format!("token-of-round-{round}");
        let load = Arc::new(Load::default());
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (old, keep) = (number % 4 < 2, number % 2 == 0);
                let token = if old { token.clone() } else { fresh.clone() };
                runtime().spawn(client(load.clone(), number, address.clone(), token, old, keep))
            })
            .collect();
        let in_flight = (round == 0).then(|| runtime().spawn(slow(address.clone(), token.clone())));
        wait_for_answers(&load, BEFORE, ANSWERS);
        if in_flight.is_some() {
            crate::project::until(60, "the slow request is under way", || begun.exists().then_some(()));
        }
        load.phase.store(CHANGING, Ordering::SeqCst);
        project.run_with("set-token --sandbox --stdin", &fresh).ok();
        wait_for_answers(&load, CHANGING, 1);
        load.phase.store(AFTER, Ordering::SeqCst);
        wait_for_answers(&load, AFTER, 2 * ANSWERS);
        load.phase.store(DONE, Ordering::SeqCst);
        for client in clients {
            runtime().block_on(client).unwrap();
        }
        if let Some(in_flight) = in_flight {
            assert!(!in_flight.is_finished(), "the slow request ended before the app let it");
            fs::write(&go_on, "").unwrap();
            assert_eq!(runtime().block_on(in_flight).unwrap(), 200);
        }
        let wrong = load.wrong.lock().unwrap();
        assert!(
            wrong.is_empty(),
            "round {round}: {} wrong, for example {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        for client in &load.clients {
            answered += client.answered.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
            retried += client.retried.load(Ordering::SeqCst);
        }
        token = fresh;
    }
    println!("{answered} requests over three rotations, none failed; {retried} asked again on a closed connection");
    assert_eq!(get(&url, Some(&token)).status, 200);
}
