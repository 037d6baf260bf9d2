//! Logins in URLs, such as those of package indexes. No error, log or release may contain one.

use std::sync::LazyLock;

use regex::Regex;

use super::child;

/// The user and the password of a URL: up to the last `@` before the path.
static LOGIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(://)[^\s/'"`<>]*@"#).expect("a regex"));
/// The login and the host of a URL.
static HTTP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"https?://([^\s/'"`<>]*)@([^\s/'"`<>@:]+)"#).expect("a regex"));
/// A variable, as in requirements files and in a `pyproject.toml`.
static VARIABLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$?\{[^{}]*\}").expect("a regex"));
/// The ends of the names of variables with passwords.
const PASSWORDS: [&str; 2] = ["_PASSWORD", "_TOKEN"];
/// A shorter text is not replaced, because it may be a part of any word.
const SHORTEST: usize = 4;
/// A user name of this length is a token. Keyrings have names such as `oauth2accesstoken` for their users.
const TOKEN: usize = 20;
const MASK: &str = "****";

/// The text without logins.
pub fn masked(text: &str) -> String {
    // A password with a slash does not look like a login.
    let known = in_environment().into_iter().fold(text.to_owned(), |text, secret| text.replace(&secret, MASK));
    LOGIN.replace_all(&known, format!("${{1}}{MASK}@")).into_owned()
}

/// The host of the first URL with a password or a token. A variable is neither.
pub fn host_with_login(text: &str) -> Option<String> {
    let logs_in = |found: &regex::Captures<'_>| {
        let login = VARIABLE.replace_all(&found[1], "").into_owned();
        let (user, password) = login.split_once(':').unwrap_or((&login, ""));
        !password.is_empty() || user.len() >= TOKEN
    };
    HTTP.captures_iter(text).find(logs_in).map(|found| found[2].to_owned())
}

/// The passwords in the variables for uv and pip.
fn in_environment() -> Vec<String> {
    let settings = child::installer_settings();
    let texts = settings.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let secrets = texts.flat_map(|(name, value)| match PASSWORDS.iter().any(|end| name.ends_with(end)) {
        true => vec![value],
        false => value.split_whitespace().filter_map(password).collect(),
    });
    secrets.filter(|secret| secret.len() >= SHORTEST).collect()
}

/// The password of a URL, else its user, which may be a token.
fn password(url: &str) -> Option<String> {
    let (login, _) = url.split_once("://")?.1.rsplit_once('@')?;
    Some(login.split_once(':').map_or(login, |(_, password)| password).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_masked_and_the_rest_of_a_url_is_not() {
        for (text, expected) in [
            ("cannot fetch https://me:p%40ss@example.com/simple/x/", "cannot fetch https://****@example.com/simple/x/"),
            ("'http://me:p@ss@127.0.0.1:abc/'", "'http://****@127.0.0.1:abc/'"),
            ("x @ git+https://token@example.com/x@v1", "x @ git+https://****@example.com/x@v1"),
            ("https://example.com/x@v1 me@example.com", "https://example.com/x@v1 me@example.com"),
        ] {
            assert_eq!(masked(text), expected);
        }
        assert_eq!(password("company=https://me:a/b@c@example.com/simple"), Some("a/b@c".to_owned()));
        assert_eq!(password("https://token@example.com/"), Some("token".to_owned()));
        assert_eq!(password("https://example.com/"), None);
    }

    #[test]
    fn a_variable_is_no_login() {
        let token = format!("https://{}@example.com/x", "x".repeat(TOKEN));
        for text in ["--index-url https://me:secret@example.com/simple", "'https://:secret@example.com'", &token] {
            assert_eq!(host_with_login(text).as_deref(), Some("example.com"), "{text}");
        }
        for text in [
            "https://${UV_USER}:${UV_PASSWORD}@example.com/simple",
            "https://me:${UV_PASSWORD}@example.com/simple",
            "x @ git+https://{env:TOKEN}@example.com/x",
            "https://oauth2accesstoken@example.com/simple",
            "git+ssh://git@example.com/x",
            "https://example.com/a:b@1",
        ] {
            assert_eq!(host_with_login(text), None, "{text}");
        }
    }
}
