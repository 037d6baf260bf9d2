//! QEMU's own control socket, as far as the sandbox needs it: shut down, forward a port.
//! <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;

const PATIENCE: Duration = Duration::from_secs(10);

/// Where a machine's socket is, within its folder too.
pub const SOCKET: &str = "net/qmp.sock";

/// The control socket of the machine whose folder this is.
pub fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

/// Gives one order to the virtual machine.
///
/// # Errors
/// When no virtual machine runs there, or it refuses.
pub async fn tell(folder: &Path, order: &str) -> io::Result<()> {
    exchange(folder, json!({"execute": order})).await.map(|_| ())
}

/// Gives one order in the words of QEMU's console, for what has no other.
///
/// # Errors
/// When no virtual machine runs there, or it refuses.
pub async fn say(folder: &Path, line: &str) -> io::Result<()> {
    let order = json!({"execute": "human-monitor-command", "arguments": {"command-line": line}});
    // A console prints what went wrong, and nothing else.
    match exchange(folder, order).await?.as_str().unwrap_or_default().trim() {
        "" => Ok(()),
        said => Err(io::Error::other(said.to_owned())),
    }
}

async fn exchange(folder: &Path, order: Value) -> io::Result<Value> {
    let talk = async {
        let stream = UnixStream::connect(socket(folder)).await?;
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        // It greets first.
        lines.next_line().await?;
        writer.write_all(b"{\"execute\": \"qmp_capabilities\"}\n").await?;
        answer(&mut lines).await?;
        writer.write_all(format!("{order}\n").as_bytes()).await?;
        answer(&mut lines).await
    };
    tokio::time::timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The answer to an order; events that come between are none.
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
