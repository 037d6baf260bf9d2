//! `--machine`: how the sandbox runs an instance, and the errors if it cannot.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::project::{Project, Ran, install_emulator};

/// Runs a command with only these programs on `PATH`, which do nothing, and an empty cache.
fn run_with(project: &Project, programs: &[&str], line: &str) -> Ran {
    let folder = project.folder().join("bin");
    fs::create_dir_all(&folder).unwrap();
    for program in programs {
        let path = folder.join(program);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let cache = project.folder().join("cache");
    Ran::new(line, &project.command(line).env("PATH", folder).env("XDG_CACHE_HOME", cache).output().unwrap())
}

#[test]
fn a_virtual_machine_needs_qemu_and_an_image() {
    let project = Project::alone().with_example();
    let line = "up --sandbox --machine qemu";
    run_with(&project, &[], line).code(1).says("not on PATH: qemu-system-x86_64, qemu-img").says("apt install qemu");
    run_with(&project, &["qemu-system-x86_64"], line).code(1).says("not on PATH: qemu-img");
    let programs = ["qemu-system-x86_64", "qemu-img"];
    let cache = project.folder().join("cache");
    run_with(&project, &programs, line)
        .code(1)
        .says("there is no image for virtual machines")
        .says(&format!("sudo env XDG_CACHE_HOME={} tests/vm/build-image", cache.display()));
    // Nothing was started or downloaded.
    assert!(!cache.exists());
    project.run("sandbox status").code(1);
}

#[test]
#[ignore = "slow"]
fn a_sandbox_has_one_kind_of_machine() {
    install_emulator();
    let project = Project::alone().with_example();
    project.ok("sandbox start --machine off");
    project.run("up --sandbox --machine process").code(1).says("--machine off, not process").says("sandbox stop");
    project.ok("sandbox start --machine off");
    project.ok("up --sandbox --no-wait --machine off");
}

#[test]
fn the_machine_option_is_for_the_sandbox_only() {
    let project = Project::alone().with_example();
    project.run("up --machine qemu --region us-east-1").code(2).says("--machine needs --sandbox");
    project.run("up --sandbox --machine docker").code(2).says("docker");
}
