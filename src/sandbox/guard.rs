//! `devopsctl sandbox guard -- program args`: the init of a machine, and of the emulator.
//!
//! It starts one program and sees to it that nothing of it is left over. Its standard input is the leash: when that ends,
//! because the sandbox asked or because the sandbox was killed, every process below it is ended. On Linux it is a child
//! subreaper, so that even a daemon which left its session is still below it; elsewhere there is the process group.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::base::error::{Failure, Result};

use super::{GuardArgs, anew};

/// How long a program may take to leave by itself when its machine is terminated or its sandbox is gone.
const GRACE: Duration = Duration::from_millis(1500);
/// How long it may take when its machine is stopped or rebooted.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// The word on standard input that asks for a stop.
pub(super) const STOP: &str = "stop";

enum Event {
    /// The program is to leave; descendants that it leaves behind are ended.
    Stop,
    /// The leash ended: everything goes.
    End,
    /// The program itself ended; what it started lives on, as on any machine.
    Left(ExitStatus),
    /// No process is left below.
    Empty,
}

/// Runs the program and ends as it does. Returns the exit code.
///
/// # Errors
/// When the program cannot be started.
pub fn guard(args: &GuardArgs) -> Result<i32> {
    become_reaper();
    let program = args.command.first().map_or("", String::as_str);
    let child = Command::new(program)
        .args(args.command.get(1..).unwrap_or_default())
        .stdin(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::failed(format!("cannot start {program}")).because(error.to_string()).next(anew()))?;
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Err(Failure::bug(format!("{program} has no process id")));
    };
    let (sender, events) = channel();
    let leash = sender.clone();
    thread::spawn(move || {
        // Nobody listens any more only when all is over, so a failing send is no trouble.
        for line in std::io::stdin().lines().map_while(std::result::Result::ok) {
            if line == STOP {
                let _ = leash.send(Event::Stop);
            }
        }
        let _ = leash.send(Event::End);
    });
    thread::spawn(move || {
        reap(pid, |status| drop(sender.send(Event::Left(status))));
        let _ = sender.send(Event::Empty);
    });
    Ok(watch(pid, &events))
}

/// Waits for the end. What the program started lives on after it, as on any machine, unless it was told to stop.
fn watch(pid: Pid, events: &Receiver<Event>) -> i32 {
    let (mut code, mut lives, mut deadline) = (0, true, None);
    loop {
        match next(events, deadline) {
            Ok(Event::Empty) | Err(RecvTimeoutError::Disconnected) => return code,
            Ok(Event::Left(status)) => {
                lives = false;
                code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                if deadline.is_some() {
                    return end_all(pid, events, code);
                }
            }
            Ok(Event::Stop) if lives => {
                signal(pid, Signal::TERM);
                deadline = Some(Instant::now() + STOP_GRACE);
            }
            Ok(Event::Stop | Event::End) | Err(RecvTimeoutError::Timeout) => return end_all(pid, events, code),
        }
    }
}

/// SIGTERM to all, and after the grace SIGKILL until nobody is left.
fn end_all(program: Pid, events: &Receiver<Event>, code: i32) -> i32 {
    signal_all(program, Signal::TERM);
    let mut deadline = Instant::now() + GRACE;
    loop {
        match next(events, Some(deadline)) {
            Ok(Event::Empty) | Err(RecvTimeoutError::Disconnected) => return code,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                // A process may fork between two looks, so look again until the reaper says that nobody is left.
                signal_all(program, Signal::KILL);
                deadline = Instant::now() + Duration::from_millis(20);
            }
        }
    }
}

fn next(events: &Receiver<Event>, deadline: Option<Instant>) -> Result<Event, RecvTimeoutError> {
    match deadline {
        None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => events.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    }
}

fn signal(pid: Pid, signal: Signal) {
    // The process may have left by itself in the meantime, which is what was wanted.
    let _ = rustix::process::kill_process(pid, signal);
}

/// Collects every process that ends below, until there is none; tells how the program itself ended.
fn reap(program: Pid, left: impl Fn(ExitStatus)) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => left(ExitStatus::from_raw(status.as_raw())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(target_os = "linux")]
fn become_reaper() {
    // Any process id stands for "yes". A kernel without it leaves orphans to the system's init, as elsewhere.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

#[cfg(not(target_os = "linux"))]
fn become_reaper() {}

#[cfg(target_os = "linux")]
fn signal_all(_program: Pid, kind: Signal) {
    for pid in super::process::descendants(rustix::process::getpid()) {
        signal(pid, kind);
    }
}

/// Without /proc there is the process group that the program leads.
#[cfg(not(target_os = "linux"))]
fn signal_all(program: Pid, kind: Signal) {
    let _ = rustix::process::kill_process_group(program, kind);
}
