//! HTTPS for an address and for a domain: the real binary, a process machine, and Pebble as the certificate authority.
//! `cargo test --test https` (Debian's packages pebble, openssl, curl).

mod names;
mod pebble;
#[path = "../it/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use serde_json::Value;

use console::aws;
use http::trust;
use load_clients::LoadClients;
use pebble::{Pebble, curl, own_certificate, release, serial, settings, supervised};
use project::{Project, Ran, until};
use support::{console, http, load_clients, project};

const YEAR: u64 = 365 * 86400;

fn status(project: &Project) -> Value {
    serde_json::from_str(&project.run("status --sandbox --json").stdout).unwrap()
}

/// A certificate authority with this validity in seconds, and a project that uses it.
fn begin(validity: u64) -> (Pebble, Project) {
    let (pebble, project) = (Pebble::start(validity), Project::example());
    pebble.serve(&project);
    (pebble, project)
}

#[test]
fn the_certificate_of_an_address_survives_a_replacement() {
    let (pebble, project) = begin(YEAR);
    let url = project.up();
    let token = project.token();
    let header = format!("Authorization: Token {token}");
    assert_eq!(curl(&project, &url, &["--header", &header]).0, 200);
    assert_eq!(curl(&project, &url, &[]).0, 401);
    let said = project.run("status --sandbox").ok();
    let address = url.strip_prefix("https://").unwrap().split(':').next().unwrap();
    said.says(&format!("https      for {address}, from Pebble Intermediate CA"));

    // HTTP is redirected, with or without the token, and without a body.
    let clear = format!("http://{address}:18080/some?where=1");
    assert_eq!(curl(&project, &clear, &["--header", &header]), (308, format!("https://{address}/some?where=1")));
    // Another server name and old versions of TLS are refused.
    assert_eq!(curl(&project, &url, &["--header", "Host: somebody.example"]).0, 421);
    let old = Command::new("curl").args(["-s", "--noproxy", "*", "-k", "--tls-max", "1.1", &url]).status().unwrap();
    assert_eq!(old.code(), Some(35));

    let (serial_before, orders) = (serial(&project, &url), pebble.orders());
    assert_eq!(orders, 1);
    let (bucket, kept) = ("devopsctl-123456789012-us-east-1-an", "hello/certificates.json");
    until(20, "the certificate is kept for later", || {
        let list =
            aws(&project, async |aws| aws.s3.list_objects_v2().bucket(bucket).prefix(kept).send().await.unwrap());
        (list.key_count() == Some(1)).then_some(())
    });
    let read = aws(&project, async |aws| aws.s3.get_object().bucket(bucket).key(kept).send().await);
    assert_eq!(read.unwrap_err().code(), Some("AccessDenied"), "even an administrator cannot read the key");
    let more = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap() + "instance: {disk_gib: 9}\n";
    project.file("deploy.yaml", &more);
    project.run("up --sandbox --yes").ok().says("health: i-");
    assert_eq!(serial(&project, &url), serial_before);
    assert_eq!(curl(&project, &url, &["--header", &header]).0, 200);
    assert_eq!(pebble.orders(), orders, "another machine needs no other certificate");

    project.ok("down --sandbox --yes");
    let buckets = aws(&project, async |aws| aws.s3.list_buckets().send().await.unwrap().buckets().len());
    assert_eq!(buckets, 0, "certificates and tools went with the last deployment");
}

#[test]
fn a_certificate_is_renewed_without_a_failed_request() {
    let (pebble, project) = begin(60);
    let url = project.up();
    let (token, before) = (project.token(), serial(&project, &url));
    trust(&fs::read(pebble.root()).unwrap());
    let clients = LoadClients::with_pause(2, &url, &token, &[200], Duration::from_millis(20));
    until(90, "another certificate is served", || (serial(&project, &url) != before).then_some(()));
    println!("{} answered, all of them", clients.end(50));
    assert!(pebble.orders() >= 2);
}

#[test]
fn during_an_outage_of_the_authority_the_old_certificate_serves() {
    let (pebble, project) = begin(60);
    let url = project.up();
    let before = serial(&project, &url);
    pebble.leave();
    let failed = until(150, "the instance says that a renewal failed", || {
        let report = status(&project)["report"]["edge"].clone();
        report["error"].is_string().then_some(report)
    });
    assert_eq!(failed["phase"], "serving");
    project.run("status --sandbox").ok().says("the renewal failed");
    assert_eq!(serial(&project, &url), before);
}

/// A certificate authority with a fault.
struct FaultyAuthority(Child);

impl FaultyAuthority {
    fn start(project: &Project, how: &str) -> Self {
        let folder = project.state();
        fs::create_dir_all(&folder).unwrap();
        own_certificate(&folder);
        fs::copy(folder.join("own.pem"), project.folder().join("ca.pem")).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/https/authority.py");
        let mut command = supervised("python3");
        command.arg(program).arg(folder.join("own.pem")).arg(folder.join("own.key")).arg(how);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        project.file("deploy.yaml", &settings(&format!("https://127.0.0.1:{}/directory", port.trim()), ""));
        Self(child)
    }
}

impl Drop for FaultyAuthority {
    fn drop(&mut self) {
        release(&mut self.0);
    }
}

#[track_caller]
fn fails_with(how: &str, words: &str) {
    let project = Project::example();
    let unwell = FaultyAuthority::start(&project, how);
    let ran: Ran = project.run("up --sandbox").code(4);
    let ran = ran.says("there is no certificate for the app").says(words).says("is not served over plain HTTP");
    ran.says("devopsctl up --sandbox");
    let address = status(&project)["address"]["ip"].as_str().unwrap().to_owned();
    let clear = format!("http://{address}:18080/");
    let (code, told) = curl(&project, &clear, &["--header", &format!("Authorization: Token {}", project.token())]);
    assert_eq!((code, told), (308, format!("https://{address}/")));

    // With a working authority the same command continues.
    drop(unwell);
    let pebble = Pebble::start(YEAR);
    pebble.serve(&project);
    let url = project.up();
    assert_eq!(curl(&project, &url, &[]).0, 401);
}

#[test]
fn after_a_failure_up_makes_the_instance_retry() {
    let (pebble, project) = begin(YEAR);
    pebble.leave();
    project.run("up --sandbox --no-wait").ok();
    until(180, "the first attempt fails", || status(&project)["report"]["edge"]["error"].as_str().map(str::to_owned));
    let began = std::time::Instant::now();
    pebble.come_back();
    project.run("up --sandbox").ok().says("the instance failed and must retry");
    println!("a certificate after {:?}; by itself it would have waited a minute", began.elapsed());
}

#[test]
fn a_permanent_error_of_the_authority_is_quoted_at_once() {
    fails_with("refuse", "rateLimited");
}

#[test]
fn a_transient_error_of_the_authority_is_quoted_after_a_retry() {
    fails_with("error", "authority is being mended");
}

#[test]
fn an_authority_that_never_responds_times_out() {
    fails_with("slow", "Client.Timeout");
}
