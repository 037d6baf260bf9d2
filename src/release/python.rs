//! The Python that a project requires. It is compared with the image's before anything is resolved.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use toml::{Table, Value};

use super::local::{PROJECT, at, toml_of};
use crate::base::error::{Exit, Failure, Result};
use crate::config::{App, FILE, Image};

/// How many patch versions are tried: the image's changes with its updates.
const PATCHES: u32 = 40;

static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(===|==|~=|!=|<=|>=|<|>|\^|~)?\s*v?(\d+(?:\.\d+)*)(\.\*)?[\w.+-]*$").expect("a regex")
});
/// A version in a `.python-version`, such as `3.13`, `3.13.1` and `cpython-3.13.1-linux`. Other implementations are ignored.
static PINNED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:cpython[-@]|python)?(\d+\.\d+)(?:\.\d+)?(?:-.*)?$").expect("a regex"));

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
        let minor: Vec<u32> = numbers(python);
        let patches = (0..PATCHES).map(|patch| [&minor[..], &[patch]].concat());
        patches.into_iter().any(|version| self.specifiers.iter().any(|specifier| allows(specifier, &version)))
    }
}

/// Checks that the image's Python meets the project's requirements.
pub fn check(app: &App, image: Image) -> Result<()> {
    let all = requirements(&app.path);
    let Some(unmet) = all.iter().find(|one| !one.is_met_by(image.python())) else { return Ok(()) };
    let fits = |image: &Image| all.iter().all(|one| one.is_met_by(image.python()));
    let file = unmet.file.display();
    let what = format!("{file} requires Python {}, but {} has {}", unmet.written, image.name(), image.python());
    let next = match Image::ALL.iter().find(|image| fits(image)) {
        Some(other) => format!(
            "set `image: {}` under instance in {FILE}, which has Python {}; or change {file}",
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
    let above = app.ancestors().position(|folder| folder.join(FILE).is_file()).unwrap_or_default();
    let folders = || app.ancestors().take(above + 1);
    let project = folders().find_map(|folder| requires(&folder.join(PROJECT)));
    let pinned = folders().map(|folder| folder.join(".python-version")).find(|file| file.is_file());
    let pinned = pinned.and_then(|file| self::pinned(&file));
    project.into_iter().chain(pinned).collect()
}

fn requires(file: &Path) -> Option<Requirement> {
    let table: Table = toml_of(file)?;
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
        assert!(said(Image::Debian13).unwrap().contains("`image: ubuntu-24.04`"));
        assert_eq!(said(Image::Ubuntu2404), None);
        write("p/app/.python-version", "3.13\n3.9.2\n");
        assert_eq!(said(Image::Debian13), None);
        assert_eq!(said(Image::AmazonLinux2023), None);
        write("p/app/pyproject.toml", "[project]\nname = 'x'\nrequires-python = '>=3.8,<3.10'\n");
        assert!(said(Image::Debian13).unwrap().contains("`image: al2023`"));
        write("p/app/.python-version", "3.11\n");
        assert!(said(Image::AmazonLinux2023).unwrap().contains("no image has"));
        for other in ["pypy3.10-7.3.12", "system", "3", "shop-env"] {
            write("p/app/.python-version", other);
            write("p/app/pyproject.toml", "");
            assert_eq!(said(Image::AmazonLinux2023), None, "{other}");
        }
    }
}
