//! Builds a release: the app, its dependencies for the machine it will run on, the agent and a manifest, as one
//! archive that is named by its hash. The instance installs nothing: what was tested is what runs.
//!
//! Same inputs, same bytes, same id. What was built is kept in the cache under the hash of what went in, so that an
//! unchanged app costs only the reading of its files.

mod agent;
pub mod code;
mod dependencies;
pub mod edge;
mod ignored;
mod imports;
mod local;
mod manifest;
mod missing;
mod origin;
mod pack;
mod portable;
mod python;
mod secrets;
pub mod source;
pub mod text;
mod wheels;
pub mod written;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::aws::Target;
use crate::base::digest::{hex, sha256};
use crate::base::dirs::{self, unwritable};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::config::Deployment;
use crate::release::edge::Build;
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
    /// Whether the requirements were resolved anew because the earlier result in the cache was damaged.
    pub resolved_anew: bool,
    /// The archive's size in bytes.
    pub size: u64,
    /// What it was built for.
    pub target: Target,
    /// How it is reached, such as `https`: one that is reached in another way is not gone back to.
    pub reached: String,
    /// What stands before it.
    pub edge: Build,
    /// What it was made from, its commit; empty where it is not known.
    pub what: String,
    /// What a person should know of it: a line each.
    pub warnings: Vec<String>,
}

/// Builds the release of a deployment, or takes it from the cache. `edge`: what stands before it there; `upgrade`:
/// resolve unpinned requirements anew.
///
/// # Errors
/// What is wrong with the app's folder or its requirements; nothing has been called in AWS then.
pub async fn build(deployment: &Deployment, target: &Target, edge: Build, upgrade: bool) -> Result<Release> {
    let app = &deployment.app;
    let (files, requirements) = look(deployment)?;
    let mut warnings = ignored::named(&app.path, &files, &app.env)?;
    for (folder, files) in requirements.local().folders().filter(|(folder, _)| *folder != app.path) {
        warnings.extend(ignored::named(folder, files, &BTreeMap::new())?);
    }
    let Built { id, archive, fresh, resolved_anew } =
        archive(deployment, files.clone(), &requirements, target, edge, upgrade).await?;
    // A release from the cache was warned of when it was built.
    if fresh {
        let texts = source::texts(&files, &["py"]);
        warnings.extend(written::lines(texts.iter().map(|(name, text)| (&**name, &**text)), &app.env));
    }
    let size = fs::metadata(&archive).map_err(|error| unwritable(&archive, &error))?.len();
    let (what, reached) = (origin::describe(&deployment.app.path), deployment.network.reached());
    Ok(Release { id, archive, fresh, resolved_anew, size, target: target.clone(), reached, edge, what, warnings })
}

/// What a release would be made from: the app's files, and what names its dependencies. Nothing is built.
///
/// # Errors
/// What is wrong with the app's folder or its requirements, files that look like secrets, and a Python that the image does not
/// have.
pub fn look(deployment: &Deployment) -> Result<(Vec<source::File>, Requirements)> {
    let app = &deployment.app;
    python::check(app, deployment.instance.image)?;
    let files = source::collect(&app.path)?;
    secrets::check(&app.path, &files, &app.include)?;
    Ok((files, Requirements::find(app)?))
}

/// An archive in the cache.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    id: String,
    archive: PathBuf,
    fresh: bool,
    resolved_anew: bool,
}

/// Builds the archive, or takes it from the cache.
async fn archive(
    deployment: &Deployment,
    files: Vec<source::File>,
    requirements: &Requirements,
    target: &Target,
    edge: Build,
    upgrade: bool,
) -> Result<Built> {
    let app = &deployment.app;
    let manifest = manifest::render(deployment, edge);
    let cache = dirs::cache()?.join("releases");
    dirs::private(&cache)?;
    if upgrade {
        requirements.forget(target)?;
    }
    let inputs = inputs(&files, requirements, target, &manifest)?;
    // What the requirements resolve to may not be known yet.
    let known = || -> Result<PathBuf> {
        Ok(cache.join(format!("{}.id", sha256(format!("{inputs}{}", requirements.lock_state(target)?)))))
    };
    if let Some(release) = cached(&cache, &known()?).await {
        return Ok(release);
    }
    let work =
        tempfile::Builder::new().prefix("build-").tempdir_in(&cache).map_err(|error| unwritable(&cache, &error))?;
    let resolved_anew = dependencies::install(requirements, target, work.path()).await?;
    let known = known()?;
    let site = work.path().join("site");
    portable::check(&site, work.path())?;
    let module = app.wsgi.split(':').next().unwrap_or_default().to_owned();
    missing::check(&files, &site, &module)?;
    let archive = work.path().join("release.tar.gz");
    let packing = {
        let (archive, files) = (archive.clone(), files);
        tokio::task::spawn_blocking(move || pack::pack(&archive, &files, &site, &manifest, &module))
    };
    let id = packing.await.map_err(|error| Failure::bug(format!("the release cannot be packed: {error}")))??;
    let kept = cache.join(format!("{id}.tar.gz"));
    let keep = || {
        // Synced before it gets its name, which promises its content.
        File::open(&archive)?.sync_all()?;
        fs::rename(&archive, &kept)?;
        dirs::write(&known, id.as_bytes())
    };
    keep().map_err(|error| unwritable(&cache, &error))?;
    Ok(Built { id, archive: kept, fresh: true, resolved_anew })
}

/// Hash of everything that can make a difference to the archive, but for what the requirements resolve to.
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
    part(&requirements.local().content()?);
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

/// What was built before. What is not what its name says (a crash or a full disk cut it short) is built anew.
async fn cached(cache: &Path, known: &Path) -> Option<Built> {
    let id = fs::read_to_string(known).ok().filter(|id| names::is_release(id))?;
    let archive = cache.join(format!("{id}.tar.gz"));
    let content = tokio::fs::read(&archive).await.ok()?;
    let found = tokio::task::spawn_blocking(move || sha256(content)).await.ok()?;
    (found == id).then_some(Built { id, archive, fresh: false, resolved_anew: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cached_archive_that_is_not_what_its_name_says_is_not_taken() {
        let cache = tempfile::tempdir().unwrap();
        let (known, id) = (cache.path().join("inputs.id"), sha256("archive"));
        let archive = cache.path().join(format!("{id}.tar.gz"));
        fs::write(&known, &id).unwrap();
        assert_eq!(cached(cache.path(), &known).await, None, "it is missing");
        fs::write(&archive, "archive").unwrap();
        let whole = Built { id: id.clone(), archive: archive.clone(), fresh: false, resolved_anew: false };
        assert_eq!(cached(cache.path(), &known).await, Some(whole));
        for damaged in ["", "arch", "archivf"] {
            fs::write(&archive, damaged).unwrap();
            assert_eq!(cached(cache.path(), &known).await, None, "{damaged}");
        }
        for name in ["", "../../x", &id[..63], &id.to_uppercase()] {
            fs::write(&known, name).unwrap();
            assert_eq!(cached(cache.path(), &known).await, None, "{name}");
        }
    }
}
