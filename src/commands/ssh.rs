//! `ssh`: a shell on the instance. Takes a lease, opens port 22 in the security group, runs the system's own `ssh`, closes the port.
//! `run` has its sessions from here, too.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use ipnet::Ipv4Net;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::remote::Remote;
use super::{Purpose, Session};
use crate::aws::Aws;
use crate::aws::retry::{Retry, Unseen};
use crate::base::child;
use crate::base::clock::now;
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::{Globals, Ssh};
use crate::resources::reports::{self, Ssh as Said};
use crate::resources::ssh::{self, Lease, Place, SessionDir};
use crate::ui::Ui;

/// A lease lasts ten minutes, so that two renewals may fail.
const RENEW: Duration = Duration::from_secs(150);

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &Ssh) -> Result<ExitCode> {
    visit(globals, ui, arguments.from, &Remote::Shell(&arguments.command)).await
}

/// Runs something on the instance. `from`: the client's addresses, if they are not its own public one.
pub(super) async fn visit(globals: Globals, ui: Ui, from: Option<Ipv4Net>, remote: &Remote<'_>) -> Result<ExitCode> {
    // Checked before any call: no port is opened for a session that cannot start.
    if globals.json {
        return Err(Failure::new(Exit::Usage, format!("{} has no JSON output", remote.verb()))
            .because("it passes on the output of the instance")
            .next("omit --json"));
    }
    let program = program()?;
    let session = Session::open(globals, ui, Purpose::Change).await?;
    let source = async {
        match from {
            Some(source) => Ok(source),
            None => session.aws.own_address().await.map(Ipv4Net::from),
        }
    };
    let look = async { tokio::try_join!(whereto(&session), source) };
    let ((instance, group, address), source) = session.interrupt.or(look).await?;
    let line = session.interrupt.or(remote.line(&session, &instance)).await?;
    let dir = SessionDir::new()?;
    let lease = Lease::new(&dir.id, source, &dir.public, now());
    let place = Place { name: session.name(), instance: &instance, group: &group };
    let mut end = End::listen()?;
    session.ui.say(format!("opening port 22 of {instance} for {source} until the session ends"));
    let visit = Visit { session: &session, place, lease: &lease, dir: &dir, remote };
    let begun = tokio::select! {
        begun = session.interrupt.or(visit.begin()) => begun,
        signal = end.asked() => Err(stopped(signal)),
    };
    let outcome = match begun {
        Ok(said) => visit.talk(&program, address, &said, &line, &mut end).await,
        Err(failure) => Err(failure),
    };
    match (ssh::close(&session.aws, place, &lease).await, outcome) {
        (Ok(closed), outcome) => {
            session.ui.say(match closed {
                true => "closed port 22",
                false => "port 22 stays open for another session from the same address",
            });
            outcome
        }
        (Err(left), Ok(_)) => Err(left),
        (Err(left), Err(failure)) => {
            session.ui.warn(format!("{left}: {}", left.reasons().join(": ")));
            Err(failure)
        }
    }
}

/// The system's own `ssh`.
fn program() -> Result<PathBuf> {
    child::program("ssh").ok_or_else(|| {
        Failure::failed("ssh is not installed on this machine")
            .because("there is no ssh on PATH")
            .next("install OpenSSH; on Debian and Ubuntu: sudo apt install openssh-client")
    })
}

/// The serving instance, its security group, and the host and port of its SSH server.
async fn whereto(session: &Session) -> Result<(String, String, (String, String))> {
    let observed = session.running().await?;
    let instance = session.serving(&observed)?;
    let Some(group) = observed.security_group.present() else {
        return Err(Failure::failed(format!("the security group of {} is missing", instance.id))
            .because("it was removed by hand, so port 22 cannot be opened")
            .next(Next::from("repair it: ").run("up")));
    };
    let ip = session.ip_of(instance, &observed)?;
    Ok((instance.id.clone(), group.id.clone(), session.aws.shell(ip).await?))
}

/// An SSH session.
struct Visit<'a> {
    session: &'a Session,
    place: Place<'a>,
    lease: &'a Lease,
    dir: &'a SessionDir,
    remote: &'a Remote<'a>,
}

impl Visit<'_> {
    /// Opens the port and waits until the instance has accepted the key. Returns the login user and the host key.
    async fn begin(&self) -> Result<Said> {
        let (aws, Place { name, instance, .. }) = (&self.session.aws, self.place);
        ssh::open(aws, self.place, self.lease).await?;
        let mut unseen = Unseen::now();
        loop {
            let said = reports::read(aws, name, instance).await?.and_then(|report| report.ssh);
            match said {
                Some(Said { error: Some(error), .. }) => return Err(self.refused(&error)),
                Some(said) if said.keys.contains(&self.lease.id) => return self.sound(aws, said).await,
                _ => {}
            }
            if unseen.wait(instance, |words| self.session.ui.say(words)).await == Retry::Enough {
                return Err(self.silent());
            }
        }
    }

    /// Validates the report, because its values become part of a command line and a file.
    async fn sound(&self, aws: &Aws, said: Said) -> Result<Said> {
        let key = ssh_key::PublicKey::from_openssh(&said.host_key).is_ok_and(|key| key.algorithm().is_ed25519());
        let user = said.user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && said.user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !(key && user) || said.host_key.contains('\n') {
            return Err(self.refused("its report cannot be read"));
        }
        if !self.remote.can_run(&said) {
            return Err(self.refused("its agent is from an older devopsctl, which has no `run`"));
        }
        // A concurrent command may have closed the port before it could see the lease.
        ssh::admit(aws, self.place, self.lease).await?;
        Ok(said)
    }

    /// Runs `ssh`, and renews the lease until it ends.
    async fn talk(
        &self,
        program: &PathBuf,
        (host, port): (String, String),
        said: &Said,
        line: &[String],
        end: &mut End,
    ) -> Result<ExitCode> {
        let hosts = self.dir.know(self.place.instance, &said.host_key)?;
        let mut command = child::command(program);
        // The user's own settings are ignored: they could redirect the connection or accept another host key.
        command.args(["-F", "/dev/null", "-l", &said.user, "-p", &port, "-i"]).arg(self.dir.key());
        let settings =
            [format!("UserKnownHostsFile=\"{}\"", hosts.display()), format!("HostKeyAlias={}", self.place.instance)];
        for setting in settings.iter().map(String::as_str).chain(SETTINGS) {
            command.args(["-o", setting]);
        }
        if self.session.globals.quiet {
            command.arg("-q");
        }
        if !line.is_empty() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            command.arg("-t");
        }
        command.arg(&host).arg("--").args(line).kill_on_drop(true);
        let failed = |error: std::io::Error| {
            Failure::failed(format!("cannot run {}", program.display()))
                .because(error.to_string())
                .next("reinstall OpenSSH, then run the same command again")
        };
        let mut child = command.spawn().map_err(failed)?;
        let status = self.session.interrupt.lend(self.wait(&mut child, end)).await.map_err(failed)?;
        if status.code() == Some(FAILED) {
            self.session.ui.say(
                "if ssh could not connect: a firewall of this network or the subnet's network ACL may block it, or your \
                 address is another one, which you can pass with --from",
            );
        }
        Ok(code(status))
    }

    /// Waits for `ssh`. A signal is forwarded, so that `ssh` can restore the terminal.
    async fn wait(&self, child: &mut Child, end: &mut End) -> std::io::Result<ExitStatus> {
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = end.asked() => {
                    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                        // It may have ended already.
                        let _ = kill_process(pid, Signal::TERM);
                    }
                }
                _ = renewal.tick() => {
                    // ssh owns the terminal, so a failure is not shown; the next renewal tries again.
                    let _ = ssh::renew(&self.session.aws, self.place, self.lease).await;
                }
            }
        }
    }

    fn refused(&self, why: &str) -> Failure {
        let next = match self.session.aws.flag() {
            "" => Next::from("update its agent: ").run("up"),
            _ => Next::from(
                "install an OpenSSH server on this machine (on Debian: sudo apt install openssh-server), or use a virtual \
                 machine: ",
            )
            .run_bare("sandbox stop")
            .and(", then ")
            .run("up --machine qemu"),
        };
        Failure::failed(format!("the instance {} does not accept SSH", self.place.instance)).because(why).next(next)
    }

    fn silent(&self) -> Failure {
        Failure::new(Exit::Unhealthy, format!("the instance {} did not accept the key", self.place.instance))
            .because("the instance is starting or not healthy, or its agent is from an older devopsctl")
            .next(Next::from("see its status: ").run("status").and("; then update it: ").run("up"))
    }
}

/// Only the session's key is used, and only the known host key is accepted. A new rule of the security group takes a second or
/// two to propagate, hence several attempts.
const SETTINGS: [&str; 15] = [
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "HostKeyAlgorithms=ssh-ed25519",
    "CheckHostIP=no",
    "UpdateHostKeys=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "BatchMode=yes",
    "ConnectTimeout=20",
    "ConnectionAttempts=3",
    "ServerAliveInterval=30",
    "ServerAliveCountMax=4",
];

/// The exit code of `ssh` if it failed itself; a remote command can return it, too.
const FAILED: i32 = 255;

/// The exit code, as a shell returns it.
fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(Exit::Failed as u8))
}

/// SIGTERM, and SIGHUP when the terminal is closed. Neither may leave the port open.
struct End {
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl End {
    fn listen() -> Result<Self> {
        let listen = || Ok(Self { terminate: signal(SignalKind::terminate())?, hangup: signal(SignalKind::hangup())? });
        listen().map_err(|error: std::io::Error| {
            Failure::failed("cannot listen for signals").because(error.to_string()).next("run the same command again")
        })
    }

    async fn asked(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

fn stopped(signal: Signal) -> Failure {
    let by = if signal == Signal::HUP { "SIGHUP: the terminal was closed" } else { "SIGTERM" };
    Failure::new(Exit::Interrupted, format!("stopped by {by}")).next("run the same command again to start over")
}
