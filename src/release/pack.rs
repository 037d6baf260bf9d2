//! The archive: sorted, without times, owners and whatever else differs from one build to the next.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder, write::GzEncoder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::{agent, source, unwritable};
use crate::digest::hex;
use crate::error::Result;

type Archive = Builder<GzEncoder<Hashing<BufWriter<File>>>>;

/// Writes the archive and returns its sha256.
///
/// # Errors
/// What cannot be read or written.
pub fn pack(archive: &Path, app: &[source::File], site: &Path, manifest: &str) -> Result<String> {
    let write = || -> io::Result<String> {
        let file = Hashing { inner: BufWriter::new(File::create(archive)?), hash: Sha256::new() };
        // No name, no time in the gzip header.
        let gzip = GzBuilder::new().mtime(0).write(file, Compression::default());
        let mut tar = Builder::new(gzip);
        for file in app {
            add(&mut tar, &format!("app/{}", file.name), file.executable, &fs::read(&file.path)?)?;
        }
        for (name, text) in agent::FILES {
            add(&mut tar, &format!("agent/{name}"), false, text.as_bytes())?;
        }
        add(&mut tar, "manifest.json", false, manifest.as_bytes())?;
        add_site(&mut tar, site, "site")?;
        let mut file = tar.into_inner()?.finish()?;
        file.flush()?;
        Ok(hex(&file.hash.finalize()))
    };
    write().map_err(|error| unwritable(archive, &error))
}

fn add_site(tar: &mut Archive, folder: &Path, prefix: &str) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let inside = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            if !(name == "__pycache__" || inside == "site/bin") {
                add_site(tar, &entry.path(), &inside)?;
            }
        } else if !local(&inside) {
            add(tar, &inside, false, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Files in which the installer writes down when, where from and for whom it worked.
fn local(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (name, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let metadata = folder.ends_with(".dist-info")
        && matches!(name, "RECORD" | "INSTALLER" | "REQUESTED" | "direct_url.json" | "uv_cache.json");
    metadata || path == "site/.lock" || name.ends_with(".pyc")
}

fn add(tar: &mut Archive, name: &str, executable: bool, bytes: &[u8]) -> io::Result<()> {
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
            pack(&folder.path().join(round).join("out"), &app, &site, "{}").unwrap()
        };
        assert_eq!(build("one"), build("two"));
    }
}
