//! The Python that a project requires. It chooses the image, and is compared with the image's before anything is resolved.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use toml::{Table, Value};

use super::{App, FILE, Image};
use crate::base::error::{Exit, Failure, Result};
use crate::base::toml_file::{self, PROJECT, at};

/// How many patch versions are tried: the image's changes with its updates.
const PATCHES: u32 = 40;

static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(===|==|~=|!=|<=|>=|<|>|\^|~)?\s*v?(\d+(?:\.\d+)*)(\.\*)?[\w.+-]*$").expect("a regex")
});
/// A version in a `.python-version`, such as `3.13`, `3.13.1` and `cpython-3.13.1-linux`. Other implementations are ignored.
static PINNED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:cpython[-@]|python)?(\d+\.\d+)(?:\.\d+)?(?:-.*)?$").expect("a regex"));

/// The version of a base image, such as `FROM docker.io/library/python:3.12-slim AS build`.
static BASE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?mi)^FROM\s+(?:--\S+\s+)*(?:\S+/)?python:(\d+\.\d+)").expect("a regex"));

/// The requirement of a file.
struct Requirement {
    file: PathBuf,
    written: String,
    /// Alternatives: one of them must be met.
    specifiers: Vec<String>,
}

impl Requirement {
    /// Whether a Python such as 3.13 meets it, with any patch version.
    fn is_met_by(&self, python: &str) -> bool {
        self.specifiers.iter().any(|specifier| is_met(specifier, python))
    }
}

/// Whether a Python such as 3.13 meets what a file requires: a set such as `>=3.9,<4`, or a version such as `3.13.1`.
pub fn meets(written: &str, python: &str) -> bool {
    let pinned = PINNED.captures(written).map(|found| format!("=={}.*", &found[1]));
    pinned.as_deref().unwrap_or(written).split("||").any(|specifier| is_met(specifier.trim(), python))
}

/// Whether a Python is in a set, with any patch version.
fn is_met(specifier: &str, python: &str) -> bool {
    let minor: Vec<u32> = numbers(python);
    (0..PATCHES).any(|patch| allows(specifier, &[&minor[..], &[patch]].concat()))
}

/// The image for a project: the first one with a Python that its files require; if there are several, the one of its Dockerfile.
/// `None` if no image has one.
pub(super) fn image_for(app: &Path) -> Option<Image> {
    let all = requirements(app);
    let docker = folders(app).into_iter().find_map(|folder| fs::read_to_string(folder.join("Dockerfile")).ok());
    let docker = docker.and_then(|text| Some(BASE.captures(&text)?[1].to_owned()));
    let fits = |image: &Image| all.iter().all(|one| one.is_met_by(image.python()));
    let mut images = Image::ALL.into_iter().filter(fits);
    let first = images.clone().next();
    images.find(|image| docker.as_deref() == Some(image.python())).or(first)
}

/// Checks that the image's Python meets the project's requirements.
pub fn check(app: &App, image: Image) -> Result<()> {
    let all = requirements(&app.path);
    let Some(unmet) = all.iter().find(|one| !one.is_met_by(image.python())) else { return Ok(()) };
    let file = unmet.file.display();
    let what = format!("{file} requires Python {}, but {} has {}", unmet.written, image.name(), image.python());
    let next = match image_for(&app.path) {
        Some(other) => format!(
            "remove `instance.image` and `app.python` from {FILE}, so that {} with Python {} is chosen; or change {file}",
            other.name(),
            other.python()
        ),
        None => {
            let all = Image::ALL.map(|image| format!("{} has {}", image.name(), image.python()));
            format!("no image has such a Python ({}): change {file}", all.join(", "))
        }
    };
    Err(Failure::new(Exit::Usage, what).standing("Nothing was changed in AWS.").next(next))
}

/// The requirements in the app's folder, else in the nearest folder above it that belongs to the project.
fn requirements(app: &Path) -> Vec<Requirement> {
    let folders = folders(app);
    let project = folders.iter().find_map(|folder| requires(&folder.join(PROJECT)));
    let pipfile = folders.iter().find_map(|folder| of_pipfile(&folder.join("Pipfile")));
    let pinned = folders.iter().map(|folder| folder.join(".python-version")).find(|file| file.is_file());
    let pinned = pinned.and_then(|file| self::pinned(&file));
    project.into_iter().chain(pipfile).chain(pinned).collect()
}

/// The app's folder, and those above it that belong to the project.
fn folders(app: &Path) -> Vec<&Path> {
    let above = app.ancestors().position(|folder| folder.join(FILE).is_file()).unwrap_or_default();
    app.ancestors().take(above + 1).collect()
}

fn of_pipfile(file: &Path) -> Option<Requirement> {
    let table: Table = toml_file::read(file)?;
    let key = |name: &str| at(&table, &["requires", name]).and_then(Value::as_str);
    let written = key("python_full_version").or_else(|| key("python_version"))?;
    let specifier = PINNED.captures(written).map(|found| format!("=={}.*", &found[1]))?;
    Some(Requirement { file: file.to_owned(), written: written.to_owned(), specifiers: vec![specifier] })
}

fn requires(file: &Path) -> Option<Requirement> {
    let table: Table = toml_file::read(file)?;
    let written = at(&table, &["project", "requires-python"])
        .or_else(|| at(&table, &["tool", "poetry", "dependencies", "python"]))
        .and_then(Value::as_str)?;
    let specifiers = written.split("||").map(|part| part.trim().to_owned()).collect();
    Some(Requirement { file: file.to_owned(), written: written.to_owned(), specifiers })
}

/// pyenv reads several versions, a line each; uv reads the first one.
fn pinned(file: &Path) -> Option<Requirement> {
    let text = fs::read_to_string(file).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let specifier = |line: &&str| PINNED.captures(line).map(|found| format!("=={}.*", &found[1]));
    let specifiers: Vec<String> = lines.iter().filter_map(specifier).collect();
    let written = lines.join(", ");
    (!specifiers.is_empty()).then(|| Requirement { file: file.to_owned(), written, specifiers })
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Whether a version is in a set such as `>=3.9,<4`. uv checks what is not understood here.
fn allows(specifier: &str, version: &[u32]) -> bool {
    specifier.split(',').all(|clause| {
        let Some(found) = CLAUSE.captures(clause.trim()) else { return true };
        let (operator, any) = (found.get(1).map_or("==", |operator| operator.as_str()), found.get(3).is_some());
        let asked = numbers(&found[2]);
        let begins = version.iter().zip(&asked).all(|(a, b)| a == b);
        let within = |kept: usize| version.iter().zip(&asked).take(kept.max(1)).all(|(a, b)| a == b);
        let padded = |parts: &[u32]| [parts, &[0; 4]].concat()[..4].to_vec();
        let order = padded(version).cmp(&padded(&asked));
        match operator {
            "==" if any => begins,
            "!=" if any => !begins,
            "==" | "===" => order.is_eq(),
            "!=" => order.is_ne(),
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            "<" => order.is_lt(),
            "~=" => order.is_ge() && within(asked.len() - 1),
            // Poetry's.
            "^" => order.is_ge() && within(1),
            _ => order.is_ge() && within(2.min(asked.len())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_have_the_meaning_of_pip() {
        for (specifier, yes, no) in [
            (">=3.9", "3.9 3.12 3.13", "3.8"),
            (">=3.10,<4", "3.12 3.13", "3.9"),
            (">=3.13.3", "3.13", "3.12"),
            ("<3.13", "3.9 3.12", "3.13"),
            ("<=3.12", "3.9 3.12", "3.13"),
            (">3.12", "3.12 3.13", "3.9"),
            ("==3.12.*", "3.12", "3.9 3.13"),
            ("==3.12.4", "3.12", "3.13"),
            ("!=3.12.*,>=3.9", "3.9 3.13", "3.12"),
            ("~=3.12", "3.12 3.13", "3.9"),
            ("~=3.12.1", "3.12", "3.13"),
            ("^3.10", "3.12 3.13", "3.9"),
            ("~3.12", "3.12", "3.13"),
            ("3.12", "3.12", "3.13"),
            ("~3.9 || ~3.12", "3.9 3.12", "3.13"),
            ("something else", "3.9", ""),
            ("", "3.9", ""),
        ] {
            let specifiers = specifier.split("||").map(|part| part.trim().to_owned()).collect();
            let requirement = Requirement { file: PathBuf::new(), written: String::new(), specifiers };
            for python in yes.split_whitespace() {
                assert!(requirement.is_met_by(python), "{python} for {specifier}");
            }
            for python in no.split_whitespace() {
                assert!(!requirement.is_met_by(python), "{python} for {specifier}");
            }
        }
    }

    #[test]
    fn the_nearest_file_of_the_project_counts_and_a_suitable_image_is_suggested() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir_all(folder.path().join("p/app")).unwrap();
        let mut app = crate::config::named("app").unwrap().app;
        app.path = folder.path().join("p/app");
        let said = |image| check(&app, image).err().and_then(|failure| failure.next_step().map(ToString::to_string));
        write(".python-version", "2.7\n");
        assert_eq!(said(Image::Debian13), None, "it does not belong to the project");
        write("p/deploy.yaml", "");
        write("p/.python-version", "# ours\ncpython-3.12.4\n");
        assert!(said(Image::Debian13).unwrap().contains("so that ubuntu-24.04 with Python 3.12 is chosen"));
        assert_eq!((said(Image::Ubuntu2404), image_for(&app.path)), (None, Some(Image::Ubuntu2404)));
        write("p/app/.python-version", "3.13\n3.9.2\n");
        assert_eq!(said(Image::Debian13), None);
        assert_eq!(said(Image::AmazonLinux2023), None);
        write("p/app/pyproject.toml", "[project]\nname = 'x'\nrequires-python = '>=3.8,<3.10'\n");
        assert!(said(Image::Debian13).unwrap().contains("so that al2023 "));
        write("p/app/.python-version", "3.11\n");
        assert!(said(Image::AmazonLinux2023).unwrap().contains("no image has"));
        assert_eq!(image_for(&app.path), None);
        for other in ["pypy3.10-7.3.12", "system", "3", "shop-env"] {
            write("p/app/.python-version", other);
            write("p/app/pyproject.toml", "");
            assert_eq!(said(Image::AmazonLinux2023), None, "{other}");
        }
    }

    #[test]
    fn the_files_of_a_project_choose_its_image() {
        let chosen = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
            image_for(folder.path()).map(Image::name)
        };
        assert_eq!(chosen(&[]), Some("debian-13"));
        assert_eq!(chosen(&[("Pipfile", "[requires]\npython_version = '3.11'\n")]), Some("debian-12"));
        assert_eq!(chosen(&[("Pipfile", "[packages]\nflask = '*'\n")]), Some("debian-13"));
        assert_eq!(chosen(&[(".python-version", "3.14.0\n")]), Some("ubuntu-26.04"));
        for base in ["FROM python:3.12-slim\n", "# x\nfrom --platform=linux/arm64 docker.io/library/python:3.12 AS b\n"]
        {
            assert_eq!(chosen(&[("Dockerfile", base)]), Some("ubuntu-24.04"), "{base}");
            let project = "[project]\nname = 'x'\nrequires-python = '>=3.13'\n";
            assert_eq!(chosen(&[("Dockerfile", base), ("pyproject.toml", project)]), Some("debian-13"), "{base}");
        }
        for other in ["FROM debian:13\n", "FROM python:3.7\n", "FROM python:latest\n"] {
            assert_eq!(chosen(&[("Dockerfile", other)]), Some("debian-13"), "{other}");
        }
    }

    #[test]
    fn a_written_version_is_any_patch_of_it() {
        for (written, yes, no) in
            [("3.13.1", "3.13", "3.12"), ("3.12", "3.12", "3.13"), ("^3.11 || 3.9.*", "3.9", "3.10")]
        {
            assert!(meets(written, yes) && !meets(written, no), "{written}");
        }
        assert!(meets("pypy", "3.13") && meets("", "3.13"));
    }
}
