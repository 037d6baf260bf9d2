//! An AWS account for one cell after the other: an emulator that is emptied between cells, the proxy in front of it, and the
//! real binary, for which both are AWS.

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

use crate::proxy::{Calls, Injection, Proxy};
use crate::scenario::{Outcome, ended_well, up};

/// The deployment of most cells.
pub const NAME: &str = "hello";
/// The region.
pub const REGION: &str = "us-east-1";
/// The zone of the deployments' domains.
pub const ZONE: &str = "example.com";
/// The policy of an app.
const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}"#;
/// A command that takes longer hangs.
const HANGS: Duration = Duration::from_secs(180);

/// One account.
pub struct Account {
    /// Direct access to AWS as an administrator.
    pub aws: Aws,
    root: TempDir,
    cache: Arc<Cache>,
    handle: Value,
    proxy: Proxy,
    http: reqwest::Client,
}

/// The result of a command.
pub struct Ran {
    /// Its exit code. `None`: it was killed.
    pub code: Option<i32>,
    /// Its output on both streams.
    pub said: String,
    /// Its calls; for concurrent commands the calls of all.
    pub calls: Calls,
    /// Its duration.
    pub took: Duration,
}

/// A command and its input.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    pub words: &'a str,
    pub input: &'a str,
    /// The project's folder within the account's.
    pub project: &'a str,
}

/// The cache of the commands. A small file replaces Caddy, which no machine runs here: its 18 MB would be hashed and uploaded in
/// every cell, for half of the processor time.
pub struct Cache {
    root: TempDir,
}

impl Cache {
    /// Creates it with uv and this machine's wheels.
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
    /// Starts an emulator where nothing boots and nothing is delayed.
    pub async fn start(cache: Arc<Cache>) -> Self {
        // A short path, because the path of a Unix socket is limited.
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

    /// Empties the account and the local state.
    pub async fn reset(&self) {
        self.control("emulator/reset").await;
        self.clear();
        let zone = self.aws.route53.create_hosted_zone().name(ZONE).caller_reference(ZONE);
        zone.send().await.unwrap();
    }

    /// Sets the account to the state after `up`. It is saved once and restored for later cells.
    pub async fn stand(&self) -> Outcome {
        let (own, kept) = (self.root.path().join("c"), self.root.path().join("kept"));
        if kept.exists() {
            self.control("emulator/restore?name=up").await;
            self.clear();
            copy(&kept, &own);
            return Ok(());
        }
        self.reset().await;
        ended_well(&self.run(up(NAME), None).await, "up before it")?;
        self.control("emulator/save?name=up").await;
        copy(&own, &kept);
        Ok(())
    }

    /// Clears the local state, and restores the project.
    fn clear(&self) {
        for folder in ["c", NAME, "other"] {
            // It may not exist.
            let _ = fs::remove_dir_all(self.root.path().join(folder));
        }
        self.project(NAME, "t3.micro");
    }

    /// Makes a control call of the sandbox.
    pub async fn control(&self, call: &str) {
        let url = format!("{}/_devopsctl/{call}", self.handle["endpoint"].as_str().unwrap());
        let secret = self.handle["control"].as_str().unwrap();
        let answer = self.http.get(url).header("x-devopsctl-sandbox", secret).send().await.unwrap();
        assert!(answer.status().is_success(), "{call}: {}", answer.status());
    }

    /// Writes the example of the repository with this name, domain and instance type.
    pub fn project(&self, name: &str, kind: &str) {
        self.project_with(name, kind, "path: app", 10);
    }

    /// The same with this `app`, as `deploy.yaml` has it, and this size of its data. A policy for the app is beside it.
    pub fn project_with(&self, name: &str, kind: &str, app: &str, gib: u32) {
        let (from, to) = (PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("app"), self.root.path().join(name));
        fs::create_dir_all(to.join("app")).unwrap();
        for file in ["app.py", "requirements.txt"] {
            fs::copy(from.join(file), to.join("app").join(file)).unwrap();
        }
        let network = format!("domain: {name}.{ZONE}, dns: route53");
        let data = format!("path: /data, gib: {gib}");
        let text = format!(
            "name: {name}\napp: {{{app}}}\ninstance: {{type: {kind}}}\nnetwork: {{{network}}}\ndata: {{{data}}}\n"
        );
        fs::write(to.join("deploy.yaml"), text).unwrap();
        fs::write(to.join("policy.json"), POLICY).unwrap();
    }

    /// Runs one command.
    pub async fn run(&self, line: Line<'_>, injection: Option<Injection>) -> Ran {
        let mut ran = self.run_all(&[line], injection).await;
        ran.remove(0)
    }

    /// Runs commands concurrently. The first result has the calls of all.
    pub async fn run_all(&self, lines: &[Line<'_>], injection: Option<Injection>) -> Vec<Ran> {
        let began = Instant::now();
        let children = self.proxy.begin(injection, || lines.iter().map(|line| self.spawn(line)).collect());
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
        // If it fails, the sandbox ends with this process. Its folder is removed in any case.
        let _ = stop.args(["sandbox", "stop"]).output();
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success(), "{} cannot be copied", from.display());
}

/// The binary without the variables of the user's environment.
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
    // A command can be killed before it reads its input.
    let _ = child.stdin.take().unwrap().write_all(line.input.as_bytes()).await;
    match tokio::time::timeout(HANGS, child.wait_with_output()).await {
        Ok(output) => output.unwrap(),
        Err(_) => panic!("{} has not ended after {HANGS:?}", line.words),
    }
}
