//! A proxy between the command and AWS. It records every call and injects a fault at one of them: it kills the command, breaks
//! the connection, or responds in place of AWS.
//!
//! Steps run concurrently, so a call is identified by its action and its number among the calls of that action.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::sync::watch;

use crate::aws_errors::Why;
use crate::call::Call;
use crate::wire::{Message, Reader};

/// Time limit for the calls under way at the end of a run.
const QUIET: Duration = Duration::from_secs(20);
/// How often a running step may poll before it notices that another step has failed.
const POLLS: usize = 5;
/// A slow answer's delay.
const SLOW: Duration = Duration::from_millis(300);

/// A call of one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Its action.
    pub action: String,
    /// 1 for the first of that action.
    pub nth: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.action, self.nth)
    }
}

/// What the proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Kill the command before AWS receives the call.
    KillBefore,
    /// Kill the command after AWS has acted, before the response.
    KillDuring,
    /// Kill the command as soon as the response is sent.
    KillAfter,
    /// Refuse the call and the next ones of its action, this many in all. AWS does not receive them.
    Refuse(Why, usize),
    /// Refuse the call after a delay.
    RefuseSlowly(Why),
    /// Reset the connection before AWS receives the call.
    ResetBefore,
    /// Reset the connection after AWS has acted.
    ResetAfter,
    /// Send half of the response after AWS has acted.
    Truncate,
}

/// A fault and its point.
#[derive(Clone, Debug)]
pub struct Injection {
    pub point: Point,
    pub fault: Fault,
}

/// The state of a run.
#[derive(Default)]
struct Run {
    number: u64,
    injection: Option<Injection>,
    victim: Option<Pid>,
    killed: bool,
    counts: BTreeMap<String, usize>,
    calls: Vec<(Point, Call)>,
}

struct Shared {
    upstream: SocketAddr,
    run: Mutex<Run>,
    /// The number of calls under way.
    under_way: watch::Sender<usize>,
}

/// The proxy of one emulator.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// The calls of a run.
#[derive(Default)]
pub struct Calls {
    all: Vec<(Point, Call)>,
    injection: Option<Point>,
}

impl Proxy {
    /// Listens on a free port and forwards to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { upstream, run: Mutex::default(), under_way: watch::Sender::new(0) });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = serving.clone();
                // Broken connections are expected.
                tokio::spawn(async move { drop(serve(&shared, client).await) });
            }
        });
        Self { address, shared }
    }

    /// Starts a new run; connections of the last one are no longer served. A kill fault kills the first process that `start` starts,
    /// which is known before its first call.
    pub fn begin(&self, injection: Option<Injection>, start: impl FnOnce() -> Vec<Child>) -> Vec<Child> {
        let mut run = self.shared.run();
        let number = run.number + 1;
        let children = start();
        let victim = children[0].id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        *run = Run { number, injection, victim, ..Run::default() };
        children
    }

    /// Ends the run, waits for the calls under way, and returns the calls.
    pub async fn end(&self) -> Calls {
        let mut under_way = self.shared.under_way.subscribe();
        let quiet = tokio::time::timeout(QUIET, under_way.wait_for(|calls| *calls == 0)).await;
        assert!(quiet.is_ok(), "calls are still under way {QUIET:?} after the command ended");
        let mut run = self.shared.run();
        run.killed = true;
        Calls { all: std::mem::take(&mut run.calls), injection: run.injection.take().map(|injection| injection.point) }
    }
}

impl Calls {
    /// Every call in order.
    pub fn points(&self) -> Vec<Point> {
        self.all.iter().map(|(point, _)| point.clone()).collect()
    }

    /// Those that change something.
    pub fn changes(&self) -> Vec<Point> {
        self.all.iter().filter(|(_, call)| call.changes()).map(|(point, _)| point.clone()).collect()
    }

    /// Whether the fault was injected.
    pub fn triggered(&self) -> bool {
        self.injection.as_ref().is_none_or(|injection| self.all.iter().any(|(point, _)| point == injection))
    }

    /// How often the faulty call was sent, from the fault on.
    pub fn sent(&self) -> usize {
        let calls = self.since_the_fault();
        calls.iter().filter(|call| Some(*call) == calls.first()).count()
    }

    /// A call that the command polled after the fault, and how often.
    pub fn polled(&self) -> Option<(&str, usize)> {
        let calls = self.since_the_fault();
        let times = |call: &Call| calls.iter().filter(|other| **other == call).count();
        calls.iter().map(|call| (call.action.as_str(), times(call))).find(|(_, times)| *times > POLLS)
    }

    fn since_the_fault(&self) -> Vec<&Call> {
        let met = self.all.iter().skip_while(|(point, _)| Some(point) != self.injection.as_ref());
        met.map(|(_, call)| call).collect()
    }
}

impl Shared {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call. `None`: its sender is killed or belongs to another run. Else the fault for this call.
    fn note(&self, number: u64, call: &Call) -> Option<Option<Fault>> {
        let mut run = self.run();
        if run.number != number || run.killed {
            return None;
        }
        let count = run.counts.entry(call.action.clone()).or_default();
        *count += 1;
        let nth = *count;
        run.calls.push((Point { action: call.action.clone(), nth }, call.clone()));
        let injection = run.injection.clone().filter(|injection| injection.point.action == call.action);
        let fault = injection.and_then(|injection| {
            let times = if let Fault::Refuse(_, times) = injection.fault { times } else { 1 };
            (injection.point.nth..injection.point.nth.saturating_add(times)).contains(&nth).then_some(injection.fault)
        });
        run.killed = matches!(fault, Some(Fault::KillBefore));
        Some(fault)
    }

    /// Kills the command. Requests that are not read yet are dropped.
    fn kill(&self) {
        let mut run = self.run();
        run.killed = true;
        let victim = run.victim.expect("the command is known before it can call");
        // If the command has ended already, its exit code shows it.
        let _ = kill_process(victim, Signal::KILL);
    }
}

/// Counts a call while it is under way.
struct UnderWay<'a>(&'a watch::Sender<usize>);

impl<'a> UnderWay<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|calls| *calls += 1);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

/// One connection, a call after the other.
async fn serve(shared: &Shared, client: TcpStream) -> std::io::Result<()> {
    let number = shared.run().number;
    client.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let mut from_client = Reader::new(from_client);
    let mut upstream = None;
    while let Some(mut request) = from_client.head().await? {
        if request.header("expect").is_some() {
            to_client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        from_client.body(&mut request).await?;
        let call = Call::of(&request);
        let _under_way = UnderWay::new(&shared.under_way);
        let Some(fault) = shared.note(number, &call) else { return Ok(()) };
        if let Some(answer) = injected(shared, fault, &call).await {
            match answer {
                Injected::Answer(bytes) => to_client.write_all(&bytes).await?,
                Injected::Reset => return reset(to_client),
                Injected::Nothing => return Ok(()),
            }
            continue;
        }
        let answer = pass(shared.upstream, &mut upstream, &request).await?;
        match fault {
            Some(Fault::KillDuring) => {
                shared.kill();
                return Ok(());
            }
            Some(Fault::ResetAfter) => return reset(to_client),
            Some(Fault::Truncate) => {
                to_client.write_all(&answer.half()).await?;
                return to_client.shutdown().await;
            }
            Some(Fault::KillAfter) => {
                to_client.write_all(&answer.bytes()).await?;
                shared.kill();
                return Ok(());
            }
            _ => to_client.write_all(&answer.bytes()).await?,
        }
    }
    Ok(())
}

/// The injected result of a call.
enum Injected {
    Answer(Vec<u8>),
    Reset,
    Nothing,
}

async fn injected(shared: &Shared, fault: Option<Fault>, call: &Call) -> Option<Injected> {
    match fault? {
        Fault::KillBefore => {
            shared.kill();
            Some(Injected::Nothing)
        }
        Fault::Refuse(why, _) => Some(Injected::Answer(why.answer(call))),
        Fault::RefuseSlowly(why) => {
            tokio::time::sleep(SLOW).await;
            Some(Injected::Answer(why.answer(call)))
        }
        Fault::ResetBefore => Some(Injected::Reset),
        _ => None,
    }
}

/// Forwards a request byte by byte. The connection is kept as long as the client's.
async fn pass(
    to: SocketAddr,
    upstream: &mut Option<(Reader<tokio::net::tcp::OwnedReadHalf>, OwnedWriteHalf)>,
    request: &Message,
) -> std::io::Result<Message> {
    if upstream.is_none() {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (from, to) = stream.into_split();
        *upstream = Some((Reader::new(from), to));
    }
    let Some((from, to)) = upstream else { unreachable!() };
    to.write_all(&request.bytes()).await?;
    let method = request.first_line().split(' ').next().unwrap_or_default().to_owned();
    let answer = from.answer(&method).await?;
    if answer.header("connection").is_some_and(|how| how.eq_ignore_ascii_case("close")) {
        *upstream = None;
    }
    Ok(answer)
}

/// Closes the connection with a reset.
fn reset(to_client: OwnedWriteHalf) -> std::io::Result<()> {
    // With a linger time of zero, close discards unsent data and sends RST.
    to_client.as_ref().set_zero_linger()?;
    // Without a FIN before it.
    to_client.forget();
    Ok(())
}
