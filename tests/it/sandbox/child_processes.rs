//! Child processes: they get nothing of the caller's environment, and nothing of the project replaces them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use crate::project::{Project, install_emulator};

/// A value that no child process may see.
const PLANTED: &str = "planted-secret";

#[test]
#[cfg(target_os = "linux")]
fn the_sandbox_gets_no_variables_of_the_callers_shell() {
    install_emulator();
    let project = Project::alone();
    let mut start = project.command("sandbox start");
    for name in ["AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "APP_SECRET_TOKEN", "GITHUB_TOKEN"] {
        start.env(name, PLANTED);
    }
    assert!(start.output().unwrap().status.success());
    let state = project.state();
    let mut seen = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // Processes of other users cannot be read, and some have ended.
        let Ok(environment) = fs::read(process.path().join("environ")) else { continue };
        let environment = String::from_utf8_lossy(&environment).into_owned();
        if environment.contains(state.to_str().unwrap()) {
            assert!(!environment.contains(PLANTED), "{environment}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "the sandbox, a supervisor and the emulator: {seen}");
}

#[test]
fn pip_is_not_imported_from_the_project() {
    let project = Project::unbooted();
    let (mark, bin) = (project.folder().join("ran"), project.folder().join("bin"));
    let code = format!("open({:?}, 'w')\n", mark.to_str().unwrap());
    for module in ["pip/__init__", "pip/__main__", "json", "runpy"] {
        project.file(&format!("{module}.py"), &code);
    }
    // Python without uv, so pip has to install it.
    fs::create_dir(&bin).unwrap();
    let python = devopsctl::base::child::program("python3").unwrap();
    symlink(python, bin.join("python3")).unwrap();
    let mut plan = project.command("plan --sandbox");
    plan.env("PATH", &bin).env("XDG_CACHE_HOME", project.folder().join("cache"));
    plan.env("PIP_INDEX_URL", "http://127.0.0.1:1").env("PIP_RETRIES", "0");
    let output = plan.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!mark.exists(), "{said}");
    assert!(!output.status.success() && said.contains("pip cannot install it"), "{said}");
}

/// The cache has programs that are run, and the state folder has keys.
#[test]
fn a_cache_or_state_folder_of_another_user_or_behind_a_link_is_refused() {
    let project = Project::unbooted();
    let (mark, home) = (project.folder().join("ran"), project.folder().join("home"));
    let uv = format!("#!/bin/sh\ntouch {}\necho uv 9.9.9\n", mark.display());
    project.file("home/devopsctl/uv-0.13.9/bin/uv", &uv);
    let planted = home.join("devopsctl/uv-0.13.9/bin/uv");
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = |variable: &str, line: &str, why: &str| {
        let mut command = project.command(line);
        command.env(variable, &home).env("PATH", "/usr/bin:/bin").env("COLUMNS", "400");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{line}: {said}");
        assert!(!mark.exists(), "{line}: a program of another user ran");
    };
    // Only root can change the owner of a file.
    if chown(home.join("devopsctl"), Some(4_000_000), None).is_ok() {
        refused("XDG_CACHE_HOME", "plan --sandbox", "belongs to another user");
        refused("XDG_STATE_HOME", "sandbox start", "belongs to another user");
        chown(home.join("devopsctl"), Some(0), None).unwrap();
    }
    fs::rename(home.join("devopsctl"), home.join("elsewhere")).unwrap();
    symlink(home.join("elsewhere"), home.join("devopsctl")).unwrap();
    refused("XDG_CACHE_HOME", "plan --sandbox", "symbolic link");
    refused("XDG_STATE_HOME", "sandbox start", "symbolic link");
}
