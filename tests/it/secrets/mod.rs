//! The app's secrets.

mod set;
mod up;

use std::collections::BTreeSet;
use std::fs;

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
