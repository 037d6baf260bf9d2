//! An AWS account for one cell after the other: an emulator that is emptied between them, the proxy before it, and the
//! real binary that takes both for AWS.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use devopsctl::aws::{Aws, Settings, Target};
use devopsctl::base::digest::sha256;
use devopsctl::base::dirs;
use devopsctl::base::uv::Uv;
use devopsctl::release::proxy::Build;
use devopsctl::sandbox::{Handle, IDLE, OWNER};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::proxy::{Calls, Proxy, Trap};
use crate::scenario::{Outcome, ended_well, up};

/// The deployment that most cells are about.
pub const NAME: &str = "hello";
/// The region.
pub const REGION: &str = "us-east-1";
/// The zone in which the deployments' names are.
pub const ZONE: &str = "example.com";
/// After this long a command hangs.
const HANGS: Duration = Duration::from_secs(180);

/// One account.
pub struct Account {
    /// AWS past command and proxy, for an administrator.
    pub aws: Aws,
    root: TempDir,
    cache: Arc<Cache>,
    handle: Value,
    proxy: Proxy,
    http: reqwest::Client,
}

/// What a command did.
pub struct Ran {
    /// Its exit code. `None`: it was killed.
    pub code: Option<i32>,
    /// What it said, on both streams.
    pub said: String,
    /// What it called; of several commands that ran at once, what all of them called.
    pub calls: Calls,
    /// How long it took.
    pub took: Duration,
}

/// A command line and what it reads.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    pub words: &'a str,
    pub input: &'a str,
    /// The project's folder in the account's.
    pub project: &'a str,
}

/// The commands' own cache, in which something small has Caddy's place: no machine boots here that would run it, and its 18 MB
/// would be hashed, sent and passed on in every cell, for half of the processor's time.
pub struct Cache {
    root: TempDir,
}

impl Cache {
    /// With uv, and the wheels that this machine has already.
    pub async fn new() -> Self {
        Uv::find().await.unwrap();
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("devopsctl");
        let tools = own.join("tools");
        dirs::private(&tools).unwrap();
        let shared = dirs::cache().unwrap();
        let uv = fs::read_dir(&shared).into_iter().flatten().flatten();
        for entry in uv.filter(|entry| entry.file_name().to_string_lossy().starts_with("uv-")) {
            symlink(entry.path(), own.join(entry.file_name())).unwrap();
        }
        symlink(shared.with_file_name("uv"), root.path().join("uv")).unwrap();
        let small = vec![0; 300_000];
        for platform in ["x86_64-manylinux_2_40", "aarch64-manylinux_2_40"] {
            let build = Build::of(&Target::Image { python: "3.13", platform }).unwrap();
            let place = tools.join(format!("caddy-{}.gz", build.sha384));
            fs::write(place.with_added_extension("sha256"), sha256(&small)).unwrap();
            fs::write(place, &small).unwrap();
        }
        Self { root }
    }
}

impl Account {
    /// An emulator of its own, whose instances never boot and whose AWS does everything at once.
    pub async fn start(cache: Arc<Cache>) -> Self {
        // Short, because a Unix socket's path may not be long.
        let root = tempfile::Builder::new().prefix("dm").tempdir_in("/tmp").unwrap();
        let mut start = command(&root, "s");
        start.args(["sandbox", "start", "--machine", "off"]).env(IDLE, "3600").env("DEVOPSCTL_SANDBOX_DELAYS", "0");
        let output = start.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(root.path().join("s/devopsctl/sandbox/sandbox.json")).unwrap();
        let handle: Value = serde_json::from_str(&text).unwrap();
        let settings = Settings { region: Some(REGION.into()), profile: None };
        let mut administrator: Handle = serde_json::from_str(&text).unwrap();
        administrator.user = administrator.administrator.clone();
        let aws = Aws::sandbox(&settings, administrator);
        let endpoint = handle["endpoint"].as_str().unwrap().trim_start_matches("http://").parse().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { aws, proxy: Proxy::start(endpoint).await, root, cache, handle, http }
    }

    /// Nothing stands, and nothing is known here either.
    pub async fn reset(&self) {
        self.control("emulator/reset").await;
        self.clear();
        let zone = self.aws.route53.create_hosted_zone().name(ZONE).caller_reference(ZONE);
        zone.send().await.unwrap();
    }

    /// The deployment stands as `up` leaves it. That is done once; later cells begin again from there.
    pub async fn stand(&self) -> Outcome {
        let (own, kept) = (self.root.path().join("c"), self.root.path().join("kept"));
        if kept.exists() {
            self.control("emulator/again?name=up").await;
            self.clear();
            copy(&kept, &own);
            return Ok(());
        }
        self.reset().await;
        ended_well(&self.run(up(NAME), None).await, "up before it")?;
        self.control("emulator/keep?name=up").await;
        copy(&own, &kept);
        Ok(())
    }

    /// Nothing is known here, and the project is as at first.
    fn clear(&self) {
        for folder in ["c", NAME, "other"] {
            // It may not be there, which is what is wanted.
            let _ = fs::remove_dir_all(self.root.path().join(folder));
        }
        self.project(NAME, "t3.micro");
    }

    /// Asks the sandbox itself.
    pub async fn control(&self, call: &str) {
        let url = format!("{}/_devopsctl/{call}", self.handle["endpoint"].as_str().unwrap());
        let secret = self.handle["control"].as_str().unwrap();
        let answer = self.http.get(url).header("x-devopsctl-sandbox", secret).send().await.unwrap();
        assert!(answer.status().is_success(), "{call}: {}", answer.status());
    }

    /// The example as it stands in the repository, under this name, also in DNS, and on this type of instance.
    pub fn project(&self, name: &str, kind: &str) {
        let (from, to) = (PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("app"), self.root.path().join(name));
        fs::create_dir_all(to.join("app")).unwrap();
        for file in ["app.py", "requirements.txt"] {
            fs::copy(from.join(file), to.join("app").join(file)).unwrap();
        }
        let network = format!("domain: {name}.{ZONE}, dns: route53");
        let text = format!("name: {name}\napp: {{path: app}}\ninstance: {{type: {kind}}}\nnetwork: {{{network}}}\n");
        fs::write(to.join("deploy.yaml"), text).unwrap();
    }

    /// Runs one command line to its end.
    pub async fn run(&self, line: Line<'_>, trap: Option<Trap>) -> Ran {
        let mut ran = self.run_all(&[line], trap).await;
        ran.remove(0)
    }

    /// Runs them all at once. What they called is with the first.
    pub async fn run_all(&self, lines: &[Line<'_>], trap: Option<Trap>) -> Vec<Ran> {
        let began = Instant::now();
        let children = self.proxy.begin(trap, || lines.iter().map(|line| self.spawn(line)).collect());
        let ended =
            futures_util::future::join_all(children.into_iter().zip(lines).map(|(child, line)| finish(child, line)));
        let outputs = ended.await;
        let took = began.elapsed();
        let mut calls = Some(self.proxy.end().await);
        let ran = outputs.into_iter().map(|output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let said = text(&output.stderr) + &text(&output.stdout);
            Ran { code: output.status.code(), said, calls: calls.take().unwrap_or_default(), took }
        });
        ran.collect()
    }

    fn spawn(&self, line: &Line<'_>) -> Child {
        let mut command = command(&self.root, "c");
        let key = |name: &str| self.handle[name].as_str().unwrap();
        command
            .args(line.words.split_whitespace())
            .current_dir(self.root.path().join(line.project))
            .env("XDG_CACHE_HOME", self.cache.root.path())
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.proxy.address))
            .env("AWS_ACCESS_KEY_ID", key("access_key"))
            .env("AWS_SECRET_ACCESS_KEY", key("secret_key"))
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut stop = command(&self.root, "s").into_std();
        // Without it, it ends with this process; its folder goes in any case.
        let _ = stop.args(["sandbox", "stop"]).output();
    }
}

/// A folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success(), "{} cannot be copied", from.display());
}

/// The binary, without the settings of whoever runs the tests.
fn command(root: &TempDir, state: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devopsctl"));
    let foreign: BTreeMap<_, _> = env::vars_os().collect();
    for name in foreign.keys().filter(|name| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env_remove("RUST_LOG")
        .env_remove("CARGO")
        .env("XDG_STATE_HOME", root.path().join(state))
        .env("AWS_CONFIG_FILE", root.path().join("no-config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", root.path().join("no-credentials"))
        .env(OWNER, std::process::id().to_string())
        .stdin(Stdio::null());
    command
}

async fn finish(mut child: Child, line: &Line<'_>) -> Output {
    // A command that is killed before it reads is no fault of the pipe.
    let _ = child.stdin.take().unwrap().write_all(line.input.as_bytes()).await;
    match tokio::time::timeout(HANGS, child.wait_with_output()).await {
        Ok(output) => output.unwrap(),
        Err(_) => panic!("{} has not ended after {HANGS:?}", line.words),
    }
}
