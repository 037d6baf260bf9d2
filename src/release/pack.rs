//! The archive: sorted, and without times, owners and other data that differ between builds.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::{agent, imports, source};
use crate::base::digest::hex;
use crate::base::dirs::unwritable;
use crate::base::error::Result;

/// The modules that the server imports before the app.
const SERVER: [&str; 6] = [
    "gunicorn.app.wsgiapp",
    "gunicorn.glogging",
    "gunicorn.workers.gthread",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.httptools_impl",
];
/// The files that `serve.py` and `workers/gunicorn.conf.py` load by their path.
const LOADED: [&str; 10] = [
    "agent/workers/confinement.py",
    "agent/system/systemd.py",
    "agent/system/kernel.py",
    "agent/workers/variables.py",
    "agent/workers/guard.py",
    "agent/workers/proof.py",
    "agent/workers/worker.py",
    "agent/workers/response_spool.py",
    "agent/workers/unavailable.py",
    "agent/workers/asgi.py",
];

/// Writes the archive and returns its sha256. `module`: the app's module.
pub fn pack(archive: &Path, app: &[source::File], site: &Path, manifest: &str, module: &str) -> Result<String> {
    let write = || -> io::Result<String> {
        let file = Hashing { inner: BufWriter::new(File::create(archive)?), hash: Sha256::new() };
        // The gzip header has no name and no time.
        let gzip = GzBuilder::new().mtime(0).write(file, Compression::default());
        let mut tar = Builder::new(gzip);
        let mut entries: Vec<Entry> = Vec::new();
        entries.extend(app.iter().map(Entry::of_app));
        entries.extend(agent::FILES.iter().map(|(name, text)| Entry::of_agent(name, text)));
        collect(&mut entries, site, "site")?;
        let first = first(&entries, module)?;
        for entry in &entries {
            add(&mut tar, &entry.name, entry.executable, &entry.read()?)?;
        }
        add(&mut tar, "manifest.json", false, manifest.as_bytes())?;
        add(&mut tar, "first.txt", false, first.as_bytes())?;
        let mut file = tar.into_inner()?.finish()?;
        file.flush()?;
        Ok(hex(&file.hash.finalize()))
    };
    write().map_err(|error| unwritable(archive, &error))
}

/// A file of the archive.
struct Entry {
    name: String,
    executable: bool,
    content: Content,
}

enum Content {
    Text(&'static str),
    At(PathBuf),
}

impl Entry {
    fn of_app(file: &source::File) -> Self {
        let content = Content::At(file.path.clone());
        Self { name: format!("app/{}", file.name), executable: file.executable, content }
    }

    fn of_agent(name: &str, text: &'static str) -> Self {
        Self { name: format!("agent/{name}"), executable: false, content: Content::Text(text) }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        match &self.content {
            Content::Text(text) => Ok(text.as_bytes().to_vec()),
            Content::At(path) => fs::read(path),
        }
    }
}

/// Collects the files of the dependencies, sorted.
fn collect(entries: &mut Vec<Entry>, folder: &Path, prefix: &str) -> io::Result<()> {
    let mut found: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    found.sort_by_key(fs::DirEntry::file_name);
    for file in found {
        let name = file.file_name().to_string_lossy().into_owned();
        let inside = format!("{prefix}/{name}");
        if file.file_type()?.is_dir() {
            if !(name == "__pycache__" || inside == "site/bin") {
                collect(entries, &file.path(), &inside)?;
            }
        } else if !local(&inside) {
            entries.push(Entry { name: inside, executable: false, content: Content::At(file.path()) });
        }
    }
    Ok(())
}

/// The files that the instance compiles before it starts the app, a line each, in the order of their imports.
fn first(entries: &[Entry], module: &str) -> io::Result<String> {
    let files: HashMap<&str, &Entry> = entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let roots: Vec<&str> = SERVER.into_iter().chain([module]).collect();
    let modules = imports::reachable(&roots, |path| files.get(path).map(|entry| entry.read()).transpose())?;
    Ok(LOADED.into_iter().chain(modules.iter().map(String::as_str)).map(|path| format!("{path}\n")).collect())
}

/// Files in which the installer records times, sources and users.
fn local(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (name, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let metadata = folder.ends_with(".dist-info")
        && matches!(name, "RECORD" | "INSTALLER" | "REQUESTED" | "direct_url.json" | "uv_build.json" | "uv_cache.json");
    metadata || path == "site/.lock" || name.ends_with(".pyc")
}

fn add<W: Write>(tar: &mut Builder<W>, name: &str, executable: bool, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, name, bytes)
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_inputs_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let build = |round: &str| {
            let site = folder.path().join(round).join("site");
            fs::create_dir_all(site.join("flask-3.dist-info")).unwrap();
            fs::create_dir_all(site.join("bin")).unwrap();
            fs::write(site.join("flask.py"), "x").unwrap();
            fs::write(site.join("bin/flask"), round).unwrap();
            fs::write(site.join("flask-3.dist-info/RECORD"), round).unwrap();
            let path = folder.path().join(round).join("app.py");
            fs::write(&path, "app").unwrap();
            let app = [source::File { name: "app.py".into(), path, executable: false }];
            pack(&folder.path().join(round).join("out"), &app, &site, "{}", "app").unwrap()
        };
        assert_eq!(build("one"), build("two"));
    }
}
