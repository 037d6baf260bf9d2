//! `devopsctl sandbox serve`: the sandbox's detached process.

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

use super::api::{self, Api, CallLog};
use super::aws_state::AwsState;
use super::client::Started;
use super::emulator::Emulator;
use super::idle_timer::IdleTimer;
use super::internet_gateway::InternetGateway;
use super::machine;
use super::state_dir::{Ended, StateDir};
use super::{ACCOUNT, Handle, Keys, OWNER, ServeArgs, secret};

/// Keeps the niceness of the command that starts the sandbox. Linux schedules sessions against each other, so in a session of
/// its own the process would lose it. <https://man7.org/linux/man-pages/man7/sched.7.html>, "The autogroup feature".
fn keep_niceness() {
    let nice = rustix::process::getpriority_process(None).unwrap_or_default();
    if nice > 0 {
        // A kernel without this file has no autogroups.
        let _ = std::fs::write("/proc/self/autogroup", nice.to_string());
    }
}

/// Runs the sandbox until it is stopped, its idle timer expires, or its owner process is gone.
///
/// The first line on standard output tells the command that started it whether it is ready.
///
/// # Errors
/// When it cannot start; standard output has the failure too.
pub async fn serve(args: ServeArgs, policy: &str) -> Result<()> {
    // Files of the sandbox and its machines are private, whatever the caller's umask is.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // A session of its own: Ctrl-C and hang-up of the terminal must not reach it. It fails if this process leads one already.
    let _ = rustix::process::setsid();
    keep_niceness();
    let state_dir = StateDir::open()?;
    let begun = match state_dir.try_lock_file("running.lock")? {
        Some(held) => match state_dir.note_holder(&held) {
            Ok(()) => begin(&state_dir, &args, policy).await.map(|running| (held, running)),
            Err(failure) => Err(failure),
        },
        None => Err(Failure::failed("a sandbox already runs").next(Next::default().run_bare("sandbox status"))),
    };
    match begun {
        Ok((_held, (running, ready))) => {
            report_start(&ready);
            running.run(&state_dir).await
        }
        Err(failure) => {
            report_start(&Started::Failed {
                what: failure.what().to_owned(),
                reasons: failure.reasons().into_iter().map(str::to_owned).collect(),
                next: failure.next_step().map(ToString::to_string),
            });
            Err(failure)
        }
    }
}

/// Reports to the command that started the sandbox. It may be gone already.
fn report_start(started: &Started) {
    let line = serde_json::to_string(started).unwrap_or_default();
    let mut output = std::io::stdout();
    let _ = output.write_all(format!("{line}\n").as_bytes()).and_then(|()| output.flush());
}

struct Running {
    emulator: Emulator,
    api: Arc<Api>,
    machines: Option<machine::Machines>,
}

async fn begin(state_dir: &StateDir, args: &ServeArgs, policy: &str) -> Result<(Running, Started)> {
    let listener = listen(args.port).await?;
    let address = listener.local_addr().map_err(|error| cannot_listen(args.port, &error))?;
    let emulator = Emulator::start(state_dir, &args.emulator, policy).await?;
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
    let aws_state = Arc::new(AwsState::new(emulator.client.clone()));
    let idle = Arc::new(IdleTimer::new(Duration::from_secs(args.idle)));
    let log = CallLog::create(&state_dir.log("api")).map_err(|error| state_dir.unusable("api.log", &error))?;
    let parts = machine::Parts::find(args.machines, args.pythons())?;
    let machines =
        parts.map(|parts| machine::Machines::new(state_dir.clone(), aws_state.clone(), handle.endpoint.clone(), parts));
    state_dir.announce(&handle)?;
    let gateway = Arc::new(InternetGateway::new(state_dir.clone(), aws_state.clone(), idle.clone()));
    let (latency, upload_rate, stop) = (AtomicU64::new(0), Arc::default(), Notify::new());
    let api = Arc::new(Api {
        handle,
        state_dir: state_dir.clone(),
        aws_state,
        gateway,
        idle,
        log,
        latency,
        upload_rate,
        stop,
    });
    tokio::spawn(api::serve(api.clone(), listener));
    info!(endpoint = api.handle.endpoint, "the sandbox is ready");
    Ok((Running { emulator, api, machines }, Started::Ready))
}

#[derive(serde::Deserialize)]
struct Users {
    devopsctl: Keys,
    administrator: Keys,
}

async fn listen(port: Option<u16>) -> Result<TcpListener> {
    api::listen(port).await.map_err(|error| cannot_listen(port, &error))
}

fn cannot_listen(port: Option<u16>, error: &std::io::Error) -> Failure {
    let which = port.map_or_else(|| "any port".to_owned(), |port| format!("port {port} of 127.0.0.1"));
    Failure::failed(format!("the sandbox cannot listen on {which}"))
        .because(error.to_string())
        .next("choose another --port, or leave it out to use any free port")
}

impl Running {
    /// Serves until there is a reason to end, then ends every program that it started.
    async fn run(mut self, state_dir: &StateDir) -> Result<()> {
        let ended = {
            let machines = self.machines.as_mut();
            let follow = async {
                match machines {
                    Some(machines) => machines.follow().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.api.stop.notified() => None,
                () = signalled() => None,
                () = owner_gone() => None,
                () = self.api.idle.expired() => Some(Ended::Idle(self.api.idle.limit().as_secs())),
                () = self.emulator.process.wait() => Some(Ended::EmulatorEnded),
                never = follow => match never {},
            }
        };
        info!(?ended, "the sandbox ends");
        if let Some(machines) = self.machines.as_mut() {
            machines.end().await;
        }
        self.emulator.process.end().await;
        state_dir.close(ended)
    }
}

async fn signalled() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
}

/// Returns when the owner process is gone; never, if there is none.
async fn owner_gone() {
    let owner = std::env::var(OWNER).ok().and_then(|owner| owner.parse().ok()).and_then(rustix::process::Pid::from_raw);
    let Some(owner) = owner else { return std::future::pending().await };
    while rustix::process::test_kill_process(owner) != Err(rustix::io::Errno::SRCH) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
