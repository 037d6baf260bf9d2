//! The call log: one line of JSON per call, without bodies and secrets.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::call::Call;

/// The open file.
pub struct CallLog(Mutex<File>);

impl CallLog {
    /// Starts a new log and removes the last one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        // In append mode it can be truncated while it is open.
        std::fs::remove_file(path).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Logs an answered call.
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
        // A full disk must not fail the call.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
