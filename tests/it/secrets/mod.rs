//! The app's secrets.

mod import;
mod init;
mod list;
mod references;
mod set;
mod up;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::files::files;
use crate::http::get;
use crate::project::Project;

/// The example, whose app also shows any variable, and which process is its master: each generation has another one.
fn project() -> Project {
    let project = Project::example();
    with_variables(&project);
    project
}

fn with_variables(project: &Project) {
    let app = fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    let routes = "
@app.get('/variable/<name>')
def variable(name):
    return os.environ.get(name, 'is not set')


@app.get('/generation')
def generation():
    return str(os.getppid())


if __name__";
    project.file("app/app.py", &app.replace("\nif __name__", routes));
}

/// A variable of the running app.
#[track_caller]
fn variable(project: &Project, url: &str, name: &str) -> String {
    get(&format!("{url}/variable/{name}"), Some(&project.token())).body
}

/// Writes a `deploy.yaml` for the example with these `app.secrets`.
fn require(project: &Project, secrets: &str) {
    project.file("deploy.yaml", &format!("name: hello\napp:\n  path: app\n  secrets: {secrets}\n"));
}

/// Asserts that no file of the sandbox contains the value: no log, report, release, user-data or state of an instance. Only the files
/// from which a generation gets its variables do, which are in memory on an instance.
#[track_caller]
fn is_nowhere(project: &Project, value: &str) {
    let variables = |file: &PathBuf| file.to_str().is_some_and(|path| path.contains("/run/devopsctl/generations/"));
    for file in files(&project.state()).into_iter().filter(|file| !variables(file)) {
        // A socket cannot be read.
        let bytes = fs::read(&file).unwrap_or_default();
        let found = bytes.windows(value.len()).any(|part| part == value.as_bytes());
        assert!(!found, "{} contains a value", file.display());
    }
}

/// The names of all parameters with secrets.
fn stored(project: &Project) -> Vec<String> {
    crate::console::aws(project, async |aws| {
        let found = aws.ssm.get_parameters_by_path().path("/devopsctl").recursive(true).into_paginator().send();
        let pages = found.collect::<Result<Vec<_>, _>>().await.unwrap();
        let found = pages.iter().flat_map(|page| page.parameters());
        let names = found.filter_map(|one| Some(one.name()?.split_once("/secrets/")?.1.to_owned()));
        names.collect::<BTreeSet<_>>().into_iter().collect()
    })
}
