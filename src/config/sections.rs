//! Reads the tree section by section, and fills in the defaults.

mod app;
mod network;

use std::collections::BTreeMap;
use std::path::Path;

use miette::SourceSpan;

use super::reader::{Found, Reader, Section, Wrong};
use super::tree::Node;
use super::{
    App, Check, CpuCredits, Deployment, Health, Image, Instance, Token, check, data, processes, python, schedule,
    static_files, table,
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
    let processes = processes::section(reader, &mut top);
    let schedule = schedule::section(reader, &mut top, &processes);
    let (mut token, open, decides) = token_section(reader, &mut top);
    let app = app::section(reader, &mut top, folder, &token.env);
    let (app, python) = app.map_or((None, None), |(app, python)| (Some(app), python));
    if let Some(app) = &app {
        static_files::check_open(reader, &token, &open, &app.static_files);
    }
    let instance = instance_section(reader, &mut top, app.as_ref(), python);
    let data = data::section(reader, &mut top);
    let network = network::section(reader, &mut top, folder);
    let health = health_section(reader, &mut top);
    let permissions_boundary = reader.text(&mut top, &table::BOUNDARY, check::managed_policy);
    let tags = tags_section(reader, &mut top);
    top.finish(reader);
    token.path = tested_path(reader, &token, decides, &health.path);
    let (name, app) = (name?, app?);
    Some(Deployment {
        name,
        region,
        app,
        processes,
        schedule,
        token,
        instance,
        data,
        network,
        health,
        permissions_boundary,
        tags,
    })
}

/// The token, its open paths with their places, and the place of what decides where its check is tested.
fn token_section(reader: &mut Reader, top: &mut Section) -> (Token, Vec<(String, SourceSpan)>, Option<SourceSpan>) {
    let mut section = reader.sub(top, &table::TOKEN);
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
    let mut section = reader.sub(top, &table::INSTANCE);
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

fn health_section(reader: &mut Reader, top: &mut Section) -> Health {
    let mut section = reader.sub(top, &table::HEALTH);
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
