//! The document of an error.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Version;
use crate::base::error::{self, Failure};

documents! {
    /// An error of any verb, which is also printed as text on stderr.
    Error {
        /// The version of the document.
        v: Version,
        /// The error.
        error: Problem,
    }

    /// An error.
    Problem {
        /// The exit code.
        exit: u8,
        /// What failed, as one line.
        what: String,
        /// The reasons; each is the reason of the one before it.
        because: Vec<String>,
        /// The state that the failure left.
        standing: Option<String>,
        /// What to do next.
        next: Option<String>,
        /// The mistakes in a file, each with its place.
        findings: Vec<Finding>,
    }

    /// One mistake in a file.
    Finding {
        /// What is wrong.
        what: String,
        /// How to correct it.
        hint: String,
        /// The file.
        file: String,
        /// Its offset in the file, in bytes.
        at: usize,
    }
}

impl From<&error::Finding> for Finding {
    fn from(finding: &error::Finding) -> Self {
        Self {
            what: finding.what.clone(),
            hint: finding.hint.clone(),
            file: finding.source.name().to_owned(),
            at: finding.span.offset(),
        }
    }
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        let error = Problem {
            exit: failure.exit() as u8,
            what: failure.what().to_owned(),
            because: failure.reasons().into_iter().map(ToOwned::to_owned).collect(),
            standing: failure.left_standing().map(ToOwned::to_owned),
            next: failure.next_step().map(ToString::to_string),
            findings: failure.findings_in_file().iter().map(Finding::from).collect(),
        };
        Self { v: Version, error }
    }
}
