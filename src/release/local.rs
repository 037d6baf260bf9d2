//! Local packages: what the requirements name by a path on this machine.
//!
//! uv gets a copy of them, in which every file has the place that it has here, below a folder of the build ([`Local::stage`]):
//! a build backend writes there and not into the source, a path in a `pyproject.toml` leads where it leads in the source, and no
//! two builds share a path, by which uv would know an earlier build of a package. In the copy nothing is editable.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use ignore::overrides::OverrideBuilder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use regex::Regex;
use toml::{Table, Value};

use super::source::{self, File};
use super::text;
use crate::base::dirs::unwritable;
use crate::base::error::{Exit, Failure, Result};

pub(super) const PROJECT: &str = "pyproject.toml";
/// How many requirements files may include each other.
const MOST: usize = 64;
/// What a path in a URL is written with.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'+');

static INCLUDE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\s*(-r|-c|--requirement|--constraint)[=\s]\s*(.+)$").expect("a regex"));
static LINKS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\s*(-f|--find-links)[=\s]\s*(.+)$").expect("a regex"));
static REQUIREMENT: LazyLock<Regex> = LazyLock::new(|| {
    let name = r"(?:([A-Za-z0-9](?:[\w.-]*\w)?\s*(?:\[[^\]]*\])?)\s*@\s*)?";
    Regex::new(&format!(r"^\s*(?:(-e|--editable)[=\s]\s*)?{name}([^\s;](?:.*?\S)??)(\[[^\]/]*\])?(\s*;.*|\s+--.*)?$"))
        .expect("a regex")
});
/// A path in a table of TOML.
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(?m)(^|[{,\s])path(\s*=\s*)(?:"([^"\\\n]*)"|'([^'\n]*)')"#).expect("a regex"));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"file:[^\s"';,\]#]+"#).expect("a regex"));
static ARCHIVE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\.(?:whl|zip|tgz|tar\.(?:gz|bz2|xz))$").expect("a regex"));
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{([A-Z0-9_]+)\}").expect("a regex"));

/// The local packages of an app, and the files that name them.
#[derive(Debug, Default)]
pub struct Local {
    /// The folder of the app's own requirements, in which a person would run pip.
    main: PathBuf,
    /// Requirements files: the app's own, and what they include.
    requirements: BTreeMap<PathBuf, String>,
    /// The packages and what is in them: folders, wheels and archives, and folders of such.
    packages: BTreeMap<PathBuf, Vec<File>>,
    /// Projects of a workspace of which no more is needed than that they are there.
    members: BTreeSet<PathBuf>,
}

impl Local {
    /// Finds all that the requirements in `file`, which hold `text`, name by a path.
    ///
    /// # Errors
    /// Which package cannot be read.
    pub fn find(file: &Path, text: &str) -> Result<Self> {
        let folder = file.parent().unwrap_or(Path::new("/"));
        let mut local = Self { main: folder.to_owned(), ..Self::default() };
        local.requirements.insert(file.to_owned(), text.to_owned());
        match file.file_name().and_then(|name| name.to_str()) {
            // What such a file says may have to be asked of the project itself.
            Some(PROJECT | "setup.py" | "setup.cfg") => {
                local.requirements.clear();
                local.package(folder.to_owned())?;
            }
            _ if file.extension().is_some_and(|end| end == "toml" || end == "py") => {}
            _ => local.lines(file, text)?,
        }
        Ok(local)
    }

    /// The requirements files: the app's own, and what they include.
    pub fn requirements(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.requirements.iter().map(|(file, text)| (file.as_path(), text.as_str()))
    }

    /// The packages that are folders.
    pub fn folders(&self) -> impl Iterator<Item = (&Path, &[File])> {
        let folders = self.packages.iter().filter(|(path, _)| path.is_dir());
        folders.map(|(path, files)| (path.as_path(), files.as_slice()))
    }

    /// All the requirements, of every file.
    pub fn text(&self) -> String {
        self.requirements.values().map(|text| format!("{text}\n")).collect()
    }

    /// What makes one state of the packages another than the next: nothing where there are none.
    ///
    /// # Errors
    /// Which file cannot be read.
    pub fn content(&self) -> Result<Vec<u8>> {
        self.state(|_| true)
    }

    /// The same of the files alone that may say what a package asks for.
    ///
    /// # Errors
    /// Which file cannot be read.
    pub fn metadata(&self) -> Result<Vec<u8>> {
        let asks = |end: &str| matches!(end, "toml" | "cfg" | "txt" | "in");
        self.state(|file| {
            let name = file.name.rsplit('/').next().unwrap_or_default();
            let end = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default();
            // A wheel or an archive has no name in itself.
            name.is_empty() || name == "setup.py" || asks(end) || ARCHIVE.is_match(name)
        })
    }

    fn state(&self, counts: impl Fn(&File) -> bool) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut part = |bytes: &[u8]| {
            content.extend((bytes.len() as u64).to_le_bytes());
            content.extend(bytes);
        };
        for (path, files) in &self.packages {
            part(path.as_os_str().as_encoded_bytes());
            for file in files.iter().filter(|file| counts(file)) {
                part(file.name.as_bytes());
                part(&[u8::from(file.executable)]);
                part(&file.read()?);
            }
        }
        for path in &self.members {
            part(&fs::read(path).unwrap_or_default());
        }
        Ok(content)
    }

    fn lines(&mut self, file: &Path, text: &str) -> Result<()> {
        for (line, _) in statements(text) {
            if let Some(include) = INCLUDE.captures(&line) {
                let path = self.place(file, unquoted(&include[2]));
                if self.requirements.contains_key(&path) || self.requirements.len() >= MOST {
                    continue;
                }
                // What cannot be read here, uv cannot read either, and says so.
                let Some(text) = fs::read(&path).ok().and_then(|bytes| text::decode(&bytes).ok()) else { continue };
                self.requirements.insert(path.clone(), text.clone());
                self.lines(&path, &text)?;
            } else if let Some(links) = LINKS.captures(&line) {
                if let Some(path) = self.target(file, unquoted(&links[2]), true) {
                    self.package(path)?;
                }
            } else if let Some(found) = self.requirement(file, &line) {
                self.package(found.path)?;
            }
        }
        Ok(())
    }

    /// The package that a line names by its path.
    fn requirement<'a>(&self, file: &Path, line: &'a str) -> Option<Named<'a>> {
        let found = REQUIREMENT.captures(line)?;
        let part = |number| found.get(number).map_or("", |part: regex::Match<'a>| part.as_str());
        let (editable, name, target) = (!part(1).is_empty(), part(2), unquoted(part(3)));
        if target.starts_with('-') {
            return None;
        }
        let (target, fragment) = target.split_once('#').map_or((target, None), |(path, rest)| (path, Some(rest)));
        let path = self.target(file, target, editable || !name.is_empty())?;
        Some(Named { name, path, fragment, extras: part(4), rest: part(5) })
    }

    /// The path of this machine that a requirement leads to. `sure`: whether a bare word is one.
    fn target(&self, file: &Path, written: &str, sure: bool) -> Option<PathBuf> {
        let written = VARIABLE.replace_all(written, |found: &regex::Captures<'_>| match &found[1] {
            "PROJECT_ROOT" => self.main.display().to_string(),
            "HOME" => env::var("HOME").unwrap_or_default(),
            _ => found[0].to_owned(),
        });
        if written.contains("${") {
            return None;
        }
        if let Some(url) = written.strip_prefix("file:") {
            let path = url.strip_prefix("//").map_or(url, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
            return Some(self.place(file, &percent_decode_str(path).decode_utf8().ok()?));
        }
        let foreign = written.contains("://") || written.starts_with("git@");
        let path = sure || written.starts_with(['.', '/']) || written.contains('/') || ARCHIVE.is_match(&written);
        (path && !foreign).then(|| self.place(file, &written))
    }

    /// A path counts from the folder of the file that names it; where there is nothing, from where pip would be run.
    fn place(&self, file: &Path, written: &str) -> PathBuf {
        let near = plain(&file.parent().unwrap_or(&self.main).join(written));
        let far = plain(&self.main.join(written));
        if !near.exists() && far.exists() { far } else { near }
    }

    /// Takes a package along, and what it names by a path itself. One that is not there uv tells.
    fn package(&mut self, path: PathBuf) -> Result<()> {
        if self.packages.contains_key(&path) || !path.exists() {
            return Ok(());
        }
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let project = ["setup.py", "setup.cfg", PROJECT].iter().any(|name| real.join(name).is_file());
        let files = if !real.is_dir() {
            vec![File { name: String::new(), path: real.clone(), executable: false }]
        } else if project {
            source::collect(&real)?.into_iter().filter(|file| !is_left_over(&file.name)).collect()
        } else {
            archives(&real)
        };
        self.packages.insert(path.clone(), files);
        if project { self.project(&path) } else { Ok(()) }
    }

    /// What a project's `pyproject.toml` names by a path.
    fn project(&mut self, folder: &Path) -> Result<()> {
        let Some(table) = toml_of(&folder.join(PROJECT)) else { return Ok(()) };
        let root = folder.ancestors().find_map(|root| {
            let table = toml_of(&root.join(PROJECT))?;
            at(&table, &["tool", "uv", "workspace"]).is_some().then_some((root.to_owned(), table))
        });
        let mut found: Vec<PathBuf> = paths(&table).iter().filter_map(|path| self.named(folder, path)).collect();
        let mut shared = shared(&table);
        if let Some((root, table)) = root {
            self.members.insert(root.join(PROJECT));
            // Its sources are those of all its members.
            found.extend(sources(&table).iter().filter_map(|path| self.named(&root, path)));
            shared.extend(self::shared(&table));
            for member in members(&root, &table) {
                let name = toml_of(&member.join(PROJECT)).and_then(|table| project_name(&table));
                self.members.insert(member.join(PROJECT));
                if name.is_some_and(|name| shared.contains(&name)) {
                    found.push(member);
                }
            }
        }
        found.into_iter().try_for_each(|path| self.package(path))
    }

    fn named(&self, folder: &Path, written: &str) -> Option<PathBuf> {
        let written = written.replace("{root:uri}", &format!("file://{}", folder.display()));
        self.target(&folder.join(PROJECT), &written, true)
    }

    /// Copies everything below `root`, where the paths of this machine go on. The requirements for uv.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn stage(&self, root: &Path, file: &Path) -> Result<PathBuf> {
        let write = |path: &Path, bytes: &[u8]| -> Result<()> {
            let place = below(root, path);
            let folder = place.parent().unwrap_or(root);
            let written = fs::create_dir_all(folder).and_then(|()| fs::write(&place, bytes));
            written.map_err(|error| unwritable(&place, &error))
        };
        for (path, files) in &self.packages {
            for file in files {
                let place = if file.name.is_empty() { path.clone() } else { path.join(&file.name) };
                if file.name.rsplit('/').next() == Some(PROJECT) {
                    let text = String::from_utf8_lossy(&file.read()?).into_owned();
                    write(&place, self.led_below(root, &place, &text).as_bytes())?;
                } else {
                    write(&place, &file.read()?)?;
                }
                if file.executable {
                    executable(&below(root, &place))?;
                }
            }
        }
        for path in self.members.iter().filter(|path| !below(root, path).exists()) {
            let text = fs::read_to_string(path).unwrap_or_default();
            write(path, self.led_below(root, path, &text).as_bytes())?;
        }
        for (path, text) in &self.requirements {
            write(path, self.staged(root, path, text).as_bytes())?;
        }
        Ok(below(root, file))
    }

    /// The text of a requirements file in which everything local leads below `root`.
    fn staged(&self, root: &Path, file: &Path, text: &str) -> String {
        let mut staged = String::new();
        for (line, written) in statements(text) {
            if let Some(found) = INCLUDE.captures(&line) {
                let path = self.place(file, unquoted(&found[2]));
                if self.requirements.contains_key(&path) {
                    staged.push_str(&format!("{} {}\n", &found[1], below(root, &path).display()));
                    continue;
                }
            } else if let Some(links) = LINKS.captures(&line) {
                let path = self.target(file, unquoted(&links[2]), true).filter(|path| self.packages.contains_key(path));
                if let Some(path) = path {
                    staged.push_str(&format!("{} {}\n", &links[1], url(&below(root, &path))));
                    continue;
                }
            } else if let Some(named) = self.requirement(file, &line) {
                staged.push_str(&named.written(&below(root, &named.path)));
                staged.push('\n');
                continue;
            } else if let Some(found) = REQUIREMENT.captures(&line).filter(|found| found.get(1).is_some()) {
                // A repository, as pip writes it down of the project that it was run in.
                staged.push_str(
                    line[found.get(1).map_or(0, |option| option.end())..].trim_start_matches(['=', ' ', '\t']),
                );
                staged.push('\n');
                continue;
            }
            staged.push_str(written);
        }
        staged
    }

    /// A `pyproject.toml` whose paths lead below `root`. uv writes a relative one into a lock as it is, whoever's it is.
    fn led_below(&self, root: &Path, file: &Path, text: &str) -> String {
        let path = |found: &regex::Captures<'_>| {
            let written = found.get(3).or(found.get(4)).map_or("", |path| path.as_str());
            let path = self.target(file, written, true).filter(|path| self.packages.contains_key(path));
            let path = path.map_or_else(|| written.to_owned(), |path| below(root, &path).display().to_string());
            format!("{}path{}{}", &found[1], &found[2], serde_json::Value::from(path))
        };
        let address = |found: &regex::Captures<'_>| match self.target(file, &found[0], true) {
            Some(path) if self.packages.contains_key(&path) => url(&below(root, &path)),
            _ => found[0].to_owned(),
        };
        ADDRESS.replace_all(&PATH.replace_all(text, path), address).into_owned()
    }

    /// What uv resolved the staged requirements to, with the places that things have on this machine.
    ///
    /// # Errors
    /// Which local package was not staged, because nothing here has seen where it is named.
    pub fn resolved(&self, file: &Path, lock: &str, root: &Path) -> Result<String> {
        let here = env::current_dir().unwrap_or_default();
        let mut resolved = String::new();
        for line in lock.lines() {
            let (name, path) = match local_line(line) {
                Some((name, path)) => (name, plain(&here.join(path))),
                None => {
                    resolved.push_str(line);
                    resolved.push('\n');
                    continue;
                }
            };
            let real = path.strip_prefix(root).ok().map(|inside| Path::new("/").join(inside));
            let Some(real) = real.filter(|real| self.packages.contains_key(real)) else {
                return Err(unseen(file, &path));
            };
            resolved.push_str(&format!("{name}{}\n", url(&real)));
        }
        Ok(resolved)
    }

    /// The requirements that such a lock stands for, below `root`.
    pub fn to_install(lock: &str, root: &Path) -> String {
        let line = |line: &str| match local_line(line) {
            Some((name, path)) => format!("{name}{}\n", url(&below(root, &path))),
            None => format!("{line}\n"),
        };
        lock.lines().map(line).collect()
    }
}

/// A requirement that names a path.
struct Named<'a> {
    name: &'a str,
    path: PathBuf,
    fragment: Option<&'a str>,
    extras: &'a str,
    rest: &'a str,
}

impl Named<'_> {
    fn written(&self, path: &Path) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!("{} @ ", self.name.trim_end()) };
        // uv takes the extras of `#egg=lib[x]` for a part of the path.
        let fragment =
            self.fragment.and_then(|fragment| fragment.split('&').find(|part| part.starts_with("subdirectory=")));
        let fragment = fragment.map_or_else(String::new, |fragment| format!("#{fragment}"));
        format!("{name}{}{fragment}{} {}", url(path), self.extras, self.rest.trim_start()).trim_end().to_owned()
    }
}

fn unseen(file: &Path, path: &Path) -> Failure {
    let what = format!(
        "{} leads to the local package {} in a way that devopsctl does not follow",
        file.display(),
        path.display()
    );
    Failure::new(Exit::Usage, what)
        .because("local packages are built from a copy, so that a build writes nothing into your source")
        .standing("Nothing was touched in AWS.")
        .next(format!("name it on a line of its own in {}", file.display()))
}

/// The name and the path of a line of a lock that leads to this machine.
fn local_line(line: &str) -> Option<(String, PathBuf)> {
    let line = line.strip_prefix("-e ").unwrap_or(line);
    let (name, target) =
        line.split_once(" @ ").map_or((String::new(), line), |(name, url)| (format!("{name} @ "), url));
    let target = target.split(['#', ' ']).next().unwrap_or_default();
    if let Some(path) = target.strip_prefix("file://") {
        return Some((name, PathBuf::from(percent_decode_str(path).decode_utf8().ok()?.as_ref())));
    }
    (name.is_empty() && target.starts_with(['.', '/'])).then(|| (name, PathBuf::from(target)))
}

/// The statements of a requirements file: without comments and broken lines, and as they are written.
fn statements(text: &str) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    let (mut line, mut begun) = (String::new(), 0);
    let mut end = 0;
    for part in text.split_inclusive('\n') {
        end += part.len();
        let bare = part.trim_end_matches(['\n', '\r']);
        if let Some(more) = bare.strip_suffix('\\').filter(|_| !bare.trim_start().starts_with('#')) {
            // As uv reads it: two words.
            line.push_str(more);
            line.push(' ');
            continue;
        }
        line.push_str(bare);
        let code = if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default() };
        found.push((code.trim().to_owned(), &text[begun..end]));
        line.clear();
        begun = end;
    }
    if begun < text.len() {
        found.push((line.trim().to_owned(), &text[begun..]));
    }
    found
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(text)
}

/// Without `.` and `..`, as uv reads a path: links are not followed.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn url(path: &Path) -> String {
    format!("file://{}", utf8_percent_encode(&path.to_string_lossy(), PLAIN))
}

fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|error| unwritable(path, &error))
}

/// What an earlier build left in the source, and would be built into the next one.
fn is_left_over(name: &str) -> bool {
    let mut folders = name.split('/').rev().skip(1).peekable();
    folders.any(|folder| folder.ends_with(".egg-info"))
        || name.starts_with("build/lib")
        || name.starts_with("build/bdist.")
}

/// The packages in a folder that `--find-links` names.
fn archives(folder: &Path) -> Vec<File> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |path: PathBuf| Some(File { name: path.file_name()?.to_str()?.to_owned(), path, executable: false });
    let mut files: Vec<File> = entries.filter_map(|entry| file(entry.path())).collect();
    files.retain(|file| ARCHIVE.is_match(&file.name) && file.path.is_file());
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// A file of TOML. What is wrong with one, uv says.
pub(super) fn toml_of(file: &Path) -> Option<Table> {
    fs::read_to_string(file).ok()?.parse().ok()
}

pub(super) fn at<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}

/// The tables of a source: there may be several, each with its marker.
fn entries(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |list| list.iter().collect())
}

/// The paths in `tool.uv.sources`.
fn sources(table: &Table) -> Vec<String> {
    let sources = at(table, &["tool", "uv", "sources"]).and_then(Value::as_table);
    let entries = sources.into_iter().flat_map(Table::values).flat_map(entries);
    entries.filter_map(|entry| entry.get("path").or_else(|| entry.get("url"))?.as_str().map(str::to_owned)).collect()
}

/// The names in `tool.uv.sources` that are of the workspace.
fn shared(table: &Table) -> BTreeSet<String> {
    let sources = at(table, &["tool", "uv", "sources"]).and_then(Value::as_table);
    let of_workspace = |value: &Value| {
        entries(value).iter().any(|entry| entry.get("workspace").and_then(Value::as_bool) == Some(true))
    };
    sources.into_iter().flatten().filter(|(_, value)| of_workspace(value)).map(|(name, _)| normal(name)).collect()
}

/// All paths and URLs that a project names, for uv and for Poetry.
fn paths(table: &Table) -> Vec<String> {
    let mut found = sources(table);
    let lists = [&["project", "dependencies"][..], &["build-system", "requires"]];
    let mut lists: Vec<&Value> = lists.iter().filter_map(|keys| at(table, keys)).collect();
    let optional = at(table, &["project", "optional-dependencies"]).and_then(Value::as_table);
    lists.extend(optional.into_iter().flat_map(Table::values));
    let texts = lists.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let url = |text: &str| {
        let (_, url) = text.split_once('@')?;
        url.trim().split([' ', ';']).next().map(str::to_owned)
    };
    found.extend(texts.filter_map(url).filter(|url| url.starts_with("file:") || url.starts_with('{')));
    let poetry = at(table, &["tool", "poetry", "dependencies"]).and_then(Value::as_table);
    let entries = poetry.into_iter().flat_map(Table::values).flat_map(entries);
    found.extend(entries.filter_map(|entry| entry.get("path")?.as_str().map(str::to_owned)));
    found
}

fn project_name(table: &Table) -> Option<String> {
    at(table, &["project", "name"])?.as_str().map(normal)
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace(['_', '.'], "-")
}

/// The projects of a workspace.
fn members(root: &Path, table: &Table) -> Vec<PathBuf> {
    let list = |key: &str| {
        let list = at(table, &["tool", "uv", "workspace", key]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let mut patterns = OverrideBuilder::new(root);
    for pattern in list("members") {
        // What cannot be one, uv says.
        let _ = patterns.add(&format!("/{}", pattern.trim_end_matches('/')));
    }
    for pattern in list("exclude") {
        let _ = patterns.add(&format!("!/{}", pattern.trim_end_matches('/')));
    }
    let Ok(patterns) = patterns.build() else { return Vec::new() };
    let folders = source::walk(root).build().flatten().map(ignore::DirEntry::into_path);
    let member =
        |path: &PathBuf| path == root || (patterns.matched(path, true).is_whitelist() && path.join(PROJECT).is_file());
    folders.filter(member).collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::folder;
    use super::*;

    /// What uv gets of requirements, with `P` for the project in the copy.
    fn staged(root: &Path, text: &str) -> String {
        let file = root.join("app/requirements.txt");
        let local = Local::find(&file, text).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let staged = fs::read_to_string(local.stage(copy.path(), &file).unwrap()).unwrap();
        staged.replace(below(copy.path(), root).to_str().unwrap(), "P")
    }

    #[test]
    fn a_requirement_that_names_a_path_is_known_however_it_is_written() {
        let (_keep, root) = folder(&[
            ("app/vendor/setup.py", ""),
            ("lib/pyproject.toml", ""),
            ("my lib/setup.cfg", ""),
            ("app/w/x-1-py3-none-any.whl", ""),
            ("app/more/own.txt", "./here\n"),
            ("app/more/here/setup.py", ""),
        ]);
        let absolute = |text: &str| text.replace("<root>", root.to_str().unwrap());
        for (written, expected) in [
            ("./vendor", "file://P/app/vendor"),
            ("vendor/ ; python_version > '3'", "file://P/app/vendor ; python_version > '3'"),
            ("-e ../lib[x,y] # ours", "file://P/lib[x,y]"),
            ("--editable=vendor", "file://P/app/vendor"),
            ("-e ../lib#egg=lib[x]", "file://P/lib[x]"),
            ("lib[x] @ ../lib", "lib[x] @ file://P/lib"),
            ("lib @ file:../lib ; python_version > '3'", "lib @ file://P/lib ; python_version > '3'"),
            ("lib @ file://localhost<root>/lib", "lib @ file://P/lib"),
            ("lib @ file://${PROJECT_ROOT}/../lib", "lib @ file://P/lib"),
            ("../my lib", "file://P/my%20lib"),
            ("mine @ file://<root>/my%20lib", "mine @ file://P/my%20lib"),
            ("w/x-1-py3-none-any.whl --hash=sha256:00", "file://P/app/w/x-1-py3-none-any.whl --hash=sha256:00"),
            ("./w/x-1-py3-none-any.whl \\\n  --hash=sha256:00", "file://P/app/w/x-1-py3-none-any.whl --hash=sha256:00"),
            ("--find-links ./w", "--find-links file://P/app/w"),
            ("-r more/own.txt", "-r P/app/more/own.txt"),
            ("-e git+https://example.com/x@1#egg=x", "git+https://example.com/x@1#egg=x"),
        ] {
            assert_eq!(staged(&root, &absolute(&format!("{written}\n"))), format!("{expected}\n"), "{written}");
        }
        for same in [
            "flask==3.1.0\n",
            "flask[async]>=3,<4 ; python_version > '3'  # ./vendor\n",
            "# -e ../lib\n",
            "six==1.17.0 \\\n  --hash=sha256:00 \\\n  --hash=sha256:11\n",
            "x @ https://example.com/x-1.tar.gz\n",
            "x @ git+https://example.com/x\n",
            "--index-url https://example.com/simple\n",
            "--no-index",
        ] {
            assert_eq!(staged(&root, same), same);
        }
        let text = "-r more/own.txt\n";
        let local = Local::find(&root.join("app/requirements.txt"), text).unwrap();
        assert!(local.packages.contains_key(&root.join("app/more/here")), "it counts from the file that names it");
    }

    #[test]
    fn a_project_takes_along_what_it_names_by_a_path() {
        let (_keep, root) = folder(&[
            ("pyproject.toml", "[tool.uv.workspace]\nmembers = ['packages/*']\nexclude = ['packages/out']\n"),
            (
                "packages/one/pyproject.toml",
                "[project]\nname = 'One.x'\n[tool.uv.sources]\ntwo = {path = '../../two'}\n",
            ),
            ("packages/other/pyproject.toml", "[project]\nname = 'other'\n"),
            ("packages/out/pyproject.toml", "[project]\nname = 'one-x'\n"),
            ("two/pyproject.toml", "[project]\ndependencies = ['three @ {root:uri}/../three']\n"),
            ("three/pyproject.toml", "[tool.poetry.dependencies]\nfour = {path = '../four'}\n"),
            ("four/setup.py", ""),
            ("four/four.egg-info/PKG-INFO", ""),
            ("four/build/lib/old.py", ""),
            ("four/four/__init__.py", "1"),
            ("app/pyproject.toml", "[project]\nname = 'app'\n[tool.uv.sources]\none-x = [{workspace = true}]\n"),
        ]);
        let file = root.join("app/pyproject.toml");
        let find = || Local::find(&file, &fs::read_to_string(&file).unwrap()).unwrap();
        let local = find();
        let packages: Vec<PathBuf> =
            local.packages.keys().map(|path| path.strip_prefix(&root).unwrap().into()).collect();
        assert_eq!(packages, ["app", "four", "packages/one", "three", "two"].map(PathBuf::from));
        let four: Vec<&str> = local.packages[&root.join("four")].iter().map(|file| file.name.as_str()).collect();
        assert_eq!(four, ["four/__init__.py", "setup.py"]);
        let copy = tempfile::tempdir().unwrap();
        local.stage(copy.path(), &file).unwrap();
        let one = fs::read_to_string(below(copy.path(), &root.join("packages/one/pyproject.toml"))).unwrap();
        assert!(one.contains(&format!("path = {:?}", below(copy.path(), &root.join("two")))), "{one}");
        assert!(below(copy.path(), &root.join("packages/other/pyproject.toml")).exists(), "uv looks at every member");

        // A change of the code is another release; only one of what is asked for resolves anew.
        let (content, before) = (local.content().unwrap(), local.metadata().unwrap());
        fs::write(root.join("four/four/__init__.py"), "2").unwrap();
        assert!(find().content().unwrap() != content && find().metadata().unwrap() == before);
        fs::write(root.join("four/setup.py"), "changed").unwrap();
        assert!(find().metadata().unwrap() != before);
    }

    #[test]
    fn a_lock_holds_the_places_of_this_machine() {
        let (_keep, root) = folder(&[("lib/setup.py", ""), ("app/x", "")]);
        let file = root.join("app/requirements.txt");
        let local = Local::find(&file, "-e ../lib\n").unwrap();
        let copy = Path::new("/copy");
        let lib = below(copy, &root.join("lib"));
        let lock = format!("flask==3\n-e {0}\nlib @ file://{0}\n{0}\n", lib.display());
        let here = url(&root.join("lib"));
        let resolved = local.resolved(&file, &lock, copy).unwrap();
        assert_eq!(resolved, format!("flask==3\n{here}\nlib @ {here}\n{here}\n"));
        let there = url(&lib);
        assert_eq!(Local::to_install(&resolved, copy), format!("flask==3\n{there}\nlib @ {there}\n{there}\n"));
        for other in ["-e /elsewhere/lib\n", "../lib\n", "x @ file:///copy/elsewhere\n"] {
            assert!(local.resolved(&file, other, copy).is_err(), "{other}");
        }
    }
}
