//! Builds a release: an archive of the app, its dependencies for the target, the agent and a manifest, named by its hash. The
//! instance installs nothing, so it runs what was tested.
//!
//! The build is reproducible. Releases are cached under the hash of their inputs, so that an unchanged app only needs its files to
//! be read.

mod agent;
mod asgi;
mod build;
pub mod code;
mod dependencies;
mod ignored;
mod imports;
mod local;
mod manifest;
mod missing;
mod origin;
mod pack;
mod portable;
mod processes;
pub mod projects;
pub mod proxy;
mod secrets;
pub mod source;
mod static_files;
pub mod text;
pub mod websockets;
mod wheels;
pub mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::aws::Target;
use crate::base::digest::{hex, sha256};
use crate::base::dirs::{self, unwritable};
use crate::base::error::{Failure, Result};
use crate::base::event::Sink;
use crate::base::names;
use crate::config::{self, App, Deployment};
use crate::release::proxy::Build;
use dependencies::Installed;
pub use dependencies::Requirements;
pub use processes::Processes;

/// A release that is ready to upload.
#[derive(Clone, Debug)]
pub struct Release {
    /// The archive's sha256.
    pub id: String,
    /// The path of the archive.
    pub archive: PathBuf,
    /// Whether it was built now and not taken from the cache.
    pub fresh: bool,
    /// Whether the requirements were resolved again because the cached lock was damaged.
    pub resolved_anew: bool,
    /// The archive's size in bytes.
    pub size: u64,
    /// The build target.
    pub target: Target,
    /// The commands that run once before it starts; empty if there are none.
    pub commands: String,
    /// How it is served, such as `https`: a rollback to a release that is served in another way is refused.
    pub reached: String,
    /// The sources of the secrets to which it refers, with a space between two.
    pub sources: String,
    /// The proxy.
    pub proxy: Build,
    /// The app's processes.
    pub processes: Processes,
    /// The commit that it was built from; empty if that is unknown.
    pub what: String,
    /// Warnings for the user, a line each.
    pub warnings: Vec<String>,
}

/// Builds the release of a deployment, or takes it from the cache. `upgrade`: resolve unpinned requirements and run `app.build`
/// again. `sink` shows what `app.build` prints.
///
/// # Errors
/// A mistake in the app's folder or its requirements. No call to AWS was made.
pub async fn build(
    deployment: &Deployment,
    target: &Target,
    proxy: Build,
    upgrade: bool,
    sink: &dyn Sink,
) -> Result<Release> {
    let app = &deployment.app;
    let (files, requirements) = look(deployment)?;
    // What git ignores is most often what the commands write.
    let mut warnings = match app.build.is_empty() {
        true => ignored::named(&app.path, &files, &app.env)?,
        false => Vec::new(),
    };
    for (folder, files) in requirements.local().folders().filter(|(folder, _)| *folder != app.path) {
        warnings.extend(ignored::named(folder, files, &BTreeMap::new())?);
    }
    let processes = Processes::of(deployment, requirements.is_asgi());
    let manifest = manifest::render(deployment, proxy, processes);
    let Built { id, archive, fresh, resolved_anew } =
        archive(app, files.clone(), &requirements, target, manifest, upgrade, sink).await?;
    // For a release from the cache, these warnings were shown when it was built.
    if fresh {
        let texts = source::texts(&files, &["py"]);
        let texts = || texts.iter().map(|(name, text)| (&**name, &**text));
        warnings.extend(written::lines(texts(), &app.env));
        if let Some(sockets) = websockets::find(texts()) {
            warnings.extend(sockets.trouble(|name| requirements.mentions(name)));
            warnings.extend(sockets.processes(processes.workers));
        }
    }
    let size = fs::metadata(&archive).map_err(|error| unwritable(&archive, &error))?.len();
    let (what, reached) = (origin::describe(&deployment.app.path), deployment.network.reached());
    let (target, commands, sources) = (target.clone(), app.release.join("; "), sources(app));
    Ok(Release {
        id,
        archive,
        fresh,
        resolved_anew,
        size,
        target,
        commands,
        reached,
        sources,
        proxy,
        processes,
        what,
        warnings,
    })
}

/// Reads the inputs of a release, without building it: the app's files and its requirements.
///
/// # Errors
/// A mistake in the app's folder or its requirements, files that look like secrets, or a Python that the image does not have.
pub fn look(deployment: &Deployment) -> Result<(Vec<source::File>, Requirements)> {
    let app = &deployment.app;
    config::check_python(app, deployment.instance.image)?;
    let files = source::collect(&app.path)?;
    secrets::check(&app.path, &files, &app.include)?;
    if app.build.is_empty() {
        static_files::check(app, &files)?;
    }
    let asgi = asgi::is_asgi(&files, module(app))?;
    Ok((files, Requirements::find(app, asgi)?))
}

fn sources(app: &App) -> String {
    let sources: BTreeSet<String> =
        app.references().into_values().map(|reference| reference.source.to_string()).collect();
    Vec::from_iter(sources).join(" ")
}

/// The app's module.
fn module(app: &App) -> &str {
    app.web.split(':').next().unwrap_or_default()
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
    app: &App,
    files: Vec<source::File>,
    requirements: &Requirements,
    target: &Target,
    manifest: String,
    upgrade: bool,
    sink: &dyn Sink,
) -> Result<Built> {
    let cache = dirs::cache()?.join("releases");
    dirs::private(&cache)?;
    if upgrade {
        requirements.forget(target)?;
    }
    let inputs = inputs(&files, requirements, &app.build, target, &manifest)?;
    // The requirements may not be resolved yet.
    let known = || -> Result<PathBuf> {
        Ok(cache.join(format!("{}.id", sha256(format!("{inputs}{}", requirements.lock_state(target)?)))))
    };
    // The commands may use more than the inputs, such as the newest packages for a frontend.
    if (!upgrade || app.build.is_empty())
        && let Some(release) = cached(&cache, &known()?).await
    {
        return Ok(release);
    }
    let work =
        tempfile::Builder::new().prefix("build-").tempdir_in(&cache).map_err(|error| unwritable(&cache, &error))?;
    let Installed { list, resolved_anew } = dependencies::install(requirements, target, work.path()).await?;
    let known = known()?;
    let site = work.path().join("site");
    portable::check(&site, work.path())?;
    let files = match app.build.is_empty() {
        true => files,
        false => {
            let packages = work.path().join("packages");
            dependencies::environment(requirements, target, &list, &packages).await?;
            let files = build::run(app, &files, &packages, work.path(), sink).await?;
            static_files::check(app, &files)?;
            files
        }
    };
    let module = module(app).to_owned();
    missing::check(&files, &site, &module)?;
    let archive = work.path().join("release.tar.gz");
    let packing = {
        let (archive, files) = (archive.clone(), files);
        tokio::task::spawn_blocking(move || pack::pack(&archive, &files, &site, &manifest, &module))
    };
    let id = packing.await.map_err(|error| Failure::bug(format!("cannot pack the release: {error}")))??;
    let kept = cache.join(format!("{id}.tar.gz"));
    let keep = || {
        // Synced before the rename, because the name promises the content.
        File::open(&archive)?.sync_all()?;
        fs::rename(&archive, &kept)?;
        dirs::write(&known, id.as_bytes())
    };
    keep().map_err(|error| unwritable(&cache, &error))?;
    Ok(Built { id, archive: kept, fresh: true, resolved_anew })
}

/// The hash of all inputs except the resolved requirements.
fn inputs(
    files: &[source::File],
    requirements: &Requirements,
    commands: &[String],
    target: &Target,
    manifest: &str,
) -> Result<String> {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(env!("CARGO_PKG_VERSION").as_bytes());
    part(format!("{target:?}").as_bytes());
    part(manifest.as_bytes());
    part(requirements.lock_key(target).as_bytes());
    commands.iter().for_each(|command| part(command.as_bytes()));
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

/// The cached release, unless its content does not match its name, as after a crash or on a full disk.
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
    async fn a_damaged_archive_in_the_cache_is_not_used() {
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
