//! moto, the emulator of AWS behind the front: its installation, its process, and how it is spoken to.
//!
//! It is pinned with all it needs, installed once into the cache folder, and listens on a Unix socket in a private folder,
//! and its own paths need a secret, so the front is not the only protection. Where moto is more lenient than AWS, rules in `emulator/*.py` add what AWS
//! does: they run inside moto, where the state is that they judge by.

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
use crate::base::uv::Uv;

use super::leash::Leash;
use super::start::again;
use super::state::{Folder, remove_tree};

/// What is installed, to the byte.
const REQUIREMENTS: &str = include_str!("emulator/requirements.txt");
/// The lowest Python that moto runs on. Where the host has an older one, uv finds or fetches another.
const PYTHON: &str = ">=3.10";
/// The header of the sandbox's own calls.
const SECRET: &str = "x-devopsctl-emulator";
/// How long a start may take before it counts as failed, on a slow and busy machine.
const START: Duration = Duration::from_secs(60);

macro_rules! program {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("emulator/", $name)))),*] };
}

/// The program that is moto with our rules.
const PROGRAM: &[(&str, &str)] = program![
    "__main__.py",
    "addresses.py",
    "admission.py",
    "authority.py",
    "buckets.py",
    "clock.py",
    "control.py",
    "credits.py",
    "demands.py",
    "demands_ec2.py",
    "faults.py",
    "groups.py",
    "hooks.py",
    "images.json",
    "instance_types.py",
    "instances.py",
    "key_pairs.py",
    "launches.py",
    "metadata_tags.py",
    "parameters.py",
    "plans.py",
    "policies.py",
    "profiles.py",
    "public_access.py",
    "quotas.py",
    "refusal.py",
    "roles.py",
    "rules.py",
    "settings.py",
    "subnets.py",
    "zones.py",
];

/// Installs the emulator unless it is there. Returns the Python that runs it.
///
/// # Errors
/// When uv cannot be had, or the packages cannot.
pub async fn install(say: &dyn Fn(&str)) -> Result<PathBuf> {
    let cache = dirs::cache()?;
    let name = format!("emulator-{}", key());
    let python = cache.join(&name).join("bin/python");
    if is_whole(&cache.join(&name)) {
        return Ok(python);
    }
    say("preparing the local AWS (first time: downloads moto, about a minute)");
    let uv = Uv::find().await?;
    dirs::private(&cache)?;
    let aside =
        tempfile::Builder::new().prefix(".emulator-").tempdir_in(&cache).map_err(|error| unwritable(&cache, &error))?;
    let venv = aside.path().join("venv");
    // Relocatable, because it is built aside and moved: a half-built one is never used.
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
    let place = cache.join(&name);
    if !is_whole(&place) {
        // Damaged, or its Python was removed from the machine since; most often there is none.
        remove_tree(&place).map_err(|error| unwritable(&cache, &error))?;
    }
    match fs::rename(&venv, &place) {
        // Another process was quicker, with the same outcome.
        Err(error) if !is_whole(&place) => Err(unwritable(&cache, &error)),
        _ => Ok(python),
    }
}

/// The file of an environment that says how many files it was installed with.
const COUNT: &str = "devopsctl-files";

/// Whether an environment has its Python and all files that it was installed with: a cleaner of caches, or a `rm` that was
/// interrupted, leaves some. Files that Python adds later do no harm.
fn is_whole(venv: &Path) -> bool {
    let count = fs::read_to_string(venv.join(COUNT)).ok().and_then(|text| text.parse::<usize>().ok());
    venv.join("bin/python").exists() && count.is_some_and(|count| files(venv) >= count)
}

/// How many files with content are in a folder and below: a crash leaves empty ones.
fn files(folder: &Path) -> usize {
    let walk = ignore::WalkBuilder::new(folder).standard_filters(false).build();
    let full = |entry: &ignore::DirEntry| {
        entry.metadata().is_ok_and(|found| found.is_file() && found.len() > 0)
            && entry.file_name() != COUNT
            && entry.path().extension().is_none_or(|kind| kind != "pyc")
    };
    walk.filter_map(std::result::Result::ok).filter(full).count()
}

/// Tells one set of packages from another, and an environment with a count from one without, which may be in use.
fn key() -> String {
    digest::short(format!("{PYTHON}\n{REQUIREMENTS}\n{COUNT}"))
}

async fn run(mut command: tokio::process::Command) -> Result<()> {
    let why = match command.output().await {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::failed("cannot install the local AWS (moto)")
        .because(why)
        .next("its packages come from PyPI the first time: check the network, then run the same command again"))
}

/// A running emulator.
pub struct Emulator {
    /// How it is spoken to.
    pub client: Client,
    /// Its process.
    pub leash: Leash,
}

impl Emulator {
    /// Starts it and waits until it answers. `policy` is what its user may do that is the command line.
    ///
    /// # Errors
    /// When it ends or does not answer in time.
    pub async fn start(folder: &Folder, python: &Path, policy: &str) -> Result<Self> {
        let program = folder.emulator();
        let log = folder.log("emulator");
        let failed = |why: String| Failure::failed("the emulator (moto) does not start").because(why).next(again(&log));
        let secret = super::secret();
        let put = || -> std::io::Result<()> {
            fs::create_dir_all(&program)?;
            // The last emulator's log is of no more use.
            fs::write(&log, "")?;
            fs::write(program.join("policy.json"), policy)?;
            // The emulator reads it and removes it.
            let mut private = OpenOptions::new();
            private.create(true).truncate(true).write(true).mode(0o600);
            private.open(program.join("secret"))?.write_all(secret.as_bytes())?;
            PROGRAM.iter().try_for_each(|(name, text)| fs::write(program.join(name), text))
        };
        put().map_err(|error| failed(error.to_string()))?;
        let mut leash = Leash::start(&log, |command| {
            command.arg(python).arg("-I").arg(&program).arg(folder.socket()).current_dir(folder.path());
        })?;
        let client = Client { socket: folder.socket(), secret };
        let deadline = Instant::now() + START;
        while UnixStream::connect(&client.socket).await.is_err() {
            if let Some(status) = leash.ended() {
                return Err(failed(format!("it ended at once ({status})")));
            }
            if Instant::now() > deadline {
                return Err(failed(format!("it does not answer after {} seconds", START.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { client, leash })
    }
}

/// Speaks to the emulator, one connection a call: nothing can go stale between two.
#[derive(Clone)]
pub struct Client {
    socket: PathBuf,
    /// What opens the emulator's own paths. No other call carries it.
    secret: String,
}

impl Client {
    /// Passes a call on as it is: method, path, query and headers to the byte, the body as a stream.
    ///
    /// # Errors
    /// When the emulator does not answer, in words for a log.
    pub async fn pass(&self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| error.to_string())
    }

    /// One of the sandbox's own calls (see `emulator/control.py`). `None`: what was asked for is not there.
    pub async fn ask(&self, call: &str) -> Result<Option<Bytes>> {
        let trouble = |why: String| {
            Failure::failed(format!("the emulator does not answer {call}")).because(why).next(super::anew())
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

    /// The same, with an answer in JSON that must be there.
    pub async fn ask_json<T: DeserializeOwned>(&self, call: &str) -> Result<T> {
        let body = self.ask(call).await?.ok_or_else(|| Failure::bug(format!("the emulator has no {call}")))?;
        serde_json::from_slice(&body).map_err(|error| Failure::bug(format!("the emulator's {call}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_that_lacks_files_is_not_taken() {
        let venv = tempfile::tempdir().unwrap();
        let venv = venv.path();
        for folder in ["bin", "lib/moto"] {
            fs::create_dir_all(venv.join(folder)).unwrap();
        }
        let module = venv.join("lib/moto/core.py");
        fs::write(venv.join("bin/python"), "x").unwrap();
        fs::write(&module, "x").unwrap();
        assert!(!is_whole(venv), "it was never finished");
        fs::write(venv.join(COUNT), files(venv).to_string()).unwrap();
        assert!(is_whole(venv));
        fs::write(&module, "").unwrap();
        assert!(!is_whole(venv), "a file was cut short");
        fs::remove_file(&module).unwrap();
        fs::write(venv.join("lib/core.pyc"), "x").unwrap();
        assert!(!is_whole(venv), "a file is gone");
    }
}
