//! `ssh`: a shell on the instance. Takes a lease, opens the door, has the system's own `ssh` do the rest, closes the door.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use ipnet::Ipv4Net;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::{Purpose, Session};
use crate::aws::Aws;
use crate::aws::retry::{Retry, Unseen};
use crate::base::child;
use crate::base::error::{Exit, Failure, Result};
use crate::base::grace::now;
use crate::commands::cli::{Globals, Ssh};
use crate::resources::reports::{self, Ssh as Said};
use crate::resources::ssh::{self, Folder, Lease, Place};
use crate::ui::Ui;

/// A lease lasts for ten minutes: one renewal may fail, or two.
const RENEW: Duration = Duration::from_secs(150);

pub(super) async fn run(globals: Globals, ui: Ui, arguments: &Ssh) -> Result<ExitCode> {
    // Before any call: nothing is opened for a session that could not be.
    if globals.json {
        return Err(Failure::new(Exit::Usage, "ssh has nothing to print as JSON")
            .because("what the machine prints is passed on as it comes")
            .next("leave --json out"));
    }
    let program = program()?;
    let session = Session::open(globals, ui, Purpose::Change).await?;
    let source = async {
        match arguments.from {
            Some(source) => Ok(source),
            None => session.aws.own_address().await.map(Ipv4Net::from),
        }
    };
    let look = async { tokio::try_join!(whereto(&session), source) };
    let ((instance, group, address), source) = session.interrupt.or(look).await?;
    let folder = Folder::new()?;
    let lease = Lease::new(&folder.id, source, &folder.public, now());
    let place = Place { name: session.name(), instance: &instance, group: &group };
    let mut end = End::listen()?;
    session.ui.say(format!("port 22 of {instance} opens for {source}, until you leave"));
    let visit = Visit { session: &session, place, lease: &lease, folder: &folder };
    let begun = tokio::select! {
        begun = session.interrupt.or(visit.begin()) => begun,
        signal = end.asked() => Err(stopped(signal)),
    };
    let outcome = match begun {
        Ok(said) => visit.talk(&program, address, &said, &arguments.command, &mut end).await,
        Err(failure) => Err(failure),
    };
    match (ssh::close(&session.aws, place, &lease).await, outcome) {
        (Ok(closed), outcome) => {
            session.ui.say(match closed {
                true => "port 22 is closed again",
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
        Failure::failed("there is no ssh on this machine")
            .because("it is not on PATH")
            .next("install OpenSSH, on Debian and Ubuntu: sudo apt install openssh-client")
    })
}

/// The instance that serves, its security group, and where it is reached.
async fn whereto(session: &Session) -> Result<(String, String, (String, String))> {
    let observed = session.running().await?;
    let instance = session.serving(&observed)?;
    let Some(group) = observed.security_group.present() else {
        return Err(Failure::failed(format!("{} has no security group of ours", instance.id))
            .because("it was removed by hand, so no port can be opened")
            .next(format!("mend it: {}", session.command("up"))));
    };
    let ip = session.ip_of(instance, &observed)?;
    Ok((instance.id.clone(), group.id.clone(), session.aws.shell(ip).await?))
}

/// A session that is about to begin, or has begun.
struct Visit<'a> {
    session: &'a Session,
    place: Place<'a>,
    lease: &'a Lease,
    folder: &'a Folder,
}

impl Visit<'_> {
    /// Opens, and waits until the instance has taken the key. -> whom to log in as, and how the host is known
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

    /// What a report says goes into a command line and a file: it must be what it is to be, and nothing more.
    async fn sound(&self, aws: &Aws, said: Said) -> Result<Said> {
        let key = ssh_key::PublicKey::from_openssh(&said.host_key).is_ok_and(|key| key.algorithm().is_ed25519());
        let user = said.user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && said.user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !(key && user) || said.host_key.contains('\n') {
            return Err(self.refused("what it says of itself cannot be read"));
        }
        // Who closed the door meanwhile could not see the lease yet.
        ssh::admit(aws, self.place, self.lease).await?;
        Ok(said)
    }

    /// Has `ssh` connect, and renews the lease until it ends.
    async fn talk(
        &self,
        program: &PathBuf,
        (host, port): (String, String),
        said: &Said,
        line: &[String],
        end: &mut End,
    ) -> Result<ExitCode> {
        let hosts = self.folder.know(self.place.instance, &said.host_key)?;
        let mut command = child::command(program);
        // Without the user's own settings: they could send it another way, or take another host for the right one.
        command.args(["-F", "/dev/null", "-l", &said.user, "-p", &port, "-i"]).arg(self.folder.key());
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
            Failure::failed(format!("{} cannot be run", program.display()))
                .because(error.to_string())
                .next("install OpenSSH anew, then run the same command again")
        };
        let mut child = command.spawn().map_err(failed)?;
        let status = self.session.interrupt.lend(self.wait(&mut child, end)).await.map_err(failed)?;
        if status.code() == Some(FAILED) {
            self.session.ui.say(
                "if ssh could not connect: a firewall of this network or the subnet's network ACL may be in the way, or you \
                 come from another address, which --from names",
            );
        }
        Ok(code(status))
    }

    /// Until it has ended. A signal is passed on: it sets the terminal right before it goes.
    async fn wait(&self, child: &mut Child, end: &mut End) -> std::io::Result<ExitStatus> {
        let mut renewal = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = end.asked() => {
                    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                        // It may have ended by itself, which is what was wanted.
                        let _ = kill_process(pid, Signal::TERM);
                    }
                }
                _ = renewal.tick() => {
                    // The terminal is the other program's now: nothing is said, and it is tried again.
                    let _ = ssh::renew(&self.session.aws, self.place, self.lease).await;
                }
            }
        }
    }

    fn refused(&self, why: &str) -> Failure {
        let sandbox = !self.session.aws.flag().is_empty();
        Failure::failed(format!("the instance {} allows no SSH", self.place.instance)).because(why).next(
            match sandbox {
                true => format!(
                    "install OpenSSH's server here (on Debian: sudo apt install openssh-server), or have the machine be a \
                     virtual one: {}, then {} --machine qemu",
                    crate::base::error::command("sandbox stop"),
                    self.session.command("up")
                ),
                false => format!("bring its agent up to date: {}", self.session.command("up")),
            },
        )
    }

    fn silent(&self) -> Failure {
        Failure::new(Exit::Unhealthy, format!("the instance {} does not take the key", self.place.instance))
            .because("the instance is still starting, or is not healthy, or its agent is of an earlier devopsctl")
            .next(format!(
                "see how it is: {}; and bring it up to date: {}",
                self.session.command("status"),
                self.session.command("up")
            ))
    }
}

/// The key is the one way in, and the host is the one that is known. A rule takes a second or two until it holds everywhere.
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

/// What `ssh` ends with where it failed itself; a command may end so, too.
const FAILED: i32 = 255;

/// As a shell tells it.
fn code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(Exit::Failed as u8))
}

/// Being asked to end from outside: by a signal to this process, and by a terminal that is gone. Neither may leave the port open.
struct End {
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl End {
    fn listen() -> Result<Self> {
        let listen = || Ok(Self { terminate: signal(SignalKind::terminate())?, hangup: signal(SignalKind::hangup())? });
        listen().map_err(|error: std::io::Error| {
            Failure::failed("this system gives no signals")
                .because(error.to_string())
                .next("run the same command again")
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
    let by = if signal == Signal::HUP { "SIGHUP: the terminal is gone" } else { "SIGTERM" };
    Failure::new(Exit::Interrupted, format!("stopped by {by}")).next("the same command begins anew")
}
