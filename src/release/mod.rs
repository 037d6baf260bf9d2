//! Builds a release: the app, its dependencies for the machine it will run on, the agent and a manifest, as one
//! archive that is named by its hash. The instance installs nothing: what was tested is what runs.
//!
//! Same inputs, same bytes, same id. What was built is kept in the cache under the hash of what went in, so that an
//! unchanged app costs only the reading of its files.

mod agent;
mod dependencies;
mod imports;
mod manifest;
mod origin;
mod pack;
pub mod source;

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::aws::Target;
use crate::config::{App, Deployment};
use crate::digest::hex;
use crate::dirs::{self, unwritable};
use crate::edge::Build;
use crate::error::{Failure, Result};
pub use dependencies::Requirements;

/// A release, ready to be uploaded.
#[derive(Clone, Debug)]
pub struct Release {
    /// The archive's sha256.
    pub id: String,
    /// Where the archive lies.
    pub archive: PathBuf,
    /// Whether it was built just now.
    pub fresh: bool,
    /// What it was built for.
    pub target: Target,
    /// How it is reached, such as `https`: one that is reached in another way is not gone back to.
    pub reached: String,
    /// What stands before it.
    pub edge: Build,
    /// What it was made from, its commit; empty where it is not known.
    pub what: String,
}

/// Builds the release of a deployment, or takes it from the cache. `edge`: what stands before it there; `upgrade`:
/// resolve unpinned requirements anew.
///
/// # Errors
/// What is wrong with the app's folder or its requirements; nothing has been called in AWS then.
pub async fn build(deployment: &Deployment, target: &Target, edge: Build, upgrade: bool) -> Result<Release> {
    let (id, archive, fresh) = archive(deployment, target, edge, upgrade).await?;
    let what = origin::describe(&deployment.app.path);
    let reached = deployment.network.reached();
    Ok(Release { id, archive, fresh, target: target.clone(), reached, edge, what })
}

/// What a release would be made from: the app's files, and what names its dependencies. Nothing is built.
///
/// # Errors
/// What is wrong with the app's folder or its requirements.
pub fn look(app: &App) -> Result<(Vec<source::File>, Requirements)> {
    Ok((source::collect(&app.path)?, Requirements::find(app)?))
}

/// The archive's id, where it lies, and whether it was made just now.
async fn archive(
    deployment: &Deployment,
    target: &Target,
    edge: Build,
    upgrade: bool,
) -> Result<(String, PathBuf, bool)> {
    let app = &deployment.app;
    let (files, requirements) = look(app)?;
    let manifest = manifest::render(deployment, edge);
    let cache = dirs::cache()?.join("releases");
    dirs::private(&cache)?;
    if upgrade {
        requirements.forget(target)?;
    }
    let inputs = inputs(&files, &requirements, target, &manifest)?;
    let known = cache.join(format!("{inputs}.id"));
    if let Some(release) = cached(&cache, &known) {
        return Ok(release);
    }
    let work =
        tempfile::Builder::new().prefix("build-").tempdir_in(&cache).map_err(|error| unwritable(&cache, &error))?;
    let site = work.path().join("site");
    dependencies::install(&requirements, target, &site).await?;
    let archive = work.path().join("release.tar.gz");
    let packing = {
        let (archive, files) = (archive.clone(), files);
        let module = app.wsgi.split(':').next().unwrap_or_default().to_owned();
        tokio::task::spawn_blocking(move || pack::pack(&archive, &files, &site, &manifest, &module))
    };
    let id = packing.await.map_err(|error| Failure::bug(format!("the release cannot be packed: {error}")))??;
    let kept = cache.join(format!("{id}.tar.gz"));
    let keep = || {
        fs::rename(&archive, &kept)?;
        fs::write(&known, &id)
    };
    keep().map_err(|error| unwritable(&cache, &error))?;
    Ok((id, kept, true))
}

/// Hash of everything that can make a difference to the archive.
fn inputs(files: &[source::File], requirements: &Requirements, target: &Target, manifest: &str) -> Result<String> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(env!("CARGO_PKG_VERSION").as_bytes());
    part(format!("{target:?}").as_bytes());
    part(manifest.as_bytes());
    part(requirements.lock_key(target).as_bytes());
    part(requirements.lock_state(target)?.as_bytes());
    for file in files {
        part(file.name.as_bytes());
        part(&[u8::from(file.executable)]);
        part(&file.read()?);
    }
    for (name, text) in agent::FILES {
        part(name.as_bytes());
        part(text.as_bytes());
    }
    Ok(hex(&hash.finalize()))
}

fn cached(cache: &Path, known: &Path) -> Option<(String, PathBuf, bool)> {
    let id = fs::read_to_string(known).ok()?;
    let archive = cache.join(format!("{id}.tar.gz"));
    archive.is_file().then_some((id, archive, false))
}
