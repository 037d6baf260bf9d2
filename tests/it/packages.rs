//! Packages of the project's own, which its requirements name by a path.

use std::fs;
use std::path::{Path, PathBuf};

use crate::http::get;
use crate::project::Project;

const APP: &str = "import os
import near, lib, deep, named


def app(environ, start_response):
    right = environ.get('HTTP_AUTHORIZATION') == 'Token ' + os.environ['APP_SECRET_TOKEN']
    start_response('200 OK' if right else '401 Unauthorized', [('Content-Type', 'text/plain')])
    return [' '.join([near.SAYS, lib.SAYS, deep.SAYS, named.SAYS]).encode()]
";

/// A project that setuptools builds, which would leave `build` and an `egg-info` in it. That takes seconds each time.
fn package(project: &Project, folder: &str, name: &str) {
    let text = format!(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n\
         [tool.setuptools]\npackages = ['{name}']\n[tool.setuptools.dynamic]\nversion = {{file = 'version.txt'}}\n\
         [project]\nname = '{name}'\ndynamic = ['version']\n"
    );
    project.file(&format!("{folder}/version.txt"), "1.0\n");
    project.file(&format!("{folder}/pyproject.toml"), &text);
    say(project, folder, name, "one");
}

/// A project that flit builds, with more of its own: that takes a moment.
fn light_package(project: &Project, folder: &str, name: &str, more: &str) {
    let text = format!(
        "[build-system]\nrequires = ['flit_core']\nbuild-backend = 'flit_core.buildapi'\n\
         [project]\nname = '{name}'\nversion = '1.0'\ndescription = 'x'\n{more}\n"
    );
    project.file(&format!("{folder}/pyproject.toml"), &text);
    say(project, folder, name, "one");
}

fn say(project: &Project, folder: &str, name: &str, what: &str) {
    project.file(&format!("{folder}/{name}/__init__.py"), &format!("SAYS = '{what}'\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// What the app answers after `up`.
#[track_caller]
fn up(project: &Project) -> String {
    let before = files(&project.folder());
    project.ok("up --sandbox");
    assert_eq!(files(&project.folder()), before, "a build wrote into the source");
    let url = project.ok("status --sandbox --json");
    let url = serde_json::from_str::<serde_json::Value>(&url).unwrap()["url"].as_str().unwrap().to_owned();
    get(&url, Some(&project.token())).body
}

/// Nothing of a release leads into a folder of this machine.
fn assert_portable(project: &Project) {
    let here = project.folder().to_str().unwrap().to_owned();
    for release in fs::read_dir(project.machine().join("opt/devopsctl/releases")).unwrap() {
        for file in files(&release.unwrap().path().join("site")) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(
                !text.contains(&here) && !text.contains("/build-"),
                "{} names a folder of this machine",
                file.display()
            );
            assert!(name != "direct_url.json" && !name.starts_with("__editable__"), "{}", file.display());
        }
    }
}

#[test]
#[ignore = "slow"]
fn packages_of_the_project_are_built_from_a_copy_and_every_change_of_them_is_deployed() {
    let project = Project::empty();
    project
        .file("deploy.yaml", "name: local\napp: {path: web/app, build_dependencies: true}\n")
        .file("web/app/app.py", APP);
    // Beside the app's own file, above it, by an absolute path; and one that another one names.
    package(&project, "web/app/vendor/near", "near");
    light_package(
        &project,
        "web/lib",
        "lib",
        "dependencies = ['deep']\n[tool.uv.sources]\ndeep = {path = '../deep', editable = true}",
    );
    light_package(&project, "web/deep", "deep", "");
    package(&project, "my named", "named");
    let named = project.folder().join("my named").display().to_string().replace(' ', "%20");
    project.file("web/app/requirements.txt", "-r more/own.txt\n./vendor/near\n-e ../lib # ours\n");
    project.file("web/app/more/own.txt", &format!("named @ file://{named} ; python_version > '3'\n"));
    assert_eq!(up(&project), "one one one one");
    project.run("plan --sandbox").code(0).says("already up to date");
    say(&project, "web/app/vendor/near", "near", "two");
    assert_eq!(up(&project), "two one one one");
    // What a package newly asks for comes along.
    light_package(&project, "web/deep", "deep", "dependencies = ['colorama']");
    project.file("web/deep/deep/__init__.py", "import colorama\nSAYS = 'three'\n");
    say(&project, "web/lib", "lib", "two");
    say(&project, "my named", "named", "two");
    assert_eq!(up(&project), "two two three two");
    assert_portable(&project);

    // A release is what it was, wherever the source is now.
    fs::rename(project.folder().join("web/lib"), project.folder().join("web/gone")).unwrap();
    project.ok("rollback --sandbox");
    let url = project.ok("status --sandbox --json");
    let url = serde_json::from_str::<serde_json::Value>(&url).unwrap()["url"].as_str().unwrap().to_owned();
    assert_eq!(get(&url, Some(&project.token())).body, "two one one one");
    fs::rename(project.folder().join("web/gone"), project.folder().join("web/lib")).unwrap();

    // The same, named by a pyproject.toml, in a workspace of uv's.
    fs::remove_file(project.folder().join("web/app/requirements.txt")).unwrap();
    project.file("pyproject.toml", "[tool.uv.workspace]\nmembers = ['web/*']\nexclude = ['web/none']\n");
    project.file(
        "web/app/pyproject.toml",
        &format!(
            "[project]\nname = 'app'\nversion = '1'\ndependencies = ['near', 'lib', 'named @ file://{named}']\n\
             [tool.uv.sources]\nlib = {{workspace = true}}\nnear = {{path = 'vendor/near'}}\n"
        ),
    );
    let member = "dependencies = ['deep']\n[tool.uv.sources]\ndeep = {workspace = true}";
    light_package(&project, "web/lib", "lib", member);
    assert_eq!(up(&project), "two one three two");
    say(&project, "web/lib", "lib", "four");
    project.file("web/deep/deep/__init__.py", "import colorama\nSAYS = 'four'\n");
    assert_eq!(up(&project), "two four four two");
    assert_portable(&project);
}

#[test]
#[ignore = "slow"]
fn a_requirements_file_is_read_in_every_encoding_that_pip_reads() {
    let project = Project::unbooted();
    let file = project.folder().join("app/requirements.txt");
    // As PowerShell writes it.
    let text = "# grüezi\r\nflask==3.1.0\r\n-r more.txt\r\n";
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    project.file("app/more.txt", "\u{feff}click==8.1.8\r\n");
    let built = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        project.run("up --sandbox --no-wait").ok();
    };
    built(&utf16);
    built(&[b"\xef\xbb\xbf", text.as_bytes()].concat());
}
