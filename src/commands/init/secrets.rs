//! The secrets that the app needs: variables that the source reads without a default, or that a template of the environment,
//! `app.json` or the `Procfile` names, if their names are those of secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use super::settings::{PREFIXED, join};
use super::variables::{self, Need};
use super::{Files, Place, token};
use crate::config;
use crate::release::code::{Line, regex};

/// Templates of the environment, without values that are secret.
pub const TEMPLATES: [&str; 6] =
    [".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env"];

/// The names of secrets, as in `agent/logs/masking.py`: the agent masks the values of such settings, too.
const NAMES: &str =
    r"KEYS?(_|$)|TOKEN|SECRET|PASSWORD|PASS(WD|PHRASE)?(_|$)|PWD|CREDENTIAL|PRIVATE|AUTH(_|$)|SALT|DSN|WEBHOOK";
static NAMED: LazyLock<Regex> = LazyLock::new(|| regex(NAMES));
// URLs that usually contain a password.
static STORES: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(DATABASE|DB|POSTGRES\w*|PG|MYSQL|MARIADB|MONGO\w*|REDIS\w*|CACHE|AMQP|RABBITMQ\w*|BROKER|CELERY_RESULT_BACKEND|CLOUDINARY|SMTP|EMAIL)(_URL|_URI|URL|URI)$",
    )
});
// Names of facts about a secret, such as `TOKEN_LIFETIME`.
static ABOUT: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^HTTP_|PUBLIC|PUBLISHABLE|(_URL|_URI|_DOMAIN|_HOST|_PORT|_TTL|_LIFETIME|_EXPIR\w*|_SECONDS|_MINUTES|_HOURS|_DAYS|_TIMEOUT|_ALGORITHM|_ISSUER|_AUDIENCE|_HEADER|_PATH|_FILE|_DIR|_NAME|_PREFIX|_TYPE|_LENGTH|_BACKEND|_CLASS|_ENABLED|_REQUIRED|_USER|_USERNAME|_ID)$",
    )
});
static LOGIN: LazyLock<Regex> = LazyLock::new(|| regex(r"://[^/\s:@]*:[^/\s@]+@"));
static LINE: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*(?:export\s+)?(\w+)\s*=(.*)$"));
// `$NAME` and `${NAME}`, but not `${NAME:-default}`.
static SHELL: LazyLock<Regex> = LazyLock::new(|| regex(r"\$(?:(\w+)|\{(\w+)\})"));

/// Variables that every process has, or that only a program for development needs.
const GIVEN: [&str; 10] =
    ["HOME", "HOSTNAME", "LANG", "PATH", "PORT", "PWD", "STATE_DIRECTORY", "TMPDIR", "USER", "DJANGO_SETTINGS_MODULE"];

/// A secret that the app needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The variable.
    pub name: String,
    /// Where the project names it.
    pub place: Place,
    /// Whether any random text can be its value, so that `up` can generate it.
    pub generate: bool,
}

/// The secrets that the app in a folder needs, by name. `token`: the variable of the token, which is none of them.
pub fn needed(files: &Files, folder: &str, token: &str) -> Vec<Secret> {
    let modules = modules(files, folder);
    let reads = variables::reads(&modules);
    let needs = variables::needs(&reads);
    let mut found: BTreeMap<String, Secret> = BTreeMap::new();
    for (name, read) in &needs {
        // A default in the source is known to everyone with the code, so sessions need another key.
        let generate = token::is_session_key(read, &modules);
        if generate || (read.need != Need::Optional && is_secret(name)) {
            found.insert(name.clone(), Secret { name: name.clone(), place: read.place(), generate });
        }
    }
    for secret in prefixed(&modules) {
        found.entry(secret.name.clone()).or_insert(secret);
    }
    let named = ["", folder].into_iter().collect::<BTreeSet<_>>();
    for secret in named.into_iter().flat_map(|folder| in_files(files, folder)) {
        let optional = needs.get(&secret.name).is_some_and(|read| read.need == Need::Optional);
        if let Some(known) = found.get_mut(&secret.name) {
            known.generate |= secret.generate;
        } else if !optional {
            found.insert(secret.name.clone(), secret);
        }
    }
    let can_be = |name: &str| config::is_variable(name) && !config::is_token(name, token);
    found.into_values().filter(|secret| can_be(&secret.name)).collect()
}

/// Flask's key for sessions, if the app reads its configuration from all variables with a prefix.
fn prefixed(modules: &BTreeMap<String, Vec<Line>>) -> Vec<Secret> {
    let all = modules.iter().flat_map(|(file, lines)| lines.iter().map(move |line| (file, line)));
    let found = all.filter_map(|(file, line)| {
        let found = PREFIXED.captures(&line.code)?;
        let prefix = found.get(1).map_or("FLASK", |index| line.string(index.as_str()));
        Some(Secret { name: format!("{prefix}_SECRET_KEY"), place: Place::new(file, line.number), generate: true })
    });
    found.collect()
}

/// The variables that are no secrets, and without which the app fails. `env`: those that have a value.
pub fn unset(files: &Files, folder: &str, token: &str, env: &BTreeMap<String, String>) -> Vec<(String, Place)> {
    let modules = modules(files, folder);
    let reads = variables::reads(&modules);
    let needs = variables::needs(&reads).into_iter().filter(|(_, read)| read.need == Need::Required);
    let is_unset = |name: &str| {
        let known = env.contains_key(name) || GIVEN.contains(&name) || config::is_token(name, token);
        !known && !is_secret(name) && config::is_variable(name)
    };
    needs.filter(|(name, _)| is_unset(name)).map(|(name, read)| (name, read.place())).collect()
}

fn modules(files: &Files, folder: &str) -> BTreeMap<String, Vec<Line>> {
    files.modules().into_iter().filter(|(file, _)| files.below(folder).any(|(name, _)| name == file)).collect()
}

/// Whether a variable of this name usually holds a secret.
pub fn is_secret(name: &str) -> bool {
    let upper = name.to_uppercase();
    let named =
        NAMED.is_match(&upper) && (!ABOUT.is_match(&upper) || upper.ends_with("KEY_ID") || upper.contains("WEBHOOK"));
    named || STORES.is_match(&upper)
}

/// The secrets that other files than modules name.
fn in_files(files: &Files, folder: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    let secret = |name: &str, file: &str, line: usize| Secret {
        name: name.to_owned(),
        place: Place::new(file, line),
        generate: token::SESSION_KEYS.contains(&name),
    };
    let lines = |file: &str| {
        files
            .text(file)
            .unwrap_or_default()
            .lines()
            .zip(1..)
            .map(|(text, line)| (text.to_owned(), line))
            .collect::<Vec<_>>()
    };
    for file in TEMPLATES.map(|name| join(folder, name)) {
        for (text, line) in lines(&file) {
            let Some(set) = LINE.captures(&text) else { continue };
            if is_secret(&set[1]) || LOGIN.is_match(&set[2]) {
                found.push(secret(&set[1], &file, line));
            }
        }
    }
    let file = join(folder, "Procfile");
    for (text, line) in lines(&file) {
        let names = SHELL
            .captures_iter(&text)
            .filter_map(|used| used.get(1).or_else(|| used.get(2)).map(|name| name.as_str().to_owned()));
        found.extend(names.filter(|name| is_secret(name)).map(|name| secret(&name, &file, line)));
    }
    found.extend(in_app_json(files, &join(folder, "app.json")));
    found
}

/// The variables of Heroku's `app.json` that have neither a value nor `required: false`.
fn in_app_json(files: &Files, file: &str) -> Vec<Secret> {
    let text = files.text(file).unwrap_or_default();
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else { return Vec::new() };
    let variables = json["env"].as_object().into_iter().flatten();
    let needed = variables.filter_map(|(name, about)| {
        let generate = about["generator"] == "secret";
        let valued = about.is_string() || about["value"].as_str().is_some_and(|value| !value.is_empty());
        let optional = about["required"] == false || valued;
        if !generate && (optional || !is_secret(name)) {
            return None;
        }
        let line = text.lines().position(|line| line.contains(&format!("\"{name}\""))).unwrap_or_default() + 1;
        Some(Secret { name: name.clone(), place: Place::new(file, line), generate })
    });
    needed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names, each with `*` if it is generated.
    fn names(list: &[(&str, &str)]) -> Vec<String> {
        let mut files = Files::default();
        list.iter().for_each(|(name, text)| files.add(*name, *text));
        let mark = |secret: Secret| format!("{}{}", secret.name, if secret.generate { "*" } else { "" });
        needed(&files, "", "APP_SECRET_TOKEN").into_iter().map(mark).collect()
    }

    #[test]
    fn the_agent_has_the_same_names() {
        assert!(include_str!("../../../agent/logs/masking.py").contains(NAMES));
    }

    #[test]
    fn the_source_tells_which_secrets_are_needed() {
        let django = "import environ
env = environ.Env(DEBUG=(bool, False))
SECRET_KEY = env('DJANGO_SECRET_KEY', default='dev')
DATABASES = {'default': env.db()}
EMAIL_HOST = env('EMAIL_HOST')
EMAIL_HOST_PASSWORD = env('EMAIL_HOST_PASSWORD')
SENTRY_DSN = env('SENTRY_DSN', default='')
TOKEN_LIFETIME = env.int('TOKEN_LIFETIME')
";
        assert_eq!(
            names(&[("shop/settings.py", django)]),
            ["DATABASE_URL", "DJANGO_SECRET_KEY*", "EMAIL_HOST_PASSWORD"]
        );
        let flask = "app.config['SECRET_KEY'] = os.environ['SHOP_SECRET']
stripe.api_key = os.environ.get('STRIPE_SECRET_KEY')
url = os.getenv('REDIS_URL', 'redis://localhost')
token = os.environ['APP_SECRET_TOKEN'], os.environ.get('APP_SECRET_TOKEN_PREVIOUS')
key = os.environ['PUBLIC_KEY'], environ['HTTP_X_API_KEY'], os.environ['GREETING'], os.environ['AUTH_URL']
";
        assert_eq!(names(&[("app.py", flask)]), ["SHOP_SECRET*", "STRIPE_SECRET_KEY"]);
    }

    #[test]
    fn a_variable_without_a_value_is_found() {
        let mut files = Files::default();
        let source = "a = os.environ['REGION']\nb = os.environ['API_KEY'], os.environ['PORT'], os.environ['SITE'], os.getenv('C')\n";
        files.add("app.py", source);
        files.add("tools/a.py", "a = os.environ['OTHER']\n");
        let env = BTreeMap::from([("SITE".to_owned(), "x".to_owned())]);
        let found =
            |folder| unset(&files, folder, "A", &env).into_iter().map(|(name, place)| format!("{place} {name}"));
        assert_eq!(found("").collect::<Vec<_>>(), ["tools/a.py:1 OTHER", "app.py:1 REGION"]);
        assert_eq!(found("tools").collect::<Vec<_>>(), ["tools/a.py:1 OTHER"]);
    }

    #[test]
    fn other_files_name_secrets_too() {
        let template = "# A=b\nMAILGUN_API_KEY=\nexport SITE_URL=https://example.com\nUPSTREAM=http://u:p@example.com\nSECRET_KEY=change-me\nDEBUG=1\nSMTP_PASSWORD=x\n";
        let source = ("app.py", "password = os.environ.get('SMTP_PASSWORD', '')\n");
        for name in TEMPLATES {
            assert_eq!(names(&[(name, template), source]), ["MAILGUN_API_KEY", "SECRET_KEY*", "UPSTREAM"], "{name}");
        }
        let json = r#"{"env": {"COOKIE_SALT": {"generator": "secret"}, "API_KEY": {"required": true}, "B_KEY": "x",
            "C_KEY": {"value": "x"}, "D_KEY": {"required": false}, "WEB_CONCURRENCY": {"description": "x"}}}"#;
        assert_eq!(names(&[("app.json", json)]), ["API_KEY", "COOKIE_SALT*"]);
        assert_eq!(names(&[("app.json", "[")]), [""; 0]);
        let procfile = "web: gunicorn -b :$PORT app\nworker: celery -b $REDIS_URL -p ${A_PASSWORD} ${B_PASSWORD:-x}\n";
        assert_eq!(names(&[("Procfile", procfile)]), ["A_PASSWORD", "REDIS_URL"]);
    }

    #[test]
    fn flask_reads_its_key_from_a_variable_with_its_prefix() {
        assert_eq!(names(&[("app.py", "app.config.from_prefixed_env()\n")]), ["FLASK_SECRET_KEY*"]);
        assert_eq!(names(&[("app.py", "app.config.from_prefixed_env(prefix='SHOP')\n")]), ["SHOP_SECRET_KEY*"]);
    }

    #[test]
    fn a_secret_has_the_place_that_names_it() {
        let mut files = Files::default();
        files.add("backend/app.json", "{\"env\": {\n  \"API_KEY\": {}\n}}");
        files.add("backend/app.py", "\nkey = os.environ['B_KEY']\n");
        files.add("tools/admin.py", "key = os.environ['C_KEY']\n");
        let places: Vec<String> =
            needed(&files, "backend", "A").iter().map(|secret| format!("{} {}", secret.name, secret.place)).collect();
        assert_eq!(places, ["API_KEY backend/app.json:2", "B_KEY backend/app.py:2"]);
    }
}
