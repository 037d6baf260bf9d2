//! Boots what runs: each running instance is a folder that stands for its disk and a program under guard.
//!
//! What that program is depends on how the sandbox was started: the user-data itself, as a process of this machine
//! ([`process`]), or a virtual machine that boots a genuine Debian ([`qemu`]). Either way no path leads from the command
//! line to a machine but AWS: it is given the address of the AWS endpoint, as by DNS, and of its metadata service.

mod process;
mod qemu;
mod qmp;

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
use super::leash::Leash;
use super::metadata::Metadata;
use super::python::{self, Python};
use super::state::{Folder, remove_tree};
use super::world::{Instance, View, World};

pub use qemu::{Image, forward, join};

/// How long a virtual machine may take to shut down before its power is cut.
const SHUTDOWN: Duration = Duration::from_secs(120);

struct Machine {
    boots: u32,
    leash: Leash,
    folder: PathBuf,
    // Held: the service ends with the machine.
    _metadata: Metadata,
}

impl Machine {
    /// Asks it to shut down, and waits until it has.
    async fn stop(mut self) {
        if qmp::tell(&self.folder, "system_powerdown").await.is_ok() {
            let _ = tokio::time::timeout(SHUTDOWN, self.leash.wait()).await;
            return self.leash.end().await;
        }
        self.leash.stop().await;
    }
}

/// What machines are made of.
pub enum Parts {
    /// The Pythons on machines that are processes.
    Process(Vec<Python>),
    /// What a virtual machine boots.
    Qemu(Image),
}

impl Parts {
    /// What machines of that kind are made of; nothing, where an instance is only an entry.
    ///
    /// # Errors
    /// When this machine cannot run them; says what is missing.
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
    folder: Folder,
    world: Arc<World>,
    /// The AWS endpoint.
    endpoint: String,
    parts: Parts,
    up: HashMap<String, Machine>,
}

impl Machines {
    /// None yet.
    pub fn new(folder: Folder, world: Arc<World>, endpoint: String, parts: Parts) -> Self {
        Self { folder, world, endpoint, parts, up: HashMap::new() }
    }

    /// Boots and ends machines as the world goes, for as long as the sandbox lives.
    pub async fn follow(&mut self) -> Infallible {
        loop {
            match self.world.now().await {
                Ok(view) => self.settle(&view).await,
                // An emulator that is gone ends the sandbox elsewhere.
                Err(failure) => warn!("{failure}: {}", failure.reasons().join(": ")),
            }
            self.world.changed().await;
        }
    }

    /// Ends all of them, at once.
    pub async fn end(&mut self) {
        let mut ends: JoinSet<()> = self.up.drain().map(|(_, machine)| machine.leash.end()).collect();
        while ends.join_next().await.is_some() {}
    }

    async fn settle(&mut self, view: &View) {
        let mut ends = JoinSet::new();
        let ids: Vec<String> = self.up.keys().cloned().collect();
        for id in ids {
            let instance = view.instance(&id);
            let stays = instance.is_some_and(|instance| {
                instance.runs() && self.up.get(&id).is_some_and(|machine| machine.boots == instance.boots)
            });
            let Some(machine) = (if stays { None } else { self.up.remove(&id) }) else { continue };
            info!(id, "the machine goes down");
            // Its folder goes only with the instance: a stopped one keeps its disk.
            if instance.is_some_and(|instance| !matches!(instance.state.as_str(), "shutting-down" | "terminated")) {
                ends.spawn(machine.stop());
                continue;
            }
            let folder = self.folder.machine(&id);
            ends.spawn(async move {
                machine.leash.end().await;
                if let Err(error) = remove_tree(&folder) {
                    warn!("{} stays: {error}", folder.display());
                }
            });
        }
        while ends.join_next().await.is_some() {}
        for instance in view.instances.iter().filter(|instance| instance.runs() && instance.user_data) {
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

    async fn boot(&self, instance: &Instance) -> Result<Machine> {
        let id = &instance.id;
        let failed = |error: io::Error| {
            Failure::failed(format!("{id} does not boot")).because(error.to_string()).next(super::anew())
        };
        let folder = self.folder.machine(id);
        let (metadata, leash) = match &self.parts {
            Parts::Process(pythons) => {
                let python = &python::of_image(pythons, &instance.image_name).path;
                let metadata = Metadata::on_loopback(self.world.clone(), id).await.map_err(failed)?;
                let user_data = self.world.emulator().ask(&format!("user-data?instance={id}")).await?;
                let user_data = user_data.ok_or_else(|| failed(io::Error::other("the emulator does not know it")))?;
                process::lay_out(&folder, python, &user_data).map_err(failed)?;
                let leash = process::boot(&folder, metadata.endpoint(), &self.endpoint)?;
                (metadata, leash)
            }
            Parts::Qemu(image) => {
                image.lay_out(&folder).await.map_err(failed)?;
                let socket = folder.join(qemu::METADATA_SOCKET);
                let metadata = Metadata::on_socket(self.world.clone(), id, &socket).map_err(failed)?;
                (metadata, image.boot(&folder, instance, &self.endpoint)?)
            }
        };
        Ok(Machine { boots: instance.boots, leash, folder, _metadata: metadata })
    }
}

/// A connection to a machine.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects to a TCP port of the machine whose folder this is.
///
/// # Errors
/// When nothing answers there.
pub async fn connect(folder: &Path, port: u16) -> io::Result<Pin<Box<dyn Connection>>> {
    if qmp::socket(folder).exists() {
        return Ok(Box::pin(TcpStream::connect(forward(folder, port).await?).await?));
    }
    Ok(Box::pin(UnixStream::connect(process::socket(folder, port)).await?))
}
