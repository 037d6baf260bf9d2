//! `init`: finds the app in a folder and writes a `deploy.yaml` for it. It makes no call and needs no credentials.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ignore::DirEntry;

use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;
use crate::commands::cli::{Globals, Init};
use crate::commands::documents;
use crate::commands::init::{self, Candidate, Files, Place, Plan, Requirements, Secret, Setting, Sight};
use crate::config;
use crate::release::{source, text};
use crate::ui::{self, Ui};

/// Folders that do not contain the app.
const NOT_THE_APP: [&str; 17] = [
    ".git",
    ".hg",
    ".venv",
    "venv",
    "env",
    "node_modules",
    "__pycache__",
    "site-packages",
    ".tox",
    ".nox",
    "build",
    "dist",
    "tests",
    "test",
    "docs",
    "examples",
    "migrations",
];

/// A larger file is data, whatever its name.
const LARGEST: u64 = 1024 * 1024;
const DEEPEST: usize = 6;

pub(in crate::commands) fn run(globals: &Globals, ui: &Ui, arguments: Init) -> Result<ExitCode> {
    let (file, folder) = paths(globals, &arguments)?;
    if fs::symlink_metadata(&file).is_ok() {
        return Err(exists(&file));
    }
    if let Some(name) = &arguments.name {
        config::check_name(name)?;
    }
    let files = read(&folder)?;
    let sight = init::look(&files);
    let app = chosen(&sight, &folder, arguments.yes)?;
    let name = name(arguments.name, &folder, arguments.yes)?;
    let plan = Plan::new(&files, &sight, app, &name);
    let text = plan.yaml();
    config::parse(&text, &file, &folder)?;
    write(&file, &text)?;
    let next = next(ui, globals, &arguments.folder, &plan);
    if globals.json {
        ui.document(&document(file, &sight, app, plan, text, next));
        return Ok(ExitCode::SUCCESS);
    }
    found(app, &plan).into_iter().for_each(|line| ui.say(format!("✓ {line}")));
    if arguments.yes && sight.candidates.len() > 1 {
        ui.say(format!("  the most likely of {} apps; the others: {}", sight.candidates.len(), others(&sight)));
    }
    plan.warnings.iter().for_each(|warning| ui.warn(warning.clone()));
    ui.result(&format!("wrote {}", file.display()));
    let next = next.join(", then ");
    ui.say(match plan.ready {
        true => format!("next: {next}"),
        false => format!("next: resolve the warnings, then: {next}"),
    });
    Ok(ExitCode::SUCCESS)
}

/// The file to write and the folder to examine. Paths in the file are relative to its folder, so it must be in that folder.
fn paths(globals: &Globals, arguments: &Init) -> Result<(PathBuf, PathBuf)> {
    let folder_of = |file: &Path| file.parent().map(Path::to_owned).unwrap_or_default();
    let (file, folder) = match (&globals.file, &arguments.folder) {
        (Some(file), folder) => (file.clone(), folder.clone().unwrap_or_else(|| folder_of(file))),
        (None, Some(folder)) => (folder.join(config::FILE), folder.clone()),
        (None, None) => (config::FILE.into(), PathBuf::new()),
    };
    let real = |folder: &Path| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        fs::canonicalize(folder).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot open the folder {}", folder.display()))
                .because(error.to_string())
                .next("pass the app's folder")
        })
    };
    let (beside, looked_at) = (real(&folder_of(&file))?, real(&folder)?);
    if !looked_at.is_dir() {
        return Err(
            Failure::new(Exit::Usage, format!("{} is not a folder", folder.display())).next("pass the app's folder")
        );
    }
    if beside != looked_at {
        return Err(Failure::new(Exit::Usage, format!("{} is not in {}", file.display(), folder.display()))
            .because("paths in the file are relative to its folder")
            .next("pass a file in that folder with --file, or omit --file"));
    }
    Ok((file, looked_at))
}

fn exists(file: &Path) -> Failure {
    Failure::new(Exit::Usage, format!("{} already exists and was not changed", file.display()))
        .next(Next::from("edit it, or write another file: ").run_bare("init --file another.yaml"))
}

/// The relevant files that git does not ignore. Links are not followed: they may be cyclic, or lead out of the folder.
fn read(folder: &Path) -> Result<Files> {
    let mut files = Files::default();
    let walk = source::walk(folder)
        .max_depth(Some(DEEPEST))
        .filter_entry(|entry| entry.depth() == 0 || is_the_app(entry))
        .build();
    // Unreadable files are skipped here; `up` reports them.
    for entry in walk.flatten().filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file())) {
        if let Some(name) = entry.path().strip_prefix(folder).ok().and_then(Path::to_str) {
            let small = entry.metadata().is_ok_and(|metadata| metadata.len() <= LARGEST);
            let bytes =
                if small && is_relevant(name) { fs::read(entry.path()).unwrap_or_default() } else { Vec::new() };
            let text = text::decode(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned());
            files.add(name, text);
        }
    }
    // Git usually ignores these files, and only their names matter.
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?.flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(".env"))
            && entry.path().is_file()
            && !files.has(name)
        {
            files.add(name, "");
        }
    }
    Ok(files)
}

fn unreadable(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("cannot read the folder {}", folder.display()))
        .because(error.to_string())
        .next("make it readable, or pass another folder")
}

fn is_the_app(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    if entry.file_type().is_some_and(|kind| kind.is_dir()) {
        // A virtual environment may have any name.
        return !NOT_THE_APP.contains(&name.as_ref()) && !entry.path().join("pyvenv.cfg").exists();
    }
    !(name.starts_with("test_") || name.ends_with("_test.py") || name == "conftest.py" || name == "setup.py")
}

/// Whether the content of the file matters.
fn is_relevant(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let named =
        ["pyproject.toml", "Pipfile", ".python-version", "app.json", "package.json", "Procfile"].contains(&file);
    file.ends_with(".py") || file.ends_with(".txt") || named || init::TEMPLATES.contains(&file)
}

fn chosen<'a>(sight: &'a Sight, folder: &Path, yes: bool) -> Result<&'a Candidate> {
    match sight.candidates.as_slice() {
        [] => Err(no_app(sight, folder)),
        [only] => Ok(only),
        [likeliest, ..] if yes => Ok(likeliest),
        several => {
            let items: Vec<String> = several.iter().map(describe).collect();
            let instead = "add --yes to choose the first one, or pass a folder with only one app";
            several.get(ui::choose("Which app?", &items, instead)?).ok_or_else(|| no_app(sight, folder))
        }
    }
}

fn no_app(sight: &Sight, folder: &Path) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("no web app found in {}", folder.display()));
    match sight.nameless.first() {
        Some(place) => failure
            .because(format!("Python cannot import the file of the app at {place}, because of its name"))
            .next("rename the file and its folders to letters, digits and _: for example app.py"),
        None => failure
            .because(format!(
                "none of {} Python files creates a Flask, Django, Bottle, Falcon, Dash, FastAPI, Starlette, Quart or Litestar app, or is plain WSGI or ASGI",
                sight.read
            ))
            .next("pass the app's folder, or write a deploy.yaml by hand:\n  name: hello\n  app: {path: ., web: module:callable}"),
    }
}

fn name(named: Option<String>, folder: &Path, yes: bool) -> Result<String> {
    if let Some(name) = named {
        return Ok(name);
    }
    let shown = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = init::name_of(&shown);
    if !name.is_empty() {
        return Ok(name);
    }
    let instead = "set a name with --name, for example --name shop";
    if yes {
        let what = format!("cannot derive a name from the folder's name, {shown:?}");
        return Err(Failure::new(Exit::Usage, what).next(instead));
    }
    let hint = |wrong: Failure| wrong.next_step().map(ToString::to_string).unwrap_or_default();
    ui::ask("Name of the deployment", |text| config::check_name(text).map_err(hint), instead)
}

/// Creates the file atomically, so that a file that appeared meanwhile is not overwritten.
fn write(file: &Path, text: &str) -> Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(file),
        _ => Failure::failed(format!("cannot write {}", file.display()))
            .because(error.to_string())
            .next("make the folder writable, then run the same command again"),
    })
}

/// The commands that set the secrets and deploy the app to the sandbox.
fn next(ui: &Ui, globals: &Globals, folder: &Option<PathBuf>, plan: &Plan) -> Vec<String> {
    let file = globals.file.clone().or_else(|| folder.as_ref().map(|folder| folder.join(config::FILE)));
    let file = file.map(|file| format!(" --file {}", file.display())).unwrap_or_default();
    let set = plan.to_set().map(|names| format!("secrets set {}", names.join(" ")));
    let commands = set.into_iter().chain(["up".to_owned()]);
    commands.map(|command| ui.run_bare(&format!("{command} --sandbox{file}"))).collect()
}

fn describe(app: &Candidate) -> String {
    let callable = if app.callable.is_empty() { "" } else { ":" };
    format!("{} ({}{callable}{}, {})", app.framework.name(), app.module, app.callable, app.place)
}

fn others(sight: &Sight) -> String {
    sight.candidates.iter().skip(1).map(describe).collect::<Vec<_>>().join(", ")
}

/// One line per finding, with its place.
fn found(app: &Candidate, plan: &Plan) -> Vec<String> {
    let mut lines = vec![format!("app: {}, {} → {}", app.framework.name(), app.place, plan.web)];
    let at = |place: &Place| place.to_string();
    match &plan.requirements {
        Requirements::Taken(file, _) => {
            let lock = plan.lock.as_ref().map(|lock| format!(", in the versions of {lock}")).unwrap_or_default();
            lines.push(format!("requirements: {file}{lock}"));
        }
        Requirements::Missing => {}
    }
    if !plan.build.is_empty() {
        lines.push(format!("build: {}", plan.build.join("; ")));
    }
    lines.extend(plan.release.as_ref().map(|command| format!("release: {command}, Procfile")));
    lines.extend(plan.processes.iter().map(|(name, command)| format!("process: {name}, Procfile → {command}")));
    lines.extend(plan.static_files.iter().map(|(prefix, folder)| format!("static: {prefix} → {folder}")));
    lines.push(match &plan.token {
        Some((name, place)) => format!("token: {name}, {}", at(place)),
        None => {
            "token: checked in front of the app, which reads none; `token.check: none` makes the app public".to_owned()
        }
    });
    lines.extend(
        plan.env.iter().map(|Setting { name, value, place, .. }| format!("setting: {name}, {place} → {value}")),
    );
    lines.extend(plan.secrets.iter().map(|Secret { name, place, generate }| {
        let how = if *generate { " → up generates it" } else { "" };
        format!("secret: {name}, {place}{how}")
    }));
    match &plan.health {
        Some((path, place)) => lines.push(format!("health: {path}, {}", at(place))),
        None => lines.push("health: / (no route found)".to_owned()),
    }
    if let Some((asked, place)) = &plan.python {
        lines.push(format!("python: {asked}, {} → {}", at(place), plan.image.name()));
    }
    lines.push(format!("name: {}", plan.name));
    lines
}

fn document(
    file: PathBuf,
    sight: &Sight,
    app: &Candidate,
    plan: Plan,
    text: String,
    next: Vec<String>,
) -> documents::Init {
    let seen = |found: Option<(String, Place)>| {
        found.map(|(value, Place { file, line })| documents::SeenAt { value, file, line })
    };
    let candidate = |app: &Candidate| documents::Candidate {
        framework: app.framework.name().to_owned(),
        module: app.module.clone(),
        callable: app.callable.clone(),
        ready: app.is_ready(),
        at: documents::Place { file: app.place.file.clone(), line: app.place.line },
    };
    let secret = |Secret { name, place: Place { file, line }, generate }| documents::NeededSecret {
        name,
        generate,
        at: documents::Place { file, line },
    };
    documents::Init {
        v: documents::Version,
        written: file,
        app: candidate(app),
        candidates: sight.candidates.iter().map(candidate).collect(),
        requirements: match plan.requirements {
            Requirements::Taken(file, _) => Some(documents::Requirements { file }),
            Requirements::Missing => None,
        },
        name: plan.name,
        path: plan.path,
        wsgi: plan.web.clone(),
        web: plan.web,
        token: seen(plan.token),
        health: seen(plan.health),
        python: seen(plan.python),
        image: plan.image.name().to_owned(),
        secrets: plan.secrets.into_iter().map(secret).collect(),
        warnings: plan.warnings,
        text,
        next: next.into_iter().next().unwrap_or_default(),
    }
}
