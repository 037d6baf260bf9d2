//! Truncated files in the cache, after a crash or on a full disk: none is deployed, and the next command creates them again.

use std::fs;
use std::path::Path;

use devopsctl::base::digest::sha256;

use crate::console::aws;
use crate::files::files;
use crate::project::Project;

const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";

/// Runs `up` and `down` with this cache, and returns the keys and contents of the objects in the bucket.
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
fn a_truncated_file_is_not_deployed() {
    let project = Project::unbooted();
    let cache = project.folder().join("cache");
    // Caddy is copied if it is in the cache, to save a download.
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
