//! The data volumes of machines: a machine sees the volumes that EC2 has attached to it.
//!
//! - A volume is a folder below `volumes/` in the sandbox's state. It outlives machines, and is removed with the volume.
//! - A process machine sees it as `dev/<id>`, a link to that folder, and its size in GiB in `dev/<id>.size`. The volume is mounted
//!   while `run/devopsctl/volumes/<id>` exists (`agent/data/volumes_process.py`).
//! - A virtual machine sees an NVMe disk with EC2's serial number. It cannot refuse the removal of a disk. QEMU tells the guest a new
//!   size only with the next attachment.
//! - The emulator ends no detachment before the machine has given the volume back. Until then its state is `busy`, as on AWS.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::super::aws_state::{AwsState, Volume};
use super::super::state_dir::StateDir;
use super::{qmp, remove_tree};

const GIB: u64 = 1 << 30;
/// The folder of a process machine with its mounted volumes.
const MOUNTED: &str = "run/devopsctl/volumes";

/// The volumes that one machine sees.
pub struct Volumes {
    machine: PathBuf,
    is_virtual: bool,
    /// By id: the slot of a virtual machine.
    seen: BTreeMap<String, usize>,
}

impl Volumes {
    /// A machine that has just been booted sees none.
    pub fn new(machine: &Path, is_virtual: bool) -> Self {
        Self { machine: machine.to_owned(), is_virtual, seen: BTreeMap::new() }
    }

    /// Makes the machine see the attached volumes, and only these. Returns whether that is done: a mounted volume is not.
    pub async fn follow(&mut self, folder: &StateDir, aws_state: &AwsState, attached: &[Volume]) -> bool {
        let mut done = true;
        let gone = |id: &&String| !attached.iter().any(|volume| volume.id == **id);
        let forced: Vec<String> = self.seen.keys().filter(gone).cloned().collect();
        for id in forced {
            done &= self.remove(aws_state, &id).await;
        }
        for volume in attached.iter().filter(|volume| is_volume_id(&volume.id)) {
            let id = volume.id.as_str();
            done &= match (volume.state.as_str(), self.seen.contains_key(id)) {
                ("attached", false) => self.add(folder, aws_state, volume).await,
                ("attached", true) => self.resize(volume),
                ("detaching" | "busy", true) => !self.is_mounted(id) && self.remove(aws_state, id).await,
                _ => true,
            };
        }
        done
    }

    /// Gives all volumes back: the machine has ended.
    pub async fn end(self, aws_state: &AwsState) {
        for id in self.seen.keys() {
            tell(aws_state, id, false).await;
        }
    }

    async fn add(&mut self, folder: &StateDir, aws_state: &AwsState, volume: &Volume) -> bool {
        let slots: Vec<usize> = self.seen.values().copied().collect();
        let free = (0..qmp::SLOTS).find(|slot| !self.is_virtual || !slots.contains(slot));
        let Some(slot) = free else {
            warn!("a virtual machine of the sandbox has no room for {}", volume.id);
            return true;
        };
        // Before the machine sees it, so that no detachment ends while it is used.
        tell(aws_state, &volume.id, true).await;
        let store = folder.volume(&volume.id);
        let added = if self.is_virtual {
            self.plug(&store, volume, slot).await
        } else {
            private(&store).and_then(|()| self.link(&store, volume))
        };
        match added {
            Ok(()) => {
                info!(id = volume.id, "the machine sees the volume");
                self.seen.insert(volume.id.clone(), slot);
                true
            }
            Err(error) => {
                warn!("cannot attach {}: {error}", volume.id);
                tell(aws_state, &volume.id, false).await;
                false
            }
        }
    }

    async fn remove(&mut self, aws_state: &AwsState, id: &str) -> bool {
        let removed =
            if self.is_virtual { qmp::unplug(&self.machine, id).await } else { remove_file(&self.device(id)) };
        if let Err(error) = removed {
            warn!("cannot detach {id}: {error}");
            return false;
        }
        info!(id, "the machine does not see the volume any more");
        self.seen.remove(id);
        tell(aws_state, id, false).await;
        true
    }

    /// Adds the folder to a process machine: the size first, because the link makes it visible.
    fn link(&self, store: &Path, volume: &Volume) -> io::Result<()> {
        self.write_size(volume)?;
        remove_file(&self.device(&volume.id))?;
        symlink(store, self.device(&volume.id))
    }

    async fn plug(&self, store: &Path, volume: &Volume, slot: usize) -> io::Result<()> {
        private(store)?;
        let disk = store.join("disk.raw");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&disk)?;
        let bytes = u64::from(volume.gib) * GIB;
        if file.metadata()?.len() < bytes {
            file.set_len(bytes)?;
        }
        qmp::plug(&self.machine, &volume.id, &disk, slot).await
    }

    fn resize(&self, volume: &Volume) -> bool {
        self.is_virtual || self.write_size(volume).is_ok()
    }

    /// A process machine sees another size at once.
    fn write_size(&self, volume: &Volume) -> io::Result<()> {
        let path = self.device(&format!("{}.size", volume.id));
        let text = volume.gib.to_string();
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        let aside = self.device(&format!("{}.new", volume.id));
        fs::write(&aside, text)?;
        fs::rename(aside, path)
    }

    fn is_mounted(&self, id: &str) -> bool {
        !self.is_virtual && self.machine.join(MOUNTED).join(id).symlink_metadata().is_ok()
    }

    fn device(&self, name: &str) -> PathBuf {
        self.machine.join("dev").join(name)
    }
}

/// Removes the folders of volumes that do not exist any more.
pub fn sweep(folder: &StateDir, existing: &[String]) {
    for entry in fs::read_dir(folder.volumes()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !existing.iter().any(|id| name == id.as_str())
            && let Err(error) = remove_tree(&entry.path())
        {
            warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

/// Tells the emulator whether a machine holds a volume, which delays a detachment.
async fn tell(aws_state: &AwsState, id: &str, held: bool) {
    // A volume that was deleted is held by no machine.
    if let Err(failure) = aws_state.emulator().ask(&format!("mounted?volume={id}&mounted={held}")).await {
        warn!("{failure}: {}", failure.reasons().join(": "));
    }
    aws_state.invalidate();
}

/// Whether a text is the id of a volume, which becomes a path.
fn is_volume_id(text: &str) -> bool {
    text.strip_prefix("vol-").is_some_and(|digits| {
        (8..=32).contains(&digits.len()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(gib: u32) -> Volume {
        Volume { id: "vol-0123456789abcdef0".to_owned(), gib, state: "attached".to_owned() }
    }

    #[test]
    fn a_process_machine_sees_a_folder_with_its_size() {
        let root = tempfile::tempdir().unwrap();
        let (machine, store) = (root.path().join("machine"), root.path().join("store"));
        fs::create_dir_all(machine.join("dev")).unwrap();
        fs::create_dir_all(&store).unwrap();
        let volumes = Volumes::new(&machine, false);
        volumes.link(&store, &volume(1)).unwrap();
        fs::write(store.join("row"), "x").unwrap();
        let device = machine.join("dev/vol-0123456789abcdef0");
        assert_eq!(fs::read_to_string(device.join("row")).unwrap(), "x");
        assert!(volumes.resize(&volume(2)));
        assert_eq!(fs::read_to_string(machine.join("dev/vol-0123456789abcdef0.size")).unwrap(), "2");
        assert!(!volumes.is_mounted(&volume(2).id));
        fs::create_dir_all(machine.join(MOUNTED)).unwrap();
        symlink(&device, machine.join(MOUNTED).join(volume(2).id)).unwrap();
        assert!(volumes.is_mounted(&volume(2).id));
    }

    #[test]
    fn only_the_id_of_a_volume_becomes_a_path() {
        assert!(is_volume_id("vol-0123456789abcdef0") && is_volume_id("vol-01234567"));
        for text in ["", "vol-", "vol-../../x", "vol-0123456", "vol-0123456G", "i-0123456789abcdef0", "xvol-01234567"] {
            assert!(!is_volume_id(text), "{text}");
        }
    }
}
