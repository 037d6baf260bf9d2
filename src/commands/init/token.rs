//! The variable that holds the app's token, and whether a variable signs sessions instead.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::Place;
use super::variables::{self, Read};
use crate::release::code::{Line, regex};

// `name = `, `name: str = `, `x["name"] = ` or `"name": `, followed by an optional prefix of the value, such as `os.`.
static GIVEN: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"(?:\[ ?"(\d+)" ?\] ?=|"(\d+)" ?:|\b(\w+) ?(?:: ?[\w.\[\] |]+)?=) ?(?:\w+ ?\( ?)?(?:\w+\.)*$"#)
});
static SIGNED_WITH: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\bsecret_?key ?= ?(\w+)\b"));
/// Parts of names of other secrets than the token that the app's own clients send.
const OTHERS: [&str; 32] = [
    "AWS",
    "GITHUB",
    "GITLAB",
    "SLACK",
    "STRIPE",
    "OPENAI",
    "ANTHROPIC",
    "HF_",
    "HUGGING",
    "TWILIO",
    "SENTRY",
    "TELEGRAM",
    "DISCORD",
    "JWT",
    "CSRF",
    "PREVIOUS",
    "SIGNING",
    "COOKIE",
    "WEBHOOK",
    "AZURE",
    "GOOGLE",
    "FIREBASE",
    "MAILGUN",
    "MAPBOX",
    "PAYPAL",
    "POSTMARK",
    "RESEND",
    "SENDGRID",
    "SHOPIFY",
    "SUPABASE",
    "SECRET_KEY",
    "SECRETKEY",
];

/// Usual names of the variable with a framework's own key for sessions.
pub const SESSION_KEYS: [&str; 5] =
    ["SECRET_KEY", "DJANGO_SECRET_KEY", "FLASK_SECRET_KEY", "APP_SECRET_KEY", "SESSION_SECRET"];

/// The environment variable that most likely holds the app's token, and where it is read.
pub fn token(modules: &BTreeMap<String, Vec<Line>>) -> Option<(String, Place)> {
    let reads = variables::reads(modules);
    let likely = reads.iter().filter(|read| !signs(read, modules));
    let ranked = likely.filter_map(|read| likeness(&read.name).map(|rank| (rank, read)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, read)| (read.name.clone(), read.place()))
}

/// Whether the value signs sessions or JWTs, by the code before it in the line: the name that it is assigned to and the uses of
/// that name, or the call that it is passed to.
fn signs(read: &Read<'_>, modules: &BTreeMap<String, Vec<Line>>) -> bool {
    let signing = |name: &str| {
        let upper = name.to_uppercase();
        ["SECRET_KEY", "SECRETKEY", "JWT", "SIGNING"].iter().any(|part| upper.contains(part))
    };
    match given(read) {
        _ if read.before.contains("jwt.") => true,
        Given::Nothing => false,
        Given::Key(key) => signing(key),
        Given::Name(name) => {
            let used = |code: &str| code.contains("jwt.") || signing_argument(code, name);
            signing(name) || uses(modules, name).any(used)
        }
    }
}

/// Whether the value is the framework's own key for sessions, which any random text can be: Django's and Flask's `SECRET_KEY`.
pub fn is_session_key(read: &Read<'_>, modules: &BTreeMap<String, Vec<Line>>) -> bool {
    let key = |name: &str| name.eq_ignore_ascii_case("SECRET_KEY");
    let given = match given(read) {
        Given::Nothing => false,
        Given::Key(name) => key(name),
        Given::Name(name) => key(name) || uses(modules, name).any(|code| signing_argument(code, name)),
    };
    given || SESSION_KEYS.contains(&read.name.as_str())
}

/// The name that a value is assigned to.
enum Given<'a> {
    Nothing,
    /// `x["name"] = ` or `"name": `
    Key(&'a str),
    /// `name = `, also as an argument.
    Name(&'a str),
}

fn given<'a>(read: &Read<'a>) -> Given<'a> {
    let Some(found) = GIVEN.captures(read.before) else { return Given::Nothing };
    match (found.get(1).or_else(|| found.get(2)), found.get(3)) {
        (Some(index), _) => Given::Key(read.line.string(index.as_str())),
        (_, Some(name)) => Given::Name(name.as_str()),
        _ => Given::Nothing,
    }
}

/// The lines that contain this name as a word.
fn uses<'a>(modules: &'a BTreeMap<String, Vec<Line>>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let word = move |code: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == name);
    modules.values().flatten().map(|line| line.code.as_str()).filter(move |code| word(code))
}

/// `secret_key = NAME`, also as an argument.
fn signing_argument(code: &str, name: &str) -> bool {
    SIGNED_WITH.captures_iter(code).any(|found| &found[1] == name)
}

/// A rank: less is more likely.
fn likeness(name: &str) -> Option<usize> {
    if name == "APP_SECRET_TOKEN" {
        return Some(0);
    }
    let upper = name.to_uppercase();
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let other = OTHERS.iter().any(|other| upper.contains(other));
    if !plain || name.starts_with(|c: char| c.is_ascii_digit()) || other {
        return None;
    }
    ["TOKEN", "API_KEY", "APIKEY", "SECRET"].iter().position(|part| upper.contains(part)).map(|rank| rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::code;

    #[test]
    fn variables_are_ranked_by_their_names() {
        let order = ["APP_SECRET_TOKEN", "MY_TOKEN", "SHOP_API_KEY", "CLIENT_SECRET"];
        assert!(order.map(likeness).windows(2).all(|pair| pair[0] < pair[1]));
        for other in ["SECRET_KEY", "DJANGO_SECRET_KEY", "GITHUB_TOKEN", "AWS_SESSION_TOKEN", "PORT", "", "A TOKEN"] {
            assert_eq!(likeness(other), None, "{other}");
        }
    }

    fn modules(text: &str) -> BTreeMap<String, Vec<Line>> {
        BTreeMap::from([("app.py".to_owned(), code::lines(text))])
    }

    #[test]
    fn a_signing_key_is_not_the_token() {
        for text in [
            "app = Starlette(secret_key=os.environ.get('SHOP_SECRET'))\n",
            "app.secret_key = os.environ.get('SHOP_SECRET', 'dev')\n",
            "app.config['SECRET_KEY'] = os.environ['SHOP_SECRET']\n",
            "app.config.update({'SECRET_KEY': os.getenv('SHOP_SECRET')})\n",
            "SECRET_KEY: str = str(os.environ['SHOP_SECRET'])\n",
            "user = jwt.decode(sent, os.environ['AUTH_TOKEN'], algorithms=['HS256'])\n",
            "KEY = os.environ['AUTH_TOKEN']\ndef user(sent):\n    return jwt.decode(sent, KEY)\n",
            "KEY = os.environ['SHOP_SECRET']\napp.secret_key = KEY\n",
            "key = os.environ['JWT_SECRET']\n",
            "key = os.environ['SECRET_KEY_BASE']\n",
        ] {
            assert_eq!(token(&modules(text)), None, "{text}");
            let both = format!("{text}right = request.token == os.environ['SHOP_API_KEY']\n");
            assert_eq!(token(&modules(&both)).unwrap().0, "SHOP_API_KEY", "{text}");
        }
        for text in ["TOKEN = os.environ['SHOP_TOKEN']\n", "right = sent == f('x') + os.environ['SHOP_TOKEN']\n"] {
            assert_eq!(token(&modules(text)).unwrap().0, "SHOP_TOKEN", "{text}");
        }
    }
}
