//! Files in the cache that a crash or a full disk has cut short: none of them is deployed, and the next command makes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use devopsctl::base::digest::sha256;

use crate::console::aws;
use crate::project::Project;

const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Runs `up` with this cache, and takes everything down again; the keys and the content of what was in the bucket.
fn deployed(project: &Project, cache: &Path) -> Vec<(String, Vec<u8>)> {
    let up = project.command("up --sandbox --no-wait --yes").env("XDG_CACHE_HOME", cache).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let objects = aws(project, async |aws| {
        let mut objects = Vec::new();
        for object in aws.s3.list_objects_v2().bucket(BUCKET).send().await.unwrap().contents() {
            let key = object.key().unwrap();
            let content = aws.s3.get_object().bucket(BUCKET).key(key).send().await.unwrap();
            objects.push((key.to_owned(), content.body.collect().await.unwrap().to_vec()));
        }
        objects
    });
    project.ok("down --sandbox --yes");
    objects
}

#[test]
#[ignore = "slow"]
fn a_file_that_was_cut_short_is_not_deployed() {
    let project = Project::unbooted();
    let cache = project.folder().join("cache");
    // Caddy is copied where it is there, and not fetched from the package index again.
    let (tools, own) = (devopsctl::base::dirs::cache().unwrap().join("tools"), cache.join("devopsctl/tools"));
    project.run("plan --sandbox").code(3);
    fs::create_dir_all(&own).unwrap();
    for file in if tools.exists() { files(&tools) } else { Vec::new() } {
        fs::copy(&file, own.join(file.file_name().unwrap())).unwrap();
    }
    let before = deployed(&project, &cache);
    assert_eq!(before.len(), 2, "a release, and Caddy");

    let all = files(&cache.join("devopsctl"));
    for part in ["tools", "locks", "releases"] {
        assert!(all.iter().any(|file| file.starts_with(cache.join("devopsctl").join(part))), "{part}: {all:?}");
    }
    for file in &all {
        let content = fs::read(file).unwrap();
        fs::write(file, &content[..content.len() / 2]).unwrap();
    }
    let after = deployed(&project, &cache);
    assert_eq!(
        after.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        before.iter().map(|(key, _)| key).collect::<Vec<_>>()
    );
    for ((key, old), (_, new)) in before.iter().zip(&after) {
        assert_eq!(sha256(old), sha256(new), "{key}");
    }
}
