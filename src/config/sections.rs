//! Takes the tree apart, section by section, with every default filled in.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use super::reader::{Found, Reader, Section, Wrong};
use super::tree::{Node, Value};
use super::{Acme, App, Deployment, Health, Image, Instance, Limits, Network, Root, Token, check};

/// Walks the whole tree, whatever it finds, so that everything is said at once.
pub(super) fn deployment(reader: &mut Reader, tree: Node, folder: &Path) -> Option<Deployment> {
    let whole = tree.span;
    let mut top = reader.section("", Some(tree));
    let name = top.take("name");
    if name.is_none() {
        let hint = "add a line such as `name: hello`";
        reader.find((whole.offset(), 0).into(), "`name` is missing", "this deployment has no name", hint);
    }
    let name = reader.text(name, check::name);
    let region = top.take("region");
    let region = reader.text(region, check::region);
    let token = token_section(reader, &mut top);
    let app = app_section(reader, &mut top, folder, &token.0.env);
    let instance = instance_section(reader, &mut top);
    let network = network_section(reader, &mut top, folder);
    let health = health_section(reader, &mut top);
    let tags = tags_section(reader, &mut top);
    top.finish(reader);
    let (mut token, token_path) = token;
    token.path = token_path.unwrap_or_else(|| health.path.clone());
    Some(Deployment { name: name?, region, app: app?, token, instance, network, health, tags })
}

fn sub(reader: &mut Reader, top: &mut Section, path: &'static str) -> Section {
    let node = top.take(path).map(|found| found.node);
    reader.section(path, node)
}

fn app_section(reader: &mut Reader, top: &mut Section, folder: &Path, token_env: &str) -> Option<App> {
    let mut section = sub(reader, top, "app");
    let path = section.take("path");
    if path.is_none() {
        reader.find(
            (0, 0).into(),
            "`app.path` is missing",
            "nothing says what to deploy",
            "add\n  app:\n    path: app",
        );
    }
    let path = reader.text(path, |path| app_folder(folder, path).map(|_| ()));
    let wsgi = section.take("wsgi");
    let wsgi = reader.text(wsgi, check::wsgi).unwrap_or_else(|| "app:app".to_owned());
    let requirements = section.take("requirements");
    let path = path.and_then(|path| app_folder(folder, &path).ok());
    let requirements = reader.text(requirements, |name| requirements_file(path.as_deref(), name)).map(PathBuf::from);
    let workers = section.take("workers");
    let workers = small(reader.integer(workers, 1..=64), 2);
    let threads = section.take("threads");
    let threads = small(reader.integer(threads, 1..=256), 4);
    let env = section.take("env").map(|found| found.node);
    let env = env_section(reader, env, token_env);
    section.finish(reader);
    Some(App { path: path?, wsgi, requirements, workers, threads, env })
}

/// The folder with the code. It must lie in the project: what is outside is not in the user's repository.
fn app_folder(folder: &Path, path: &str) -> Result<PathBuf, Wrong> {
    let missing = || Wrong::new("is not a folder", "write the folder with the code, relative to this file");
    let project = fs::canonicalize(folder).map_err(|_| missing())?;
    let app = fs::canonicalize(folder.join(path)).map_err(|_| missing())?;
    if !app.is_dir() {
        return Err(missing());
    }
    if !app.starts_with(&project) {
        return Err(Wrong::new("leads out of the project", "the code must lie below the folder of this file"));
    }
    Ok(app)
}

fn requirements_file(app: Option<&Path>, name: &str) -> Result<(), Wrong> {
    let plain = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !plain {
        return Err(Wrong::new("leads out of the app's folder", "name a file in app.path"));
    }
    match app {
        Some(app) if !app.join(name).is_file() => {
            Err(Wrong::new("is not a file in app.path", "name a file such as requirements.txt"))
        }
        _ => Ok(()),
    }
}

fn small(value: Option<i64>, default: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
}

fn env_section(reader: &mut Reader, node: Option<Node>, token_env: &str) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, found) in reader.section("app.env", node).rest() {
        if let Err(wrong) = check::env_key(&key.name) {
            reader.find(key.span, format!("`{}` {}", key.name, wrong.what), "here", wrong.hint);
        } else if key.name == token_env || key.name == format!("{token_env}_PREVIOUS") {
            let hint = "take it out; the token is set with `devopsctl set-token` and never stands in a file";
            reader.hide(found.node.span);
            reader.find(key.span, format!("`app.env` sets `{}`, which holds the token", key.name), "here", hint);
        } else if let Some(value) = env_value(reader, &found) {
            env.insert(key.name, value);
        }
    }
    env
}

/// Numbers are taken as they are written; what YAML might read otherwise than it looks wants quotes.
fn env_value(reader: &mut Reader, found: &Found) -> Option<String> {
    match &found.node.value {
        Value::Text(text) if text.contains('\0') => {
            reader.wrong(found, Wrong::new("holds a NUL", "no environment variable can"));
            None
        }
        Value::Text(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float => Some(reader.written(found.node.span).to_owned()),
        other => {
            let hint = "put the value in quotes, so that it is plain what the app will see";
            reader.find(
                found.node.span,
                format!("`{}` must be text or a number", found.path),
                format!("this is {}", other.kind()),
                hint,
            );
            None
        }
    }
}

fn token_section(reader: &mut Reader, top: &mut Section) -> (Token, Option<String>) {
    let mut section = sub(reader, top, "token");
    let env = section.take("env");
    let env = reader.text(env, check::env_key).unwrap_or_else(|| "APP_SECRET_TOKEN".to_owned());
    let enforce = section.take("enforce");
    let enforce = reader.flag(enforce).unwrap_or(true);
    let path = section.take("path");
    let path = reader.text(path, check::url_path);
    section.finish(reader);
    (Token { env, enforce, path: String::new() }, path)
}

fn instance_section(reader: &mut Reader, top: &mut Section) -> Instance {
    let mut section = sub(reader, top, "instance");
    let kind = section.take("type");
    let kind = reader.text(kind, check::instance_type).unwrap_or_else(|| "t3.micro".to_owned());
    let image = section.take("image");
    let image = reader.text(image, |name| image_named(name).map(|_| ()));
    let image = image.and_then(|name| image_named(&name).ok()).unwrap_or(Image::Debian13);
    let disk = section.take("disk_gib");
    let disk_gib = small(reader.integer(disk, 8..=16384), 8);
    section.finish(reader);
    Instance { kind, image, disk_gib }
}

fn image_named(name: &str) -> Result<Image, Wrong> {
    let found = Image::ALL.into_iter().find(|image| image.name() == name);
    found.ok_or_else(|| {
        Wrong::new("is not an image that devopsctl knows", format!("known: {}", Image::ALL.map(Image::name).join(", ")))
    })
}

fn network_section(reader: &mut Reader, top: &mut Section, folder: &Path) -> Network {
    let mut section = sub(reader, top, "network");
    let https = section.take("https");
    let https = match https.as_ref().map(|found| &found.node.value) {
        Some(Value::Bool(on)) => *on, // As YAML understands `off`.
        _ => reader.text(https, |word| known(word, &["auto", "off"])).is_none_or(|word| word == "auto"),
    };
    let port = section.take("port");
    let port_given = port.as_ref().map(|found| found.node.span);
    let port = reader.integer(port, 1..=65535).and_then(|port| u16::try_from(port).ok()).unwrap_or(80);
    if let Some(span) = port_given.filter(|_| https && port != 80) {
        let hint =
            "take it out: HTTPS is served on 443, and 80 leads there; or set `https: off` to serve plain HTTP on it";
        reader.find(span, "`network.port` is for plain HTTP", "https is not off", hint);
    }
    let domain = section.take("domain");
    let domain_given = domain.as_ref().map(|found| found.node.span);
    let domain = reader.text(domain, check::domain);
    if let Some(span) = domain_given.filter(|_| !https) {
        let hint = "take it out, or take `https: off` out";
        reader.find(span, "`network.domain` is for HTTPS", "https is off", hint);
    }
    let dns = section.take("dns");
    let dns_given = dns.as_ref().map(|found| found.node.span);
    let route53 = reader.text(dns, |word| known(word, &["route53"])).is_some();
    let directory = section.take("acme_directory");
    let directory = reader.text(directory, check::https_url);
    let root = section.take("acme_root");
    let root = reader.text(root, |name| pem(folder, name).map(|_| ()));
    let root = root.and_then(|name| Some(Root { pem: pem(folder, &name).ok()?, file: folder.join(name) }));
    let acme = Acme { directory, root };
    let allow = section.take("allow");
    let allow = allow_list(reader, allow).unwrap_or_else(|| vec![Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into()]);
    let static_ip = section.take("static_ip");
    let static_ip = reader.flag(static_ip).unwrap_or(true);
    if let Some(span) = dns_given {
        contradicts_dns(reader, span, (https, domain_given.is_some(), static_ip));
    }
    let subnet = section.take("subnet");
    let subnet = reader.text(subnet, check::subnet);
    let limits = section.take("limits").map(|found| found.node);
    let limits = limits_section(reader, limits);
    section.finish(reader);
    Network { https, port, domain, route53, acme, limits, allow, static_ip, subnet }
}

/// A record is for a name, and for an address that outlives the machine.
fn contradicts_dns(reader: &mut Reader, span: miette::SourceSpan, (https, domain, static_ip): (bool, bool, bool)) {
    let (what, label, hint) = match (https, domain, static_ip) {
        (false, ..) => ("`network.dns` is for HTTPS", "https is off", "take it out, or take `https: off` out"),
        (_, false, _) => (
            "`network.dns` needs `network.domain`",
            "no name is given",
            "add it, for example `domain: app.example.com`; or take `dns` out to be reached by address",
        ),
        (.., false) => (
            "`network.dns` needs an address that stays",
            "static_ip is false",
            "take `static_ip: false` out; or take `dns` out and make the record by hand",
        ),
        _ => return,
    };
    reader.find(span, what, label, hint);
}

fn limits_section(reader: &mut Reader, node: Option<Node>) -> Limits {
    let mut section = reader.section("network.limits", node);
    let mut limit = |name, most, default| {
        let found = section.take(name);
        small(reader.integer(found, 1..=most), default)
    };
    let limits = Limits {
        body_mb: limit("body_mb", 1024, 10),
        header_seconds: limit("header_seconds", 600, 10),
        body_seconds: limit("body_seconds", 3600, 60),
        idle_seconds: limit("idle_seconds", 3600, 60),
    };
    section.finish(reader);
    limits
}

fn known(word: &str, words: &[&str]) -> Result<(), Wrong> {
    if words.contains(&word) {
        return Ok(());
    }
    Err(Wrong::new("is not known", format!("write one of: {}", words.join(", "))))
}

/// Certificates of the user's own authority.
fn pem(folder: &Path, name: &str) -> Result<String, Wrong> {
    let hint = "name a file with certificates in PEM, relative to this one";
    let text = fs::read_to_string(folder.join(name)).map_err(|_| Wrong::new("cannot be read", hint))?;
    match text.contains("-----BEGIN CERTIFICATE-----") {
        // A key in there has no business on the instance.
        true if text.contains("PRIVATE KEY") => Err(Wrong::new("holds a private key", hint)),
        true => Ok(text),
        false => Err(Wrong::new("holds no certificate", hint)),
    }
}

fn allow_list(reader: &mut Reader, found: Option<Found>) -> Option<Vec<IpNet>> {
    let Found { path, node } = found?;
    let Value::List(nodes) = node.value else {
        reader.find(
            node.span,
            "`network.allow` must be a list",
            format!("this is {}", node.value.kind()),
            "write\n  allow:\n    - 0.0.0.0/0",
        );
        return None;
    };
    let mut blocks = Vec::new();
    for node in nodes {
        let found = Found { path: path.clone(), node };
        if let Some(text) = reader.text(Some(found), |text| check::cidr(text).map(|_| ())) {
            blocks.extend(check::cidr(&text).ok());
        }
    }
    blocks.sort();
    blocks.dedup();
    Some(blocks)
}

fn health_section(reader: &mut Reader, top: &mut Section) -> Health {
    let mut section = sub(reader, top, "health");
    let path = section.take("path");
    let path = reader.text(path, check::url_path).unwrap_or_else(|| "/".to_owned());
    let timeout = section.take("timeout");
    let timeout = small(reader.integer(timeout, 1..=600), 30);
    section.finish(reader);
    Health { path, timeout }
}

fn tags_section(reader: &mut Reader, top: &mut Section) -> BTreeMap<String, String> {
    let node = top.take("tags").map(|found| found.node);
    let mut tags = BTreeMap::new();
    for (key, found) in reader.section("tags", node).rest() {
        if let Err(wrong) = check::tag_key(&key.name) {
            reader.find(key.span, format!("the tag key `{}` {}", key.name, wrong.what), "here", wrong.hint);
        } else if let Some(value) = reader.text(Some(found), check::tag_value) {
            tags.insert(key.name, value);
        }
    }
    tags
}
