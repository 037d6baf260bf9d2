//! Reads the tree section by section, and fills in the defaults.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use miette::SourceSpan;

use super::keys;
use super::reader::{Found, Reader, Section, Wrong};
use super::tree::{Node, Value};
use super::{
    Acme, App, Check, CpuCredits, Deployment, Health, Image, Instance, Limits, Network, Root, Token, check,
    permissions, python, secrets, static_files, table,
};

/// Reads the whole tree despite mistakes, so that all of them are reported at once.
pub(super) fn deployment(reader: &mut Reader, tree: Node, folder: &Path) -> Option<Deployment> {
    let whole = tree.span;
    let mut top = reader.section(&table::TOP, Some(tree));
    if top.given(&table::NAME).is_none() {
        let hint = "add a line such as `name: hello`";
        reader.find((whole.offset(), 0).into(), "`name` is missing", "this deployment has no name", hint);
    }
    let name = reader.text(&mut top, &table::NAME, check::name);
    let region = reader.text(&mut top, &table::REGION, check::region);
    let (mut token, open, decides) = token_section(reader, &mut top);
    let app = app_section(reader, &mut top, folder, &token.env);
    let (app, python) = app.map_or((None, None), |(app, python)| (Some(app), python));
    if let Some(app) = &app {
        static_files::check_open(reader, &token, &open, &app.static_files);
    }
    let instance = instance_section(reader, &mut top, app.as_ref(), python);
    let network = network_section(reader, &mut top, folder);
    let health = health_section(reader, &mut top);
    let permissions_boundary = reader.text(&mut top, &table::BOUNDARY, check::managed_policy);
    let tags = tags_section(reader, &mut top);
    top.finish(reader);
    token.path = tested_path(reader, &token, decides, &health.path);
    Some(Deployment { name: name?, region, app: app?, token, instance, network, health, permissions_boundary, tags })
}

fn sub(reader: &mut Reader, above: &mut Section, of: &keys::Section) -> Section {
    let node = above.take(of).map(|found| found.node);
    reader.section(of, node)
}

/// The app, and the image with the version of Python in the file.
fn app_section(reader: &mut Reader, top: &mut Section, folder: &Path, token_env: &str) -> Option<(App, Option<Image>)> {
    let mut section = sub(reader, top, &table::APP);
    if section.given(&table::APP_PATH).is_none() {
        reader.find(
            (0, 0).into(),
            "`app.path` is missing",
            "this deployment has no code",
            "add\n  app:\n    path: app",
        );
    }
    let path = reader.text(&mut section, &table::APP_PATH, |path| app_folder(folder, path).map(|_| ()));
    let web = web(reader, &mut section);
    let path = path.and_then(|path| app_folder(folder, &path).ok());
    let python = section.take(&table::PYTHON).and_then(|found| image_with(reader, &found));
    let requirements = |name: &str| requirements_file(path.as_deref(), name);
    let requirements = reader.text(&mut section, &table::REQUIREMENTS, requirements).map(PathBuf::from);
    let include = include_list(reader, section.take(&table::INCLUDE));
    let build_dependencies = reader.flag(&mut section, &table::BUILD_DEPENDENCIES);
    let build = reader.texts(section.take(&table::APP_BUILD), check::command);
    let release = reader.texts(section.take(&table::APP_RELEASE), check::command);
    let release_timeout = reader.number(&mut section, &table::RELEASE_TIMEOUT);
    let static_files = static_files::section(reader, section.take(&table::STATIC));
    let workers = reader.count(&mut section, &table::WORKERS);
    let threads = reader.number(&mut section, &table::THREADS);
    let env = section.take(&table::APP_ENV).map(|found| found.node);
    let env = env_section(reader, env, token_env);
    let secrets = section.take(&table::SECRETS);
    let secrets = secrets::section(reader, secrets, &env, token_env);
    let permissions = permissions::section(reader, section.take(&table::PERMISSIONS), folder);
    section.finish(reader);
    let app = App {
        path: path?,
        web,
        requirements,
        include,
        build_dependencies,
        build,
        release,
        release_timeout,
        static_files,
        workers,
        threads,
        env,
        secrets,
        permissions,
    };
    Some((app, python))
}

/// The image with a version of Python.
fn image_with(reader: &mut Reader, found: &Found) -> Option<Image> {
    let version = match &found.node.value {
        Value::Text(text) => text.clone(),
        _ => reader.written(found.node.span).to_owned(),
    };
    let image = Image::ALL.into_iter().find(|image| image.python() == version);
    if image.is_none() {
        let all = Image::ALL.map(|image| format!("\"{}\" ({})", image.python(), image.name())).join(", ");
        let what = format!("`{}` is not a version that an image has", found.path);
        reader.find(found.node.span, what, "here", format!("write one of: {all}"));
    }
    image
}

/// The web app, which has two keys.
fn web(reader: &mut Reader, section: &mut Section) -> String {
    let alias = section.place(&table::WSGI);
    if let Some(span) = alias.filter(|_| section.given(&table::WEB).is_some()) {
        reader.find(span, "`app.wsgi` is another name of `app.web`", "both are given", "remove `wsgi`");
    }
    let alias = reader.text(section, &table::WSGI, check::web);
    let web = reader.text_or_default(section, &table::WEB, check::web);
    alias.unwrap_or(web)
}

/// The folder with the code. It must be in the project, because code outside is not in the user's repository.
fn app_folder(folder: &Path, path: &str) -> Result<PathBuf, Wrong> {
    let missing = || Wrong::new("is not a folder", "write the folder with the code, relative to this file");
    let project = fs::canonicalize(folder).map_err(|_| missing())?;
    let app = fs::canonicalize(folder.join(path)).map_err(|_| missing())?;
    if !app.is_dir() {
        return Err(missing());
    }
    if !app.starts_with(&project) {
        return Err(Wrong::new("is outside of the project", "the code must be below the folder of this file"));
    }
    Ok(app)
}

/// Checks that a name is inside of the folder that it is relative to.
fn inside(name: &str) -> Result<(), Wrong> {
    match Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        true => Ok(()),
        false => Err(Wrong::new("is outside of the app's folder", "name a file in app.path")),
    }
}

/// Whether the files exist is checked when the app is packed.
fn include_list(reader: &mut Reader, found: Option<Found>) -> Vec<PathBuf> {
    let names = reader.list(found, "write\n  include:\n    - certs/server.key");
    names.into_iter().filter_map(|found| reader.text_of(Some(found), inside)).map(PathBuf::from).collect()
}

fn requirements_file(app: Option<&Path>, name: &str) -> Result<(), Wrong> {
    inside(name)?;
    match app {
        Some(app) if !app.join(name).is_file() => {
            Err(Wrong::new("is not a file in app.path", "name a file such as requirements.txt"))
        }
        _ => Ok(()),
    }
}

fn env_section(reader: &mut Reader, node: Option<Node>, token_env: &str) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, found) in reader.map(&table::APP_ENV, node) {
        if let Err(wrong) = check::env_key(&key.name) {
            reader.find(key.span, format!("`{}` {}", key.name, wrong.what), "here", wrong.hint);
        } else if check::is_token(&key.name, token_env) {
            let hint = "remove it; set the token with `devopsctl set-token`, never in a file";
            reader.hide(found.node.span);
            reader.find(key.span, format!("`app.env` sets `{}`, which holds the token", key.name), "here", hint);
        } else if let Some(value) = env_value(reader, &found) {
            env.insert(key.name, value);
        }
    }
    env
}

/// Numbers are used as they are written. Values that YAML may parse as something else need quotes.
fn env_value(reader: &mut Reader, found: &Found) -> Option<String> {
    match &found.node.value {
        Value::Text(text) if text.contains('\0') => {
            reader.wrong(found, Wrong::new("contains a NUL", "remove it; environment variables cannot contain one"));
            None
        }
        Value::Text(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float => Some(reader.written(found.node.span).to_owned()),
        other => {
            let hint = "put the value in quotes, so that it is clear what the app gets";
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

/// The token, its open paths with their places, and the place of what decides where its check is tested.
fn token_section(reader: &mut Reader, top: &mut Section) -> (Token, Vec<(String, SourceSpan)>, Option<SourceSpan>) {
    let mut section = sub(reader, top, &table::TOKEN);
    let env = reader.text_or_default(&mut section, &table::TOKEN_ENV, check::env_key);
    let word = reader.word(&mut section, &table::TOKEN_CHECK);
    let check = Check::ALL.into_iter().find(|one| word.as_deref() == Some(one.name())).unwrap_or_default();
    let (open_at, preflight_at) = (section.place(&table::TOKEN_OPEN), section.place(&table::OPEN_PREFLIGHT));
    let misplaced = [open_at.filter(|_| check == Check::None), preflight_at.filter(|_| check != Check::Proxy)];
    for span in misplaced.into_iter().flatten() {
        let label = format!("check is {}", check.name());
        reader.find(span, "this is for `token.check: proxy`", label, "write `check: proxy`, or remove it");
    }
    let open = section.take(&table::TOKEN_OPEN);
    let open = reader.list(open, "write\n  open:\n    - /healthz");
    let mut path_of = |found: Found| {
        let span = found.node.span;
        Some((reader.text_of(Some(found), check::open_path)?, span))
    };
    let open_paths: Vec<(String, SourceSpan)> = open.into_iter().filter_map(&mut path_of).collect();
    let open = open_paths.iter().map(|(path, _)| path.clone()).collect();
    let open_preflight = reader.flag(&mut section, &table::OPEN_PREFLIGHT);
    let decides = section.place(&table::TOKEN_PATH).or(open_at);
    let path = reader.text(&mut section, &table::TOKEN_PATH, check::url_path).unwrap_or_default();
    section.finish(reader);
    (Token { env, check, open, open_preflight, path }, open_paths, decides)
}

/// Where the check of the token is tested: at the path of the health check, if that needs the token.
fn tested_path(reader: &mut Reader, token: &Token, decides: Option<SourceSpan>, health: &str) -> String {
    let path = match token.path.as_str() {
        "" if token.is_open(health) => "/",
        "" => health,
        given => given,
    };
    if let Some(span) = decides.filter(|_| token.is_open(path)) {
        let hint = "set `token.path` to a path that needs the token: there `up` and `set-token` test the check";
        reader.find(span, format!("{path} needs no token"), "so the check cannot be tested there", hint);
    }
    path.to_owned()
}

/// `chosen`: the image with the version of Python in `app.python`.
fn instance_section(reader: &mut Reader, top: &mut Section, app: Option<&App>, chosen: Option<Image>) -> Instance {
    let mut section = sub(reader, top, &table::INSTANCE);
    let kind = reader.text_or_default(&mut section, &table::KIND, check::instance_type);
    let image_at = section.place(&table::IMAGE);
    let image = reader.text(&mut section, &table::IMAGE, |name| image_named(name).map(|_| ()));
    let named = image.and_then(|name| image_named(&name).ok());
    if let (Some(span), Some(image), Some(other)) = (image_at, named, chosen.filter(|chosen| named != Some(*chosen))) {
        let hint = format!("remove it: `app.python` chooses {}", other.name());
        reader.find(span, format!("{} has Python {}", image.name(), image.python()), "`app.python` is another", hint);
    }
    let image = named.or(chosen).or_else(|| python::image_for(&app?.path)).unwrap_or(Image::ALL[0]);
    let disk_gib = reader.number(&mut section, &table::DISK);
    let word = reader.word(&mut section, &table::CPU_CREDITS);
    let cpu_credits = CpuCredits::ALL.into_iter().find(|one| word.as_deref() == Some(one.name())).unwrap_or_default();
    section.finish(reader);
    Instance { kind, image, disk_gib, cpu_credits }
}

fn image_named(name: &str) -> Result<Image, Wrong> {
    let found = Image::ALL.into_iter().find(|image| image.name() == name);
    found.ok_or_else(|| {
        Wrong::new("is not a known image", format!("write one of: {}", Image::ALL.map(Image::name).join(", ")))
    })
}

fn network_section(reader: &mut Reader, top: &mut Section, folder: &Path) -> Network {
    let mut section = sub(reader, top, &table::NETWORK);
    let https = match section.given(&table::HTTPS).map(|node| &node.value) {
        Some(&Value::Bool(on)) => section.take(&table::HTTPS).is_some() && on, // YAML parses `off` as false.
        _ => reader.word(&mut section, &table::HTTPS).is_none_or(|word| word == "auto"),
    };
    let port_given = section.place(&table::PORT);
    let port = reader.number(&mut section, &table::PORT);
    if let Some(span) = port_given.filter(|_| https && port != table::PORT.default) {
        let hint =
            "remove it: HTTPS uses port 443, and port 80 redirects to it; or set `https: off` to serve plain HTTP";
        reader.find(span, "`network.port` is for plain HTTP", "https is not off", hint);
    }
    let domain_given = section.place(&table::DOMAIN);
    let domain = reader.text(&mut section, &table::DOMAIN, check::domain);
    if let Some(span) = domain_given.filter(|_| !https) {
        let hint = "remove it, or remove `https: off`";
        reader.find(span, "`network.domain` is for HTTPS", "https is off", hint);
    }
    let dns_given = section.place(&table::DNS);
    let route53 = reader.word(&mut section, &table::DNS).is_some();
    let directory = reader.text(&mut section, &table::ACME_DIRECTORY, check::https_url);
    let root = reader.text(&mut section, &table::ACME_ROOT, |name| pem(folder, name).map(|_| ()));
    let root = root.and_then(|name| Some(Root { pem: pem(folder, &name).ok()?, file: folder.join(name) }));
    let acme = Acme { directory, root };
    let allow = section.take(&table::ALLOW).map(|found| allow_list(reader, found));
    let allow = allow.unwrap_or_else(|| blocks(table::ALLOW.default));
    let static_ip = reader.flag(&mut section, &table::STATIC_IP);
    if let Some(span) = dns_given {
        contradicts_dns(reader, span, (https, domain_given.is_some(), static_ip));
    }
    let subnet = reader.text(&mut section, &table::SUBNET, check::subnet);
    let limits = limits_section(reader, &mut section);
    section.finish(reader);
    let port = u16::try_from(port).unwrap_or(u16::MAX);
    Network { https, port, domain, route53, acme, limits, allow, static_ip, subnet }
}

/// A DNS record needs a domain, and an address that outlives the instance.
fn contradicts_dns(reader: &mut Reader, span: SourceSpan, (https, domain, static_ip): (bool, bool, bool)) {
    let (what, label, hint) = match (https, domain, static_ip) {
        (false, ..) => ("`network.dns` is for HTTPS", "https is off", "remove it, or remove `https: off`"),
        (_, false, _) => (
            "`network.dns` needs `network.domain`",
            "there is no domain",
            "add it, for example `domain: app.example.com`; or remove `dns` to serve the app at its address",
        ),
        (.., false) => (
            "`network.dns` needs an Elastic IP",
            "static_ip is false",
            "remove `static_ip: false`; or remove `dns` and create the record yourself",
        ),
        _ => return,
    };
    reader.find(span, what, label, hint);
}

fn limits_section(reader: &mut Reader, network: &mut Section) -> Limits {
    let mut section = sub(reader, network, &table::LIMITS);
    let limits = Limits {
        body_mb: reader.number(&mut section, &table::BODY_MB),
        header_seconds: reader.number(&mut section, &table::HEADER_SECONDS),
        body_seconds: reader.number(&mut section, &table::BODY_SECONDS),
        idle_seconds: reader.number(&mut section, &table::IDLE_SECONDS),
    };
    section.finish(reader);
    limits
}

/// The root certificates of a private authority.
fn pem(folder: &Path, name: &str) -> Result<String, Wrong> {
    let hint = "name a file with certificates in PEM, relative to this one";
    let text = fs::read_to_string(folder.join(name)).map_err(|_| Wrong::new("cannot be read", hint))?;
    match text.contains("-----BEGIN CERTIFICATE-----") {
        // The file is copied to the instance, which must not get the authority's key.
        true if text.contains("PRIVATE KEY") => Err(Wrong::new("contains a private key", hint)),
        true => Ok(text),
        false => Err(Wrong::new("contains no certificate", hint)),
    }
}

fn allow_list(reader: &mut Reader, found: Found) -> Vec<IpNet> {
    let mut given = Vec::new();
    for found in reader.list(Some(found), "write\n  allow:\n    - 0.0.0.0/0") {
        given.extend(reader.text_of(Some(found), |text| check::cidr(text).map(|_| ())));
    }
    blocks(&given)
}

fn blocks<T: AsRef<str>>(given: &[T]) -> Vec<IpNet> {
    let mut blocks: Vec<IpNet> = given.iter().filter_map(|text| check::cidr(text.as_ref()).ok()).collect();
    blocks.sort();
    blocks.dedup();
    blocks
}

fn health_section(reader: &mut Reader, top: &mut Section) -> Health {
    let mut section = sub(reader, top, &table::HEALTH);
    let path = reader.text_or_default(&mut section, &table::HEALTH_PATH, check::url_path);
    let timeout = reader.number(&mut section, &table::TIMEOUT);
    section.finish(reader);
    Health { path, timeout }
}

fn tags_section(reader: &mut Reader, top: &mut Section) -> BTreeMap<String, String> {
    let node = top.take(&table::TAGS).map(|found| found.node);
    let mut tags = BTreeMap::new();
    for (key, found) in reader.map(&table::TAGS, node) {
        if let Err(wrong) = check::tag_key(&key.name) {
            reader.find(key.span, format!("the tag key `{}` {}", key.name, wrong.what), "here", wrong.hint);
        } else if let Some(value) = reader.text_of(Some(found), check::tag_value) {
            tags.insert(key.name, value);
        }
    }
    tags
}
