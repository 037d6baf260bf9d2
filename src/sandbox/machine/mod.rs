//! Boots the running instances. Each one is a folder, which is its disk, and a supervised program.
//!
//! The program is the user-data as a process of this machine ([`process`]), or a virtual machine that boots a real Debian
//! ([`qemu`]). The command line reaches a machine through AWS only. A machine gets the address of the AWS endpoint, in place of
//! DNS, and that of its metadata service.

mod process;
mod qemu;
mod qmp;
mod volumes;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::base::error::{Failure, Result};

use super::Machines as Kind;
use super::aws_state::{AwsState, Instance, View};
use super::metadata::Metadata;
use super::python::{self, Python};
use super::state_dir::{StateDir, remove_tree};
use super::supervised_child::SupervisedChild;
use volumes::Volumes;

pub use qemu::{Image, forward, join};

/// Time that a virtual machine has to shut down before it is killed.
const SHUTDOWN: Duration = Duration::from_secs(120);
/// Time until a machine is asked again for a volume that it did not give back.
const AGAIN: Duration = Duration::from_millis(200);

struct Machine {
    boots: u32,
    process: SupervisedChild,
    folder: PathBuf,
    volumes: Volumes,
    // Dropped with the machine, which ends the service.
    _metadata: Metadata,
}

impl Machine {
    /// Shuts the machine down and waits for its end.
    async fn stop(mut self, aws_state: Arc<AwsState>) {
        if qmp::execute(&self.folder, "system_powerdown").await.is_ok() {
            let _ = tokio::time::timeout(SHUTDOWN, self.process.wait()).await;
            self.process.end().await;
        } else {
            self.process.stop().await;
        }
        self.volumes.end(&aws_state).await;
    }
}

/// What machines boot.
pub enum Parts {
    /// The interpreters of process machines.
    Process(Vec<Python>),
    /// The image of virtual machines.
    Qemu(Image),
}

impl Parts {
    /// What machines of this kind boot. `None`: nothing boots.
    ///
    /// # Errors
    /// When this machine lacks a requirement.
    pub fn find(kind: Kind, pythons: Vec<Python>) -> Result<Option<Self>> {
        match kind {
            Kind::Process => Ok(Some(Self::Process(pythons))),
            Kind::Qemu => Image::find().map(|image| Some(Self::Qemu(image))),
            Kind::Off => Ok(None),
        }
    }
}

/// All machines of the sandbox.
pub struct Machines {
    folder: StateDir,
    aws_state: Arc<AwsState>,
    /// The AWS endpoint.
    endpoint: String,
    parts: Parts,
    up: HashMap<String, Machine>,
}

impl Machines {
    /// No machine is running yet.
    pub fn new(folder: StateDir, aws_state: Arc<AwsState>, endpoint: String, parts: Parts) -> Self {
        Self { folder, aws_state, endpoint, parts, up: HashMap::new() }
    }

    /// Boots and ends machines after each change, until the sandbox ends.
    pub async fn follow(&mut self) -> Infallible {
        loop {
            let mut done = true;
            match self.aws_state.current().await {
                Ok(view) => {
                    self.reconcile(&view).await;
                    done = self.attach(&view).await;
                }
                // If the emulator has ended, the server ends the sandbox.
                Err(failure) => warn!("{failure}: {}", failure.reasons().join(": ")),
            }
            if done {
                self.aws_state.changed().await;
            } else {
                let _ = tokio::time::timeout(AGAIN, self.aws_state.changed()).await;
            }
        }
    }

    /// Ends all machines concurrently.
    pub async fn end(&mut self) {
        let mut ends: JoinSet<()> = self.up.drain().map(|(_, machine)| machine.process.end()).collect();
        while ends.join_next().await.is_some() {}
    }

    async fn reconcile(&mut self, view: &View) {
        let mut ends = JoinSet::new();
        let ids: Vec<String> = self.up.keys().cloned().collect();
        for id in ids {
            let instance = view.instance(&id);
            let unchanged = instance.is_some_and(|instance| {
                instance.is_running() && self.up.get(&id).is_some_and(|machine| machine.boots == instance.boots)
            });
            let Some(machine) = (if unchanged { None } else { self.up.remove(&id) }) else { continue };
            info!(id, "the machine ends");
            // The folder is removed with the instance only: a stopped instance keeps its disk.
            if instance.is_some_and(|instance| !matches!(instance.state.as_str(), "shutting-down" | "terminated")) {
                ends.spawn(machine.stop(self.aws_state.clone()));
                continue;
            }
            let (folder, aws_state) = (self.folder.machine(&id), self.aws_state.clone());
            ends.spawn(async move {
                machine.process.end().await;
                machine.volumes.end(&aws_state).await;
                if let Err(error) = remove_tree(&folder) {
                    warn!("cannot remove {}: {error}", folder.display());
                }
            });
        }
        while ends.join_next().await.is_some() {}
        for instance in view.instances.iter().filter(|instance| instance.is_running() && instance.user_data) {
            if self.up.contains_key(&instance.id) {
                continue;
            }
            info!(id = instance.id, "the machine boots");
            match self.boot(instance).await {
                Ok(machine) => drop(self.up.insert(instance.id.clone(), machine)),
                Err(failure) => warn!("{failure}: {}", failure.reasons().join(": ")),
            }
        }
    }

    /// Attaches and detaches volumes. Returns whether all is done.
    async fn attach(&mut self, view: &View) -> bool {
        let mut done = true;
        for (id, machine) in &mut self.up {
            let attached = view.instance(id).map_or(&[][..], |instance| instance.volumes.as_slice());
            done &= machine.volumes.follow(&self.folder, &self.aws_state, attached).await;
        }
        volumes::sweep(&self.folder, &view.volumes);
        done
    }

    async fn boot(&self, instance: &Instance) -> Result<Machine> {
        let id = &instance.id;
        let failed = |error: io::Error| {
            Failure::failed(format!("{id} does not boot")).because(error.to_string()).next(super::restart_advice())
        };
        let folder = self.folder.machine(id);
        let (metadata, process) = match &self.parts {
            Parts::Process(pythons) => {
                let python = &python::of_image(pythons, &instance.image_name).path;
                let metadata = Metadata::on_loopback(self.aws_state.clone(), id).await.map_err(failed)?;
                let user_data = self.aws_state.emulator().ask(&format!("user-data?instance={id}")).await?;
                let user_data =
                    user_data.ok_or_else(|| failed(io::Error::other("the emulator has no user-data of it")))?;
                process::prepare(&folder, python, &user_data).map_err(failed)?;
                let process = process::boot(&folder, metadata.endpoint(), &self.endpoint)?;
                (metadata, process)
            }
            Parts::Qemu(image) => {
                image.prepare(&folder).await.map_err(failed)?;
                let socket = folder.join(qemu::METADATA_SOCKET);
                let metadata = Metadata::on_socket(self.aws_state.clone(), id, &socket).map_err(failed)?;
                (metadata, image.boot(&folder, instance, &self.endpoint)?)
            }
        };
        let volumes = Volumes::new(&folder, matches!(self.parts, Parts::Qemu(_)));
        Ok(Machine { boots: instance.boots, process, folder, volumes, _metadata: metadata })
    }
}

/// A connection to a machine.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects to a TCP port of the machine in this folder.
///
/// # Errors
/// When nothing listens there.
pub async fn connect(folder: &Path, port: u16) -> io::Result<Pin<Box<dyn Connection>>> {
    if qmp::socket(folder).exists() {
        return Ok(Box::pin(TcpStream::connect(forward(folder, port).await?).await?));
    }
    Ok(Box::pin(UnixStream::connect(process::socket(folder, port)).await?))
}
