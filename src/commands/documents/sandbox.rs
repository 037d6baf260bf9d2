//! The documents of `sandbox`.

use std::path::PathBuf;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Version;

documents! {
    /// `sandbox start`: the sandbox's endpoint.
    SandboxStart {
        /// The version of the document.
        v: Version,
        /// The endpoint.
        endpoint: String,
    }

    /// `sandbox stop`.
    SandboxStop {
        /// The version of the document.
        v: Version,
        /// Whether one was running.
        stopped: bool,
    }

    /// `sandbox status`; the exit code is 1 if none is running.
    SandboxStatus {
        /// The version of the document.
        v: Version,
        /// `null` if none is running.
        sandbox: Option<crate::sandbox::Status>,
    }

    /// `sandbox logs`: the last lines of each file.
    SandboxLogs {
        /// The version of the document.
        v: Version,
        /// The files.
        files: Vec<LogFile>,
    }

    /// A log of the sandbox.
    LogFile {
        /// The path.
        file: PathBuf,
        /// Its last lines.
        lines: Vec<String>,
    }
}
