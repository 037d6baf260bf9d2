//! The programs that devopsctl starts: what they see of the caller, and what of the project could stand in for them.

use std::fs;

use crate::project::{Project, install_emulator};

/// Stands for all that no child may see.
const PLANTED: &str = "planted-for-nobody-to-see";

#[test]
#[cfg(target_os = "linux")]
fn the_sandbox_gets_nothing_of_the_callers_shell() {
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
        // Others' processes cannot be read, and some are gone.
        let Ok(environment) = fs::read(process.path().join("environ")) else { continue };
        let environment = String::from_utf8_lossy(&environment).into_owned();
        if environment.contains(state.to_str().unwrap()) {
            assert!(!environment.contains(PLANTED), "{environment}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "the sandbox, a guard and the emulator: {seen}");
}

#[test]
fn pip_is_not_imported_from_the_project() {
    let project = Project::unbooted();
    let (mark, bin) = (project.folder().join("ran"), project.folder().join("bin"));
    let code = format!("open({:?}, 'w')\n", mark.to_str().unwrap());
    for module in ["pip/__init__", "pip/__main__", "json", "runpy"] {
        project.file(&format!("{module}.py"), &code);
    }
    // Python, and no uv: pip is to install it.
    fs::create_dir(&bin).unwrap();
    let python = devopsctl::child::program("python3").unwrap();
    std::os::unix::fs::symlink(python, bin.join("python3")).unwrap();
    let mut plan = project.command("plan --sandbox");
    plan.env("PATH", &bin).env("XDG_CACHE_HOME", project.folder().join("cache"));
    plan.env("PIP_INDEX_URL", "http://127.0.0.1:1").env("PIP_RETRIES", "0");
    let output = plan.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!mark.exists(), "{said}");
    assert!(!output.status.success() && said.contains("pip cannot install it"), "{said}");
}
