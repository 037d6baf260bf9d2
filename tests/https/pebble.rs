//! Pebble, Let's Encrypt's test certificate authority. Like the real one it validates by http-01 and tls-alpn-01. It also rejects
//! some nonces at random.

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

/// A certificate authority in its own folder. It ends with the test.
pub struct Pebble {
    folder: TempDir,
    process: Child,
    gate: Gate,
}

impl Pebble {
    /// Starts one with this validity of certificates.
    pub fn start(validity_seconds: u64) -> Self {
        Self::asking(validity_seconds, None)
    }

    /// Starts one that uses the DNS server on that port.
    pub fn asking(validity_seconds: u64, dns: Option<u16>) -> Self {
        let folder = tempfile::Builder::new().prefix("pb").tempdir_in("/tmp").unwrap();
        own_certificate(folder.path());
        let (listen, manage) = (free_port(), free_port());
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{listen}"),
            "managementListenAddress": format!("127.0.0.1:{manage}"),
            "certificate": folder.path().join("own.pem"),
            "privateKey": folder.path().join("own.key"),
            // The sandbox's ports for 80 and 443 of each public address.
            "httpPort": 18080,
            "tlsPort": 18443,
            "certificateValidityPeriod": validity_seconds,
        }});
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = supervised("pebble");
        command.arg("-config").arg(folder.path().join("config.json"));
        if let Some(port) = dns {
            command.arg("-dnsserver").arg(format!("127.0.0.1:{port}"));
        }
        // Without it, Pebble waits for some random seconds before each validation.
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

    /// Drops all connections.
    pub fn leave(&self) {
        self.gate.open.send_replace(false);
    }

    /// Accepts connections again.
    pub fn come_back(&self) {
        self.gate.open.send_replace(true);
    }

    /// The root certificate of issued certificates, and its own certificate.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// The number of orders. The number of requests is higher, because some nonces are rejected.
    pub fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The URL of its directory, for clients that reach this machine at that host.
    pub fn directory(&self, host: &str) -> String {
        format!("https://{host}:{}/dir", self.gate.port)
    }

    /// Configures the project to use it.
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

/// A program under a supervisor, which ends with the test, however the test ends.
pub fn supervised(program: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devopsctl"));
    command.args(["sandbox", "supervise", "--", program]).stdin(Stdio::piped());
    command
}

/// Ends a supervised program.
pub fn release(process: &mut Child) {
    drop(process.stdin.take());
    let _ = process.wait();
}

/// A proxy to it that can be closed: a restarted Pebble would be another authority, because it stores nothing.
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

/// A `deploy.yaml` with this certificate authority and more network settings.
pub fn settings(directory: &str, more: &str) -> String {
    format!("name: hello\napp: {{path: app}}\nnetwork: {{{more}acme_directory: '{directory}', acme_root: ca.pem}}\n")
}

/// Creates a certificate for this machine and its key in a folder.
pub fn own_certificate(folder: &Path) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=a test's authority", "-addext", "subjectAltName=IP:127.0.0.1,IP:169.254.169.2"]);
    command.arg("-keyout").arg(folder.join("own.key")).arg("-out").arg(folder.join("own.pem"));
    let made = command.output().expect("openssl is missing");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The status and the body for an independent client that verifies everything.
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

/// The serial number of the served certificate, for a client without SNI.
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

/// A free port.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
