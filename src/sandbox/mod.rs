//! The sandbox: a local AWS that the binary starts by itself.
//!
//! One detached process of this same binary, all on loopback, unprivileged, private to the user:
//!
//! ```text
//! command line ─► front ─► emulator (moto on a Unix socket, stricter by emulator/*.py)
//!                   │          ▲
//!                   │        world: a view of it, renewed after each change
//!                   │          ▲
//!                   └─► machines (boot what runs) ─► metadata (IMDS, one a machine)
//! browser ─► gateway (a port a public address, if its security groups let it in) ─► the machine's socket
//! ```
//!
//! Every program that it starts is under a [`guard`](mod@guard), so nothing is left over however the sandbox ends.

mod daemon;
mod emulator;
mod front;
mod gateway;
mod guard;
mod http;
mod idle;
mod leash;
mod machine;
mod metadata;
#[cfg(target_os = "linux")]
mod process;
mod python;
mod start;
mod state;
mod world;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::digest::hex;
use crate::base::error::{Failure, Result};
use crate::base::next::Next;

pub use daemon::serve;
pub use guard::guard;
pub use machine::{forward, join};
pub use start::{Options, ended, ensure, find, log_files, status, stop};
pub use state::Ended;

/// Says on which process's life the sandbox depends: when that is gone, so is the sandbox.
pub const OWNER: &str = "DEVOPSCTL_SANDBOX_OWNER";
/// After how many idle seconds the sandbox ends, instead of after 30 minutes.
pub const IDLE: &str = "DEVOPSCTL_SANDBOX_IDLE";

/// The number of the only account that there is in it.
pub const ACCOUNT: &str = "123456789012";

/// What `devopsctl sandbox serve` is told by the command that starts it.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The port of the AWS endpoint; any free one if it is not named.
    #[arg(long)]
    pub port: Option<u16>,
    /// Seconds without use after which it ends.
    #[arg(long)]
    pub idle: u64,
    /// The Python that runs the emulator.
    #[arg(long)]
    pub emulator: PathBuf,
    /// The Python that stands for the one on a machine.
    #[arg(long)]
    pub python: PathBuf,
    /// Its version, such as 3.11.
    #[arg(long, value_parser = python::version)]
    pub python_version: (u32, u32),
    /// Other ones, which stand for those of images with their version, such as 3.13=/usr/bin/python3.13.
    #[arg(long, value_parser = python::given)]
    pub other_python: Vec<python::Python>,
    /// What an instance is.
    #[arg(long, value_enum, default_value_t = Machines::Process)]
    pub machines: Machines,
}

/// What `devopsctl sandbox join` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct JoinArgs {
    /// The server's Unix socket.
    pub server: PathBuf,
}

/// What `devopsctl sandbox guard` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct GuardArgs {
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    pub command: Vec<String>,
}

/// What an instance is in the sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Machines {
    /// A process on this machine that runs the real user-data
    #[default]
    Process,
    /// A virtual machine that boots a genuine Debian
    Qemu,
    /// Only an entry: nothing boots, as tests of the calls want it
    #[value(hide = true)]
    Off,
}

impl Machines {
    /// The value that stands for it on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Qemu => "qemu",
            Self::Off => "off",
        }
    }
}

/// How the running sandbox is reached. Holds its secrets, so the file that keeps it is private.
#[derive(Clone, Serialize, Deserialize)]
pub struct Handle {
    /// Which devopsctl started it.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The AWS endpoint.
    pub endpoint: String,
    /// The keys of the IAM user that is the command line: he may do what `devopsctl policy` prints.
    #[serde(flatten)]
    pub user: Keys,
    /// Those of a user who may do everything, to act past the command line.
    pub administrator: Keys,
    /// The account's number.
    pub account: String,
    /// What its machines are.
    pub machines: Machines,
    /// The Pythons on those that are processes. The first is that of an image whose version is not among them.
    pub pythons: Vec<python::Python>,
    /// What opens the control paths.
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

/// How the running sandbox is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// The AWS endpoint.
    pub endpoint: String,
    /// Its process.
    pub pid: u32,
    /// Seconds until it ends if nobody uses it.
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
    /// Where it is.
    pub region: String,
    /// pending, running, …
    pub state: String,
    /// Its public address, if it has one.
    pub public_ip: Option<Ipv4Addr>,
    /// The folder that stands for its disk.
    pub folder: PathBuf,
}

impl Handle {
    /// The same sandbox, for somebody who may do everything there.
    #[must_use]
    pub fn as_administrator(self) -> Self {
        Self { user: self.administrator.clone(), ..self }
    }

    /// Where a machine's port can be reached from this machine, such as `http://127.0.0.1:18080`.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn url(&self, address: Ipv4Addr, port: u16, secure: Option<String>) -> Result<String> {
        let local = self.place(address, port).await?;
        Ok(match secure {
            Some(host) => format!("https://{host}:{}", local.rsplit(':').next().unwrap_or_default()),
            None => format!("http://{local}"),
        })
    }

    /// Where on loopback that is, with its port.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn place(&self, address: Ipv4Addr, port: u16) -> Result<String> {
        self.control("GET", &format!("url/{address}/{port}")).await
    }

    /// Calls a control path of the front.
    async fn control(&self, method: &str, call: &str) -> Result<String> {
        let trouble = |why: String| Failure::failed("the sandbox does not answer").because(why).next(anew());
        let plain = |error: reqwest::Error| trouble(crate::base::error::innermost(&error));
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|error| trouble(error.to_string()))?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().map_err(plain)?;
        let url = format!("{}{}{call}", self.endpoint, front::CONTROL);
        let response = client.request(method, url).header(front::SECRET, &self.control).send().await.map_err(plain)?;
        let status = response.status();
        let body = response.text().await.map_err(plain)?;
        if status.is_success() { Ok(body) } else { Err(trouble(body)) }
    }
}

/// What helps when it does not do what it should.
fn anew() -> Next {
    Next::from("delete it and start a new one: ").run_bare("sandbox stop").and(", then run the same command again")
}

/// Text that nobody can guess.
fn secret() -> String {
    let mut bytes = [0_u8; 24];
    // Without the system's randomness nothing secret can be made; the process ids below it are no substitute.
    getrandom::fill(&mut bytes).unwrap_or_else(|_| std::process::abort());
    hex(&bytes)
}
