//! The sandbox itself: who can connect, which files are private, how it ends.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use devopsctl::sandbox::IDLE;
use serde_json::Value;

use crate::console::file;
use crate::http::{get, try_get};
use crate::project::{Project, Ran, install_emulator, until};

/// A script in place of pyenv's Python, which runs the interpreter of this machine.
#[test]
#[ignore = "slow"]
fn a_machine_has_the_python_of_its_image_where_pyenv_has_it() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::alone().with_example();
    let python = project.folder().join("pyenv/versions/3.9.99/bin/python3.9");
    let script =
        "#!/bin/sh\ncase \"$*\" in *_base_executable*) echo \"$0\"; echo 3.9;; *) exec python3 \"$@\";; esac\n";
    project.file("pyenv/versions/3.9.99/bin/python3.9", script);
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let up = |image: &str| {
        let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
        let text = text.split("\ninstance:").next().unwrap();
        project.file("deploy.yaml", &format!("{text}\ninstance: {{image: {image}}}\n"));
        let mut command = project.command("up --sandbox --no-wait --yes");
        command.env("PYENV_ROOT", project.folder().join("pyenv")).env("UV_PYTHON_INSTALL_DIR", project.folder());
        command.env("XDG_CACHE_HOME", devopsctl::base::dirs::cache().unwrap().parent().unwrap());
        command.env("PATH", "/usr/bin:/bin");
        Ran::new("up --sandbox", &command.output().unwrap()).ok();
        let link = project.machine().join("bin/python3");
        until(30, "the machine boots", || std::fs::read_link(&link).ok())
    };
    assert_eq!(up("al2023"), python);
    project.ok("down --sandbox --yes");
    assert_ne!(up("debian-13"), python);
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn security_groups_limit_access() {
    let project = Project::example();
    let open = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{open}\nnetwork: {{allow: [203.0.113.0/24]}}\n"));
    let up = project.run("up --sandbox").ok().says("network.allow blocks this machine");
    let url = up.stdout.trim_end();
    assert!(try_get(url, Some(&project.token())).is_err());
    project.ok("status --sandbox");

    project.file("deploy.yaml", &open);
    assert_eq!(project.up(), url);
    assert_eq!(get(url, Some(&project.token())).status, 200);
}

#[test]
fn the_token_is_stored_only_in_its_places() {
    let project = Project::example();
    let said = project.run("up --sandbox -v").ok();
    let url = said.stdout.trim_end().to_owned();
    let first = project.token();
    let changed = project.run("set-token --sandbox --generate -v").ok();
    let second = project.token();
    assert_ne!(first, second);
    assert_eq!(get(&url, Some(&second)).status, 200);
    let others = [
        said.shown(),
        changed.shown(),
        project.run("status --sandbox -v").shown(),
        project.run("status --sandbox --json").shown(),
        project.run("sandbox logs").shown(),
        project.run("up --sandbox --json").shown(),
    ];
    for token in [&first, &second] {
        for text in &others {
            assert!(!text.contains(token.as_str()), "{text}");
        }
        let holds = holding(&project.state(), token);
        // Only the generation's file, which is on tmpfs on a real machine.
        assert!(holds.iter().all(|path| path.contains("/run/devopsctl/generations/")), "{holds:?}");
        assert!(holding(&project.folder(), token).is_empty());
        for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            for name in ["cmdline", "environ"] {
                let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&bytes).contains(token.as_str()), "{:?}/{name}", entry.path());
            }
        }
    }
}

/// The files below a folder that contain a text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() && String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).contains(text) {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn secret_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::example();
    project.up();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let state = project.state().join("devopsctl");
    assert_eq!(mode(&state.join("sandbox")), 0o700);
    assert_eq!(mode(&state.join("sandbox/sandbox.json")), 0o600);
    assert_eq!(mode(&state.join("keys")), 0o700);
    assert_eq!(mode(&state.join("keys/123456789012/us-east-1/hello")), 0o600);
    // The sandbox sets its own umask.
    assert_eq!(mode(&state.join("sandbox/emulator/policy.json")), 0o600);
    assert!(!state.join("sandbox/emulator/secret").exists());
}

#[test]
#[ignore = "slow"]
fn an_idle_sandbox_ends_and_the_next_command_reports_it() {
    install_emulator();
    let project = Project::alone().with_example();
    let started = project.command("sandbox start").env(IDLE, "1").output().unwrap();
    assert!(started.status.success(), "{started:?}");
    until(30, "the sandbox ends", || project.processes().is_empty().then_some(()));
    project.run("status --sandbox").code(4).says("the last sandbox ended after 1 idle seconds; its contents are gone");
}

#[test]
#[ignore = "slow"]
fn a_killed_sandbox_leaves_no_process() {
    let project = Project::alone().with_example();
    project.up();
    let handle: Value = serde_json::from_str(&file(&project)).unwrap();
    let killed = Command::new("kill").args(["-9", &handle["pid"].to_string()]).status().unwrap();
    assert!(killed.success());
    until(30, "everything it had started ends", || project.processes().is_empty().then_some(()));
    project.run("up --sandbox").ok().says("the last sandbox was killed, or the machine was switched off");
}

/// The file is written atomically, but a full disk or an editor can truncate it.
#[test]
#[ignore = "slow"]
fn a_truncated_handle_of_a_running_sandbox_can_be_recovered() {
    install_emulator();
    let project = Project::alone();
    let started = project.command("sandbox start --machine off").output().unwrap();
    assert!(started.status.success(), "{started:?}");
    let path = project.state().join("devopsctl/sandbox/sandbox.json");
    let text = file(&project);
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    // A read-only command does not touch the sandbox.
    project.run("sandbox status").code(1).says("cannot read sandbox.json of the running sandbox");
    assert!(!project.processes().is_empty() && path.exists());
    project
        .run("sandbox start --machine off")
        .ok()
        .says("cannot read sandbox.json of the running sandbox: it is restarted");
    assert_ne!(file(&project), text);
}

#[test]
fn a_port_in_use_is_reported() {
    install_emulator();
    let project = Project::alone();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    project
        .run(&format!("sandbox start --port {port}"))
        .code(1)
        .says(&format!("cannot listen on port {port}"))
        .says("choose another --port");
}

/// The host's files are read-only for the sandbox, except for its own folders.
#[test]
#[ignore = "slow"]
fn nothing_outside_its_folders_changes_on_the_host() {
    let script = r#"
        set -eu
        PATH=$PATH:/usr/sbin:/sbin
        host=$STATE/../w
        mkdir -p "$STATE" "$host"
        mount --make-rprivate /
        mount --rbind / "$host"
        for folder in "$STATE" "$CACHE"; do mount --bind "$folder" "$host$folder"; done
        mount -o remount,bind,ro "$host"
        if touch "$host/etc/devopsctl-test" 2>/dev/null; then echo "the host can still be written to"; exit 99; fi
        exec chroot "$host" sh -c 'cd "$FOLDER" && "$BINARY" up --sandbox && "$BINARY" set-token --sandbox --generate && "$BINARY" down --sandbox --yes && "$BINARY" sandbox stop'
    "#;
    with_mounts(script);
}

/// Large objects of the emulator are on the disk.
#[test]
#[ignore = "slow"]
fn a_full_disk_is_reported() {
    let script = r#"
        set -eu
        mkdir -p "$STATE"
        mount -t tmpfs -o size=24m tmpfs "$STATE"
        export TMPDIR="$STATE"
        cd "$FOLDER"
        "$BINARY" sandbox start --machine off
        head -c "$(( ($(df -k --output=avail "$STATE" | tail -n 1) - 300) * 1024 ))" /dev/zero >"$STATE/fill"
        said=0
        "$BINARY" up --sandbox --no-wait 2>"$STATE/../said" || said=$?
        cat "$STATE/../said" >&2
        [ "$said" = 1 ]
        grep -q "The disk with .* is full" "$STATE/../said"
        grep -q "free some space on that disk" "$STATE/../said"
        rm "$STATE/fill"
        "$BINARY" up --sandbox --no-wait
        "$BINARY" down --sandbox --yes
        "$BINARY" sandbox stop
    "#;
    with_mounts(script);
}

/// Runs a script with mounts in its own namespace, if this system allows it.
#[track_caller]
fn with_mounts(script: &str) {
    if !cfg!(target_os = "linux") || !Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|s| s.success())
    {
        eprintln!("this system does not let us mount anything: not tested");
        return;
    }
    let project = Project::alone().with_example();
    install_emulator();
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", script]).env_remove("DEVOPSCTL_IAM_LOG");
    project.settle(&mut command);
    let cache = devopsctl::base::dirs::cache().unwrap();
    command
        .env("STATE", project.state())
        .env("CACHE", cache.parent().unwrap())
        .env("FOLDER", project.folder())
        .env("BINARY", env!("CARGO_BIN_EXE_devopsctl"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
