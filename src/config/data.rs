//! `data`: a volume for the app's files that outlives releases, instances and `down`.

use super::reader::{Reader, Section, Wrong};
use super::table;

/// The volume for the app's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The folder where the app finds it.
    pub path: String,
    /// Its size.
    pub gib: u32,
}

/// The folders of the operating system, below which nothing else can be mounted.
const SYSTEM: [&str; 14] =
    ["bin", "boot", "dev", "etc", "home", "opt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"];

/// Reads `data`.
pub(super) fn section(reader: &mut Reader, top: &mut Section) -> Option<Data> {
    let node = top.take(&table::DATA)?.node;
    let place = node.span;
    let mut section = reader.section(&table::DATA, Some(node));
    if section.given(&table::DATA_PATH).is_none() {
        let hint = "add the folder where the app finds the volume, such as `path: /data`";
        reader.find(place, "`data.path` is missing", "this volume has no folder", hint);
    }
    let path = reader.text(&mut section, &table::DATA_PATH, folder);
    let gib = reader.number(&mut section, &table::DATA_GIB);
    section.finish(reader);
    Some(Data { path: path?, gib })
}

/// The folder becomes a mount point, so it is checked by a whitelist; `agent/boot/validate.py` has the same one.
fn folder(path: &str) -> Result<(), Wrong> {
    let hint = || "write a folder of its own, such as /data";
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let name =
        |part: &str| part.len() <= 64 && part.bytes().next().as_ref().is_some_and(begins) && part.bytes().all(plain);
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if !path.starts_with('/') || !(1..=4).contains(&parts.len()) || !parts.iter().all(|part| name(part)) {
        return Err(Wrong::new("is not an absolute path of one to four plain names", hint()));
    }
    if SYSTEM.contains(&parts[0]) || parts[0].starts_with("lib") {
        return Err(Wrong::new("is in a folder of the operating system", hint()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_a_plain_path_outside_of_the_operating_system() {
        let longest = format!("/{}", "a".repeat(64));
        for good in ["/data", "/srv/app-1/_x/db.d", "/database", "/mnt/data", longest.as_str()] {
            assert!(folder(good).is_ok(), "{good}");
        }
        let longer = format!("/{}", "a".repeat(65));
        let wrong =
            ["", "/", "data", "/data/", "//data", "/a/b/c/d/e", "/.data", "/a/../etc", "/a b", "/-a", "/a\n", "/ä"];
        for wrong in wrong.into_iter().chain(["/etc", "/var/lib/app", "/lib64/x", "/library", longer.as_str()]) {
            assert!(folder(wrong).is_err(), "{wrong}");
        }
    }
}
