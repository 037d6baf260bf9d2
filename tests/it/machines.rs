//! `--machine`: what an instance is in the sandbox, and what is said where it cannot be that.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::project::{Project, Ran, install_emulator};

/// Runs it with nothing on `PATH` but these programs, which do nothing, and an empty cache.
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
fn a_virtual_machine_takes_qemu_and_an_image() {
    let project = Project::alone().with_example();
    let line = "up --sandbox --machine qemu";
    run_with(&project, &[], line).code(1).says("not on PATH: qemu-system-x86_64, qemu-img").says("apt install qemu");
    run_with(&project, &["qemu-system-x86_64"], line).code(1).says("not on PATH: qemu-img");
    let programs = ["qemu-system-x86_64", "qemu-img"];
    let cache = project.folder().join("cache");
    run_with(&project, &programs, line)
        .code(1)
        .says("there is no image for a virtual machine to boot")
        .says(&format!("sudo env XDG_CACHE_HOME={} tests/vm/build-image", cache.display()));
    // Nothing was started or downloaded for that.
    assert!(!cache.exists());
    project.run("sandbox status").code(1);
}

#[test]
#[ignore = "slow"]
fn a_sandbox_has_machines_of_one_kind() {
    install_emulator();
    let project = Project::alone().with_example();
    project.ok("sandbox start --machine off");
    project.run("up --sandbox --machine process").code(1).says("--machine off, not process").says("sandbox stop");
    project.ok("sandbox start --machine off");
    project.ok("up --sandbox --no-wait --machine off");
}

#[test]
fn it_is_for_the_sandbox_alone() {
    let project = Project::alone().with_example();
    project.run("up --machine qemu --region us-east-1").code(2).says("--machine needs --sandbox");
    project.run("up --sandbox --machine docker").code(2).says("docker");
}
