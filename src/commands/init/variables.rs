//! The environment variables that the source reads, and whether the app works without them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::Place;
use crate::release::code::{Line, regex};

// `os.environ["X"]`, `os.environ.get("X")`, `os.getenv("X")`, `env("X")` of environ and environs, `config("X")` of decouple.
static READ: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?:\b(?P<item>environ ?\[)|\b(?P<get>environ\.get ?\(|getenv ?\()|\b(?P<env>env(?:\.\w+)? ?\()|\b(?P<config>config ?\()) ?"(?P<name>\d+)""#,
    )
});
// Helpers that read DATABASE_URL without naming it.
static DATABASE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?:\bdj_database_url\.config|\benv\.(?:db|db_url|dj_db_url)) ?\( ?(?P<next>\)|\w+ ?=)"#));
// A package is known by an import of any module, because settings often import the reader from another module.
static ENVIRON: LazyLock<Regex> = LazyLock::new(|| regex(r"^(?:from|import) (?:environs?)\b"));
static DECOUPLE: LazyLock<Regex> = LazyLock::new(|| regex(r"^from (?:decouple|starlette\.config) import\b"));
static SETTINGS: LazyLock<Regex> = LazyLock::new(|| regex(r"^class \w+ ?\(.*\bBaseSettings\b.*\) ?:"));
static PREFIX: LazyLock<Regex> = LazyLock::new(|| regex(r#"\benv_prefix ?[=:] ?"(\d+)""#));
static FIELD: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\w+) ?: ?[^=]+?(?:= ?Field ?\((.*)\))?$"));
static ALIAS: LazyLock<Regex> = LazyLock::new(|| regex(r#"\b(?:validation_)?alias ?= ?"(\d+)""#));
static GIVEN: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\w+) ?(?::[^=]+)?= ?(?:\w+ ?\( ?)?(?:\w+\.)*$"));

/// Whether the app needs a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The source has a default, or tests whether there is a value.
    Optional,
    /// Without a value the app gets `None`.
    Expected,
    /// Without a value there is an error.
    Required,
}

/// One place that reads a variable.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    /// The variable.
    pub name: String,
    /// The module's file.
    pub file: &'a str,
    /// The line.
    pub line: &'a Line,
    /// The line's code before the read.
    pub before: &'a str,
    /// Whether the app needs a value here.
    pub need: Need,
}

impl Read<'_> {
    /// Where it is read.
    pub fn place(&self) -> Place {
        Place::new(self.file, self.line.number)
    }
}

/// All reads of all modules, in order.
pub fn reads(modules: &BTreeMap<String, Vec<Line>>) -> Vec<Read<'_>> {
    let imports = |pattern: &Regex, lines: &[Line]| lines.iter().any(|line| pattern.is_match(&line.code));
    let environ = modules.values().any(|lines| imports(&ENVIRON, lines));
    let mut found = Vec::new();
    for (file, lines) in modules {
        let module = Module { file, lines, environ, decouple: imports(&DECOUPLE, lines) };
        (0..lines.len()).for_each(|index| module.line(index, &mut found));
        found.extend(module.settings());
    }
    found
}

struct Module<'a> {
    file: &'a str,
    lines: &'a [Line],
    /// Whether `env(…)` reads a variable.
    environ: bool,
    /// Whether `config(…)` does.
    decouple: bool,
}

impl<'a> Module<'a> {
    fn read(&self, name: &str, line: &'a Line, before: &'a str, need: Need) -> Read<'a> {
        Read { name: name.to_owned(), file: self.file, line, before, need }
    }

    fn line(&self, index: usize, found: &mut Vec<Read<'a>>) {
        let line = &self.lines[index];
        for read in READ.captures_iter(&line.code) {
            let whole = read.get(0).expect("a match has a whole");
            let (before, after) = (&line.code[..whole.start()], &line.code[whole.end()..]);
            let unknown =
                (read.name("env").is_some() && !self.environ) || (read.name("config").is_some() && !self.decouple);
            let item = read.name("item").is_some();
            let rest = after.trim_start_matches([' ', ']']);
            let written = item && (before.starts_with("del ") || (rest.starts_with('=') && !rest.starts_with("==")));
            if unknown || written {
                continue;
            }
            let name = line.string(&read["name"]);
            let guarded = self.is_caught(index) || self.is_tested(name, line, before);
            let need = match item || read.name("get").is_none() {
                _ if guarded || (!item && has_default(after)) => Need::Optional,
                true => Need::Required,
                false if self.is_conditional(index) => Need::Optional,
                false => Need::Expected,
            };
            found.push(self.read(name, line, before, need));
        }
        if let Some(read) = DATABASE.captures(&line.code) {
            let arguments = &line.code[read.name("next").map_or(0, |next| next.start())..];
            let optional =
                arguments.contains("default") || self.is_conditional(index) || self.is_tested("DATABASE_URL", line, "");
            let need = if optional { Need::Optional } else { Need::Expected };
            found.push(self.read("DATABASE_URL", line, "", need));
        }
    }

    /// Whether an error of the line is caught, by an `except` that does not raise another one.
    fn is_caught(&self, index: usize) -> bool {
        let line = &self.lines[index];
        let Some(at) = self.lines[index..].iter().position(|next| next.indent < line.indent) else { return false };
        let [handler, first, ..] = &self.lines[index + at..] else { return false };
        let ends = ["raise", "sys.exit", "exit"].iter().any(|word| first.code.starts_with(word));
        handler.code.starts_with("except") && !ends
    }

    /// Whether the line is directly in a branch of an `if`.
    fn is_conditional(&self, index: usize) -> bool {
        let indent = self.lines[index].indent;
        let above = self.lines[..index].iter().rev().find(|line| line.indent < indent);
        above.is_some_and(|line| ["if ", "elif ", "else"].iter().any(|branch| line.code.starts_with(branch)))
    }

    /// Whether the code tests if there is a value: in the line itself, by its name, or by the name that it is assigned to.
    fn is_tested(&self, name: &str, line: &Line, before: &str) -> bool {
        let before = before.trim_end_matches(|c: char| c.is_alphanumeric() || "_.".contains(c));
        if ["if ", "elif ", "not ", "and ", "or ", "bool("].iter().any(|test| before.ends_with(test)) {
            return true;
        }
        let asked = |line: &Line| {
            let at = line.strings.iter().position(|text| text == name);
            at.is_some_and(|at| line.code.contains(&format!("\"{at}\" in ")) && line.code.contains("environ"))
        };
        if line.code.contains(" or ") || self.lines.iter().any(asked) {
            return true;
        }
        let Some(given) = GIVEN.captures(&line.code[..before.len()]).map(|found| found[1].to_owned()) else {
            return false;
        };
        let tests = |code: &str| {
            let asks = |at: usize| {
                let rest = code[at..].strip_prefix(&given).map(str::trim_start);
                rest.is_some_and(|rest| [":", "is not ", "and ", "else "].iter().any(|next| rest.starts_with(next)))
            };
            code.match_indices("if ").any(|(at, word)| asks(at + word.len()))
        };
        self.lines.iter().any(|line| tests(&line.code))
    }

    /// The required fields of pydantic's settings: a field without a default is read from the variable of its name.
    fn settings(&self) -> Vec<Read<'a>> {
        let mut found = Vec::new();
        for (at, class) in self.lines.iter().enumerate().filter(|(_, line)| SETTINGS.is_match(&line.code)) {
            let body: Vec<&Line> = self.lines[at + 1..].iter().take_while(|line| line.indent > class.indent).collect();
            let prefix = |line: &&Line| PREFIX.captures(&line.code).map(|found| line.string(&found[1]).to_owned());
            let prefix = body.iter().find_map(prefix).unwrap_or_default();
            let indent = body.first().map(|line| line.indent);
            for line in body.iter().filter(|line| Some(line.indent) == indent) {
                let Some(field) = FIELD.captures(&line.code) else { continue };
                let arguments = field.get(2).map_or("", |arguments| arguments.as_str());
                let alias = ALIAS.captures(arguments).map(|found| line.string(&found[1]).to_owned());
                let name = alias.unwrap_or_else(|| format!("{prefix}{}", &field[1]).to_uppercase());
                let need = if field_has_default(arguments) { Need::Optional } else { Need::Required };
                found.push(self.read(&name, line, "", need));
            }
        }
        found
    }
}

/// Whether the arguments of `Field` have a default: a first one that is not `...`, or `default=`.
fn field_has_default(arguments: &str) -> bool {
    let first = arguments.split(',').next().unwrap_or_default().trim();
    arguments.contains("default") || !(first.is_empty() || first == "..." || first.contains('='))
}

/// Whether a call has a default after its first argument: `, x)` or `default=x`; or whether another value follows it.
fn has_default(after: &str) -> bool {
    let (mut depth, mut end) = (1_usize, after.len());
    for (at, next) in after.char_indices() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            end = at;
            break;
        }
    }
    let (arguments, rest) = after.split_at(end);
    let named = |argument: &str| argument.split_once('=').is_some_and(|(name, _)| !name.contains(['(', '[', '{']));
    let given = arguments.trim_start().strip_prefix(',').map(str::trim);
    let positional = given.is_some_and(|given| !given.is_empty() && !named(given));
    let rest = rest.trim_start_matches([')', ' ']);
    let compared = ["==", "!=", "in ", "is "].iter().any(|word| rest.starts_with(word));
    positional || arguments.contains("default") || compared
}

/// Each variable, whether the app needs a value, and the first place that needs it most.
pub fn needs<'a>(reads: &[Read<'a>]) -> BTreeMap<String, Read<'a>> {
    let optional: BTreeSet<&str> =
        reads.iter().filter(|read| read.need == Need::Optional).map(|read| read.name.as_str()).collect();
    let mut found: BTreeMap<String, Read<'a>> = BTreeMap::new();
    for read in reads {
        let mut read = read.clone();
        if read.need == Need::Expected && optional.contains(read.name.as_str()) {
            read.need = Need::Optional;
        }
        match found.get(&read.name) {
            Some(known) if known.need >= read.need => {}
            _ => _ = found.insert(read.name.clone(), read),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::code;

    fn need(text: &str) -> Vec<(String, Need)> {
        let modules = BTreeMap::from([("app.py".to_owned(), code::lines(text))]);
        needs(&reads(&modules)).into_values().map(|read| (read.name, read.need)).collect()
    }

    #[track_caller]
    fn all(expected: Need, texts: &[&str]) {
        for text in texts {
            assert_eq!(need(text), [("X".to_owned(), expected)], "{text}");
        }
    }

    #[test]
    fn a_variable_without_a_default_is_required_or_expected() {
        all(
            Need::Required,
            &[
                "a = os.environ['X']\n",
                "a = environ[ \"X\" ]\n",
                "a = f(os.environ['X'], 1)\n",
                "a = os.environ['X'] == 'y'\n",
                "try:\n    a = os.environ['X']\nexcept KeyError:\n    raise SystemExit('set X')\n",
                "import environ\nenv = environ.Env()\na = env('X')\n",
                "from environs import env\na = env.str('X')\n",
                "import environ\na = env('X', cast=str)\n",
                "from decouple import config\na = config('X', cast=str)\n",
                "from starlette.config import Config\nconfig = Config('.env')\na = config('X')\n",
                "class Settings(BaseSettings):\n    x: str\n",
                "class Settings(pydantic.BaseSettings):\n    x: str = Field(...)\n",
                "class S(BaseSettings):\n    secret: SecretStr = Field(alias='X')\n",
            ],
        );
        all(
            Need::Expected,
            &[
                "a = os.environ.get('X')\n",
                "a = os.getenv( 'X' )\nif not a:\n    raise ValueError\n",
                "f(getenv('X'), 1)\n",
            ],
        );
    }

    #[test]
    fn a_default_or_a_test_makes_a_variable_optional() {
        all(
            Need::Optional,
            &[
                "a = os.environ.get('X', 'y')\n",
                "a = os.getenv('X', default=None)\n",
                "a = os.environ.get('X') or 'y'\n",
                "a = os.environ.get('X') == '1'\n",
                "if not DEBUG:\n    a = os.environ.get('X')\n",
                "if os.environ.get('X'):\n    f()\n",
                "if os.environ.get('X'):\n    f(os.environ.get('X'))\n",
                "a = b if os.environ.get('X') else c\n",
                "a = os.environ.get('X')\nif a:\n    f(a)\n",
                "a = os.environ.get('X')\nb = a if a is not None else 1\n",
                "if 'X' in os.environ:\n    a = os.environ['X']\n",
                "try:\n    a = os.environ['X']\nexcept KeyError:\n    a = None\n",
                "from environs import env\na = env.str('X', 'y')\n",
                "from decouple import config\na = config('X', default='y', cast=str)\n",
                "class Settings(BaseSettings):\n    x: str = 'y'\n    X: str = Field(default='y')\n",
            ],
        );
    }

    #[test]
    fn other_code_reads_no_variable() {
        for text in [
            "a = env('X')\n",
            "a = config('X')\n",
            "os.environ['X'] = 'y'\n",
            "del os.environ['X']\n",
            "# os.environ['X']\n",
        ] {
            assert_eq!(need(text), [], "{text}");
        }
    }

    #[test]
    fn the_place_that_needs_a_variable_most_counts() {
        assert_eq!(need("a = getenv('X', 1)\nb = os.environ['X']\n"), [("X".to_owned(), Need::Required)]);
        assert_eq!(need("a = getenv('X', 1)\nb = os.getenv('X')\n"), [("X".to_owned(), Need::Optional)]);
    }

    #[test]
    fn settings_have_a_prefix_and_a_database_has_a_name() {
        let text = "class S(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='shop_')\n    key: str\n    n: int = 1\n\n    def f(self):\n        self.y: str\n";
        assert_eq!(need(text), [("SHOP_KEY".to_owned(), Need::Required)]);
        for text in
            ["D = dj_database_url.config()\n", "D = dj_database_url.config(conn_max_age=600)\n", "D = env.db()\n"]
        {
            assert_eq!(need(text), [("DATABASE_URL".to_owned(), Need::Expected)], "{text}");
        }
        for text in [
            "D = dj_database_url.config(default='x')\n",
            "if HEROKU:\n    D = dj_database_url.config()\n",
            "D = dj_database_url.config() if 'DATABASE_URL' in os.environ else {}\n",
        ] {
            assert_eq!(need(text)[0].1, Need::Optional, "{text}");
        }
    }
}
