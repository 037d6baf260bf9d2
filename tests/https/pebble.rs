//! Pebble, Let's Encrypt's own test authority, as far as it is like the real one: it validates by http-01 and tls-alpn-01,
//! and refuses some nonces for no reason, as it always does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::http::runtime;
use crate::project::{Project, until};

/// An authority with a folder of its own; it ends with the test.
pub struct Pebble {
    folder: TempDir,
    process: Child,
    gate: Gate,
}

impl Pebble {
    /// Starts one whose certificates last so long.
    pub fn start(validity_seconds: u64) -> Self {
        Self::asking(validity_seconds, None)
    }

    /// One that asks the DNS server on that port where names lead.
    pub fn asking(validity_seconds: u64, dns: Option<u16>) -> Self {
        let folder = tempfile::Builder::new().prefix("pb").tempdir_in("/tmp").unwrap();
        own_certificate(folder.path());
        let (listen, manage) = (free_port(), free_port());
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"),
            "managementListenAddress": format!("127.0.0.1:{manage}"),
            "certificate": folder.path().join("own.pem"),
            "privateKey": folder.path().join("own.key"),
            // Where the sandbox has the ports 80 and 443 of each public address.
            "httpPort": 18080,
            "tlsPort": 18443,
            "certificateValidityPeriod": validity_seconds,
        }});
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = leashed("pebble");
        command.arg("-config").arg(folder.path().join("config.json"));
        if let Some(port) = dns {
            command.arg("-dnsserver").arg(format!("127.0.0.1:{port}"));
        }
        // It would wait some seconds, at random, before each validation.
        command.env("PEBBLE_VA_NOSLEEP", "1");
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().expect("pebble is missing: apt install pebble");
        let pebble = Self { folder, process, gate: Gate::before(listen) };
        let root = until(20, "pebble answers", || {
            let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
            let url = format!("https://127.0.0.1:{manage}/roots/0");
            runtime().block_on(async { client.get(url).send().await.ok()?.text().await.ok() })
        });
        let own = fs::read_to_string(pebble.folder.path().join("own.pem")).unwrap();
        fs::write(pebble.root(), own + &root).unwrap();
        pebble
    }

    /// Whoever asks is hung up on.
    pub fn leave(&self) {
        self.gate.open.send_replace(false);
    }

    /// It answers again.
    pub fn come_back(&self) {
        self.gate.open.send_replace(true);
    }

    /// What everything that it gives goes back to, and its own certificate.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// How many certificates were ordered. Not how often somebody asked: one request in twenty is sent away, to come again with
    /// another nonce.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Where it is found, by whoever knows this machine by that address.
    pub fn directory(&self, host: &str) -> String {
        format!("https://{host}:{}/dir", self.gate.port)
    }

    /// Has the project take its certificates from here.
    pub fn serve(&self, project: &Project) {
        project.file("ca.pem", &fs::read_to_string(self.root()).unwrap());
        project.file("deploy.yaml", &settings(&self.directory("127.0.0.1"), ""));
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        release(&mut self.process);
        if std::thread::panicking() {
            println!("{}", self.log()); // Shown with a failure only.
        }
    }
}

/// A program that ends when its standard input does, and so with the test, however that ends.
pub fn leashed(program: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devopsctl"));
    command.args(["sandbox", "guard", "--", program]).stdin(Stdio::piped());
    command
}

/// Ends one.
pub fn release(process: &mut Child) {
    drop(process.stdin.take());
    let _ = process.wait();
}

/// The way to it, which can be shut: started anew it would be another authority, as it keeps nothing.
struct Gate {
    port: u16,
    open: watch::Sender<bool>,
}

impl Gate {
    fn before(port: u16) -> Self {
        let open = watch::Sender::new(true);
        let state = open.subscribe();
        let listener = runtime().block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let gate = Self { port: listener.local_addr().unwrap().port(), open };
        runtime().spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let mut state = state.clone();
                tokio::spawn(async move {
                    if let Ok(mut authority) = TcpStream::connect(("127.0.0.1", port)).await {
                        tokio::select! {
                            _ = state.wait_for(|open| !open) => {}
                            _ = copy_bidirectional(&mut caller, &mut authority) => {}
                        }
                    }
                });
            }
        });
        gate
    }
}

/// A deployment that has this authority, and more that is said of its network.
pub fn settings(directory: &str, more: &str) -> String {
    format!("name: hello\napp: {{path: app}}\nnetwork: {{{more}acme_directory: '{directory}', acme_root: ca.pem}}\n")
}

/// A certificate for this machine, and its key, in files of a folder.
pub fn own_certificate(folder: &Path) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=a test's authority", "-addext", "subjectAltName=IP:127.0.0.1,IP:169.254.169.2"]);
    command.arg("-keyout").arg(folder.join("own.key")).arg("-out").arg(folder.join("own.pem"));
    let made = command.output().expect("openssl is missing");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// What an independent client gets that verifies everything: the status, and the body.
#[track_caller]
pub fn curl(project: &Project, url: &str, words: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--cacert"]);
    command.arg(project.folder().join("ca.pem")).args(["--write-out", "\n%{http_code} %{redirect_url}"]).args(words);
    let ran = command.arg(url).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).unwrap();
    let (body, last) = text.rsplit_once('\n').unwrap();
    let (code, to) = last.split_once(' ').unwrap();
    (code.parse().unwrap(), if to.is_empty() { body.to_owned() } else { to.to_owned() })
}

/// The serial number of what is served, to a client that names no server and verifies with Python's own means.
pub fn serial(project: &Project, url: &str) -> String {
    let program = "
import socket, ssl, sys
root, host, port = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
with socket.create_connection((host, int(port)), 10) as way, context.wrap_socket(way, server_hostname=host) as secure:
    print(secure.version(), secure.getpeercert()['serialNumber'])
";
    let (host, port) = url.strip_prefix("https://").unwrap().split_once(':').unwrap();
    let mut command = Command::new("python3");
    let ran = command.args(["-c", program]).arg(project.folder().join("ca.pem")).args([host, port]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(said.starts_with("TLSv1.3 "), "{said}");
    said.trim().to_owned()
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
