//! `devopsctl sandbox serve`: the sandbox's own process.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::info;

use crate::base::error::{Failure, Result};
use crate::base::next::Next;

use super::emulator::Emulator;
use super::front::{self, Front, Log};
use super::gateway::Gateway;
use super::idle::Idle;
use super::machine;
use super::start::Started;
use super::state::{Ended, Folder};
use super::world::World;
use super::{ACCOUNT, Handle, Keys, OWNER, ServeArgs, secret};

/// Linux weighs sessions against each other: in one of its own, the niceness of the command that started it would not count any
/// more. <https://man7.org/linux/man-pages/man7/sched.7.html>, "The autogroup feature".
fn keep_niceness() {
    let nice = rustix::process::getpriority_process(None).unwrap_or_default();
    if nice > 0 {
        // Where the kernel has no such file, it needs none.
        let _ = std::fs::write("/proc/self/autogroup", nice.to_string());
    }
}

/// Runs the sandbox until somebody stops it, nobody uses it, or its owner is gone.
///
/// The first line on standard output tells the command that started it whether it can be used.
///
/// # Errors
/// When it cannot start; that has been said on standard output too.
pub async fn serve(args: ServeArgs, policy: &str) -> Result<()> {
    // Whatever the caller's umask is: all that the sandbox and its machines write is for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Of its own session, so that the terminal's Ctrl-C and hang-up are not for it. Already a leader? Then it is.
    let _ = rustix::process::setsid();
    keep_niceness();
    let folder = Folder::open()?;
    let begun = match folder.try_hold("running.lock")? {
        Some(held) => match folder.note_holder(&held) {
            Ok(()) => begin(&folder, &args, policy).await.map(|running| (held, running)),
            Err(failure) => Err(failure),
        },
        None => Err(Failure::failed("a sandbox already runs").next(Next::default().run_bare("sandbox status"))),
    };
    match begun {
        Ok((_held, (running, ready))) => {
            tell(&ready);
            running.until_the_end(&folder).await
        }
        Err(failure) => {
            tell(&Started::Failed {
                what: failure.what().to_owned(),
                reasons: failure.reasons().into_iter().map(str::to_owned).collect(),
                next: failure.next_step().map(ToString::to_string),
            });
            Err(failure)
        }
    }
}

/// Says it to whoever started the sandbox; nobody may be listening.
fn tell(started: &Started) {
    let line = serde_json::to_string(started).unwrap_or_default();
    let mut output = std::io::stdout();
    let _ = output.write_all(format!("{line}\n").as_bytes()).and_then(|()| output.flush());
}

struct Running {
    emulator: Emulator,
    front: Arc<Front>,
    machines: Option<machine::Machines>,
}

async fn begin(folder: &Folder, args: &ServeArgs, policy: &str) -> Result<(Running, Started)> {
    let listener = listen(args.port).await?;
    let address = listener.local_addr().map_err(|error| cannot_listen(args.port, &error))?;
    let emulator = Emulator::start(folder, &args.emulator, policy).await?;
    let users: Users = emulator.client.ask_json("users").await?;
    let handle = Handle {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        endpoint: format!("http://{address}"),
        user: users.devopsctl,
        administrator: users.administrator,
        account: ACCOUNT.to_owned(),
        machines: args.machines,
        pythons: args.pythons(),
        control: secret(),
    };
    let world = Arc::new(World::new(emulator.client.clone()));
    let idle = Arc::new(Idle::new(Duration::from_secs(args.idle)));
    let log = Log::create(&folder.log("front")).map_err(|error| folder.trouble("front.log", &error))?;
    let parts = machine::Parts::find(args.machines, args.pythons())?;
    let machines =
        parts.map(|parts| machine::Machines::new(folder.clone(), world.clone(), handle.endpoint.clone(), parts));
    folder.announce(&handle)?;
    let gateway = Arc::new(Gateway::new(folder.clone(), world.clone(), idle.clone()));
    let (latency, line, stop) = (AtomicU64::new(0), Arc::default(), Notify::new());
    let front = Arc::new(Front { handle, folder: folder.clone(), world, gateway, idle, log, latency, line, stop });
    tokio::spawn(front::serve(front.clone(), listener));
    info!(endpoint = front.handle.endpoint, "the sandbox is ready");
    Ok((Running { emulator, front, machines }, Started::Ready))
}

#[derive(serde::Deserialize)]
struct Users {
    devopsctl: Keys,
    administrator: Keys,
}

async fn listen(port: Option<u16>) -> Result<TcpListener> {
    front::listen(port).await.map_err(|error| cannot_listen(port, &error))
}

fn cannot_listen(port: Option<u16>, error: &std::io::Error) -> Failure {
    let which = port.map_or_else(|| "any port".to_owned(), |port| format!("port {port} of 127.0.0.1"));
    Failure::failed(format!("the sandbox cannot listen on {which}"))
        .because(error.to_string())
        .next("name another --port, or none for any free one")
}

impl Running {
    /// Serves until there is a reason to end; then ends everything that it started.
    async fn until_the_end(mut self, folder: &Folder) -> Result<()> {
        let ended = {
            let machines = self.machines.as_mut();
            let follow = async {
                match machines {
                    Some(machines) => machines.follow().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.front.stop.notified() => None,
                () = told_to_end() => None,
                () = owner_gone() => None,
                () = self.front.idle.over() => Some(Ended::Idle(self.front.idle.limit().as_secs())),
                () = self.emulator.leash.wait() => Some(Ended::EmulatorEnded),
                never = follow => match never {},
            }
        };
        info!(?ended, "the sandbox ends");
        if let Some(machines) = self.machines.as_mut() {
            machines.end().await;
        }
        self.emulator.leash.end().await;
        folder.leave(ended)
    }
}

async fn told_to_end() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

/// Returns when the process is gone on which this sandbox depends; never, if it depends on none.
async fn owner_gone() {
    let owner = std::env::var(OWNER).ok().and_then(|owner| owner.parse().ok()).and_then(rustix::process::Pid::from_raw);
    let Some(owner) = owner else { return std::future::pending().await };
    while rustix::process::test_kill_process(owner) != Err(rustix::io::Errno::SRCH) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
