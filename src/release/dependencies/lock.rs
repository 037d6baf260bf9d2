//! Locks: what the requirements resolved to, in the cache.

use crate::base::digest::sha256;

/// The line of a lock with the hash of the local packages.
const PACKAGES: &str = "# local packages: ";

/// That line; empty without local packages.
pub(super) fn packages_line(content: &[u8]) -> String {
    if content.is_empty() { String::new() } else { format!("{PACKAGES}{}\n", sha256(content)) }
}

/// That line of a lock.
pub(super) fn packages_of(lock: &str) -> &str {
    let text = lock.split_once('\n').map_or("", |(_, text)| text);
    if text.starts_with(PACKAGES) { text.split_inclusive('\n').next().unwrap_or_default() } else { "" }
}

/// The start of the first line of a lock, which is a comment for uv.
const SEAL: &str = "# sha256: ";

/// The lock with its digest as the first line, so that truncation is detected.
pub(super) fn sealed(text: &str) -> String {
    format!("{SEAL}{}\n{text}", sha256(text))
}

/// Whether a lock matches its digest.
pub(super) fn is_whole(lock: &str) -> bool {
    let parts = lock.strip_prefix(SEAL).and_then(|rest| rest.split_once('\n'));
    parts.is_some_and(|(digest, text)| digest == sha256(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_or_changed_lock_is_not_used() {
        let lock = sealed("flask==3.1.0\ngunicorn==23.0.0\n");
        assert!(is_whole(&lock) && is_whole(&sealed("")));
        assert!((0..lock.len()).all(|end| !is_whole(&lock[..end])), "{lock}");
        assert!(!is_whole(&lock.replace("3.1.0", "3.1.1")));
        assert!(!is_whole("flask==3.1.0\n"), "a lock without a digest");
    }
}
