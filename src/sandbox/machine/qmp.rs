//! The part of QEMU's control protocol that the sandbox needs: shut down, forward a port.
//! <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;

const TIMEOUT: Duration = Duration::from_secs(10);

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
