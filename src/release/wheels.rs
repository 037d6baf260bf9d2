//! Prevents uv from running code of packages on this machine: dependencies must be wheels, unless `app.build_dependencies` is set.
//!
//! uv gets `--no-build`. Requirements files and uv's settings can override that for single packages, and uv builds editable projects
//! in any case. So every file that uv would read is searched for such options, and the lock for editable projects. A file that cannot
//! be followed is refused, because uv might follow it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::text;
use crate::base::error::{Exit, Failing, Failure, Result};
use crate::base::logins::masked;
use crate::config::{App, FILE};

/// How many requirements files may include each other, and their maximum depth.
const MOST: usize = 64;
const DEEPEST: usize = 8;
/// The maximum size of a requirements file, even with hashes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Environment variables with more requirements files for uv.
const VARIABLES: [&str; 4] = ["UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE", "UV_BUILD_CONSTRAINT"];

static OPTION: LazyLock<Regex> = LazyLock::new(|| {
    // uv reads several statements on a line: an include that is not the first one is refused.
    let options = [
        r"--no-binary\b|--no-build-isolation\b|--only-binary\b.*:none:",
        r"(?:^|\s)(?:-e|--editable)(?:[=\s]|$)",
        r"\s(?:-r|-c|--requirement|--constraint)(?:[=\s]|$)",
    ];
    Regex::new(&options.join("|")).expect("a regex")
});
static INCLUDE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:-r|-c|--requirement|--constraint)(?:[=\s](.*)|$)").expect("a regex"));
/// A path that uv and this module read in the same way: no variables, URLs, escapes or white space.
static PLAIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[\w./+@-]+$").expect("a regex"));
/// A key of TOML is on one line.
static KEY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(no[-_](?:binary|build[-_]isolation)[\w-]*)["']?[ \t]*="#).expect("a regex"));
static NONE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(only[-_]binary)[^\n]*:none:").expect("a regex"));
static ESCAPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))").expect("a regex"));

/// The advice for a package that needs a build.
pub const ALLOW: &str = "if you trust its code, set `build_dependencies: true` under app in deploy.yaml";

/// Checks every file that uv would read for `file`. Returns the content of the included files.
///
/// # Errors
/// An option would build a package, or a file cannot be followed.
pub fn check(app: &App, file: &Path, text: &str) -> Result<Vec<u8>> {
    let mut followed = Followed::default();
    match file.extension().and_then(|end| end.to_str()) {
        Some("toml") => settings(file, text)?,
        // A script has uv's settings in comments.
        Some("py") => settings(file, &text.replace('#', " "))?,
        _ => {}
    }
    if file.file_name().is_none_or(|name| name != "pyproject.toml") {
        followed.lines(file, text, 0)?;
    }
    let here = env::current_dir().unwrap_or_default();
    for variable in VARIABLES {
        let names = env::var_os(variable).unwrap_or_default().to_string_lossy().into_owned();
        for name in names.split_whitespace() {
            followed.follow(Path::new(variable), &here, name, 1)?;
        }
    }
    for file in settings_files(&here, &app.path) {
        // uv cannot read such a file either.
        if let Ok(text) = fs::read(&file) {
            settings(&file, &String::from_utf8_lossy(&text))?;
        }
    }
    Ok(followed.content)
}

/// Checks the lock of the requirements in `file`: a dependency may refer to an editable project.
pub fn check_resolved(file: &Path, lock: &str) -> Result<()> {
    match lock.lines().find_map(|line| line.strip_prefix("-e ")) {
        Some(project) => {
            let what = format!("{} refers to {project}, an editable project, which uv would build", file.display());
            Err(refused(what).next(format!("remove it from the requirements; or, {ALLOW}")))
        }
        None => Ok(()),
    }
}

/// The files that include each other.
#[derive(Default)]
struct Followed {
    seen: Vec<PathBuf>,
    content: Vec<u8>,
}

impl Followed {
    fn lines(&mut self, file: &Path, text: &str, depth: usize) -> Result<()> {
        for line in text.split(['\n', '\r']) {
            let line = line.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
            if line.starts_with('#') {
                continue;
            }
            let line = line.split(" #").next().unwrap_or_default().trim_end();
            if let Some(option) = OPTION.find(line) {
                return Err(asks(file, option.as_str().trim()));
            }
            if let Some(include) = INCLUDE.captures(line) {
                let name = include.get(1).map_or("", |name| name.as_str()).trim();
                let folder = file.parent().unwrap_or(Path::new("."));
                self.follow(file, folder, name, depth + 1)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, by: &Path, folder: &Path, name: &str, depth: usize) -> Result<()> {
        let bare = ['"', '\''].into_iter().find_map(|quote| name.strip_prefix(quote)?.strip_suffix(quote));
        let name = bare.unwrap_or(name);
        let unfollowed = |why: &str| {
            Failure::new(Exit::Usage, format!("cannot check the requirements that {} includes", by.display()))
                .because(format!("{}: {why}", masked(name)))
                .because("such a file can require builds of packages, which run their code on this machine")
                .standing("Nothing was changed in AWS.")
                .next(format!("copy its content into {}; or, {ALLOW}", by.display()))
        };
        if !PLAIN.is_match(name) {
            return Err(unfollowed("only a plain path to a file on this machine can be followed"));
        }
        let path = fs::canonicalize(folder.join(name)).map_err(|error| unfollowed(&error.to_string()))?;
        if self.seen.contains(&path) {
            return Ok(());
        }
        if depth > DEEPEST || self.seen.len() >= MOST {
            return Err(unfollowed(&format!("more than {MOST} files, or more than {DEEPEST} that include each other")));
        }
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file() || metadata.len() > LARGEST) {
            return Err(unfollowed("it is not a file, or larger than 16 MiB"));
        }
        let bytes = fs::read(&path).map_err(|error| unfollowed(&error.to_string()))?;
        let text = text::decode(&bytes).map_err(|why| unfollowed(&why))?;
        self.seen.push(path);
        self.content.extend(text.as_bytes());
        // As in uv, paths are relative to the link's folder, not to its target's.
        self.lines(&folder.join(name), &text, depth)
    }
}

/// The files that uv may read its settings from.
fn settings_files(here: &Path, app: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in here.ancestors().chain(app.ancestors()) {
        files.extend(["uv.toml", "pyproject.toml"].map(|name| folder.join(name)));
    }
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = env::home_dir().map(|home| home.join(".config"));
    let mut folders: Vec<PathBuf> = folder("XDG_CONFIG_HOME").into_iter().chain(home).collect();
    folders.extend(env::split_paths(&env::var_os("XDG_CONFIG_DIRS").unwrap_or_default()));
    folders.extend(["/etc/xdg", "/etc"].map(PathBuf::from));
    files.extend(folders.into_iter().map(|folder| folder.join("uv/uv.toml")));
    files.extend(folder("UV_CONFIG_FILE"));
    files
}

fn settings(file: &Path, text: &str) -> Result<()> {
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let line = unescaped(line);
        if let Some(key) = KEY.captures(&line).or_else(|| NONE.captures(&line)) {
            return Err(asks(file, &key[1]));
        }
    }
    Ok(())
}

/// Replaces escapes, which a key may contain.
fn unescaped(line: &str) -> String {
    let letter = |found: &regex::Captures<'_>| {
        let digits = found.iter().skip(1).flatten().next().map_or("", |digits| digits.as_str());
        u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
    };
    ESCAPE.replace_all(line, letter).into_owned()
}

fn asks(file: &Path, option: &str) -> Failure {
    let option = option.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or(option);
    refused(format!("{} sets {option}, which builds packages on this machine", file.display()))
        .next(format!("remove {option}; or, {ALLOW}"))
}

/// The error for a package that needs a build.
pub fn refused(what: String) -> Failing {
    Failure::new(Exit::Usage, what)
        .because(format!("a build runs the package's code as you, and {FILE} does not allow it"))
        .standing("Nothing was changed in AWS.")
}

static NO_WHEEL: LazyLock<Regex> = LazyLock::new(|| {
    let package = r"`?([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)";
    Regex::new(&format!(
        "Wheels are required for {package}|Building source distributions for {package}|attempted to build {package}"
    ))
    .expect("a regex")
});

/// The packages that uv would have to build, from its error message; empty if it does not name them. `None` for another error.
pub fn unbuilt(said: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> = NO_WHEEL
        .captures_iter(said)
        .filter_map(|found| found.iter().skip(1).flatten().next().map(|name| name.as_str().to_owned()))
        .collect();
    names.sort();
    names.dedup();
    (!names.is_empty() || said.contains("Building source distributions is disabled")).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirements(files: &[(&str, &str)]) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), text).unwrap();
        }
        Followed::default().lines(&folder.path().join(files[0].0), files[0].1, 0)
    }

    #[test]
    fn every_form_of_an_option_that_builds_is_found() {
        for text in [
            "--no-binary x\n",
            "flask\r\n  --no-binary=:all:\r\n",
            "#\r--no-binary x",
            "\u{feff}--no-binary x",
            "--no-build-isolation\n",
            "--only-binary :none:\n",
            "-e ./lib",
            " --editable=./lib",
            "-e\t./lib",
            "--no-index -e ./lib",
            "--no-index -r bad.txt",
            "x @ file:///x.tar.gz --hash=sha256:0 -c bad.txt",
        ] {
            assert!(requirements(&[("r.txt", text)]).is_err(), "{text:?}");
        }
        for text in ["flask\n", "# --no-binary x\n", "flask  # not --no-binary\n", "--only-binary :all:\nflask\n"] {
            assert!(requirements(&[("r.txt", text)]).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn included_files_are_followed() {
        let bad = ("sub/bad.txt", "--no-binary x\n");
        for text in [
            "-r sub/bad.txt\n",
            "--requirement=sub/bad.txt\n",
            "-c 'sub/bad.txt'\n",
            "  --constraint\tsub/bad.txt # x\n",
            "#\r-r sub/bad.txt",
            "-r sub/good.txt\n",
        ] {
            assert!(requirements(&[("r.txt", text), bad, ("sub/good.txt", "-r bad.txt\n")]).is_err(), "{text:?}");
        }
        assert!(requirements(&[("r.txt", "-r sub/a.txt\n-r r.txt\n"), ("sub/a.txt", "-r ../r.txt\nflask\n")]).is_ok());
    }

    #[test]
    fn a_file_that_cannot_be_followed_is_refused() {
        for name in
            ["${HOME}/x.txt", "https://example.com/x.txt", "file:///x.txt", "missing.txt", "\\", "a b.txt", "", "."]
        {
            assert!(requirements(&[("r.txt", &format!("-r {name}\n"))]).is_err(), "{name}");
        }
        let names: Vec<String> = (0..=DEEPEST).map(|number| format!("{number}.txt")).collect();
        let texts: Vec<String> = (1..=DEEPEST + 1).map(|number| format!("-r {number}.txt\n")).collect();
        let mut files: Vec<(&str, &str)> =
            names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let last = format!("{}.txt", DEEPEST + 1);
        files.push((&last, "flask\n"));
        assert!(requirements(&files).is_err());
        assert!(requirements(&files[1..]).is_ok());
    }

    #[test]
    fn every_form_of_a_setting_that_builds_is_found() {
        for text in [
            "[pip]\nno-binary = [\"x\"]\n",
            "[tool.uv]\nno-binary-package=[\"x\"]\n",
            "tool.uv.pip = {no-binary = ['x']}\n",
            "[pip]\n\"no\\u002dbinary\" = ['x']\n",
            "[pip]\n'no-binary' = ['x']\n",
            "[tool.uv]\nno-build-isolation-package = ['x']\n",
            "[pip]\nonly-binary = [\":none:\"]\n",
        ] {
            assert!(settings(Path::new("uv.toml"), text).is_err(), "{text}");
        }
        for text in ["[tool.uv]\nno-build = true\n", "# no-binary = ['x']\n", "[pip]\nonly-binary = [':all:']\n"] {
            assert!(settings(Path::new("uv.toml"), text).is_ok(), "{text}");
        }
    }

    #[test]
    fn uvs_messages_name_the_packages_to_build() {
        for said in [
            "hint: Wheels are required for `evil` because building from source is disabled for all packages",
            "error: Failed to build `evil @ file:///x`\n  cause: Building source distributions for `evil` is disabled",
            "error: Building source distributions is disabled, but attempted to build `evil`",
        ] {
            assert_eq!(unbuilt(said), Some(vec!["evil".to_owned()]), "{said}");
        }
        assert_eq!(unbuilt("error: Building source distributions is disabled"), Some(Vec::new()));
        assert_eq!(unbuilt("error: no network"), None);
    }
}
