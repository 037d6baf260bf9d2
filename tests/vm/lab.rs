//! The virtual machine from outside: a shell, its console, its disk. The tool itself has no such access.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use devopsctl::sandbox::forward;
use serde_json::Value;

use crate::http::{Answer, ask, client_for, runtime};
use crate::project::Project;

/// This host's name on the virtual machine.
pub const HOST: &str = "169.254.169.2";

/// The machine of a project.
pub struct Machine {
    folder: PathBuf,
    key: PathBuf,
    known_hosts: PathBuf,
    port: u16,
}

impl Machine {
    /// The project's only machine.
    pub fn of(project: &Project) -> Self {
        let key = project.state().join("devopsctl/keys/123456789012/us-east-1/hello");
        let folder = until(60, "the machine is switched on", || {
            let folder = fs::read_dir(project.state().join("devopsctl/sandbox/machines")).ok()?.next()?.ok()?.path();
            folder.join("net/qmp.sock").exists().then_some(folder)
        });
        let mut machine = Self { folder, key, known_hosts: project.state().join("known_hosts"), port: 0 };
        machine.open_shell();
        machine
    }

    /// Opens a tunnel to its SSH server, also after it was off.
    pub fn open_shell(&mut self) {
        let way = || runtime().block_on(forward(&self.folder, 22)).ok();
        self.port = until(60, "the way to its shell", way).port();
    }

    /// Runs a command line on it as root.
    pub fn try_sh(&self, line: &str) -> Output {
        let mut ssh = Command::new("ssh");
        ssh.args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=20", "-o", "BatchMode=yes"]);
        // A machine that shuts down does not close its connections.
        ssh.args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3", "-o"]);
        ssh.arg(format!("UserKnownHostsFile={}", self.known_hosts.display())).arg("-i").arg(&self.key);
        ssh.args(["-o", "IdentitiesOnly=yes"]);
        ssh.args(["-p", &self.port.to_string(), "debian@127.0.0.1", "sudo", "sh", "-s"]).stdin(Stdio::piped());
        let mut child = ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // On a machine that is not up, the command fails.
        let _ = child.stdin.take().unwrap().write_all(line.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Whether this key is authorized, for the image's default user.
    pub fn opens_with(&self, key: &Path) -> bool {
        let other =
            Self { folder: self.folder.clone(), key: key.to_owned(), known_hosts: self.known_hosts.clone(), ..*self };
        other.try_sh("true").status.success()
    }

    /// Runs a command line that must succeed -> its output.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        let ran = self.try_sh(line);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(ran.status.success(), "{line}\n{}\n{}", text(&ran.stdout), text(&ran.stderr));
        text(&ran.stdout)
    }

    /// Waits until a login succeeds.
    #[track_caller]
    pub fn wait_for_shell(&self) {
        until(600, "somebody can log in", || self.try_sh("true").status.success().then_some(()));
    }

    /// The id of its current boot.
    pub fn boot_id(&self) -> Option<String> {
        let ran = self.try_sh("cat /proc/sys/kernel/random/boot_id");
        ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).trim().to_owned())
    }

    /// Whether its power is off, and no process holds its disk.
    pub fn is_off(&self) -> bool {
        UnixStream::connect(self.folder.join("net/qmp.sock")).is_err()
    }

    /// Its console output.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("var/log/console.log")).unwrap()).into_owned()
    }

    /// Its disk as a raw file, once it is off.
    pub fn disk(&self, to: &Path) {
        let disk = self.folder.join("disk.qcow2");
        let ran = Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(disk).arg(to).status().unwrap();
        assert!(ran.success());
    }
}

/// Waits until a condition holds. It polls slowly, to leave the machine its time.
#[track_caller]
pub fn until<T>(seconds: u64, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {seconds} seconds");
        thread::sleep(Duration::from_millis(1500));
    }
}

/// One GET with a short timeout: the forwarder accepts a connection before the machine does.
pub fn glance(url: &str, token: Option<&str>) -> reqwest::Result<Answer> {
    ask(&client_for(4), url, token)
}

/// Prints a chapter's name and its time.
pub fn chapter<T>(title: &str, tell: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    eprintln!("-- {title}");
    let result = tell();
    eprintln!("   {:.0} s", begun.elapsed().as_secs_f64());
    result
}

/// Writes this version of the app, with this code at its end.
pub fn code(project: &Project, version: &str, more: &str) {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/app.py");
    let text = fs::read_to_string(app).unwrap().replace("VERSION", version);
    project.file("app/app.py", &format!("{text}\n\n{more}"));
}

/// The content of one of the project's files.
pub fn source_of(project: &Project, name: &str) -> String {
    fs::read_to_string(project.folder().join(name)).unwrap()
}

/// The document of `status --json`.
pub fn status(project: &Project) -> Value {
    serde_json::from_str(&project.run("status --sandbox --json").stdout).unwrap()
}

/// The error of the machine's report.
pub fn error(project: &Project) -> Option<String> {
    status(project)["report"]["error"].as_str().map(str::to_owned)
}

/// The files of a folder that contain this text.
pub fn holding(folder: &Path, text: &str) -> Vec<String> {
    // With NUL as line end: otherwise the empty part of a disk would be one line of gigabytes.
    let ran = Command::new("grep").args(["-rlazF", text, "."]).current_dir(folder).output().unwrap();
    assert!(ran.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&ran.stderr));
    let found = String::from_utf8(ran.stdout).unwrap();
    found.lines().map(|line| line.trim_start_matches("./").to_owned()).collect()
}
