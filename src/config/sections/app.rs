//! Reads `app`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::reader::{Found, Reader, Section, Wrong};
use super::super::tree::{Node, Value};
use super::super::{App, Image, check, permissions, secrets, static_files, table};

/// The app, and the image with the version of Python in the file.
pub fn section(reader: &mut Reader, top: &mut Section, folder: &Path, token_env: &str) -> Option<(App, Option<Image>)> {
    let mut section = reader.sub(top, &table::APP);
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
