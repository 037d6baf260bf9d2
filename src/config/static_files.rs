//! `app.static`: URL prefixes, and the folders of the app whose files are served below them.

use std::collections::BTreeMap;

use miette::SourceSpan;

use super::reader::{Found, Reader};
use super::{Check, Token, check, table};

/// Reads `app.static`. Whether the folders exist is checked once `app.build` has run.
pub(super) fn section(reader: &mut Reader, found: Option<Found>) -> BTreeMap<String, String> {
    let mut folders = BTreeMap::new();
    for (key, found) in reader.map(&table::STATIC, found.map(|found| found.node)) {
        if let Err(wrong) = check::url_prefix(&key.name) {
            reader.find(key.span, format!("`app.static`: `{}` {}", key.name, wrong.what), "here", wrong.hint);
        } else if let Some(folder) = reader.text_of(Some(found), check::static_folder) {
            folders.insert(key.name, folder);
        }
    }
    folders
}

/// If the app checks the token, it decides itself about its own paths: only those of static files can be open.
pub(super) fn check_open(
    reader: &mut Reader,
    token: &Token,
    open: &[(String, SourceSpan)],
    folders: &BTreeMap<String, String>,
) {
    let is_below =
        |path: &str| folders.keys().any(|prefix| path.starts_with(&format!("{}/", prefix.trim_end_matches('/'))));
    for (path, span) in open.iter().filter(|(path, _)| token.check == Check::App && !is_below(path)) {
        let hint = "write `check: proxy`, or let the app answer there without the token and remove it here";
        let what = format!("`token.open`: {path} is not below a prefix of `app.static`");
        reader.find(*span, what, "check is app, so the app decides", hint);
    }
}
