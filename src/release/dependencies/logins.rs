//! Logins for package indexes: files may name variables for them, and contain none. uv also gets them from its own variables, from
//! `~/.netrc`, and from a keyring.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::base::child;
use crate::base::error::{Exit, Failure, Result};
use crate::base::logins::host_with_login;
use crate::base::toml_file::PROJECT;
use crate::release::local::Local;
use crate::release::projects::PIPFILE;

/// The files in an app's folder that may name indexes, besides the requirements.
const FILES: [&str; 7] = [PROJECT, PIPFILE, "uv.toml", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock"];

/// Checks that no file in which uv looks for requirements or indexes contains a login: such files are part of the release, and their
/// resolution is cached.
///
/// # Errors
/// One does.
pub(super) fn check(app: &Path, local: &Local) -> Result<()> {
    let listed = local.requirements().map(|(file, text)| (file.to_owned(), text.to_owned()));
    let projects = local.folders().map(|(folder, _)| folder.join(PROJECT));
    let settings = FILES.map(|name| app.join(name)).into_iter().chain(projects);
    let read = settings.filter_map(|file| Some((file.clone(), fs::read_to_string(file).ok()?)));
    listed.chain(read).try_for_each(|(file, text)| has_none(&file, &text))
}

fn has_none(file: &Path, text: &str) -> Result<()> {
    let Some(host) = host_with_login(text) else { return Ok(()) };
    Err(Failure::new(Exit::Usage, format!("{} contains a login for {host}", file.display()))
        .because("the file is part of the release, which the app on the instance can read")
        .standing("Nothing was changed in AWS.")
        .next(format!(
            "replace the login by variables, https://${{UV_USER}}:${{UV_PASSWORD}}@{host}, and set them when you run devopsctl; or \
             remove it, and write it into ~/.netrc"
        )))
}

/// The variables in requirements that uv does not get.
pub(super) fn withheld(text: &str) -> Vec<String> {
    let passed = |name: &str| child::is_for_installers(OsStr::new(name)) || ["HOME", "PROJECT_ROOT"].contains(&name);
    let names = text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let mut found: Vec<String> = names.filter(|name| !passed(name)).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_uv_does_not_get_are_named() {
        let text =
            "--index-url https://${UV_USER}:${INDEX_TOKEN}@example.com\n${PROJECT_ROOT}/x\nx==${INDEX_TOKEN}\n${";
        assert_eq!(withheld(text), ["INDEX_TOKEN"]);
    }

    #[test]
    fn a_login_in_a_file_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("requirements.txt");
        let check = |text: &str| check(folder.path(), &Local::find(&file, text).unwrap());
        let failure = check("--index-url https://me:hunter22@example.com/simple\n").unwrap_err();
        let said = crate::ui::render(&failure, 400, false);
        assert!(said.contains("requirements.txt contains a login for example.com"), "{said}");
        assert!(said.contains("https://${UV_USER}:${UV_PASSWORD}@example.com") && !said.contains("hunter22"), "{said}");
        assert!(check("flask\n").is_ok());
        for name in FILES {
            let text = "[[tool.uv.index]]\nurl = 'https://me:hunter22@example.com/simple'\n";
            fs::write(folder.path().join(name), text).unwrap();
            assert!(check("flask\n").unwrap_err().what().contains(name));
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}
