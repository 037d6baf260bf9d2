//! Errors of the local AWS, and of finding uv and Python.

use std::fs;
use std::net::TcpListener;

use super::{keep, shown, shown_after, typed};
use crate::project::{Project, Ran, install_emulator};

#[test]
fn this_machine_lacks_something() {
    let project = Project::alone();
    let (folder, cache) = (project.folder(), project.folder().join("cache"));
    shown_after(&project, "no_python", "sandbox start", 1, |command| {
        command.env("PATH", &folder);
    });
    // A python3 that always fails.
    project.file("bin/python3", "#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n");
    executable(&folder.join("bin/python3"));
    project.file("old/python3", "#!/bin/sh\necho /usr/bin/python3\necho 3.6\n");
    executable(&folder.join("old/python3"));
    shown_after(&project, "an_old_python", "sandbox start", 1, |command| {
        command.env("PATH", folder.join("old"));
    });
    shown_after(&project, "no_qemu", "sandbox start --machine qemu", 1, |command| {
        command.env("PATH", &folder);
    });
    for program in ["qemu-system-x86_64", "qemu-img"] {
        project.file(&format!("qemu/{program}"), "#!/bin/sh\n");
        executable(&folder.join("qemu").join(program));
    }
    shown_after(&project, "no_image_for_qemu", "sandbox start --machine qemu", 1, |command| {
        command.env("PATH", folder.join("qemu")).env("XDG_CACHE_HOME", &cache);
    });
    // A file in place of a folder.
    project.file("taken", "");
    shown_after(&project, "a_folder_that_cannot_be_made", "sandbox start", 1, |command| {
        command.env("XDG_STATE_HOME", folder.join("taken"));
    });
    shown_after(&project, "a_path_that_is_too_long", "sandbox start", 1, |command| {
        command
            .env("XDG_STATE_HOME", "/tmp/devopsctl-has-no-use-for-a-folder-with-so-long-a-path-that-no-socket-fits-in");
    });
    // Programs that are needed to build a release, or to install the emulator.
    let example = Project::alone().with_example();
    let text = fs::read_to_string(example.folder().join("deploy.yaml")).unwrap();
    example.file("deploy.yaml", &format!("{text}\nregion: us-east-1\n"));
    for (name, path) in [("neither_uv_nor_python", folder.clone()), ("no_uv_and_no_pip", folder.join("bin"))] {
        shown_after(&example, name, "up", 1, |command| {
            command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "none");
            command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("PATH", path).env("XDG_CACHE_HOME", &cache);
        });
    }
    project.file(
        "offline/uv",
        "#!/bin/sh\n[ \"$1\" = --version ] && echo uv 9.9.9 && exit 0\necho 'error: Could not connect, are you offline?' >&2\nexit 2\n",
    );
    executable(&folder.join("offline/uv"));
    shown_after(&project, "no_network_for_the_local_aws", "sandbox start", 1, |command| {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", folder.join("offline").display())).env("XDG_CACHE_HOME", &cache);
    });
}

#[test]
#[ignore = "slow"]
fn this_machine_lacks_the_images_python() {
    let project = Project::alone().with_example();
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ninstance: {{image: al2023}}\n"));
    project.file("app/requirements.txt", "flask==3.0.0\nno-such-package-for-devopsctl==1.0\n");
    let nothing = project.folder().join("nothing");
    let mut command = typed(&project, "plan --sandbox");
    command
        .env("PATH", "/usr/bin:/bin")
        .env("XDG_CACHE_HOME", devopsctl::base::dirs::cache().unwrap().parent().unwrap());
    command.env("PYENV_ROOT", &nothing).env("UV_PYTHON_INSTALL_DIR", &nothing);
    let ran = Ran::new("plan --sandbox", &command.output().unwrap()).code(2);
    let version = regex::Regex::new(r"(machine's\s+│\s+Python) 3\.\d+").unwrap();
    let ran = ran.with(|text| version.replace(text, "$1 [version]").into_owned());
    keep(&project, "a_python_that_this_machine_lacks", ran);
}

fn executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Creates a folder in place of a file.
fn in_the_way(path: &std::path::Path) {
    // The file may not exist.
    let _ = fs::remove_file(path);
    fs::create_dir_all(path).unwrap();
}

#[test]
#[ignore = "slow"]
fn the_local_aws_does_not_start_or_answer() {
    install_emulator();
    let project = Project::alone().with_example();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    shown(&project, "a_port_that_is_taken", &format!("sandbox start --port {}", taken.local_addr().unwrap().port()), 1);
    let folder = project.state().join("devopsctl/sandbox");
    in_the_way(&folder.join("sandbox.log"));
    shown(&project, "the_local_aws_does_not_start", "sandbox start", 1);
    fs::remove_dir(folder.join("sandbox.log")).unwrap();
    in_the_way(&folder.join("api.log"));
    shown(&project, "a_state_folder_that_cannot_be_used", "sandbox start", 1);
    fs::remove_dir(folder.join("api.log")).unwrap();
    in_the_way(&folder.join("emulator.log"));
    shown(&project, "the_emulator_does_not_start", "sandbox start", 1);
    fs::remove_dir(folder.join("emulator.log")).unwrap();
    project.ok("sandbox start --machine off");
    shown(&project, "the_local_aws_runs_with_other_machines", "sandbox start --machine process", 1);
    shown(&project, "the_local_aws_runs_on_another_port", "sandbox start --port 4566", 1);
    let python = "/usr/bin/python3";
    let serve = format!("sandbox serve --idle 9 --emulator {python} --python {python} --python-version 3.11");
    let said = project.run(&serve);
    assert!(
        said.stdout.contains("a sandbox already runs") && said.stdout.contains("sandbox status"),
        "{}",
        said.shown()
    );
    shown(&project, "a_command_that_is_not_there", "sandbox supervise -- /nowhere/program", 1);
    shown(&project, "a_metadata_service_that_is_not_there", "sandbox join net/imds.sock", 1);
    let file = folder.join("sandbox.json");
    let text = fs::read_to_string(&file).unwrap();
    let endpoint = regex::Regex::new(r#""endpoint":\s*"[^"]*""#).unwrap();
    fs::write(&file, endpoint.replace(&text, r#""endpoint":"http://127.0.0.1:1""#).as_ref()).unwrap();
    let qemu = text.replace("\"machines\":\"off\"", "\"machines\":\"qemu\"");
    assert_ne!(qemu, text, "{text}");
    let deploy = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    shown(&project, "the_local_aws_does_not_answer", "sandbox status", 1);
    fs::write(&file, qemu).unwrap();
    project.file("deploy.yaml", &format!("{deploy}\ninstance: {{type: t4g.small}}\n"));
    shown(&project, "a_machine_that_qemu_is_not", "plan --sandbox", 2);
    fs::write(&file, text).unwrap();
}
