//! The Python test suites: the app, the agent, the sandbox against AWS's documentation, the schema against the parser, and
//! python-dotenv.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use devopsctl::base::uv::Uv;

use crate::http::runtime;
use crate::project::install_emulator;
use crate::times;

/// pytest for one folder, in its own environment.
fn pytest(folder: &str) -> Command {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let uv = runtime().block_on(Uv::find()).unwrap();
    let mut command = uv.command().into_std();
    command
        .current_dir(repository)
        .args(["run", "--quiet", "--no-project", "--with-requirements", "tests/requirements.txt"])
        .args(["--with-requirements", "app/requirements.txt", "python", "-m", "pytest"])
        .args(["--quiet", "-p", "no:cacheprovider", folder])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DEVOPSCTL", env!("CARGO_BIN_EXE_devopsctl"));
    command
}

#[track_caller]
fn passes(mut command: Command) {
    let began = Instant::now();
    let output = command.args(["--durations=20", "--durations-min=1"]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    times::note(std::thread::current().name().unwrap_or_default(), began.elapsed());
    // Such as `2.13s call     agent/tests/test_ssh.py::test_a_key_ends`.
    for line in said.lines() {
        let mut words = line.split_whitespace();
        let seconds = words.next().and_then(|word| word.strip_suffix('s')?.parse().ok());
        if let (Some(seconds), Some("call" | "setup"), Some(test)) = (seconds, words.next(), words.next()) {
            times::note(test, Duration::from_secs_f32(seconds));
        }
    }
}

#[test]
fn app_suite() {
    passes(pytest("app"));
}

#[test]
#[ignore = "slow"]
fn agent_suite() {
    // Most of its tests wait.
    let mut command = pytest("agent/tests");
    command.args(["--numprocesses", "4"]);
    passes(command);
}

#[test]
#[ignore = "slow"]
fn sandbox_suite() {
    install_emulator();
    passes(pytest("tests/sandbox"));
}

#[test]
#[ignore = "slow"]
fn schema_suite() {
    passes(pytest("tests/schema"));
}

#[test]
fn env_file_suite() {
    passes(pytest("tests/secrets"));
}
