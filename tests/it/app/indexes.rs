//! Private package indexes: every way to log in, and no login in what is kept or printed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use devopsctl::base::child;

use crate::project::{Project, Ran};

const USER: &str = "reader";
const PASSWORD: &str = "not-for-releases";
/// A package that only the private index has.
const PACKAGE: &str = "devopsctl-private-example";
const MODULE: &str = "devopsctl_private_example";
const WHEEL: &str = "devopsctl_private_example-1.0-py3-none-any.whl";

/// Writes the wheel.
const MAKE: &str = r#"import sys, zipfile
module = "devopsctl_private_example"
info = module + "-1.0.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr(module + ".py", "GREETING = 'hello'\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: devopsctl-private-example\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "".join(f"{name},,\n" for name in [*wheel.namelist(), info + "RECORD"]))
"#;

/// Serves an index with that package to clients with the login. Returns its address.
fn serve(wheel: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is no failure of the test.
            let _ = answer(stream, &wheel);
        }
    });
    address
}

fn answer(mut stream: TcpStream, wheel: &[u8]) -> std::io::Result<()> {
    let lines: Vec<String> =
        BufReader::new(stream.try_clone()?).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let login = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let allowed = lines.iter().any(|line| {
        line.split_once(": ").is_some_and(|(name, value)| name.eq_ignore_ascii_case("authorization") && value == login)
    });
    let page = format!("<a href='/files/{WHEEL}'>{WHEEL}</a>");
    let (status, kind, body) = match (allowed, path.as_str()) {
        (false, _) => ("401 Unauthorized", "text/plain", &b""[..]),
        (_, path) if path == format!("/simple/{PACKAGE}/") => ("200 OK", "text/html", page.as_bytes()),
        (_, path) if path == format!("/files/{WHEEL}") => ("200 OK", "application/octet-stream", wheel),
        _ => ("404 Not Found", "text/plain", &b""[..]),
    };
    let head = "WWW-Authenticate: Basic realm=x\r\nConnection: close\r\n";
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{head}\r\n", body.len())?;
    if lines[0].starts_with("GET") { stream.write_all(body) } else { Ok(()) }
}

/// A project whose app and whose build need the package, and the address of the index.
fn project() -> (Project, String) {
    let project = Project::unbooted();
    project.file("app/app.py", &format!("import {MODULE}\n\n\ndef app(environ, start_response):\n    pass\n"));
    let text = "name: hello\napp:\n  path: app\n  build: BUILD\n";
    project.file("deploy.yaml", &text.replace("BUILD", &format!("python -c \"import {MODULE}\"")));
    project.file("app/requirements.txt", &format!("{PACKAGE}\n"));
    project.file("bin/keyring", &format!("#!/bin/sh\n[ \"$1 $3\" = \"get {USER}\" ] && echo {PASSWORD}\n"));
    fs::set_permissions(project.folder().join("bin/keyring"), fs::Permissions::from_mode(0o755)).unwrap();
    let wheel = project.folder().join(WHEEL);
    let made = Command::new("python3").args(["-c", MAKE]).arg(&wheel).status().unwrap();
    assert!(made.success());
    let address = serve(fs::read(wheel).unwrap());
    (project, address)
}

/// Runs `plan` with its own caches and these variables.
fn plan(project: &Project, line: &str, settings: &[(&str, &str)]) -> Ran {
    for cache in ["uv", "cache"] {
        let _ = fs::remove_dir_all(project.folder().join(cache));
    }
    let uv = devopsctl::base::dirs::cache().unwrap().join("uv-0.13.9/bin");
    let path = [project.folder().join("bin"), uv].into_iter().chain(child::path());
    let mut command = project.command(line);
    command.env("XDG_CACHE_HOME", project.folder().join("cache")).env("UV_CACHE_DIR", project.folder().join("uv"));
    command.env("PATH", std::env::join_paths(path).unwrap()).env("COLUMNS", "400");
    // The user's own settings would be found there.
    command.env("HOME", project.folder()).env("XDG_CONFIG_HOME", project.folder().join("config"));
    command.envs(settings.iter().copied());
    let ran = Ran::new(line, &command.output().unwrap());
    assert!(!ran.shown().contains(PASSWORD), "{}", ran.shown());
    ran
}

/// Checks that no kept file contains the login, also in a release.
#[track_caller]
fn keeps_no_login(project: &Project) {
    let releases = files(&project.folder().join("cache/devopsctl/releases"));
    let archive = releases.iter().find(|path| path.to_string_lossy().ends_with(".tar.gz")).expect("a release");
    let content = Command::new("tar").arg("-xzOf").arg(archive).output().unwrap().stdout;
    let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(PASSWORD);
    assert!(String::from_utf8_lossy(&content).contains("GREETING = 'hello'") && !holds(&content));
    for path in ["cache", "uv"].iter().flat_map(|name| files(&project.folder().join(name))) {
        assert!(!holds(&fs::read(&path).unwrap()), "{}", path.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let (folders, mut found): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    found.retain(|path| path.is_file());
    found
        .into_iter()
        .chain(folders.iter().filter(|folder| !folder.is_symlink()).flat_map(|folder| files(folder)))
        .collect()
}

#[test]
#[ignore = "slow"]
fn a_private_index_is_used_with_every_kind_of_login_and_keeps_it_secret() {
    let (project, address) = project();
    let (simple, url) = (format!("http://{address}/simple"), format!("http://{USER}:{PASSWORD}@{address}/simple"));
    let works = |settings: &[(&str, &str)]| {
        plan(&project, "plan --sandbox", settings).code(3);
        keeps_no_login(&project);
    };
    works(&[("UV_INDEX", &url)]);
    works(&[("PIP_EXTRA_INDEX_URL", &url)]);
    project.file("netrc", &format!("machine 127.0.0.1 login {USER} password {PASSWORD}\n"));
    works(&[("UV_INDEX", &simple), ("NETRC", project.folder().join("netrc").to_str().unwrap())]);
    works(&[("UV_INDEX", &format!("http://{USER}@{address}/simple")), ("UV_KEYRING_PROVIDER", "subprocess")]);

    project.file("app/pyproject.toml", &format!("[[tool.uv.index]]\nname = 'company'\nurl = '{simple}'\n"));
    works(&[("UV_INDEX_COMPANY_USERNAME", USER), ("UV_INDEX_COMPANY_PASSWORD", PASSWORD)]);
    // Only this package comes from that index.
    let explicit = format!(
        "[project]\nname = 'app'\nversion = '1'\ndependencies = ['{PACKAGE}']\n[tool.uv.sources]\n{PACKAGE} = {{index = 'company'}}\n\
         [[tool.uv.index]]\nname = 'company'\nurl = '{simple}'\nexplicit = true\n"
    );
    fs::remove_file(project.folder().join("app/requirements.txt")).unwrap();
    project.file("app/pyproject.toml", &explicit);
    works(&[("UV_INDEX_COMPANY_USERNAME", USER), ("UV_INDEX_COMPANY_PASSWORD", PASSWORD)]);
    fs::remove_file(project.folder().join("app/pyproject.toml")).unwrap();

    let lines = |login: &str| format!("--extra-index-url http://{login}@{address}/simple\n{PACKAGE}\n");
    project.file("app/requirements.txt", &lines("reader:${UV_READER}"));
    works(&[("UV_READER", PASSWORD)]);
    let ran = plan(&project, "plan --sandbox", &[("UV_READER", "another-one")]).code(2);
    ran.says("a package index refuses access to the requirements in requirements.txt").says("~/.netrc");
    project.file("app/requirements.txt", &lines("reader:${READER}"));
    plan(&project, "plan --sandbox", &[("READER", PASSWORD)]).code(2).says("for example UV_READER");
    project.file("app/requirements.txt", &lines(&format!("{USER}:{PASSWORD}")));
    plan(&project, "plan --sandbox --json", &[]).code(2).says("app/requirements.txt contains a login for 127.0.0.1");

    // uv itself shows the login of a URL that it cannot read.
    project.file("app/requirements.txt", &format!("{PACKAGE}\n"));
    let wrong = format!("http://{USER}:{PASSWORD}@127.0.0.1:port/simple");
    plan(&project, "plan --sandbox --json -v", &[("UV_DEFAULT_INDEX", &wrong)])
        .code(2)
        .says("http://****@127.0.0.1:port");
}
