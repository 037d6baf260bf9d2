//! A user's project in its own folder, with a sandbox that no other test uses, and the real binary.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs};

use devopsctl::sandbox::{Machines, OWNER};
use tempfile::TempDir;

use super::files::files;
use super::{pool, times};

/// Variables of the user's environment that would change the tests.
const FOREIGN: [&str; 15] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "COLUMNS",
    "RUST_LOG",
    "CARGO",
    "VIRTUAL_ENV",
];

/// A project. When it is dropped, its sandbox ends or returns to the pool.
pub struct Project {
    // A short path, because the path of a Unix socket is limited. `None` only while it is dropped.
    root: Option<TempDir>,
    began: Instant,
}

/// The result of a command.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    what: String,
}

impl Project {
    /// The example of the repository: `deploy.yaml` and `app/`. An empty sandbox is running.
    pub fn example() -> Self {
        Self::empty().with_example()
    }

    /// The example with a sandbox where nothing boots, so there is no app to wait for.
    pub fn unbooted() -> Self {
        Self::on(Machines::Off).with_example()
    }

    /// A project without files. An empty sandbox is running.
    pub fn empty() -> Self {
        Self::on(Machines::Process)
    }

    /// A project without files and without a sandbox, for tests of how a sandbox starts and ends.
    pub fn alone() -> Self {
        Self::within(tempfile::Builder::new().prefix("dt").tempdir_in("/tmp").unwrap())
    }

    /// Adds the example's files.
    pub fn with_example(self) -> Self {
        for name in ["deploy.yaml", "app/app.py", "app/requirements.txt"] {
            self.file(name, &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap());
        }
        self
    }

    fn on(machines: Machines) -> Self {
        pool::take(machines).map_or_else(
            || {
                install_emulator();
                let project = Self::alone();
                project.ok(&format!("sandbox start --machine {}", machines.name()));
                project
            },
            Self::within,
        )
    }

    fn within(root: TempDir) -> Self {
        let project = Self { root: Some(root), began: Instant::now() };
        fs::create_dir(project.folder()).unwrap();
        project
    }

    fn root(&self) -> &Path {
        self.root.as_ref().unwrap().path()
    }

    /// The project's folder.
    pub fn folder(&self) -> PathBuf {
        self.root().join("p")
    }

    /// The folder of the sandbox and the keys.
    pub fn state(&self) -> PathBuf {
        self.root().join("s")
    }

    /// Writes a file of the project.
    pub fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Adds a copy of the app in `tests/apps/`.
    pub fn with_app(self, app: &str) -> Self {
        self.copy_app(app);
        self
    }

    /// Copies the app in `tests/apps/`.
    pub fn copy_app(&self, app: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(app);
        for path in files(&source) {
            let copy = self.folder().join(path.strip_prefix(&source).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(&path, copy).unwrap();
        }
    }

    /// Replaces a text in a file of the project.
    #[track_caller]
    pub fn edit(&self, name: &str, from: &str, to: &str) -> &Self {
        let text = fs::read_to_string(self.folder().join(name)).unwrap();
        assert!(text.contains(from), "{name} does not contain {from:?}");
        self.file(name, &text.replace(from, to))
    }

    /// A command that is not started yet. Words are split at white space.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devopsctl"));
        command.args(line.split_whitespace());
        self.settle(&mut command);
        command
    }

    /// Sets the project's environment for any command.
    pub fn settle(&self, command: &mut Command) {
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder())
            .env("XDG_STATE_HOME", self.state())
            .env("AWS_CONFIG_FILE", self.root().join("aws-config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.root().join("aws-credentials"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env(OWNER, std::process::id().to_string())
            .stdin(Stdio::null());
    }

    /// Runs a command.
    pub fn run(&self, line: &str) -> Ran {
        if line.contains("--sandbox") {
            install_emulator();
        }
        let output = self.command(line).output().unwrap();
        Ran::new(line, &output)
    }

    /// Runs a command with this standard input.
    pub fn run_with(&self, line: &str, input: &str) -> Ran {
        let mut command = self.command(line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command can fail before it reads its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::new(line, &child.wait_with_output().unwrap())
    }

    /// Runs a command that must succeed, and returns its output.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.run(line).ok().stdout.trim_end().to_owned()
    }

    /// Runs `up` and returns the URL.
    #[track_caller]
    pub fn up(&self) -> String {
        self.ok("up --sandbox")
    }

    /// The current token.
    #[track_caller]
    pub fn token(&self) -> String {
        self.ok("token --sandbox")
    }

    /// The folder of the only machine.
    #[track_caller]
    pub fn machine(&self) -> PathBuf {
        let folders: Vec<_> = fs::read_dir(self.state().join("devopsctl/sandbox/machines"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders[0].clone()
    }

    /// The processes of this project's sandbox with their command lines.
    pub fn processes(&self) -> Vec<String> {
        let mark = self.root().to_str().unwrap();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\0', " ");
            let (line, environment) = (text(read("cmdline")), text(read("environ")));
            if (line.contains(mark) || environment.contains(mark)) && !line.is_empty() {
                found.push(format!("{}: {line}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }

    /// Empties the sandbox and the folder for another test. Returns how its instances run, if the sandbox can be reused.
    fn emptied(&self) -> Option<Machines> {
        let empty = || pool::empty(&self.state(), &self.command(""));
        let machines = (!std::thread::panicking()).then(empty).flatten()?;
        let own = |process: &String| process.contains(" sandbox serve ") || process.contains("/sandbox/emulator");
        until(10, "nothing but the sandbox is left", || self.processes().iter().all(own).then_some(()));
        for entry in fs::read_dir(self.root()).unwrap().map(Result::unwrap) {
            match entry.path() {
                folder if folder == self.state() => drop(fs::remove_dir_all(folder.join("devopsctl/keys"))),
                folder if folder.is_dir() => fs::remove_dir_all(folder).unwrap(),
                file => fs::remove_file(file).unwrap(),
            }
        }
        Some(machines)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let emptied = self.emptied();
        if emptied.is_none() {
            let _ = self.command("sandbox stop").output();
        }
        times::note(std::thread::current().name().unwrap_or("main"), self.began.elapsed());
        if let Some(machines) = emptied {
            return pool::give(machines, self.root.take().unwrap());
        }
        if std::thread::panicking() {
            return;
        }
        // The sandbox releases its lock just before it ends.
        until(10, "no process is left", || self.processes().is_empty().then_some(()));
    }
}

impl Ran {
    pub fn new(line: &str, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            what: format!("devopsctl {line}"),
        }
    }

    /// The same with changed texts.
    pub fn with(&self, change: impl Fn(&str) -> String) -> Self {
        Self { code: self.code, stdout: change(&self.stdout), stderr: change(&self.stderr), what: change(&self.what) }
    }

    /// Asserts success.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Asserts the exit code, and that there was no panic.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        let (what, stdout, stderr) = (&self.what, &self.stdout, &self.stderr);
        assert_eq!(self.code, code, "{what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        assert!(!stderr.contains("panicked at") && !stderr.contains("devopsctl itself failed"), "{what}\n{stderr}");
        self
    }

    /// Asserts that the output contains a text.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words) || self.stdout.contains(words),
            "{:?} is missing in:\n{}",
            words,
            self.shown()
        );
        self
    }

    /// The command, both streams and the exit code, as in a snapshot.
    pub fn shown(&self) -> String {
        format!("$ {}\n{}{}(exit code {})\n", self.what, self.stderr, self.stdout, self.code)
    }
}

/// Downloads moto once, before the first test that needs it.
pub fn install_emulator() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let project = Project::alone();
        let ran = Ran::new("sandbox start", &project.command("sandbox start").output().unwrap());
        ran.ok();
    });
}

/// Asserts a snapshot without the values that differ between runs.
#[macro_export]
macro_rules! snapshot {
    ($project:expr, $text:expr) => {{
        let mut settings = insta::Settings::clone_current();
        for (pattern, word) in $crate::support::project::filters(&$project) {
            settings.add_filter(&pattern, word);
        }
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!($text));
    }};
}

/// The values that differ between runs, and their replacements.
pub fn filters(project: &Project) -> Vec<(String, &'static str)> {
    let folder = |path: PathBuf| regex::escape(path.to_str().unwrap());
    vec![
        (folder(project.folder()), "[project]"),
        (folder(project.state()), "[state]"),
        (r"127\.0\.0\.1:\d+".into(), "127.0.0.1:[port]"),
        (r"\bi-[0-9a-f]{17}\b".into(), "i-[id]"),
        (r"\bsg-[0-9a-f]{8,17}\b".into(), "sg-[id]"),
        (r"\bvol-[0-9a-f]{17}\b".into(), "vol-[id]"),
        (r"\beipalloc-[0-9a-f]+\b".into(), "eipalloc-[id]"),
        (r"\brtb-[0-9a-f]{17}\b".into(), "rtb-[id]"),
        (r"\b123456789012\b".into(), "[account]"),
        (r"✓ built release [0-9a-f]{12}\n".into(), ""),
        // Of concurrent calls, any can be the first to fail.
        (r"\w+:\w+ says RequestExpired".into(), "[call] says RequestExpired"),
        (r"\b[0-9.]+ (KiB|MiB)".into(), "[size]"),
        (r"\[\d{4}-\d\d-\d\d [^\]]*\]".into(), "[time]"),
        (r"\bami-[0-9a-f]{17}\b".into(), "ami-[id]"),
        (r"\bdevopsctl-process-(x86_64|arm64)\b".into(), "devopsctl-process-[processor]"),
        (r"\b(built today|1 day old|\d+ days old)".into(), "[days] old"),
        // Python's marks below a line, which differ between versions.
        (r"(?m)^ *[~^]+\n".into(), ""),
        (r"\bPython 3\.\d+\b".into(), "Python [version]"),
        (r"\b[0-9a-f]{12}\b".into(), "[release]"),
        (r"\b(\d+ (seconds?|minutes?)|now) ago".into(), "[age] ago"),
        (r"\b(?:\d{1,3}\.){3}\d{1,3} \(eipalloc".into(), "[ip] (eipalloc"),
        (r"association: (?:\d{1,3}\.){3}\d{1,3}".into(), "association: [ip]"),
        (r"address: (?:\d{1,3}\.){3}\d{1,3}".into(), "address: [ip]"),
        (r"address (?:\d{1,3}\.){3}\d{1,3}\b".into(), "address [ip]"),
    ]
}

/// Waits for a condition, and fails after a time limit.
#[track_caller]
pub fn until<T>(seconds: u64, what: &str, look: impl FnMut() -> Option<T>) -> T {
    let Some(found) = within(seconds, look) else { panic!("{what}: not within {seconds} seconds") };
    found
}

/// Waits for a condition. `None`: the time limit is over.
pub fn within<T>(seconds: u64, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            found => return found,
        }
    }
}
