//! Django's settings: the module that the deployment uses, and the settings that decide whether clients reach the app.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::settings::join;
use super::variables::{self, Need};
use super::{Candidate, Files, Place};
use crate::config;
use crate::release::code::{self, Line, regex};

const MODULE: &str = "DJANGO_SETTINGS_MODULE";
/// The names of settings modules for production.
const PRODUCTION: [&str; 5] = ["production", "prod", "deploy", "deployment", "live"];
/// Texts that settings read as true.
const TRUE: [&str; 5] = ["1", "true", "yes", "on", "y"];

static NAMED: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"environ(?:\.(setdefault) ?\(| ?\[) ?"(\d+)" ?(?:,|\] ?=) ?"(\d+)""#));
static ASSIGN: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\w+) ?(?::[^=]*)?\+?= ?([^=].*)$"));
static MODULE_NAME: LazyLock<Regex> = LazyLock::new(|| regex(r"^[A-Za-z_]\w*(?:\.\w+)*$"));

/// A setting that development and a deployment need differently.
struct Rule {
    setting: &'static str,
    /// The value of the variable that the setting is read from, and why.
    value: &'static str,
    why: &'static str,
    /// The meaning of a literal that does not suit a deployment.
    literal: &'static str,
}

const RULES: [Rule; 3] = [
    Rule {
        setting: "ALLOWED_HOSTS",
        value: "*",
        why: "over HTTPS, the proxy refuses other hosts than the deployment's",
        literal: "must contain the deployment's domain or address. \"*\" is safe over HTTPS, because the proxy refuses other hosts",
    },
    Rule {
        setting: "DEBUG",
        value: "0",
        why: "clients must not see settings in errors",
        literal: "is on, so clients see settings and code in errors: read it from a variable, and set that in app.env",
    },
    Rule {
        setting: "SECURE_SSL_REDIRECT",
        value: "0",
        why: "the proxy redirects HTTP; the sandbox has no HTTPS",
        literal: "is not needed, because the proxy redirects HTTP to HTTPS. Over plain HTTP, as in the sandbox, it makes the app unreachable",
    },
];

/// A variable for `app.env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Why it has this value.
    pub why: String,
    /// Where the source reads it.
    pub place: Place,
}

/// The findings about Django's settings.
#[derive(Clone, Debug, Default)]
pub struct Django {
    /// The variables that the deployment needs.
    pub env: Vec<Setting>,
    /// The settings modules that the deployment does not import.
    pub unused: BTreeSet<String>,
    /// Settings that do not suit a deployment.
    pub warnings: Vec<String>,
}

impl Django {
    /// The findings for an app; none if it is not Django.
    pub fn new(files: &Files, app: &Candidate) -> Self {
        let modules = files.modules();
        let default = modules.get(&app.place.file).and_then(|lines| named(lines));
        let Some(default) = default.filter(|_| app.framework.is_django()) else { return Self::default() };
        let manage = modules.get(&join(&app.root, "manage.py")).and_then(|lines| named(lines));
        let chosen = match default.can_be_set {
            true => production(files, &app.root, &default.module).unwrap_or_else(|| default.module.clone()),
            false => default.module.clone(),
        };
        let Some(file) = file_of(files, &app.root, &chosen) else { return Self::default() };
        let (used, unused) = used(&modules, &file);
        let differs = [Some(&default), manage.as_ref()].into_iter().flatten().find(|named| named.module != chosen);
        let module = differs.filter(|named| named.can_be_set).map(|named| Setting {
            name: MODULE.to_owned(),
            value: chosen.clone(),
            why: format!("the default is {}", named.module),
            place: Place::new(&app.place.file, default.line),
        });
        let mut found = Self { env: module.into_iter().collect(), unused, warnings: Vec::new() };
        RULES.iter().for_each(|rule| found.apply(rule, &used));
        found
    }

    /// `app.env`
    pub fn variables(&self) -> BTreeMap<String, String> {
        self.env.iter().map(|setting| (setting.name.clone(), setting.value.clone())).collect()
    }

    /// Applies a rule to the line that assigns its setting: a module overrides what it imports, and a later line an earlier one.
    fn apply(&mut self, rule: &Rule, used: &[(&String, &Vec<Line>)]) {
        let assigned = used.iter().find_map(|(file, lines)| {
            let line = lines.iter().rev().find_map(|line| Some((line, value(line, rule.setting)?)));
            line.map(|(line, value)| (*file, line, value))
        });
        let Some((file, line, value)) = assigned else { return };
        let modules: BTreeMap<String, Vec<Line>> =
            used.iter().map(|(file, lines)| ((*file).clone(), (*lines).clone())).collect();
        let reads = variables::reads(&modules);
        let read = reads.iter().find(|read| read.file == file && read.line.number == line.number);
        match read.filter(|read| config::is_variable(&read.name)) {
            Some(read) if rule.setting == "ALLOWED_HOSTS" || read.need == Need::Required || is_true(line) => {
                self.env.push(Setting {
                    name: read.name.clone(),
                    value: rule.value.to_owned(),
                    why: rule.why.to_owned(),
                    place: read.place(),
                });
            }
            None if is_literal(rule, line, value) => {
                self.warnings.push(format!("{}: {} {}", Place::new(file, line.number), rule.setting, rule.literal));
            }
            _ => {}
        }
    }
}

/// The value that a line assigns to a setting.
fn value<'a>(line: &'a Line, setting: &str) -> Option<&'a str> {
    let found = ASSIGN.captures(&line.code).filter(|found| &found[1] == setting)?;
    found.get(2).map(|value| value.as_str().trim())
}

/// Whether a variable's default in the line is true.
fn is_true(line: &Line) -> bool {
    line.code.contains("True") || line.strings.iter().any(|text| TRUE.contains(&text.to_lowercase().as_str()))
}

/// Whether a value in the source does not suit a deployment.
fn is_literal(rule: &Rule, line: &Line, value: &str) -> bool {
    match rule.setting {
        "ALLOWED_HOSTS" => value.starts_with(['[', '(']) && !line.strings.iter().any(|host| host == "*"),
        _ => ["True", "not DEBUG"].contains(&value),
    }
}

/// The settings module that a module names.
struct Named {
    line: usize,
    module: String,
    /// Whether the variable of the environment wins.
    can_be_set: bool,
}

fn named(lines: &[Line]) -> Option<Named> {
    lines.iter().find_map(|line| {
        let found = NAMED.captures(&line.code).filter(|found| line.string(&found[2]) == MODULE)?;
        let module = line.string(&found[3]).to_owned();
        let can_be_set = found.get(1).is_some();
        MODULE_NAME.is_match(&module).then_some(Named { line: line.number, module, can_be_set })
    })
}

/// The settings module for production, if there is one beside the default.
fn production(files: &Files, root: &str, default: &str) -> Option<String> {
    let (parent, last) = default.rsplit_once('.').map_or(("", default), |(parent, last)| (parent, last));
    if PRODUCTION.iter().any(|name| last.ends_with(name)) {
        return None;
    }
    let package = file_of(files, root, default).is_some_and(|file| file.ends_with("/__init__.py"));
    // A package that contains settings chooses among its modules itself.
    let chooses =
        package && files.text(&file_of(files, root, default)?).is_some_and(|text| !code::lines(text).is_empty());
    let beside = |name: &str| match () {
        () if package => format!("{default}.{name}"),
        () if last.starts_with("settings") => format!("{parent}.settings_{name}").trim_start_matches('.').to_owned(),
        () => format!("{parent}.{name}").trim_start_matches('.').to_owned(),
    };
    let names = PRODUCTION.iter().map(|name| beside(name)).filter(|_| !chooses);
    names.into_iter().find(|name| file_of(files, root, name).is_some())
}

/// The file of a module.
fn file_of(files: &Files, root: &str, module: &str) -> Option<String> {
    let path = join(root, &module.replace('.', "/"));
    [format!("{path}.py"), format!("{path}/__init__.py")].into_iter().find(|file| files.has(file))
}

/// The settings modules that are imported, the given one first, and those beside them that are not.
fn used<'a>(
    modules: &'a BTreeMap<String, Vec<Line>>,
    file: &str,
) -> (Vec<(&'a String, &'a Vec<Line>)>, BTreeSet<String>) {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let beside = |other: &str| {
        let (parent, name) = other.rsplit_once('/').unwrap_or(("", other));
        let settings = folder.rsplit('/').next() == Some("settings") || name.contains("settings");
        parent == folder && settings
    };
    let mut rest: Vec<_> = modules.iter().filter(|(other, _)| beside(other)).collect();
    let mut used: Vec<(&String, &Vec<Line>)> = Vec::new();
    let mut next: Vec<_> = rest.extract_if(.., |(other, _)| *other == file).collect();
    while let Some((name, lines)) = next.pop() {
        used.push((name, lines));
        next.extend(rest.extract_if(.., |(other, _)| stem(other) == "__init__" || imports(lines, stem(other))));
    }
    (used, rest.into_iter().map(|(name, _)| name.clone()).collect())
}

fn stem(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file).trim_end_matches(".py")
}

/// Whether a settings module imports another one, or includes it by the name of its file.
fn imports(lines: &[Line], stem: &str) -> bool {
    let word = |code: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == stem);
    lines.iter().any(|line| {
        let import = line.code.starts_with("from ") || line.code.starts_with("import ");
        (import && word(&line.code)) || line.strings.iter().any(|text| word(text.trim_end_matches(".py")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::init::look;

    const BASE: &str = "ALLOWED_HOSTS = []\nDEBUG = True\n";

    /// The findings for a project whose `wsgi.py` has this line, and whose `manage.py` has `config.settings.dev`.
    fn found(line: &str, settings: &[(&str, &str)]) -> Django {
        let mut files = Files::default();
        let wsgi = format!("{line}\nfrom django.core.wsgi import get_wsgi_application\napp = get_wsgi_application()\n");
        files.add("web/config/wsgi.py", wsgi);
        files.add("web/manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings.dev')\n");
        settings.iter().for_each(|(name, text)| files.add(format!("web/config/{name}.py"), *text));
        Django::new(&files, &look(&files).candidates[0])
    }

    fn default(module: &str) -> String {
        format!("os.environ.setdefault('DJANGO_SETTINGS_MODULE', '{module}')")
    }

    fn env(found: &Django) -> Vec<String> {
        found.env.iter().map(|setting| format!("{}={}", setting.name, setting.value)).collect()
    }

    #[test]
    fn the_settings_of_production_are_chosen() {
        let split = [
            ("settings/__init__", ""),
            ("settings/base", BASE),
            ("settings/dev", "from .base import *\n"),
            ("settings/prod", "from .base import *\n"),
            ("urls", ""),
        ];
        for module in ["config.settings.dev", "config.settings.base", "config.settings"] {
            let found = found(&default(module), &split);
            assert_eq!(env(&found), ["DJANGO_SETTINGS_MODULE=config.settings.prod"], "{module}");
            assert_eq!(found.unused, BTreeSet::from(["web/config/settings/dev.py".to_owned()]), "{module}");
        }
        // The build's manage.py has another default than the app.
        let found_in_wsgi = found(&default("config.settings.prod"), &split);
        assert_eq!(env(&found_in_wsgi), ["DJANGO_SETTINGS_MODULE=config.settings.prod"]);
        assert_eq!(found_in_wsgi.env[0].why, "the default is config.settings.dev");
        let flat = [("settings", BASE), ("settings_production", "from .settings import *\n"), ("settings_test", "")];
        let found_flat = found(&default("config.settings"), &flat);
        assert_eq!(env(&found_flat), ["DJANGO_SETTINGS_MODULE=config.settings_production"]);
        assert_eq!(found_flat.unused, BTreeSet::from(["web/config/settings_test.py".to_owned()]));
    }

    #[test]
    fn what_the_project_chooses_itself_stays() {
        let itself =
            [("settings/__init__", "if LIVE:\n    from .prod import *\n"), ("settings/prod", ""), ("settings/dev", "")];
        let of = |line: &str, settings: &[(&str, &str)]| env(&found(line, settings));
        assert_eq!(of(&default("config.settings"), &itself), ["DJANGO_SETTINGS_MODULE=config.settings"]);
        let fixed = "os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings.dev'";
        assert_eq!(of(fixed, &itself), [""; 0]);
        assert_eq!(of(&default("config.settings.dev"), &[("settings/dev", "")]), [""; 0]);
        for line in ["", &default("config.missing"), &default("config.settings.dev\\nname: x")] {
            assert_eq!(of(line, &itself), [""; 0], "{line}");
        }
    }

    #[test]
    fn settings_from_variables_get_values_for_a_deployment() {
        let of = |text: &str| {
            let found = found(&default("config.settings.dev"), &[("settings/dev", text)]);
            assert_eq!(found.warnings, [""; 0], "{text}");
            env(&found)
        };
        for text in [
            "ALLOWED_HOSTS = os.environ['X'].split(',')\n",
            "ALLOWED_HOSTS = []\nALLOWED_HOSTS += [os.environ.get('X', 'localhost')]\n",
            "from environ import Env\nALLOWED_HOSTS: list = env.list('X', default=['localhost'])\n",
        ] {
            assert_eq!(of(text), ["X=*"], "{text}");
        }
        for setting in ["DEBUG", "SECURE_SSL_REDIRECT"] {
            for value in ["os.environ['X'] == '1'", "os.getenv('X', 'True') == 'True'", "os.getenv('X', True)"] {
                assert_eq!(of(&format!("{setting} = {value}\n")), ["X=0"], "{value}");
            }
            assert_eq!(of(&format!("{setting} = bool(os.getenv('X'))\n")), [""; 0]);
        }
    }

    #[test]
    fn settings_that_do_not_suit_a_deployment_are_warned_of() {
        let of = |text: &str| found(&default("config.settings.dev"), &[("settings/dev", text)]).warnings;
        let said = of(&format!("{BASE}SECURE_SSL_REDIRECT = not DEBUG\n"));
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("web/config/settings/dev.py:1: ALLOWED_HOSTS must contain"), "{said:?}");
        assert!(said[1].starts_with("web/config/settings/dev.py:2: DEBUG is on"), "{said:?}");
        assert_eq!(of("ALLOWED_HOSTS = ['*']\nDEBUG = False\nSECURE_SSL_REDIRECT = False\n"), [""; 0]);
        let over =
            [("settings/base", BASE), ("settings/prod", "from .base import *\nDEBUG = False\nALLOWED_HOSTS = ['*']\n")];
        assert_eq!(found(&default("config.settings.prod"), &over).warnings, [""; 0], "the last value counts");
    }
}
