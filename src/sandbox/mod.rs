//! The sandbox: a local AWS that this binary starts.
//!
//! One detached process of the same binary. It listens on loopback only, needs no privileges, and belongs to one user:
//!
//! ```text
//! command line ─► api ─► emulator (moto on a Unix socket; emulator/ makes it as strict as AWS)
//!                  │         ▲
//!                  │     aws_state: a snapshot of the instances, renewed after each change
//!                  │         ▲
//!                  └─► machine (boots running instances) ─► metadata (IMDS, one service per machine)
//! browser ─► internet_gateway (one local port per public address and port, if a security group allows it) ─► machine
//! ```
//!
//! Invariants:
//!
//! - Every program that the sandbox starts runs under a [`supervisor`]. No process survives the sandbox, however it ends.
//! - The command line and the agent do not know about the sandbox. For them it is an AWS endpoint.

mod api;
mod aws_state;
mod client;
mod emulator;
mod http;
mod idle_timer;
mod internet_gateway;
mod machine;
mod metadata;
#[cfg(target_os = "linux")]
mod process_tree;
mod python;
mod server;
mod state_dir;
mod supervised_child;
mod supervisor;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::digest::hex;
use crate::base::error::{Failure, Result};
use crate::base::next::Next;

pub use client::{Options, ended, ensure, find, log_files, status, stop};
pub use machine::{forward, join};
pub use server::serve;
pub use state_dir::Ended;
pub use supervisor::supervise;

/// Environment variable with a process id. The sandbox ends when that process is gone.
pub const OWNER: &str = "DEVOPSCTL_SANDBOX_OWNER";
/// Environment variable with the idle time in seconds after which the sandbox ends, instead of 30 minutes.
pub const IDLE: &str = "DEVOPSCTL_SANDBOX_IDLE";

/// The only account in the sandbox.
pub const ACCOUNT: &str = "123456789012";

/// Arguments of `devopsctl sandbox serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The port of the AWS endpoint; any free port by default.
    #[arg(long)]
    pub port: Option<u16>,
    /// Idle seconds after which the sandbox ends.
    #[arg(long)]
    pub idle: u64,
    /// The Python that runs the emulator.
    #[arg(long)]
    pub emulator: PathBuf,
    /// The Python interpreter of process machines.
    #[arg(long)]
    pub python: PathBuf,
    /// Its version, such as 3.11.
    #[arg(long, value_parser = python::version)]
    pub python_version: (u32, u32),
    /// Python interpreters for images with another version, such as 3.13=/usr/bin/python3.13.
    #[arg(long, value_parser = python::given)]
    pub other_python: Vec<python::Python>,
    /// How instances run.
    #[arg(long, value_enum, default_value_t = Machines::Process)]
    pub machines: Machines,
}

/// Arguments of `devopsctl sandbox join`.
#[derive(Clone, Debug, clap::Args)]
pub struct JoinArgs {
    /// The server's Unix socket.
    pub server: PathBuf,
}

/// Arguments of `devopsctl sandbox supervise`.
#[derive(Clone, Debug, clap::Args)]
pub struct SuperviseArgs {
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    pub command: Vec<String>,
}

/// How the sandbox runs an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Machines {
    /// A process on this machine that runs the real user-data
    #[default]
    Process,
    /// A virtual machine that boots a genuine Debian
    Qemu,
    /// Nothing boots; for tests that need API calls only
    #[value(hide = true)]
    Off,
}

impl Machines {
    /// The value of `--machine`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Qemu => "qemu",
            Self::Off => "off",
        }
    }
}

/// How to reach the running sandbox. It contains secrets, so its file is private.
#[derive(Clone, Serialize, Deserialize)]
pub struct Handle {
    /// The version of the devopsctl that started it.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The AWS endpoint.
    pub endpoint: String,
    /// The keys of the command line's IAM user. Its policy is what `devopsctl policy` prints.
    #[serde(flatten)]
    pub user: Keys,
    /// The keys of an administrator, for tests that bypass the command line.
    pub administrator: Keys,
    /// The account id.
    pub account: String,
    /// How its instances run.
    pub machines: Machines,
    /// The interpreters of process machines. The first is the default for images without one of their own version.
    pub pythons: Vec<python::Python>,
    /// The secret of the control paths.
    control: String,
}

/// An access key of an IAM user in the sandbox.
#[derive(Clone, Serialize, Deserialize)]
pub struct Keys {
    /// Its id.
    pub access_key: String,
    /// The secret that goes with it.
    pub secret_key: String,
}

/// The state of the running sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// The AWS endpoint.
    pub endpoint: String,
    /// Its process.
    pub pid: u32,
    /// Seconds until the idle timer ends it.
    pub ends_in: u64,
    /// The instances that are not terminated.
    pub instances: Vec<Machine>,
}

/// An instance, as `sandbox status` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// pending, running, …
    pub state: String,
    /// Its public address, if it has one.
    pub public_ip: Option<Ipv4Addr>,
    /// The folder that is its disk.
    pub folder: PathBuf,
}

impl Handle {
    /// The same sandbox with the administrator's keys.
    #[must_use]
    pub fn as_administrator(self) -> Self {
        Self { user: self.administrator.clone(), ..self }
    }

    /// The local URL of a machine's port, such as `http://127.0.0.1:18080`.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn url(&self, address: Ipv4Addr, port: u16, secure: Option<String>) -> Result<String> {
        let local = self.local_address(address, port).await?;
        Ok(match secure {
            Some(host) => format!("https://{host}:{}", local.rsplit(':').next().unwrap_or_default()),
            None => format!("http://{local}"),
        })
    }

    /// The local address and port of a machine's port.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn local_address(&self, address: Ipv4Addr, port: u16) -> Result<String> {
        self.control("GET", &format!("url/{address}/{port}")).await
    }

    /// Calls a control path of the API.
    async fn control(&self, method: &str, call: &str) -> Result<String> {
        let trouble = |why: String| Failure::failed("the sandbox does not answer").because(why).next(restart_advice());
        let plain = |error: reqwest::Error| trouble(crate::base::error::innermost(&error));
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|error| trouble(error.to_string()))?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().map_err(plain)?;
        let url = format!("{}{}{call}", self.endpoint, api::CONTROL);
        let response = client.request(method, url).header(api::SECRET, &self.control).send().await.map_err(plain)?;
        let status = response.status();
        let body = response.text().await.map_err(plain)?;
        if status.is_success() { Ok(body) } else { Err(trouble(body)) }
    }
}

/// The next step if a log has the reason.
fn log_advice(log: &Path) -> String {
    format!("see {}, then run the same command again", log.display())
}

/// The next step when the sandbox does not work.
fn restart_advice() -> Next {
    Next::from("restart the sandbox (it loses its contents): ")
        .run_bare("sandbox stop")
        .and(", then run the same command again")
}

/// A random secret.
fn secret() -> String {
    let mut bytes = [0_u8; 24];
    // There is no secret without the system's random numbers.
    getrandom::fill(&mut bytes).unwrap_or_else(|_| std::process::abort());
    hex(&bytes)
}
