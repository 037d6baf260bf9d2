//! Dependencies whose build runs code on this machine.

use std::fs;
use std::process::Command;

use crate::project::{Project, Ran};

/// A build backend that leaves a file when it is imported.
const BACKEND: &str = r#"import os, zipfile

open(os.path.join(r"MARK"), "a").write("ran\n")


def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "builder-1.0-py3-none-any.whl", "builder-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("builder.py", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: builder\nVersion: 1.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "builder.py,,\n%sMETADATA,,\n%sWHEEL,,\n%sRECORD,,\n" % (info, info, info))
    return name
"#;
const BUILD: &str = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n";

/// The example with a library and an index of one source distribution, `builder`.
fn project() -> Project {
    let project = Project::unbooted();
    let mark = project.folder().join("mark");
    // The cache has the resolution of an earlier run. Another file beside the requirements changes its key.
    project.file("app/run.txt", mark.to_str().unwrap());
    project.file("lib/backend.py", &BACKEND.replace("MARK", mark.to_str().unwrap())).file("lib/pyproject.toml", BUILD);
    project.file("sdist/builder-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: builder\nVersion: 1.0\n");
    for name in ["backend.py", "pyproject.toml"] {
        fs::copy(project.folder().join("lib").join(name), project.folder().join("sdist/builder-1.0").join(name))
            .unwrap();
    }
    let folder = project.folder().join("sdist");
    let archive = ["-czf", "builder-1.0.tar.gz", "builder-1.0"];
    assert!(Command::new("tar").current_dir(&folder).args(archive).status().unwrap().success());
    project
}

/// Runs `plan` with a new cache. Returns whether code of a package ran.
fn plan(project: &Project, prepare: impl FnOnce(&mut Command)) -> (Ran, bool) {
    // uv does not build a package twice.
    let _ = fs::remove_dir_all(project.folder().join("uv"));
    let mut command = project.command("plan --sandbox");
    command
        .env("UV_FIND_LINKS", project.folder().join("sdist"))
        .env("UV_CACHE_DIR", project.folder().join("uv"))
        .env("COLUMNS", "400");
    prepare(&mut command);
    let ran = Ran::new("plan --sandbox", &command.output().unwrap());
    let mark = project.folder().join("mark");
    let built = mark.exists();
    let _ = fs::remove_file(mark);
    (ran, built)
}

#[track_caller]
fn refused(project: &Project, says: &str) {
    let (ran, built) = plan(project, |_| {});
    assert!(!built, "code of a package ran:\n{}", ran.shown());
    ran.code(2).says(says).says("build_dependencies: true");
}

/// uv builds editable projects in spite of `--no-build`, also indirect ones.
fn editable_projects_are_refused(project: &Project) {
    let named = "[project]\nname = 'builder'\nversion = '1'\n";
    project.file("lib/pyproject.toml", &format!("{named}{BUILD}"));
    let source = |path: &str| format!("[tool.uv.sources]\nbuilder = {{path = '{path}', editable = true}}\n");
    let names = "version = '1'\ndependencies = ['flask', 'builder']\n";
    project.file("other/pyproject.toml", &format!("[project]\nname = 'other'\n{names}{}", source("../lib")));
    project.file("app/requirements.txt", &format!("other @ file://{}\n", project.folder().join("other").display()));
    refused(project, "an editable project");
    fs::remove_file(project.folder().join("app/requirements.txt")).unwrap();
    project.file("app/pyproject.toml", &format!("[project]\nname = 'app'\n{names}{}", source("../lib")));
    refused(project, "an editable project");
    fs::remove_file(project.folder().join("app/pyproject.toml")).unwrap();
    project.file("lib/pyproject.toml", BUILD).file("app/requirements.txt", "flask\nbuilder\n");
}

#[test]
#[ignore = "slow"]
fn code_of_dependencies_runs_only_if_deploy_yaml_allows_it() {
    let project = project();
    let lib = project.folder().join("lib");
    let direct = format!("flask\nbuilder @ file://{}\n", lib.display());
    let unnamed = "flask\n../lib\n";
    let archive = project.folder().join("sdist/builder-1.0.tar.gz");
    let digest = devopsctl::base::digest::sha256(fs::read(&archive).unwrap());
    let hashed = format!("builder @ file://{} --hash=sha256:{digest} -r more/bad.txt\n", archive.display());
    for (text, says) in [
        ("flask\nbuilder\n", "there is no wheel of builder"),
        (&direct, "there is no wheel of builder"),
        (unnamed, "needs a build"),
        ("flask\n-e ../lib\n", "sets -e"),
        ("--no-binary builder\nflask\nbuilder\n", "sets --no-binary"),
        ("-r more/bad.txt\nflask\nbuilder\n", "sets --no-binary"),
        // Several statements on a line.
        ("--no-index -r more/bad.txt\nflask\nbuilder\n", "sets -r"),
        (&hashed, "sets -r"),
        ("-r https://127.0.0.1:1/bad.txt\nflask\n", "a plain path"),
    ] {
        project.file("app/more/bad.txt", "--no-binary builder\n").file("app/requirements.txt", text);
        refused(&project, says);
    }
    project.file("app/requirements.txt", "flask\nbuilder\n");
    for (name, text) in [
        ("uv.toml", "[pip]\nno-binary = ['builder']\n"),
        ("uv.toml", "[pip]\n\"no\\u002dbinary\" = ['builder']\n"),
        ("uv.toml", "[pip]\nonly-binary = [':none:']\n"),
        ("pyproject.toml", "[tool.uv.pip]\nno-binary = ['builder']\n"),
    ] {
        project.file(name, text);
        refused(&project, name);
        fs::remove_file(project.folder().join(name)).unwrap();
    }
    editable_projects_are_refused(&project);

    let (ran, built) = plan(&project, |command| {
        command.env("UV_NO_BINARY", "1").env("UV_NO_BINARY_PACKAGE", "builder").env("UV_NO_BUILD", "0");
    });
    assert!(!built, "{}", ran.shown());
    ran.code(2).says("there is no wheel of builder");

    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("path: app\n", "path: app\n  build_dependencies: true\n"));
    for text in ["flask\nbuilder\n", &direct, "--no-binary builder\nflask\nbuilder\n"] {
        project.file("app/requirements.txt", text);
        let (ran, built) = plan(&project, |_| {});
        ran.code(3);
        assert!(built, "{text}");
    }
}
