//! Validates the values of `deploy.yaml`: a pure function each, which returns a hint with the error.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::IpNet;
use regex::Regex;

use super::reader::Wrong;
use super::table;

pub(super) type Checked = Result<(), Wrong>;

pub(super) fn ensure(holds: bool, what: &str, hint: &str) -> Checked {
    if holds { Ok(()) } else { Err(Wrong::new(what, hint)) }
}

/// The deployment's name, which becomes part of names in EC2, IAM, SSM and S3 and must be valid in all of them.
pub fn name(name: &str) -> Checked {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|first| first.is_ascii_lowercase());
    let rest = chars.all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == '-');
    ensure(
        first && rest && name.len() <= 31,
        "is not a valid name",
        "start with a lowercase letter; use only lowercase letters, digits and hyphens, at most 31",
    )
}

/// A region's code; only its form is checked.
pub fn region(region: &str) -> Checked {
    let parts: Vec<&str> = region.split('-').collect();
    let words =
        |parts: &[&str]| parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase()));
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let holds = parts.len() >= 3 && words(&parts[..parts.len() - 1]) && number(parts[parts.len() - 1]);
    ensure(holds, "is not a region", "write it as AWS does, for example eu-central-1 or us-east-1")
}

/// A callable that gunicorn can load.
pub fn web(target: &str) -> Checked {
    let hint = "write module:callable, for example app:app, or module:factory() for a function that creates the app";
    let Some((module, callable)) = target.split_once(':') else {
        return Err(Wrong::new("names no callable", hint));
    };
    if module.ends_with(".py") {
        return Err(Wrong::new("names a file, not a module", "omit .py, for example app:app"));
    }
    let callable = callable.strip_suffix("()").unwrap_or(callable);
    let holds = module.split('.').all(identifier) && callable.split('.').all(identifier);
    ensure(holds, "is not a module and a callable", hint)
}

fn identifier(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|next| next.is_ascii_alphanumeric() || next == '_')
}

/// The name of an environment variable.
pub fn env_key(key: &str) -> Checked {
    ensure(
        identifier(key),
        "is not a valid name for an environment variable",
        "use letters, digits and _; do not start with a digit",
    )
}

/// Whether a variable holds the token or the previous one. `token`: the variable with the token.
pub fn is_token(name: &str, token: &str) -> bool {
    name == token || name.strip_suffix("_PREVIOUS") == Some(token)
}

/// The name of a secret: a variable that neither the token nor `app.env` sets.
pub fn secret(name: &str, token: &str, env: &BTreeMap<String, String>) -> Checked {
    env_key(name)?;
    ensure(name.len() <= 100, "is longer than 100 characters", "choose a shorter name")?;
    ensure(!is_token(name, token), "holds the token", "set the token with `devopsctl set-token`")?;
    ensure(
        !env.contains_key(name),
        "is set by `app.env`",
        "remove it there if it is a secret; otherwise it is a setting and stays there",
    )
}

/// The path of a request.
pub fn url_path(path: &str) -> Checked {
    let plain = path.chars().all(|c| c.is_ascii_graphic() && c != '#');
    ensure(
        path.starts_with('/') && !path.starts_with("//") && plain,
        "is not a path",
        "start with /, for example /healthz",
    )
}

/// A path that needs no token, or all paths below it. Escapes and `..` are not allowed, because the app may read them in another
/// way; `/*` would open everything.
pub fn open_path(path: &str) -> Checked {
    let name = path.strip_suffix("/*").unwrap_or(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._~!$&'()+,=:@/-".contains(c);
    let holds = path != "/*" && path.starts_with('/') && name.chars().all(plain) && !name.contains("//");
    ensure(
        holds && !name.split('/').any(|part| matches!(part, "." | "..")),
        "is not a path that can be open",
        "write a path such as /healthz, or /static/* for all paths below; `check: none` opens the whole app",
    )
}

/// The path below which static files are served. It becomes part of paths on the instance and of the proxy's configuration.
pub fn url_prefix(prefix: &str) -> Checked {
    let holds = prefix == "/" || prefix.strip_prefix('/').is_some_and(|rest| parts(rest, "._~-"));
    ensure(
        holds,
        "is not a URL prefix",
        "write a path such as /static, without a slash at its end, or / for the whole site; \
         use letters, digits, and . _ ~ - after the first character",
    )
}

/// A folder of the app with static files.
pub fn static_folder(folder: &str) -> Checked {
    ensure(
        parts(folder, "._-"),
        "is not a folder that can be served",
        "write its path in app.path, such as staticfiles; hidden folders and app.path itself are not served",
    )
}

/// Whether each part of a path is a plain name that is not hidden. `agent/boot/validate.py` has the same rule.
fn parts(path: &str, marks: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    let name = |part: &str| (1..=100).contains(&part.len()) && !part.starts_with('.') && part.chars().all(plain);
    path.split('/').all(name) && path.split('/').count() < 10
}

/// A shell command.
pub fn command(text: &str) -> Checked {
    let holds = !text.trim().is_empty() && !text.contains('\0');
    ensure(holds, "is not a command", "write one such as `npm ci && npm run build`")
}

/// An instance type; only its form is checked.
pub fn instance_type(kind: &str) -> Checked {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let holds = kind.split_once('.').is_some_and(|(family, size)| word(family) && word(size));
    ensure(holds, "is not an instance type", "write it as AWS does, for example t3.micro or t4g.small")
}

/// A subnet's id.
pub fn subnet(id: &str) -> Checked {
    let holds =
        id.strip_prefix("subnet-").is_some_and(|rest| rest.len() >= 8 && rest.chars().all(|c| c.is_ascii_hexdigit()));
    ensure(holds, "is not a subnet's id", "write it as subnet-0123456789abcdef0, or omit it to use the default VPC")
}

/// A fully qualified domain name that is valid in DNS and in certificates.
pub fn domain(name: &str) -> Checked {
    let label = |label: &str| {
        let plain = label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let holds = name.len() <= 64 && name.contains('.') && name.split('.').all(label);
    let named = holds && name.parse::<IpAddr>().is_err();
    ensure(
        named,
        "is not a fully qualified domain name",
        "write it in lowercase, for example app.example.com; omit it to serve the app at its address",
    )
}

/// The ARN of a managed policy of the account or of AWS.
pub fn managed_policy(arn: &str) -> Checked {
    static FORM: LazyLock<Regex> = LazyLock::new(|| Regex::new(table::BOUNDARY.pattern).expect("a regex"));
    ensure(
        FORM.is_match(arn),
        "is not the ARN of a managed policy",
        "write it as arn:aws:iam::123456789012:policy/name",
    )
}

/// An HTTPS URL.
pub fn https_url(url: &str) -> Checked {
    let plain = url.chars().all(|c| c.is_ascii_graphic() && !"\"'<>\\".contains(c));
    let holds = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) && plain;
    ensure(
        holds,
        "is not an https URL",
        "write it as the certificate authority does, for example https://ca.example.com/acme/directory",
    )
}

/// A block of addresses. Host bits are dropped, as EC2 does.
pub fn cidr(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(block) = text.parse::<IpNet>() {
        return Ok(block.trunc());
    }
    let hint = match text.parse::<IpAddr>() {
        Ok(address) => format!("to allow this one address write {}", IpNet::from(address)),
        Err(_) => "write a block such as 203.0.113.0/24, or 0.0.0.0/0 for everyone".to_owned(),
    };
    Err(Wrong::new("is not a CIDR block", hint))
}

/// A tag's key. The instance reads tags from its metadata service, which allows fewer characters than EC2:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/work-with-tags-in-IMDS.html>
pub fn tag_key(key: &str) -> Checked {
    let hint = "use only letters, digits and + - = . , _ : @, at most 127";
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c));
    ensure(plain && (1..=127).contains(&key.len()), "is not valid in instance metadata", hint)?;
    ensure(!matches!(key, "." | ".." | "_index"), "is not valid in instance metadata", "choose another key")?;
    ensure(
        !key.to_ascii_lowercase().starts_with("aws:"),
        "starts with aws:, which is reserved for AWS",
        "choose another key",
    )?;
    ensure(!key.starts_with("devopsctl:"), "starts with devopsctl:, which is reserved", "choose another key")?;
    ensure(key != "Name", "is set by devopsctl", "the Name tag is devopsctl-<name>; choose another key")
}

/// A tag's value, as EC2 allows it.
pub fn tag_value(value: &str) -> Checked {
    let plain = value.chars().all(|c| c.is_alphanumeric() || " +-=._:/@".contains(c));
    ensure(
        plain && value.chars().count() <= 256,
        "is not a valid value for a tag",
        "use only letters, digits, spaces and + - = . _ : / @, at most 256",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<T>(check: impl Fn(&str) -> Result<T, Wrong>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(check(text).is_ok(), "{text:?} should be valid");
        }
        for text in bad {
            assert!(check(text).is_err(), "{text:?} should be invalid");
        }
    }

    #[test]
    fn names() {
        let longest = "a".repeat(31);
        all(name, &["a", "hello", "a-1", &longest], &["", "1a", "-a", "Hello", "a_b", "a.b", "é", &"a".repeat(32)]);
    }

    #[test]
    fn regions() {
        all(
            region,
            &["eu-central-1", "us-gov-west-1", "ap-southeast-10"],
            &["", "eu", "eu-central", "EU-central-1", "eu--1", "eu-central-1a"],
        );
    }

    #[test]
    fn web_targets() {
        all(
            web,
            &["app:app", "pkg.web:create_app()", "a:b.c", "_x:y1"],
            &["app", "app:", ":app", "app.py:app", "a b:c", "app:app(1)", "a:b:c", "1a:b", "app:app;import os"],
        );
    }

    #[test]
    fn paths() {
        all(url_path, &["/", "/healthz", "/a?b=c"], &["", "healthz", "//evil", "/a b", "/é", "/a#b", "/a\n"]);
    }

    #[test]
    fn url_prefixes_and_folders() {
        let (long, deep) = (format!("/{}", "a".repeat(101)), "/a".repeat(10));
        all(
            url_prefix,
            &["/", "/static", "/a/b.c/~d_e-f"],
            &[
                "", "static", "/static/", "//a", "/a//b", "/.a", "/a/..", "/a*", "/{x}", "/a b", "/é", "/a\n", &long,
                &deep,
            ],
        );
        all(
            static_folder,
            &["staticfiles", "frontend/dist", "a.b/_c-d"],
            &["", ".", "/etc", "a/", "a//b", "../a", "a/../b", ".git", "a/.b", "a b", "a\\b", "~", "a\0"],
        );
    }

    #[test]
    fn instance_types() {
        all(
            instance_type,
            &["t3.micro", "m7i-flex.large", "u-6tb1.metal"],
            &["", "t3", "t3.", ".micro", "T3.micro", "t3 micro"],
        );
    }

    #[test]
    fn managed_policies() {
        all(
            managed_policy,
            &[
                "arn:aws:iam::123456789012:policy/devopsctl-boundary",
                "arn:aws:iam::aws:policy/PowerUserAccess",
                "arn:aws-us-gov:iam::123456789012:policy/team/a.b@c",
            ],
            &[
                "",
                "devopsctl-boundary",
                "arn:aws:iam::123456789012:role/x",
                "arn:aws:iam::1234:policy/x",
                "arn:aws:iam::123456789012:policy/",
                "arn:aws:iam::123456789012:policy/ü",
                "arn:aws-:iam::123456789012:policy/x",
                "arn:awsx:iam::123456789012:policy/x",
            ],
        );
    }

    #[test]
    fn subnets() {
        all(
            subnet,
            &["subnet-0123456789abcdef0", "subnet-1234abcd"],
            &["", "subnet-", "vpc-0123456789abcdef0", "subnet-xyz45678"],
        );
    }

    #[test]
    fn domains() {
        let long = format!("{}.example.com", "a".repeat(64));
        all(
            domain,
            &["example.com", "a-1.b.example.co", "xn--mnchen-3ya.de"],
            &["", "localhost", "a..b", "-a.de", "a-.de", "A.de", "a_b.de", "203.0.113.7", "a.de.", "*.a.de", &long],
        );
    }

    #[test]
    fn https_urls() {
        all(
            https_url,
            &["https://ca.example.com/directory", "https://127.0.0.1:14000/dir"],
            &["", "http://ca.example.com", "https://", "https:///x", "https://a b", "https://a\"b"],
        );
    }

    #[test]
    fn cidrs() {
        all(
            cidr,
            &["0.0.0.0/0", "203.0.113.7/32", "2001:db8::/32"],
            &["", "203.0.113.7", "203.0.113.0/33", "everyone"],
        );
        assert_eq!(cidr("10.1.2.3/8").ok().map(|block| block.to_string()).as_deref(), Some("10.0.0.0/8"));
    }

    #[test]
    fn tag_keys() {
        all(
            tag_key,
            &["team", "cost:centre", "a+b-c=d.e,f_g@h"],
            &["", ".", "..", "_index", "a b", "a/b", "aws:x", "AWS:x", "devopsctl:name", "Name", &"k".repeat(128)],
        );
    }

    #[test]
    fn secrets() {
        let env = BTreeMap::from([("DEBUG".to_owned(), "1".to_owned())]);
        let name = |name: &str| secret(name, "TOKEN", &env);
        let longest = "A".repeat(100);
        all(
            name,
            &["A", "_a1", "TOKEN_OLD", "PREVIOUS", &longest],
            &["", "1A", "A-B", "A/B", "Ä", "A\n", "TOKEN", "TOKEN_PREVIOUS", "DEBUG", &"A".repeat(101)],
        );
    }

    #[test]
    fn env_keys() {
        all(env_key, &["A", "_a1", "LONG_NAME"], &["", "1A", "A-B", "A B", "A=B"]);
    }
}
