//! Local packages, which the requirements name by path.

use std::fs;

use crate::files::files;
use crate::http::get;
use crate::project::Project;

const APP: &str = "import os
import near, lib, deep, named


def app(environ, start_response):
    right = environ.get('HTTP_AUTHORIZATION') == 'Token ' + os.environ['APP_SECRET_TOKEN']
    start_response('200 OK' if right else '401 Unauthorized', [('Content-Type', 'text/plain')])
    return [' '.join([near.SAYS, lib.SAYS, deep.SAYS, named.SAYS]).encode()]
";

/// A package that is built by setuptools, which would leave `build` and an `egg-info` in it. A build takes seconds.
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

/// A package that is built by flit, which is fast, with additional settings.
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

/// Runs `up` and returns the app's response.
#[track_caller]
fn up(project: &Project) -> String {
    let before = files(&project.folder());
    project.ok("up --sandbox");
    assert_eq!(files(&project.folder()), before, "a build wrote into the source");
    let url = project.ok("status --sandbox --json");
    let url = serde_json::from_str::<serde_json::Value>(&url).unwrap()["url"].as_str().unwrap().to_owned();
    get(&url, Some(&project.token())).body
}

/// Asserts that no file of a release contains a path of this machine.
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
fn local_packages_are_built_from_a_copy_and_changes_are_deployed() {
    let project = Project::empty();
    project
        .file("deploy.yaml", "name: local\napp: {path: web/app, build_dependencies: true}\n")
        .file("web/app/app.py", APP);
    // Packages below the app, above it, by an absolute path, and an indirect one.
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
    // A new dependency of a package is installed.
    light_package(&project, "web/deep", "deep", "dependencies = ['colorama']");
    project.file("web/deep/deep/__init__.py", "import colorama\nSAYS = 'three'\n");
    say(&project, "web/lib", "lib", "two");
    say(&project, "my named", "named", "two");
    assert_eq!(up(&project), "two two three two");
    assert_portable(&project);

    // A release does not depend on its source folders.
    fs::rename(project.folder().join("web/lib"), project.folder().join("web/gone")).unwrap();
    project.ok("rollback --sandbox");
    let url = project.ok("status --sandbox --json");
    let url = serde_json::from_str::<serde_json::Value>(&url).unwrap()["url"].as_str().unwrap().to_owned();
    assert_eq!(get(&url, Some(&project.token())).body, "two one one one");
    fs::rename(project.folder().join("web/gone"), project.folder().join("web/lib")).unwrap();

    // The same with a pyproject.toml in a uv workspace.
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
    // The encoding of PowerShell.
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
