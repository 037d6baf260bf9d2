//! Boots what runs: each running instance is a folder that stands for its disk and a program under guard.
//!
//! The program is the user-data, byte for byte as it was launched. It is given a clean environment that names its metadata
//! service and the AWS endpoint, as DNS and a link-local address do on EC2, and nothing else: no way leads from the command
//! line to a machine but AWS. Nothing outside the folder changes, whoever runs the sandbox.
//!
//! cloud-init runs user-data at the first boot only, and units that it installs run at each. A process machine has no
//! units, so it runs the user-data at each boot.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::error::{Failure, Result};

use super::leash::Leash;
use super::metadata::Metadata;
use super::state::{Folder, remove_tree};
use super::world::{Instance, View, World};

/// What a machine finds on `PATH` behind its own `bin`, as on any of the images.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The folders of a machine. As on tmpfs, `run` and `tmp` are empty after each boot.
const FOLDERS: [&str; 8] = ["bin", "net", "opt", "run", "tmp", "root", "var/lib", "var/log"];
const EMPTIED: [&str; 3] = ["net", "run", "tmp"];

struct Machine {
    boots: u32,
    leash: Leash,
    // Held: the service ends with the machine.
    _metadata: Metadata,
}

/// All machines of the sandbox.
pub struct Machines {
    folder: Folder,
    world: Arc<World>,
    /// The AWS endpoint.
    endpoint: String,
    python: PathBuf,
    up: HashMap<String, Machine>,
}

impl Machines {
    /// None yet.
    pub fn new(folder: Folder, world: Arc<World>, endpoint: String, python: PathBuf) -> Self {
        Self { folder, world, endpoint, python, up: HashMap::new() }
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
                ends.spawn(machine.leash.stop());
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
        let failed = |why: String| Failure::failed(format!("{id} does not boot")).because(why);
        let root = self.folder.machine(id);
        let user_data = self.world.emulator().ask(&format!("user-data?instance={id}")).await?;
        let user_data = user_data.ok_or_else(|| failed("the emulator does not know it".to_owned()))?;
        let program = root.join("var/lib/user-data");
        lay_out(&root, &self.python, &program, &user_data).map_err(|error| failed(error.to_string()))?;
        let metadata = Metadata::start(self.world.clone(), id).await.map_err(|error| failed(error.to_string()))?;
        let path = format!("{}:{PATH}", root.join("bin").display());
        let leash = Leash::start(&root.join("var/log/console.log"), |command| {
            command.arg(&program).current_dir(&root).env_clear().env("PATH", path).env("LANG", "C.UTF-8");
            command.env("HOME", root.join("root")).env("TMPDIR", root.join("tmp"));
            command.env("DEVOPSCTL_ROOT", &root).env("DEVOPSCTL_RUNNER", "process");
            command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint());
            command.env("AWS_ENDPOINT_URL", &self.endpoint);
        })?;
        Ok(Machine { boots: instance.boots, leash, _metadata: metadata })
    }
}

/// Makes the machine's folder as it is before it boots.
fn lay_out(root: &Path, python: &Path, program: &Path, user_data: &[u8]) -> std::io::Result<()> {
    for name in EMPTIED {
        remove_tree(&root.join(name))?;
    }
    for name in FOLDERS {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(name))?;
    }
    let link = root.join("bin/python3");
    if fs::symlink_metadata(&link).is_err() {
        symlink(python, link)?;
    }
    fs::write(program, user_data)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_empties_what_is_in_memory_and_keeps_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let program = root.join("var/lib/user-data");
        lay_out(root, Path::new("/usr/bin/python3"), &program, b"#!/bin/sh\n\xff").unwrap();
        assert_eq!(fs::read(&program).unwrap(), b"#!/bin/sh\n\xff");
        fs::write(root.join("run/token"), "x").unwrap();
        fs::write(root.join("opt/release"), "x").unwrap();
        lay_out(root, Path::new("/usr/bin/python3"), &program, b"#!/bin/sh\n").unwrap();
        assert!(!root.join("run/token").exists());
        assert!(root.join("opt/release").exists());
        assert_eq!(fs::read_link(root.join("bin/python3")).unwrap(), Path::new("/usr/bin/python3"));
    }
}
