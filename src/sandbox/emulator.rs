//! moto, the emulator of AWS behind the API: its installation, its process and its client.
//!
//! - It is pinned with all of its dependencies, and installed once into the cache folder.
//! - It listens on a Unix socket in a private folder, and its control paths need a secret, so the API is not the only protection.
//! - Where moto is more lenient than AWS, the rules in `emulator/` make it as strict. They run inside moto, which has the state.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::base::digest;
use crate::base::dirs::{self, unwritable};
use crate::base::error::{Failure, Result};
use crate::base::uv::{self, Uv};

use super::log_advice;
use super::state_dir::{StateDir, remove_tree};
use super::supervised_child::SupervisedChild;

/// The pinned packages with their hashes.
const REQUIREMENTS: &str = include_str!("emulator/requirements.txt");
/// The Python that moto needs. If the host has an older one, uv finds or downloads another.
const PYTHON: &str = ">=3.10";
/// The header of control calls.
const SECRET: &str = "x-devopsctl-emulator";
/// Time limit of a start, for a slow and busy machine.
const START: Duration = Duration::from_secs(60);

macro_rules! program {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("emulator/", $name)))),*] };
}

/// The files of the emulator's program: moto with the rules. Every file of `emulator/` must be listed here.
const PROGRAM: &[(&str, &str)] = program![
    "__main__.py",
    "account/plans.py",
    "account/quotas.py",
    "control/accounts.py",
    "control/aws_state.py",
    "control/calls.py",
    "core/admission.py",
    "core/clock.py",
    "core/delays.py",
    "core/errors.py",
    "core/faults.py",
    "core/hooks.py",
    "ec2/block_public_access.py",
    "ec2/cpu_credits.py",
    "ec2/elastic_ips.py",
    "ec2/instance_profiles.py",
    "ec2/instance_types.py",
    "ec2/instances.py",
    "ec2/key_pairs.py",
    "ec2/launches.py",
    "ec2/metadata_tags.py",
    "ec2/security_groups.py",
    "ec2/volumes.py",
    "ec2/vpcs.py",
    "iam/actions.py",
    "iam/auth.py",
    "iam/ec2_actions.py",
    "iam/policies.py",
    "iam/role_policies.py",
    "iam/roles.py",
    "iam/sessions.py",
    "images.json",
    "route53/zones.py",
    "rules.py",
    "s3/buckets.py",
    "secretsmanager/secrets.py",
    "ssm/parameters.py",
    "ssm/values.py",
];

/// Installs the emulator if necessary. Returns the Python that runs it.
///
/// # Errors
/// When uv or the packages cannot be downloaded.
pub async fn install(say: &dyn Fn(&str)) -> Result<PathBuf> {
    let cache = dirs::cache()?;
    let name = format!("emulator-{}", key());
    let python = cache.join(&name).join("bin/python");
    if is_complete(&cache.join(&name)) {
        return Ok(python);
    }
    say("preparing the local AWS (first time: downloads moto, about a minute)");
    let uv = Uv::find().await?;
    dirs::private(&cache)?;
    let aside =
        tempfile::Builder::new().prefix(".emulator-").tempdir_in(&cache).map_err(|error| unwritable(&cache, &error))?;
    let venv = aside.path().join("venv");
    // It is built in another folder and then moved, so it must be relocatable. An incomplete one is never used.
    let mut make = uv.command();
    make.args(["venv", "--quiet", "--relocatable", "--python", PYTHON]).arg(&venv);
    run(make).await?;
    let list = aside.path().join("requirements.txt");
    fs::write(&list, REQUIREMENTS).map_err(|error| unwritable(&cache, &error))?;
    let mut fill = uv.command();
    fill.args(["pip", "install", "--quiet", "--require-hashes", "--no-deps", "--compile-bytecode", "--python"])
        .arg(venv.join("bin/python"))
        .arg("-r")
        .arg(&list);
    run(fill).await?;
    fs::write(venv.join(COUNT), files(&venv).to_string()).map_err(|error| unwritable(&cache, &error))?;
    let target = cache.join(&name);
    if !is_complete(&target) {
        // It is damaged, or its Python was removed since. Most often there is none.
        remove_tree(&target).map_err(|error| unwritable(&cache, &error))?;
    }
    match fs::rename(&venv, &target) {
        // Another process was faster, with the same result.
        Err(error) if !is_complete(&target) => Err(unwritable(&cache, &error)),
        _ => Ok(python),
    }
}

/// The file with the number of files of a complete installation.
const COUNT: &str = "devopsctl-files";

/// Whether an environment has its Python and all installed files. A cleaner of caches can remove some. Files that Python adds
/// later do not matter.
fn is_complete(venv: &Path) -> bool {
    let count = fs::read_to_string(venv.join(COUNT)).ok().and_then(|text| text.parse::<usize>().ok());
    venv.join("bin/python").exists() && count.is_some_and(|count| files(venv) >= count)
}

/// The number of files in a folder, without empty ones, which a crash can leave.
fn files(folder: &Path) -> usize {
    let walk = ignore::WalkBuilder::new(folder).standard_filters(false).build();
    let full = |entry: &ignore::DirEntry| {
        entry.metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
            && entry.file_name() != COUNT
            && entry.path().extension().is_none_or(|kind| kind != "pyc")
    };
    walk.filter_map(std::result::Result::ok).filter(full).count()
}

/// The cache key of an installation.
fn key() -> String {
    digest::short(format!("{PYTHON}\n{REQUIREMENTS}\n{COUNT}"))
}

async fn run(mut command: tokio::process::Command) -> Result<()> {
    uv::run(&mut command).await?.map_err(|said| {
        Failure::failed("cannot install the local AWS (moto)")
            .because(said.trim().to_owned())
            .next("its packages come from PyPI the first time: check the network, then run the same command again")
    })
}

/// Writes a file, and creates its folder.
fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}

/// A running emulator.
pub struct Emulator {
    /// Its client.
    pub client: Client,
    /// Its supervised process.
    pub process: SupervisedChild,
}

impl Emulator {
    /// Starts it and waits until it answers. `policy` is that of the command line's user.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub async fn start(folder: &StateDir, python: &Path, policy: &str) -> Result<Self> {
        let program = folder.emulator();
        let log = folder.log("emulator");
        let failed =
            |why: String| Failure::failed("the emulator (moto) does not start").because(why).next(log_advice(&log));
        let secret = super::secret();
        let put = || -> std::io::Result<()> {
            fs::create_dir_all(&program)?;
            // Clear the log of the last emulator.
            fs::write(&log, "")?;
            fs::write(program.join("policy.json"), policy)?;
            // The emulator reads and removes it.
            let mut private = OpenOptions::new();
            private.create(true).truncate(true).write(true).mode(0o600);
            private.open(program.join("secret"))?.write_all(secret.as_bytes())?;
            PROGRAM.iter().try_for_each(|(name, text)| write_file(&program.join(name), text))
        };
        put().map_err(|error| failed(error.to_string()))?;
        let mut process = SupervisedChild::start(&log, |command| {
            command.arg(python).arg("-I").arg(&program).arg(folder.socket()).current_dir(folder.path());
        })?;
        let client = Client { socket: folder.socket(), secret };
        let deadline = Instant::now() + START;
        while UnixStream::connect(&client.socket).await.is_err() {
            if let Some(status) = process.ended() {
                return Err(failed(format!("it ended at once ({status})")));
            }
            if Instant::now() > deadline {
                return Err(failed(format!("it does not answer after {} seconds", START.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { client, process })
    }
}

/// Client of the emulator. Each call has its own connection, so none can be stale.
#[derive(Clone)]
pub struct Client {
    socket: PathBuf,
    /// The secret of the control paths. Other calls do not contain it.
    secret: String,
}

impl Client {
    /// Forwards a call unchanged: method, path, query and headers byte for byte, the body as a stream.
    ///
    /// # Errors
    /// When the emulator does not answer; a text for the log.
    pub async fn pass(&self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| error.to_string())
    }

    /// A control call (see `emulator/control/calls.py`). `None`: the requested resource does not exist.
    pub async fn ask(&self, call: &str) -> Result<Option<Bytes>> {
        let trouble = |why: String| {
            Failure::failed(format!("the emulator does not answer {call}")).because(why).next(super::restart_advice())
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("/_devopsctl/{call}"))
            .header(header::HOST, "sandbox")
            .header(SECRET, &self.secret)
            .body(Body::empty())
            .map_err(|error| trouble(error.to_string()))?;
        let response = self.pass(request).await.map_err(trouble)?;
        match response.status() {
            StatusCode::OK => {
                let body = axum::body::to_bytes(Body::new(response.into_body()), usize::MAX).await;
                body.map(Some).map_err(|error| trouble(error.to_string()))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(trouble(format!("it said {status}"))),
        }
    }

    /// The same, with a JSON response that must exist.
    pub async fn ask_json<T: DeserializeOwned>(&self, call: &str) -> Result<T> {
        let body = self.ask(call).await?.ok_or_else(|| Failure::bug(format!("the emulator has no {call}")))?;
        serde_json::from_slice(&body).map_err(|error| Failure::bug(format!("the emulator's {call}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_environment_is_not_used() {
        let venv = tempfile::tempdir().unwrap();
        let venv = venv.path();
        for folder in ["bin", "lib/moto"] {
            fs::create_dir_all(venv.join(folder)).unwrap();
        }
        let module = venv.join("lib/moto/core.py");
        fs::write(venv.join("bin/python"), "x").unwrap();
        fs::write(&module, "x").unwrap();
        assert!(!is_complete(venv), "the installation was not finished");
        fs::write(venv.join(COUNT), files(venv).to_string()).unwrap();
        assert!(is_complete(venv));
        fs::write(&module, "").unwrap();
        assert!(!is_complete(venv), "a file is truncated");
        fs::remove_file(&module).unwrap();
        fs::write(venv.join("lib/core.pyc"), "x").unwrap();
        assert!(!is_complete(venv), "a file is missing");
    }
}
