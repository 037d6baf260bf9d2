//! The image of an instance, and the build target of a release for it.

use crate::base::error::{Exit, Failure, Result};
use crate::config::{Image, Instance};
use crate::sandbox;

/// The processor, by EC2's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Intel and AMD
    X86_64,
    /// Graviton
    Arm64,
}

/// The image that an instance boots.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The image's name, which is part of the instance's spec; its id is not, because it changes with each build.
    pub image: String,
    /// The public SSM parameter that holds the newest id.
    pub parameter: String,
    /// The build target for it.
    pub target: Target,
}

/// The build target of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Another machine: its Python, and the processor and C library that wheels may require.
    Image {
        /// For example `3.13`.
        python: &'static str,
        /// As uv names it, for example `x86_64-manylinux_2_28`.
        platform: &'static str,
    },
    /// This machine, with the interpreter at this path.
    Host {
        /// The interpreter itself, not a shim.
        python: std::path::PathBuf,
        /// Its version, for example `3.13`.
        version: String,
        /// The Python version of the image that this machine emulates.
        image: &'static str,
    },
}

impl std::fmt::Display for Target {
    /// The target in a release's metadata: releases with the same one run on the same instance.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "python{} {}", self.python(), self.machine().1)
    }
}

impl Target {
    /// The operating system and the processor, by Rust's names.
    pub fn machine(&self) -> (&'static str, &'static str) {
        match self {
            Target::Image { platform, .. } => ("linux", platform.split("-manylinux").next().unwrap_or(platform)),
            Target::Host { .. } => (std::env::consts::OS, std::env::consts::ARCH),
        }
    }

    /// The Python version, for example `3.13`.
    pub fn python(&self) -> &str {
        match self {
            Target::Image { python, .. } => python,
            Target::Host { version, .. } => version,
        }
    }
}

/// Graviton types have a `g` after the generation's number (t4g, c7gn, x2gd), except a1.
/// <https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html>
fn architecture(kind: &str) -> Architecture {
    let family = kind.split('.').next().unwrap_or(kind).split('-').next().unwrap_or(kind);
    let options =
        family.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start_matches(|c: char| c.is_ascii_digit());
    if family == "a1" || options.contains('g') { Architecture::Arm64 } else { Architecture::X86_64 }
}

/// Checks that the sandbox's virtual machine, which boots one image only, can be this instance.
pub(super) fn fits_a_virtual_machine(instance: &Instance) -> Result<()> {
    let image = instance.image == Image::Debian13;
    if image && architecture(&instance.kind) == Architecture::X86_64 {
        return Ok(());
    }
    let (what, line) = if image { ("type", "instance.type: t3.micro") } else { ("image", "instance.image: debian-13") };
    Err(Failure::new(Exit::Usage, format!("the sandbox's virtual machine does not support this instance.{what}"))
        .because("it boots only debian-13 on x86-64")
        .next(format!("set `{line}` in deploy.yaml, or omit --machine")))
}

pub(super) fn machine(instance: &Instance, sandbox: Option<&sandbox::Handle>) -> Machine {
    if let Some(handle) = sandbox.filter(|handle| handle.machines != sandbox::Machines::Qemu) {
        let image = instance.image.python();
        let python = handle.python_for(image);
        let kind = instance.image.process();
        let (major, minor) = python.version;
        return Machine {
            parameter: format!(
                "/aws/service/devopsctl/{kind}/latest/{}",
                std::env::consts::ARCH.replace("aarch64", "arm64")
            ),
            image: kind,
            target: Target::Host { python: python.path.clone(), version: format!("{major}.{minor}"), image },
        };
    }
    let arm = architecture(&instance.kind) == Architecture::Arm64;
    let pick = |x86: &'static str, arm64: &'static str| if arm { arm64 } else { x86 };
    let (parameter, x86, arm64) = match instance.image {
        Image::Debian13 => (
            format!("/aws/service/debian/release/13/latest/{}", pick("amd64", "arm64")),
            "x86_64-manylinux_2_40",
            "aarch64-manylinux_2_40",
        ),
        Image::Ubuntu2404 => (
            format!(
                "/aws/service/canonical/ubuntu/server/24.04/stable/current/{}/hvm/ebs-gp3/ami-id",
                pick("amd64", "arm64")
            ),
            "x86_64-manylinux_2_39",
            "aarch64-manylinux_2_39",
        ),
        Image::Ubuntu2604 => (
            format!(
                "/aws/service/canonical/ubuntu/server/26.04/stable/current/{}/hvm/ebs-gp3/ami-id",
                pick("amd64", "arm64")
            ),
            "x86_64-manylinux_2_40",
            "aarch64-manylinux_2_40",
        ),
        Image::Debian12 => (
            format!("/aws/service/debian/release/12/latest/{}", pick("amd64", "arm64")),
            "x86_64-manylinux_2_36",
            "aarch64-manylinux_2_36",
        ),
        Image::AmazonLinux2023 => (
            format!("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}", pick("x86_64", "arm64")),
            "x86_64-manylinux_2_34",
            "aarch64-manylinux_2_34",
        ),
    };
    Machine {
        image: instance.image.name().to_owned(),
        parameter,
        target: Target::Image { python: instance.image.python(), platform: pick(x86, arm64) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_python_and_a_processor() {
        let image = |kind: &str, image| {
            machine(
                &Instance { kind: kind.into(), image, disk_gib: 8, cpu_credits: crate::config::CpuCredits::Auto },
                None,
            )
            .target
        };
        assert_eq!(image("t3.micro", Image::Debian13).to_string(), "python3.13 x86_64");
        assert_eq!(image("t4g.micro", Image::AmazonLinux2023).to_string(), "python3.9 aarch64");
        let host = Target::Host { python: "/usr/bin/python3".into(), version: "3.12".into(), image: "3.13" };
        assert_eq!(host.to_string(), format!("python3.12 {}", std::env::consts::ARCH));
    }

    #[test]
    fn graviton_is_recognised_by_its_name() {
        for kind in [
            "t4g.micro",
            "c7gn.large",
            "x2gd.medium",
            "a1.medium",
            "im4gn.large",
            "g5g.xlarge",
            "hpc7g.16xlarge",
            "r8gb.large",
        ] {
            assert_eq!(architecture(kind), Architecture::Arm64, "{kind}");
        }
        for kind in [
            "t3.micro",
            "t3a.small",
            "m7i-flex.large",
            "g4dn.xlarge",
            "g5.xlarge",
            "gr6.4xlarge",
            "u-6tb1.metal",
            "c5n.large",
        ] {
            assert_eq!(architecture(kind), Architecture::X86_64, "{kind}");
        }
    }
}
