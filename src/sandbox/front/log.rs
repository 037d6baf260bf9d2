//! What was called: one line of JSON a call, without bodies and without secrets.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::call::Call;

/// The open file.
pub struct Log(Mutex<File>);

impl Log {
    /// Begins the log of this sandbox; the last one's goes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        // Appended to, so that it can be emptied while it is open.
        std::fs::remove_file(path).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Notes a call that was answered.
    pub fn write(&self, call: &Call, status: u16, error: Option<&str>, took: Duration) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let line = serde_json::json!({
            "at": (at * 1000.0).round() / 1000.0,
            "service": call.service,
            "action": call.action,
            "region": call.region,
            "key": call.key,
            "status": status,
            "error": error,
            "ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A full disk must not keep AWS from answering.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
