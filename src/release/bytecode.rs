//! Byte-code of what a release imports first, made here where there is a Python of the machine's version: else the machine
//! makes it on the way to its first answer. It lies beside the release and is no part of it, for a release is the same
//! whoever builds it, and this is not.

use std::path::Path;
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::aws::Target;
use crate::digest::hex;
use crate::uv::Uv;

const PROGRAM: &str = include_str!("compile.py");

/// Byte-code that is ready to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytecode {
    /// A tar.gz.
    pub packed: Vec<u8>,
    /// The magic number of the Pythons that can read it, and its sha256: what is something else, no machine takes for it.
    pub mark: String,
}

/// Makes it. Nothing where there is no such Python, or where it does not succeed.
pub async fn compile(archive: &Path, target: &Target) -> Option<Bytecode> {
    let python = match target {
        Target::Host { python, .. } => python.clone(),
        Target::Image { python, .. } => Uv::find().await.ok()?.python(python).await?,
    };
    let mut command = Command::new(python);
    command.args(["-I", "-S", "-c", PROGRAM]).arg(archive).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.ok().filter(|output| output.status.success())?;
    let (magic, packed) = output.stdout.split_first_chunk()?;
    let mark = format!("{}-{}", u16::from_le_bytes(*magic), hex(&Sha256::digest(packed)));
    Some(Bytecode { packed: packed.to_vec(), mark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_made_here_is_left_to_the_machine() {
        // One that is not there, one that fails, one that says nothing.
        for python in ["/nowhere/python3", "/bin/false", "/bin/true"] {
            let target = Target::Host { python: python.into(), version: "3.13".into() };
            assert_eq!(compile(Path::new("release.tar.gz"), &target).await, None, "{python}");
        }
    }
}
