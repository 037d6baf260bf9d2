//! `devopsctl sandbox supervise -- program args`: runs one program (a machine or the emulator) and ends all of its processes.
//!
//! When its standard input is closed, because the sandbox asks for it or was killed, the supervisor ends every process below
//! it. On Linux it is a child subreaper, so a daemon that left its session is still below it. Elsewhere it ends the process
//! group.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::base::error::{Failure, Result};

use super::{SuperviseArgs, restart_advice};

/// Time between SIGTERM and SIGKILL when the machine is terminated or the sandbox is gone.
const END_TIMEOUT: Duration = Duration::from_millis(1500);
/// Time between SIGTERM and SIGKILL when the machine is stopped or rebooted.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// The line on standard input that asks for a stop.
pub(super) const STOP: &str = "stop";

enum Event {
    /// Stop the program, then end its descendants.
    Stop,
    /// Standard input was closed: end everything.
    End,
    /// The program ended. Its descendants continue, as on any machine.
    Exited(ExitStatus),
    /// No descendant is left.
    Empty,
}

/// Runs the program and returns its exit code.
///
/// # Errors
/// When the program cannot be started.
pub fn supervise(args: &SuperviseArgs) -> Result<i32> {
    become_reaper();
    let program = args.command.first().map_or("", String::as_str);
    let child = Command::new(program)
        .args(args.command.get(1..).unwrap_or_default())
        .stdin(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| {
            Failure::failed(format!("cannot start {program}")).because(error.to_string()).next(restart_advice())
        })?;
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Err(Failure::bug(format!("{program} has no process id")));
    };
    let (sender, events) = channel();
    let requests = sender.clone();
    thread::spawn(move || {
        // A send fails only after the last process has ended.
        for line in std::io::stdin().lines().map_while(std::result::Result::ok) {
            if line == STOP {
                let _ = requests.send(Event::Stop);
            }
        }
        let _ = requests.send(Event::End);
    });
    thread::spawn(move || {
        reap(pid, |status| drop(sender.send(Event::Exited(status))));
        let _ = sender.send(Event::Empty);
    });
    Ok(watch(pid, &events))
}

/// Waits for the end. Descendants continue after the program, as on any machine, unless a stop was requested.
fn watch(pid: Pid, events: &Receiver<Event>) -> i32 {
    let (mut code, mut running, mut deadline) = (0, true, None);
    loop {
        match next(events, deadline) {
            Ok(Event::Empty) | Err(RecvTimeoutError::Disconnected) => return code,
            Ok(Event::Exited(status)) => {
                running = false;
                code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                if deadline.is_some() {
                    return end_all(pid, events, code);
                }
            }
            Ok(Event::Stop) if running => {
                signal(pid, Signal::TERM);
                deadline = Some(Instant::now() + STOP_TIMEOUT);
            }
            Ok(Event::Stop | Event::End) | Err(RecvTimeoutError::Timeout) => return end_all(pid, events, code),
        }
    }
}

/// Sends SIGTERM to all, then SIGKILL until no process is left.
fn end_all(program: Pid, events: &Receiver<Event>, code: i32) -> i32 {
    signal_all(program, Signal::TERM);
    let mut deadline = Instant::now() + END_TIMEOUT;
    loop {
        match next(events, Some(deadline)) {
            Ok(Event::Empty) | Err(RecvTimeoutError::Disconnected) => return code,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                // A process can fork between two scans of /proc: repeat until the reaper finds no child.
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
    // The process may have ended in the meantime.
    let _ = rustix::process::kill_process(pid, signal);
}

/// Reaps every descendant until none is left. `exited` gets the program's own status.
fn reap(program: Pid, exited: impl Fn(ExitStatus)) {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => exited(ExitStatus::from_raw(status.as_raw())),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(target_os = "linux")]
fn become_reaper() {
    // Any process id means "yes". Without the feature the system's init adopts orphans.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

#[cfg(not(target_os = "linux"))]
fn become_reaper() {}

#[cfg(target_os = "linux")]
fn signal_all(_program: Pid, kind: Signal) {
    for pid in super::process_tree::descendants(rustix::process::getpid()) {
        signal(pid, kind);
    }
}

/// Without /proc, signals the process group of the program.
#[cfg(not(target_os = "linux"))]
fn signal_all(program: Pid, kind: Signal) {
    let _ = rustix::process::kill_process_group(program, kind);
}
