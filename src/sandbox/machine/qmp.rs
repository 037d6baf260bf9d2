//! The part of QEMU's control protocol that the sandbox needs: shut down, forward a port, add and remove disks.
//! <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of disks that can be added to a running machine.
pub const SLOTS: usize = 2;

/// The socket's path in the machine's folder.
pub const SOCKET: &str = "net/qmp.sock";

/// The control socket of the machine in this folder.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

/// Executes a QMP command.
///
/// # Errors
/// When no virtual machine is running there, or it refuses.
pub async fn execute(folder: &Path, command: &str) -> io::Result<()> {
    call(folder, json!({"execute": command})).await.map(|_| ())
}

/// Executes a command of QEMU's console, for commands without a QMP equivalent.
///
/// # Errors
/// When no virtual machine is running there, or it refuses.
pub async fn monitor(folder: &Path, line: &str) -> io::Result<()> {
    let command = json!({"execute": "human-monitor-command", "arguments": {"command-line": line}});
    // The console prints errors only.
    match call(folder, command).await?.as_str().unwrap_or_default().trim() {
        "" => Ok(()),
        said => Err(io::Error::other(said.to_owned())),
    }
}

/// The port of the machine for the disk in this slot.
pub fn port(slot: usize) -> String {
    format!("data{slot}")
}

/// Adds a disk to a running machine: an NVMe controller with the serial number that EBS gives a volume.
/// <https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html>
///
/// # Errors
/// When no virtual machine is running there, or it refuses.
pub async fn plug(folder: &Path, volume: &str, disk: &Path, slot: usize) -> io::Result<()> {
    let file = json!({"driver": "file", "filename": disk});
    let node = json!({
        "driver": "raw", "node-name": volume, "discard": "unmap", "cache": {"direct": false, "no-flush": true}, "file": file,
    });
    call(folder, json!({"execute": "blockdev-add", "arguments": node})).await?;
    let serial = volume.replace('-', "");
    let device = json!({"driver": "nvme", "id": volume, "drive": volume, "serial": serial, "bus": port(slot)});
    match call(folder, json!({"execute": "device_add", "arguments": device})).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let node = json!({"node-name": volume});
            call(folder, json!({"execute": "blockdev-del", "arguments": node})).await?;
            Err(error)
        }
    }
}

/// Removes a disk from a running machine, and waits until its kernel has let it go.
///
/// # Errors
/// When the kernel does not do so in time: another call continues.
pub async fn unplug(folder: &Path, volume: &str) -> io::Result<()> {
    // QEMU refuses a second request while the first one is under way.
    let _ = call(folder, json!({"execute": "device_del", "arguments": {"id": volume}})).await;
    let end = Instant::now() + TIMEOUT;
    while devices(folder).await?.iter().any(|device| device == volume) {
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the machine still has the disk"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    call(folder, json!({"execute": "blockdev-del", "arguments": {"node-name": volume}})).await.map(|_| ())
}

/// The ids of the devices that were added with one.
async fn devices(folder: &Path) -> io::Result<Vec<String>> {
    let listed = call(folder, json!({"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}})).await?;
    let names = listed.as_array().into_iter().flatten().filter_map(|entry| entry.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

async fn call(folder: &Path, command: Value) -> io::Result<Value> {
    let exchange = async {
        let stream = UnixStream::connect(socket(folder)).await?;
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        // QEMU sends a greeting first.
        lines.next_line().await?;
        writer.write_all(b"{\"execute\": \"qmp_capabilities\"}\n").await?;
        answer(&mut lines).await?;
        writer.write_all(format!("{command}\n").as_bytes()).await?;
        answer(&mut lines).await
    };
    tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The response to a command. Events before it are skipped.
async fn answer<R: tokio::io::AsyncBufRead + Unpin>(lines: &mut Lines<R>) -> io::Result<Value> {
    while let Some(line) = lines.next_line().await? {
        let mut message: Value = serde_json::from_str(&line)?;
        if let Some(value) = message.get_mut("return") {
            return Ok(value.take());
        }
        if let Some(error) = message.get("error") {
            return Err(io::Error::other(error.to_string()));
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
