//! Which requests the API accepts: signed calls from a program of this machine, with a canonical path.
//!
//! The path is checked as it arrived. If the API and the emulator decoded it differently, the check would protect nothing, so a
//! path with a second spelling is refused. The emulator repeats the check (`emulator/core/admission.py`).

use std::sync::LazyLock;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use regex::Regex;

use super::super::http::by_browser;

/// A signature version 4 in a header. Presigned URLs are not used, and the emulator cannot check them.
static SIGNED: LazyLock<Regex> = LazyLock::new(|| {
    let scope = "[^/,\\s]{1,128}/[0-9]{8}/[a-z0-9-]{1,64}/[a-z0-9-]{1,64}/aws4_request";
    let signature = "SignedHeaders=[a-z0-9;._-]+, *Signature=[0-9a-f]{64}";
    Regex::new(&format!("^AWS4-HMAC-SHA256 +Credential={scope}, *{signature}$")).expect("a regex")
});
/// The names of this machine for its programs and for virtual machines. The port can be that of a proxy in front of the API.
static HOST: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^(127\\.0\\.0\\.1|localhost|169\\.254\\.169\\.2)(:[0-9]{1,5})?$").expect("a regex"));
/// The characters of a path. Dot segments and unnecessary escapes are checked separately.
static PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("^(?:/|(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+)+/?)$").expect("a regex"));
/// Paths of moto and of the sandbox that are not AWS calls.
const RESERVED: [&str; 4] = ["_devopsctl", "moto-api", "latest", "favicon.ico"];

/// Whether a program of this machine sent the request: the host is right, and no browser sent it.
pub fn is_local(parts: &Parts) -> bool {
    // A request to a proxy has the whole URL.
    let direct = parts.uri.scheme().is_none() && parts.uri.authority().is_none();
    let host = only(&parts.headers, &header::HOST).is_some_and(|host| HOST.is_match(host));
    direct && host && !by_browser(&parts.headers)
}

/// Whether the request looks like a signed call. The emulator verifies the signature.
pub fn is_call(parts: &Parts) -> bool {
    let known = [Method::DELETE, Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(&parts.method);
    let signed = only(&parts.headers, &header::AUTHORIZATION).is_some_and(|signed| SIGNED.is_match(signed));
    let path = parts.uri.path();
    let first = path.split('/').nth(1).unwrap_or_default();
    known && signed && is_canonical(path) && !RESERVED.contains(&first)
}

/// The header's value, if the header occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a path has no other spelling.
pub fn is_canonical(path: &str) -> bool {
    let escapes = path.split('%').skip(1).filter_map(|rest| u8::from_str_radix(rest.get(..2)?, 16).ok());
    let dot_segments = path.split('/').any(|segment| matches!(segment, "." | ".."));
    PATH.is_match(path) && !dot_segments && escapes.into_iter().all(may_be_escaped)
}

/// Whether a byte may be percent-encoded. Unreserved characters need no escape; slashes and control characters would change the path.
fn may_be_escaped(byte: u8) -> bool {
    let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !unreserved && !byte.is_ascii_control() && !b"/\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AKIA1/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host;x-amz-date, Signature=";

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::builder().uri(uri), |all, (name, value)| all.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_path_with_a_second_spelling_is_refused() {
        for path in ["/", "/a", "/a/", "/a/b.c/..d/.e", "/a%20b/%C3%A4/50%25/%3F%23", "/a@b:c,d;e$&='()!*+~_-"] {
            assert!(is_canonical(path), "{path}");
        }
        let spellings = [
            "", "a", "//", "//a", "/a//b", "/a//", "/.", "/..", "/a/./b", "/a/../b", "/a/..", "/%6d", "/%6D", "/%5f",
            "/%2E", "/%2e%2e", "/a%2Fb", "/a%2fb", "/a%5Cb", "/a%00", "/a%0A", "/a%7F", "/a%c3", "/a%", "/a%2",
            "/a%zz", "/a\\b", "/a b", "/ä", "/a\"", "/a{b}", "*",
        ];
        for path in spellings {
            assert!(!is_canonical(path), "{path}");
        }
    }

    #[test]
    fn a_local_request_has_the_right_host_and_no_browser_headers() {
        let by = |host: &str| is_local(&parts("/", &[("host", host)]));
        assert!(by("127.0.0.1:4566") && by("localhost:1") && by("169.254.169.2:9") && by("127.0.0.1"));
        for host in ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:", "127.0.0.1:x", "x@127.0.0.1", "[::1]", ""]
        {
            assert!(!by(host), "{host}");
        }
        assert!(!is_local(&parts("/", &[])));
        assert!(!is_local(&parts("/", &[("host", "127.0.0.1"), ("host", "evil.example")])));
        assert!(!is_local(&parts("/", &[("host", "127.0.0.1"), ("origin", "null")])));
        assert!(!is_local(&parts("http://127.0.0.1/", &[("host", "127.0.0.1")])));
    }

    #[test]
    fn a_call_has_a_signature() {
        let whole = format!("{SIGNATURE}{}", "0".repeat(64));
        let signed = |signature: &str, path: &str| is_call(&parts(path, &[("authorization", signature)]));
        assert!(signed(&whole, "/bucket/key") && signed(&whole.replace(", ", ","), "/"));
        for path in ["/moto-api/", "/latest/api/token", "/_devopsctl/users", "/favicon.ico", "//"] {
            assert!(!signed(&whole, path), "{path}");
        }
        for signature in ["", "Basic eDp5", SIGNATURE, &whole[..whole.len() - 1], &format!("{whole}, x"), "AWS AKIA:00"]
        {
            assert!(!signed(signature, "/"), "{signature}");
        }
        assert!(!is_call(&parts("/", &[])));
        assert!(!is_call(&parts("/", &[("authorization", &whole), ("authorization", "Basic eDp5")])));
    }
}
