//! The metadata of a release in the bucket, for users and for `rollback`.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::ChecksumMode;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::short;
use crate::aws::retry::{Backoff, patiently};
use crate::aws::{ApiError, Aws, explain, once};
use crate::base::error::{Failure, Result};
use crate::base::names;
use crate::config::Source;

/// Characters that a header may not contain, or that would be read as an escape.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The maximum length of one value, in bytes.
const LONGEST_NOTE: usize = 200;

/// The metadata of a release; empty if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The user who uploaded it.
    pub by: String,
    /// Its source, such as a commit.
    pub what: String,
    /// Its target, such as `python3.13 x86_64`.
    pub target: String,
    /// How clients reach it.
    pub reached: String,
    /// The commands that ran once before it started.
    pub commands: String,
    /// The sources of the secrets to which it refers.
    pub sources: BTreeSet<Source>,
    /// When it was uploaded, in seconds since 1970.
    pub at: i64,
}

impl Notes {
    /// Uploader and source, as far as they are known.
    pub fn origin(&self) -> String {
        let known = [&self.by, &self.what].map(String::as_str);
        known.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
    }
}

/// Reads the metadata and the checksum of a release; `None` if it does not exist.
pub(super) async fn head(aws: &Aws, account: &str, name: &str, id: &str) -> Result<Option<HeadObjectOutput>, ApiError> {
    let (bucket, _) = names::bucket(account, &aws.region);
    let key = names::release_key(name, id);
    let head = || {
        let head = aws.s3.head_object().bucket(&bucket).key(&key).expected_bucket_owner(account);
        head.checksum_mode(ChecksumMode::Enabled).send()
    };
    // Responses of HEAD have no body, so no code: S3 sends 403 without the permission, and 400 for an expired session.
    // <https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>
    let passes = |error: &ApiError| error.status.is_none_or(|status| !(300..500).contains(&status));
    match patiently(Backoff::new(Duration::from_secs(20)), passes, || once("s3:GetObject", head)).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.status == Some(404) => Ok(None),
        Err(mut error) => {
            if error.code.is_empty() {
                error.code = match error.status {
                    Some(403) => "AccessDenied".into(),
                    Some(400) => "ExpiredToken".into(),
                    _ => error.code,
                };
            }
            Err(error)
        }
    }
}

pub(super) fn cannot_look(id: &str, error: &ApiError) -> Failure {
    explain(format!("cannot read the release {}", short(id)), error)
}

/// The metadata of a release; `None` if it does not exist.
///
/// # Errors
/// A call to S3 fails.
pub async fn notes(aws: &Aws, account: &str, name: &str, id: &str) -> Result<Option<Notes>> {
    let answer = head(aws, account, name, id).await.map_err(|error| cannot_look(id, &error))?;
    Ok(answer.map(|answer| {
        let at = answer.last_modified.map_or(0, |time| time.secs());
        let metadata = answer.metadata.unwrap_or_default();
        let note = |name: &str| metadata.get(name).map(|text| plain(text)).unwrap_or_default();
        let sources = note("sources").split(' ').filter_map(Source::read).collect();
        let (by, what, target) = (note("by"), note("what"), note("target"));
        Notes { by, what, target, reached: note("reached"), commands: note("commands"), sources, at }
    }))
}

/// A value that is valid in a header: ASCII, and not too long.
pub(super) fn escaped(text: &str) -> String {
    let mut note = String::new();
    for character in text.chars() {
        let more = utf8_percent_encode(character.encode_utf8(&mut [0; 4]), ESCAPED).to_string();
        if note.len() + more.len() > LONGEST_NOTE {
            break;
        }
        note.push_str(&more);
    }
    note
}

/// A value for display. Users with write access to the bucket must not be able to send escape sequences to a terminal.
fn plain(note: &str) -> String {
    let text = percent_decode_str(note).decode_utf8_lossy().into_owned();
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_goes_through_a_header_and_comes_back() {
        for text in ["", "plain", "100% naïve → \u{1f980}", "a%41b", "tab\there"] {
            let note = escaped(text);
            assert!(note.bytes().all(|byte| (32..127).contains(&byte)), "{note}");
            assert_eq!(plain(&note), text.replace('\t', " "));
        }
        let long = "ü".repeat(500);
        assert!(escaped(&long).len() <= LONGEST_NOTE && plain(&escaped(&long)).chars().all(|c| c == 'ü'));
        assert_eq!(plain("%1b[2Jred%0a"), " [2Jred ");
    }
}
