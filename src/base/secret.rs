//! Randomness, the token's rules, and a process that holds it.

use std::ops::Deref;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::base::digest::hex;
use crate::base::error::{Exit, Failure, Result};
use crate::base::next::Next;

/// A shorter token can be guessed; `--force` allows it.
const SHORT: usize = 12;
/// A longer token does not fit well into a header.
const LONG: usize = 256;

/// A secret's text. Its memory is overwritten when it is dropped, and it cannot be printed by mistake. The SDK, the HTTP client
/// and the terminal hold copies of their own.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

/// A token of 32 random bytes, in characters that need no quoting.
pub fn generate() -> Result<Secret> {
    generate_bytes(32)
}

/// So many random bytes, in characters that need no quoting.
pub fn generate_bytes(count: usize) -> Result<Secret> {
    let mut bytes = Zeroizing::new(vec![0; count]);
    fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(&*bytes).into())
}

/// Protects the memory of this process, which may hold a token, from core dumps and from debuggers of the same user. The SDK's own
/// buffers are not overwritten as [`Secret`]s are.
pub fn keep_from_dumps() {
    // A process without the limit works as well. Its children may set their own.
    let limit = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let _ = setrlimit(Resource::Core, limit);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Random bytes as hexadecimal text, for names that only have to be unique.
pub fn random_hex(count: usize) -> Result<String> {
    let mut bytes = vec![0; count];
    fill(&mut bytes)?;
    Ok(hex(&bytes))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| {
        Failure::failed("cannot read random numbers from the system")
            .because(error.to_string())
            .next("run the same command again")
    })
}

/// Checks that this can be a token: it passes through a header and an environment variable, and cannot be guessed.
///
/// # Errors
/// What is wrong with it, without the token itself.
pub fn check(token: &str, force: bool) -> Result<()> {
    let refuse = |what: &str, next: Next| Err(Failure::new(Exit::Usage, format!("the token {what}")).next(next));
    let another = Next::from("choose another one, or generate one: ").run_bare("set-token --generate");
    if token.is_empty() {
        return refuse("is empty", another);
    }
    if token.chars().any(char::is_whitespace) {
        return refuse("contains white space", another);
    }
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return refuse("contains characters that are not plain ASCII", another);
    }
    if token.len() > LONG {
        return refuse("is longer than 256 characters", another);
    }
    if token.len() < SHORT && !force {
        return refuse("is shorter than 12 characters and could be guessed", "use a longer one, or add --force".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_process_writes_no_core_dump() {
        keep_from_dumps();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
    }

    #[test]
    fn generated_tokens_are_tokens_and_differ() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert!(one != two);
        assert_eq!(one.len(), 43);
        assert!(check(&one, false).is_ok());
    }

    #[test]
    fn invalid_tokens_are_refused_even_with_force() {
        let long = "x".repeat(257);
        for token in
            ["", "has a space", "tab\tin it....", "new\nline......", "umläut-umläut", "control\u{7}......", &long]
        {
            assert!(check(token, true).is_err(), "{token:?}");
        }
    }

    #[test]
    fn short_tokens_need_force() {
        assert!(check("elevenchars", false).is_err());
        assert!(check("elevenchars", true).is_ok());
        assert!(check("twelve-chars", false).is_ok());
        assert!(check(&"x".repeat(256), false).is_ok());
    }
}
