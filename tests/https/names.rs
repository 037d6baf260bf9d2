//! A certificate for a domain that does not resolve until the test creates its record.
//!
//! The command line, its sandbox and the agent use the machine's resolver. So each command runs in its own mount namespace with
//! a test's `/etc/hosts`, which is edited in place so that all of them see it. The certificate authority uses the test's DNS
//! server.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::http::runtime;
use crate::pebble::{Pebble, curl, free_port, release, settings, supervised};
use crate::project::{Project, Ran, install_emulator, until};

const NAME: &str = "app.devopsctl.test";
const YEAR: u64 = 365 * 86400;

/// Name resolution for this machine and for the certificate authority. Both end with the test.
struct Names {
    folder: TempDir,
    server: Child,
    manage: u16,
    /// The port of the DNS server.
    dns: u16,
}

impl Names {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("nm").tempdir_in("/tmp").unwrap();
        let (dns, manage) = (free_port(), free_port());
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = supervised("pebble-challtestsrv");
        command.arg("-dns01").arg(format!("127.0.0.1:{dns}"));
        command.arg("-management").arg(format!("127.0.0.1:{manage}"));
        // It answers DNS queries only, and only for configured names.
        for other in ["-http01", "-https01", "-tlsalpn01", "-defaultIPv4", "-defaultIPv6"] {
            command.args([other, ""]);
        }
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let server = command.spawn().expect("pebble-challtestsrv is missing: apt install pebble");
        let names = Self { folder, server, manage, dns };
        names.here(None);
        until(20, "the DNS server answers", || names.ask("clear-a", &json!({"host": NAME})).then_some(()));
        names
    }

    fn hosts(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    /// Sets the domain's address on this machine.
    fn here(&self, address: Option<&str>) {
        let line = address.map(|address| format!("{address} {NAME}\n")).unwrap_or_default();
        fs::write(self.hosts(), fs::read_to_string("/etc/hosts").unwrap_or_default() + "\n" + &line).unwrap();
    }

    /// Creates the record, first for the certificate authority, which checks after the instance sees it.
    fn make_record(&self, address: &str) {
        assert!(self.ask("add-a", &json!({"host": NAME, "addresses": [address]})));
        self.here(Some(address));
    }

    fn ask(&self, what: &str, body: &serde_json::Value) -> bool {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("http://127.0.0.1:{}/{what}", self.manage)).body(body.to_string());
        runtime().block_on(request.send()).is_ok_and(|answer| answer.status().is_success())
    }

    /// A command with this name resolution. A mount needs root, so other users become root in a user namespace.
    fn command(&self, project: &Project, line: &str) -> Command {
        let inner = project.command(line);
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]).arg(self.hosts());
        command.arg(inner.get_program()).args(inner.get_args());
        project.settle(&mut command);
        command
    }

    fn run(&self, project: &Project, line: &str) -> Ran {
        Ran::new(line, &self.command(project, line).output().unwrap())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        release(&mut self.server);
    }
}

/// A running `up` whose output the test reads.
struct Running {
    child: Child,
    said: PathBuf,
}

impl Running {
    fn begin(names: &Names, project: &Project, line: &str) -> Self {
        let said = names.folder.path().join("said");
        let mut command = names.command(project, line);
        command.stderr(File::create(&said).unwrap()).stdout(Stdio::piped());
        Self { child: command.spawn().unwrap(), said }
    }

    /// Waits for a line with this text.
    #[track_caller]
    fn line(&mut self, words: &str) -> String {
        until(180, words, || {
            let said = fs::read_to_string(&self.said).unwrap();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended before it said {words:?}:\n{said}");
            said.lines().find(|line| line.contains(words)).map(str::to_owned)
        })
    }

    /// Waits for success, and returns its result.
    #[track_caller]
    fn ends_well(mut self) -> String {
        let ended = until(180, "it goes on by itself", || self.child.try_wait().unwrap());
        let said = fs::read_to_string(&self.said).unwrap();
        assert!(ended.success(), "{said}");
        std::io::read_to_string(self.child.stdout.take().unwrap()).unwrap().trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_domain_gets_its_certificate_when_it_resolves() {
    install_emulator();
    // The sandbox and its machine must use the test's name resolution.
    let (names, project) = (Names::start(), Project::alone().with_example());
    let pebble = Pebble::asking(YEAR, Some(names.dns));
    project.file("ca.pem", &fs::read_to_string(pebble.root()).unwrap());
    project.file("deploy.yaml", &settings(&pebble.directory("127.0.0.1"), &format!("domain: {NAME}, ")));

    let mut up = Running::begin(&names, &project, "up --sandbox");
    let told = up.line("leads nowhere yet");
    let (_, address) = told.split_once(&format!("it needs the record: {NAME}. A ")).expect(&told);
    assert_eq!(pebble.orders(), 0, "an authority that counts failures is not asked in vain");
    // A wrong address is reported, and `up` continues to wait.
    names.here(Some("192.0.2.7"));
    up.line(&format!("{NAME} leads to 192.0.2.7; it needs the record: {NAME}. A {address}"));
    names.make_record(address);
    let url = up.ends_well();
    assert_eq!((url.as_str(), pebble.orders()), (format!("https://{NAME}:18443").as_str(), 1));

    // An independent client that verifies the domain.
    let header = format!("Authorization: Token {}", project.token());
    let way = format!("{NAME}:18443:{address}");
    let get = |words: &[&str]| curl(&project, &url, &[&["--resolve", &way], words].concat());
    let (code, answer) = get(&["--include", "--header", &header]);
    assert_eq!(code, 200);
    assert!(answer.to_lowercase().contains("strict-transport-security: max-age=31536000"), "{answer}");
    assert_eq!(get(&[]).0, 401);
    // Other names are refused, also for a client that verifies nothing.
    assert_eq!(get(&["--header", "Host: other.devopsctl.test"]).0, 421);
    let (other, way) = ("https://other.devopsctl.test:18443", format!("other.devopsctl.test:18443:{address}"));
    assert_eq!(curl(&project, other, &["--resolve", &way, "--insecure"]).0, 421);
    let mut verifies = Command::new("curl");
    verifies.args(["--silent", "--noproxy", "*", "--resolve", &way, "--cacert"]).arg(project.folder().join("ca.pem"));
    assert_eq!(verifies.arg(other).status().unwrap().code(), Some(60));
    // HTTP is redirected to the domain for every host.
    for host in [NAME, address] {
        let clear =
            curl(&project, &format!("http://{address}:18080/some?where=1"), &["--header", &format!("Host: {host}")]);
        assert_eq!(clear, (308, format!("https://{NAME}/some?where=1")), "{host}");
    }

    names.run(&project, "status --sandbox").ok().says(&format!("https      for {NAME}, from Pebble Intermediate CA"));
    names.run(&project, "up --sandbox").ok().says("already up to date");
    assert_eq!(pebble.orders(), 1);
    names.run(&project, "down --sandbox --yes").ok().says("deleted hello");
}
