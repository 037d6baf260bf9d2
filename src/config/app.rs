//! `app`: the code, and how to run it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Permissions, Reference, SecretOrigin, Source};

/// The code, and how to run it.
#[derive(Clone, Debug)]
pub struct App {
    /// The folder with the code, absolute.
    pub path: PathBuf,
    /// What gunicorn loads: `module:callable` or `module:factory()`.
    pub web: String,
    /// The file in `path` that lists the dependencies.
    pub requirements: Option<PathBuf>,
    /// Files in `path` to deploy although they look like secrets.
    pub include: Vec<PathBuf>,
    /// Whether to build dependencies without a wheel, which runs their code on this machine.
    pub build_dependencies: bool,
    /// Shell commands that write files of the release.
    pub build: Vec<String>,
    /// Shell commands that run on the instance once for each release, before it starts.
    pub release: Vec<String>,
    /// How long these commands may take together, in seconds.
    pub release_timeout: u32,
    /// Folders in `path` whose files are served without the app, by URL prefix.
    pub static_files: BTreeMap<String, String>,
    /// gunicorn's worker processes; without a number, it depends on the kind of the app and the size of the instance.
    pub workers: Option<u32>,
    /// Threads in each worker.
    pub threads: u32,
    /// The app's environment, without the token.
    pub env: BTreeMap<String, String>,
    /// The secrets that must be set before the app starts.
    pub secrets: BTreeMap<String, SecretOrigin>,
    /// The permissions of the app in AWS. Without them, the app has no credentials.
    pub permissions: Option<Permissions>,
}

impl App {
    /// The secrets that are kept elsewhere in AWS, by the variable's name.
    pub fn references(&self) -> BTreeMap<&str, &Reference> {
        let found = self.secrets.iter().filter_map(|(name, origin)| match origin {
            SecretOrigin::Reference(reference) => Some((name.as_str(), reference)),
            SecretOrigin::Set | SecretOrigin::Generated => None,
        });
        found.collect()
    }

    /// The places of these secrets.
    pub fn sources(&self) -> BTreeSet<Source> {
        self.references().into_values().map(|reference| reference.source.clone()).collect()
    }

    /// The time limit of the commands in `release`, in seconds, if there are any.
    pub fn release_timeout(&self) -> Option<u32> {
        (!self.release.is_empty()).then_some(self.release_timeout)
    }
}
