//! Refuses to pack files that look like secrets.
//!
//! A file is judged by its name, by the name of a link's target, and where the name is not enough by its content. Files in
//! `app.include` are packed in any case.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::source::File;
use crate::base::error::{Exit, Failure, Result};
use crate::config::FILE;

/// How many files an error names.
const SHOWN: usize = 5;
/// A key or a service account is smaller; a larger file is judged by its name only.
const LARGEST: u64 = 64 * 1024;

/// Names of files with passwords.
const PASSWORDS: [&str; 7] = [".netrc", "_netrc", ".pgpass", ".pypirc", ".git-credentials", ".envrc", ".htpasswd"];
/// Folders whose files are all secret.
const FOLDERS: [&str; 5] = [".aws", ".docker", ".env.d", ".gnupg", ".ssh"];
/// Extensions of private keys and key stores.
const STORES: [&str; 6] = ["key", "p12", "pfx", "keystore", "jks", "ppk"];
/// Parts of the names of templates, such as `.env.example` and `example.env`.
const TEMPLATES: [&str; 4] = ["example", "sample", "template", "dist"];
/// The start of a file with keys or certificates: a header, or the text that OpenSSL writes before one.
const PEM: [&str; 2] = ["-----BEGIN ", "Bag Attributes"];
/// The start of a private key of PuTTY.
const PUTTY: &str = "PuTTY-User-Key-File-";

static SSH_KEY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^id_(rsa|dsa|ecdsa|ed25519)([^a-z].*)?$").expect("a regex"));
static PRIVATE_KEY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----").expect("a regex"));
static NPM_LOGIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*[^#;\s]*_(authToken|auth|password)\s*=").expect("a regex"));

/// Checks that no file of the app looks like a secret, except those in `include`.
///
/// # Errors
/// Some do, or `include` names a file that is not packed.
pub fn check(folder: &Path, files: &[File], include: &[PathBuf]) -> Result<()> {
    let meant = |file: &File| include.iter().any(|name| name == Path::new(&file.name));
    if let Some(missing) = include.iter().find(|name| !files.iter().any(|file| Path::new(&file.name) == *name)) {
        return Err(Failure::new(Exit::Usage, format!("app.include names {}, which is not packed", missing.display()))
            .because(format!("{} has no such file, or an ignore file excludes it", folder.display()))
            .standing("Nothing was changed in AWS.")
            .next(format!("correct app.include in {FILE}, or remove the name")));
    }
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !meant(file)) {
        if let Some(kind) = kind(folder, file)? {
            found.push((file.name.as_str(), kind));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(refusal(folder, &found)) }
}

fn refusal(folder: &Path, found: &[(&str, &str)]) -> Failure {
    let shown: Vec<String> = found.iter().take(SHOWN).map(|(name, kind)| format!("{name} ({kind})")).collect();
    let more = found.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let names = found.iter().take(SHOWN).map(|(name, _)| serde_json::Value::from(*name).to_string());
    let count = if found.len() == 1 { "a file".to_owned() } else { format!("{} files", found.len()) };
    Failure::new(Exit::Usage, format!("the release would include {count} that may contain secrets"))
        .because(format!("{}{more}", shown.join(", ")))
        .because("a release is stored in S3, and the app on the instance can read all of it")
        .standing("Nothing was changed in AWS.")
        .next(format!(
            "to exclude a file, list it in {}; to deploy it, list it in app.include of {FILE}: include: [{}]",
            folder.join(".devopsctlignore").display(),
            names.collect::<Vec<_>>().join(", ")
        ))
}

/// The kind of secret that a file seems to be.
fn kind(folder: &Path, file: &File) -> Result<Option<&'static str>> {
    if let Some(kind) = by_name(Path::new(&file.name)) {
        return Ok(Some(kind));
    }
    // A link is packed with its target's content, which an ignore file may exclude under its own name.
    let target = fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
    let target = target.strip_prefix(folder).unwrap_or(&target);
    if let Some(kind) = by_name(target) {
        return Ok(Some(kind));
    }
    if fs::metadata(&file.path).is_ok_and(|metadata| metadata.len() > LARGEST) {
        return Ok(ends_with(target, &["pem"]).then_some("private key"));
    }
    let bytes = file.read()?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(by_content(target, &text))
}

fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    endings.contains(&ending.as_str())
}

fn by_name(path: &Path) -> Option<&'static str> {
    let mut parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().to_lowercase()).collect();
    let name = parts.pop()?;
    if parts.iter().any(|part| FOLDERS.contains(&part.as_str())) {
        return Some("credentials");
    }
    let environment = name.ends_with(".env")
        || name.strip_prefix(".env").is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    let last = name.strip_suffix(".env").unwrap_or(&name).rsplit(['.', '-', '_']).next().unwrap_or_default();
    if environment && !TEMPLATES.contains(&last) {
        return Some("environment");
    }
    if PASSWORDS.contains(&name.as_str()) {
        return Some("credentials");
    }
    let ssh = SSH_KEY.is_match(&name) && !name.ends_with(".pub");
    (ssh || ends_with(path, &STORES)).then_some("private key")
}

/// Certificates and public keys also have the extension `.pem`.
fn by_content(path: &Path, text: &str) -> Option<&'static str> {
    let public = text.contains("-----BEGIN ") && !text.contains("PRIVATE KEY");
    let begin = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let pem = PEM.iter().any(|start| begin.starts_with(start));
    if (pem && PRIVATE_KEY.is_match(begin)) || begin.starts_with(PUTTY) || (ends_with(path, &["pem"]) && !public) {
        return Some("private key");
    }
    if path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".npmrc")) && NPM_LOGIN.is_match(text) {
        return Some("credentials");
    }
    let account = ends_with(path, &["json"]) && text.contains("private_key");
    let account =
        account && serde_json::from_str(begin).is_ok_and(|json: serde_json::Value| json["private_key"].is_string());
    account.then_some("service account")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_recognised() {
        for name in [
            ".env",
            ".env.production",
            "sub/.ENV.local",
            "prod.env",
            ".env-production",
            ".env_staging",
            ".env~",
            ".env.example.local",
            "template-prod.env",
            ".env1",
            ".env.d/production",
            "id_rsa2",
            ".docker/config.json",
            ".htpasswd",
            "server.key",
            "id_rsa",
            "keys/id_ed25519",
            "id_rsa.old",
            ".netrc",
            "home/.pgpass",
            ".pypirc",
            ".aws/credentials",
            "x/.ssh/known_hosts",
            "a.P12",
            "a.pfx",
            "a.keystore",
            ".git-credentials",
        ] {
            assert!(by_name(Path::new(name)).is_some(), "{name}");
        }
        for name in [
            ".env.example",
            ".env.production.sample",
            ".env.template",
            ".env.dist",
            ".env-example",
            "example.env",
            "id_rsa.pub",
            "id_rsafe.py",
            ".environment",
            "environment.py",
            "keys.py",
            "aws/x",
            "local_settings.py",
            ".npmrc",
            "ca.pem",
        ] {
            assert_eq!(by_name(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn content_of_secrets_is_recognised() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nx\n";
        let certificate = "-----BEGIN CERTIFICATE-----\nx\n";
        for (name, text) in [
            ("deploy", key),
            ("ca.pem", key),
            ("both.pem", &format!("{certificate}{key}")),
            ("both", &format!("{certificate}{key}")),
            ("marked", &format!("\u{feff}{key}")),
            ("ec", "-----BEGIN EC PARAMETERS-----\nx\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY-----\n"),
            ("bag", &format!("Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n{key}")),
            ("pgp.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n"),
            ("putty", "PuTTY-User-Key-File-3: ssh-ed25519\n"),
            (".NPMRC", "//registry.npmjs.org/:_authToken=npm_x\n"),
            ("marked.json", "\u{feff}{\"private_key\": \"x\"}"),
            ("der.pem", "\u{1}"),
            (".npmrc", "//registry.npmjs.org/:_authToken=npm_x\n"),
            ("google.json", r#"{"type": "service_account", "private_key": "x"}"#),
        ] {
            assert!(by_content(Path::new(name), text).is_some(), "{name}");
        }
        for (name, text) in [
            ("ca.pem", certificate),
            ("public.pem", "-----BEGIN PUBLIC KEY-----\nx\n"),
            (".npmrc", "registry=https://example.com\n"),
            ("package.json", r#"{"name": "private_key"}"#),
            ("test.py", &format!("KEY = '''{key}'''\n")),
            ("test_lines.py", &format!("KEY = '''\n{key}'''\n")),
            ("pgp.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"),
        ] {
            assert_eq!(by_content(Path::new(name), text), None, "{name}");
        }
    }
}
