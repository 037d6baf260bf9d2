//! The folders of `app.static`: each must have files once the release is complete.

use super::source;
use crate::base::error::{Exit, Failure, Result};
use crate::config::App;

/// Checks that each folder has a file, and that no file has the URL of another folder.
///
/// # Errors
/// The first folder without one, or such a file.
pub fn check(app: &App, files: &[source::File]) -> Result<()> {
    if let Some((file, prefix)) = files.iter().find_map(|file| Some((file, hidden(app, &file.name)?))) {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} has the same URL as the folder of {prefix} in app.static", file.name),
        )
        .standing("Nothing was changed.")
        .next("rename the file, or change the prefix in deploy.yaml"));
    }
    let is_in = |folder: &str, file: &source::File| {
        file.name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/') && !rest.contains("/."))
    };
    let empty = |(_, folder): &(&String, &String)| !files.iter().any(|file| is_in(folder, file));
    let Some((prefix, folder)) = app.static_files.iter().find(empty) else { return Ok(()) };
    let (why, next) = match app.build.is_empty() {
        true => (
            "files that git ignores are not deployed unless a command of app.build writes them",
            format!("add the command that writes {folder} to app.build in deploy.yaml, or correct the folder"),
        ),
        false => (
            "app.build ran, and no file is below that folder",
            format!("let a command of app.build write {folder}, or correct the folder in deploy.yaml"),
        ),
    };
    Err(Failure::new(Exit::Usage, format!("app.static serves {prefix} from {folder}, which has no file in app.path"))
        .because(why)
        .standing("Nothing was changed.")
        .next(next))
}

/// The prefix of another folder whose URL a file has, or is below the file's.
fn hidden<'a>(app: &'a App, file: &str) -> Option<&'a str> {
    let url = |(prefix, folder): (&String, &String)| {
        let rest = file.strip_prefix(folder.as_str())?.strip_prefix('/')?;
        Some(format!("{}/{rest}", prefix.trim_end_matches('/')))
    };
    let urls: Vec<String> = app.static_files.iter().filter_map(url).collect();
    let is_hidden = |prefix: &&String| {
        urls.iter()
            .any(|url| prefix.strip_prefix(url.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    app.static_files.keys().find(is_hidden).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_not_have_the_url_of_another_folder() {
        let text = "name: a\napp: {path: ., static: {/: public, /static/css: assets}}\n";
        let folder = tempfile::tempdir().unwrap();
        let deployment = crate::config::parse(text, std::path::Path::new("deploy.yaml"), folder.path()).unwrap();
        let of = |file: &str| hidden(&deployment.app, file);
        assert_eq!((of("public/static"), of("public/static/css")), (Some("/static/css"), Some("/static/css")));
        for file in
            ["public/static/css/a.css", "public/index.html", "assets/static/css", "other/static", "publicstatic"]
        {
            assert_eq!(of(file), None, "{file}");
        }
    }
}
