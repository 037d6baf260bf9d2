//! Stands between the command and AWS, notes every call, and does one evil at one call: kills the command, breaks the
//! connection, answers in AWS's place.
//!
//! Steps run at once, so a call is told by its action and by how many of that action came before it in the run.

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

use crate::call::Call;
use crate::refusal::Why;
use crate::wire::{Message, Reader};

/// How long all that is under way may take to end.
const QUIET: Duration = Duration::from_secs(20);
/// A step that was under way may look this often before it notices that another step has failed.
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

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evil {
    /// The command is killed before AWS hears of the call.
    KillBefore,
    /// AWS has acted, and the command is killed before it hears of that.
    KillDuring,
    /// The command is killed as soon as the answer is on its way to it.
    KillAfter,
    /// The call and those of its action after it are refused, this many in all, and AWS does not hear of them.
    Refuse(Why, usize),
    /// It is refused after a while.
    RefuseSlowly(Why),
    /// The connection is reset; AWS has heard nothing.
    ResetBefore,
    /// The connection is reset; AWS has acted.
    ResetAfter,
    /// AWS has acted, and half of the answer arrives.
    Truncate,
}

/// An evil and its place.
#[derive(Clone, Debug)]
pub struct Trap {
    pub point: Point,
    pub evil: Evil,
}

/// What the proxy knows of the run.
#[derive(Default)]
struct Run {
    number: u64,
    trap: Option<Trap>,
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

/// What a run called.
#[derive(Default)]
pub struct Calls {
    all: Vec<(Point, Call)>,
    trap: Option<Point>,
}

impl Proxy {
    /// Listens on a free port and passes on to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { upstream, run: Mutex::default(), under_way: watch::Sender::new(0) });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = serving.clone();
                // A connection that breaks is what this is all about: there is nobody to tell.
                tokio::spawn(async move { drop(serve(&shared, client).await) });
            }
        });
        Self { address, shared }
    }

    /// A new run begins; connections of the last one are no more served. Whom a trap kills is the first that `start`
    /// starts, and it is known before any call of it is looked at.
    pub fn begin(&self, trap: Option<Trap>, start: impl FnOnce() -> Vec<Child>) -> Vec<Child> {
        let mut run = self.shared.run();
        let number = run.number + 1;
        let children = start();
        let victim = children[0].id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        *run = Run { number, trap, victim, ..Run::default() };
        children
    }

    /// The run is over: what is under way ends. What was called.
    pub async fn end(&self) -> Calls {
        let mut under_way = self.shared.under_way.subscribe();
        let quiet = tokio::time::timeout(QUIET, under_way.wait_for(|calls| *calls == 0)).await;
        assert!(quiet.is_ok(), "calls are still under way {QUIET:?} after the command ended");
        let mut run = self.shared.run();
        run.killed = true;
        Calls { all: std::mem::take(&mut run.calls), trap: run.trap.take().map(|trap| trap.point) }
    }
}

impl Calls {
    /// Every call, in the order in which they came.
    pub fn points(&self) -> Vec<Point> {
        self.all.iter().map(|(point, _)| point.clone()).collect()
    }

    /// Those that change something.
    pub fn changes(&self) -> Vec<Point> {
        self.all.iter().filter(|(_, call)| call.changes()).map(|(point, _)| point.clone()).collect()
    }

    /// Whether the call came at which something was to happen.
    pub fn sprung(&self) -> bool {
        self.trap.as_ref().is_none_or(|trap| self.all.iter().any(|(point, _)| point == trap))
    }

    /// How often the call was sent that met the trap, from then on.
    pub fn sent(&self) -> usize {
        let calls = self.since_the_trap();
        calls.iter().filter(|call| Some(*call) == calls.first()).count()
    }

    /// A call that the command sent again and again after the trap, as only a command that waits does, and how often.
    pub fn polled(&self) -> Option<(&str, usize)> {
        let calls = self.since_the_trap();
        let times = |call: &Call| calls.iter().filter(|other| **other == call).count();
        calls.iter().map(|call| (call.action.as_str(), times(call))).find(|(_, times)| *times > POLLS)
    }

    fn since_the_trap(&self) -> Vec<&Call> {
        let met = self.all.iter().skip_while(|(point, _)| Some(point) != self.trap.as_ref());
        met.map(|(_, call)| call).collect()
    }
}

impl Shared {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call. `None`: who sent it is dead, or of another run. Else what is to be done at it.
    fn note(&self, number: u64, call: &Call) -> Option<Option<Evil>> {
        let mut run = self.run();
        if run.number != number || run.killed {
            return None;
        }
        let count = run.counts.entry(call.action.clone()).or_default();
        *count += 1;
        let nth = *count;
        run.calls.push((Point { action: call.action.clone(), nth }, call.clone()));
        let trap = run.trap.clone().filter(|trap| trap.point.action == call.action);
        let evil = trap.and_then(|trap| {
            let times = if let Evil::Refuse(_, times) = trap.evil { times } else { 1 };
            (trap.point.nth..trap.point.nth.saturating_add(times)).contains(&nth).then_some(trap.evil)
        });
        run.killed = matches!(evil, Some(Evil::KillBefore));
        Some(evil)
    }

    /// Kills the command. What it has sent and nobody has read yet is not carried out.
    fn kill(&self) {
        let mut run = self.run();
        run.killed = true;
        let victim = run.victim.expect("the command is known before it can call");
        // One that has ended since its last answer was delivered is found out by its exit code.
        let _ = kill_process(victim, Signal::KILL);
    }
}

/// Counts a call as long as it is under way.
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
        let Some(evil) = shared.note(number, &call) else { return Ok(()) };
        if let Some(answer) = instead(shared, evil, &call).await {
            match answer {
                Instead::Answer(bytes) => to_client.write_all(&bytes).await?,
                Instead::Reset => return reset(to_client),
                Instead::Nothing => return Ok(()),
            }
            continue;
        }
        let answer = pass(shared.upstream, &mut upstream, &request).await?;
        match evil {
            Some(Evil::KillDuring) => {
                shared.kill();
                return Ok(());
            }
            Some(Evil::ResetAfter) => return reset(to_client),
            Some(Evil::Truncate) => {
                to_client.write_all(&answer.half()).await?;
                return to_client.shutdown().await;
            }
            Some(Evil::KillAfter) => {
                to_client.write_all(&answer.bytes()).await?;
                shared.kill();
                return Ok(());
            }
            _ => to_client.write_all(&answer.bytes()).await?,
        }
    }
    Ok(())
}

/// What happens instead of the call.
enum Instead {
    Answer(Vec<u8>),
    Reset,
    Nothing,
}

async fn instead(shared: &Shared, evil: Option<Evil>, call: &Call) -> Option<Instead> {
    match evil? {
        Evil::KillBefore => {
            shared.kill();
            Some(Instead::Nothing)
        }
        Evil::Refuse(why, _) => Some(Instead::Answer(why.answer(call))),
        Evil::RefuseSlowly(why) => {
            tokio::time::sleep(SLOW).await;
            Some(Instead::Answer(why.answer(call)))
        }
        Evil::ResetBefore => Some(Instead::Reset),
        _ => None,
    }
}

/// Passes a request on to the byte; the connection is kept, as the client keeps its own.
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

/// Lets go of the connection so that the other side sees a reset.
fn reset(to_client: OwnedWriteHalf) -> std::io::Result<()> {
    // Without lingering, closing it throws away what is unsent and says RST.
    to_client.as_ref().set_zero_linger()?;
    // Not even an orderly end is said first.
    to_client.forget();
    Ok(())
}
