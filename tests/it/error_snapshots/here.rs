//! Mistakes that are detected before any call: the command line, `deploy.yaml`, the app's folder, this machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};

use super::{keep, shown, shown_after, typed};
use crate::project::{Project, Ran};

const APP: &str = "from flask import Flask\n\napp = Flask(__name__)\n";

#[test]
fn the_command_line() {
    let project = Project::alone().with_example();
    shown(&project, "another_tools_word", "deploy", 2);
    shown(&project, "a_misspelt_verb", "stauts", 2);
    shown(&project, "machine_without_sandbox", "up --machine off", 2);
    shown(&project, "ssh_as_json", "ssh --json", 2);
    shown(&project, "run_without_a_command", "run", 2);
    shown_after(&project, "no_ssh_here", "ssh", 1, |command| {
        command.env("PATH", project.folder());
    });
    shown(&project, "no_region", "up", 2);
    shown(&project, "no_credentials", "up --region eu-central-1", 5);
    shown(&project, "no_credentials_for_a_profile", "up --region eu-central-1 --profile work", 5);
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL_SSO", "AWS_ENDPOINT_URL_SSO_OIDC"] {
        shown_after(&project, "an_endpoint_in_clear", "up --region eu-central-1", 2, |command| {
            command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
            command.env(variable, "http://10.0.0.1");
        });
    }
    shown(&project, "no_terminal_for_the_token", "set-token", 2);
    let mut command = typed(&project, "set-token --stdin");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff\xfe\n").unwrap();
    keep(
        &project,
        "a_token_that_is_no_text",
        Ran::new("set-token --stdin", &child.wait_with_output().unwrap()).code(2),
    );
    for (name, token) in [
        ("an_empty_token", ""),
        ("a_token_with_white_space", "two words here"),
        ("a_token_that_is_not_ascii", "schlüssel-schlüssel"),
        ("a_token_that_is_too_short", "tiny-pass"),
        ("a_token_that_is_too_long", &"x".repeat(257)),
    ] {
        let mut child = typed(&project, "set-token --stdin");
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The command may fail before it reads its input.
        let _ = child.stdin.take().unwrap().write_all(token.as_bytes());
        keep(&project, name, Ran::new("set-token --stdin", &child.wait_with_output().unwrap()).code(2));
    }
    assert!(project.processes().is_empty(), "nothing was started");
}

#[test]
fn secrets() {
    let project = Project::alone().with_example();
    shown(&project, "no_terminal_for_a_secret", "secrets set MAIL_PASSWORD", 2);
    shown(&project, "a_value_in_the_arguments", "secrets set MAIL_PASSWORD=hunter", 2);
    shown(&project, "a_name_that_is_taken", "secrets set APP_SECRET_TOKEN", 2);
    shown(&project, "a_secret_of_several", "secrets set --stdin MAIL_USER MAIL_PASSWORD", 2);
    for (name, value) in [
        ("an_empty_secret", &b"\n"[..]),
        ("a_secret_that_is_too_long", &[b'x'; 5000]),
        ("a_secret_that_is_no_text", b"\xff\xfe\n"),
    ] {
        let line = "secrets set --stdin MAIL_PASSWORD";
        let mut command = typed(&project, line);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The command may fail before it reads its input.
        let _ = child.stdin.take().unwrap().write_all(value);
        keep(&project, name, Ran::new(line, &child.wait_with_output().unwrap()).code(2));
    }
    project.file("deploy.yaml", "name: hello\napp: {path: app, secrets: [MAIL_PASSWORD]}\n");
    shown(&project, "a_secret_that_is_needed", "secrets unset MAIL_PASSWORD", 2);
    shown(&project, "no_secret_is_kept_elsewhere", "secrets refresh", 2);
    shown(&project, "a_file_of_secrets_that_is_missing", "secrets import .env", 2);
    project.file(".env", "MAIL_USER=shop\nMAIL_PASSWORD='not-for-your-eyes\n");
    shown(&project, "a_line_that_is_no_variable", "secrets import .env", 2);
    project.file("deploy.yaml", "name: hello\napp: {path: app, secrets: [{MAIL_PASSWORD: ssm:/shared/mail}]}\n");
    shown(&project, "a_secret_that_is_kept_elsewhere", "secrets set MAIL_PASSWORD", 2);
    project.file("deploy.yaml", "name: hello\napp: {path: app, secrets: [{MAIL_PASSWORD: 'ssm:/mail:3'}]}\n");
    shown(&project, "a_reference_that_is_not_valid", "up", 2);
    assert!(project.processes().is_empty(), "nothing was started");
}

#[test]
fn deploy_yaml() {
    let project = Project::alone();
    shown(&project, "no_deploy_yaml", "up", 2);
    shown(&project, "no_deploy_yaml_for_down", "down", 2);
    shown(&project, "no_such_file", "up --file other.yaml", 2);
    project.file("deploy.yaml", "name: Hello\napp:\n  path: ap\n  wsgi: app\nnetwork: {port: 0}\n");
    shown(&project, "a_deploy_yaml_with_mistakes", "up", 2);
    project.file("deploy.yaml", "name: hello\napp: {path: app\n");
    shown(&project, "a_deploy_yaml_that_is_no_yaml", "up", 2);
    shown(&project, "a_name_that_cannot_be_one", "down --name Hello", 2);
    project.file("deploy.yaml", "name: hello\napp: {path: ., permissions: [missing.json, 'arn:aws:s3:::bucket']}\n");
    shown(&project, "permissions_that_cannot_be_read", "up", 2);
    let statement = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}"#;
    project.file("policy.json", &format!("{{\"Version\": \"2012-10-17\", \"Statement\": [{statement}]}}"));
    project.file("deploy.yaml", "name: hello\napp: {path: ., permissions: policy.json}\n");
    shown(&project, "permissions_that_are_no_policy", "up", 2);
    let project = Project::alone().with_example();
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nregion: us-east-1\nnetwork: {{allow: [192.0.2.0/24]}}\n"));
    let key = |command: &mut Command| {
        command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "none");
    };
    shown_after(&project, "allow_keeps_the_authority_out", "up", 2, key);
    // The working directory was removed.
    let mut shell = Command::new("sh");
    shell.args(["-c", "mkdir gone && cd gone && rmdir ../gone && exec \"$0\" up", env!("CARGO_BIN_EXE_devopsctl")]);
    project.settle(&mut shell);
    keep(&project, "the_folder_is_gone", Ran::new("up", &shell.env("COLUMNS", "80").output().unwrap()).code(2));
}

#[test]
fn init() {
    let project = Project::alone();
    project.file("notes.py", "print('hello')\n");
    shown(&project, "init_sees_no_app", "init", 2);
    shown(&project, "init_of_no_folder", "init nowhere", 2);
    shown(&project, "init_of_a_file", "init notes.py", 2);
    project.file("my-app.py", APP);
    shown(&project, "init_of_an_app_that_cannot_be_imported", "init", 2);
    project.file("one/app.py", APP).file("one/other.py", APP).file("123/app.py", APP);
    shown(&project, "init_of_several_apps", "init one", 2);
    shown(&project, "init_without_a_name", "init 123", 2);
    shown(&project, "init_without_a_name_and_without_asking", "init 123 --yes", 2);
    shown(&project, "init_of_a_file_elsewhere", "init one --yes --file deploy.yaml", 2);
    project.file("one/deploy.yaml", "mine\n");
    shown(&project, "init_overwrites_nothing", "init one --yes", 2);
    // The name is too long for a file.
    project.file("two/app.py", APP);
    let line = format!("init two --yes --file two/{}.yaml", "x".repeat(300));
    let ran = Ran::new(&line, &typed(&project, &line).output().unwrap()).code(1);
    let long = regex::Regex::new(r"x[x\s│]{100,}x").unwrap();
    keep(&project, "init_that_cannot_write", ran.with(|text| long.replace_all(text, "[…]").into_owned()));
    project.file("taken", "");
    shown(&project, "man_pages_that_cannot_be_written", "man taken", 1);
}

/// A file that was found by searching may belong to another user or program.
#[test]
fn a_file_that_is_not_read() {
    let project = Project::alone().with_example();
    let file = project.folder().join("deploy.yaml");
    let text = fs::read(&file).unwrap();
    fs::OpenOptions::new().append(true).open(&file).unwrap().set_len(300 << 20).unwrap();
    shown(&project, "a_deploy_yaml_that_is_too_large", "up", 2);
    fs::write(&file, text).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file to another user");
        return;
    }
    // No machine has a user with this id.
    chown(&file, Some(4_000_000), None).unwrap();
    shown(&project, "a_deploy_yaml_of_another_user", "up", 2);
}

/// The example in a region; with `line` among the keys of `app`.
fn example(line: &str) -> Project {
    let project = Project::alone().with_example();
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    let text = text.replace("path: app\n", &format!("path: app\n{line}"));
    project.file("deploy.yaml", &format!("{text}\nregion: us-east-1\n"));
    project
}

/// The inputs of the release are checked before any call that changes AWS; `plan` checks them as well.
#[track_caller]
fn up_without_calls(project: &Project, name: &str, prepare: impl FnOnce(&mut Command)) {
    shown_after(project, name, "up", 2, |command| {
        command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "none");
        // This endpoint does not answer.
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        prepare(command);
    });
}

#[test]
#[ignore = "slow"]
fn the_apps_folder() {
    let project = example("");
    let up = |name: &str| up_without_calls(&project, name, |_| {});
    let app = project.folder().join("app");
    symlink("/etc/hostname", app.join("hostname")).unwrap();
    up("a_link_that_leads_out");
    fs::remove_file(app.join("hostname")).unwrap();
    fs::create_dir(app.join("real")).unwrap();
    symlink("real", app.join("folder")).unwrap();
    up("a_link_to_a_folder");
    fs::remove_file(app.join("folder")).unwrap();
    symlink("nowhere", app.join("broken")).unwrap();
    up("a_file_that_cannot_be_taken");
    fs::remove_file(app.join("broken")).unwrap();
    for name in [".env.production", "certs/server.key", "id_ed25519", "a.pfx", "b.pfx", "c.pfx", "d.pfx"] {
        project.file(&format!("app/{name}"), "x");
    }
    up("files_that_may_hold_secrets");
    project.file("app/.gitignore", "*.pfx\n.env.*\n*.key\nid_*\n");
    let source = fs::read_to_string(app.join("app.py")).unwrap();
    project.file("app/app.py", &format!("import yaml\n{source}"));
    up("a_module_that_is_missing");
}

#[test]
fn an_include_of_an_ignored_file() {
    let project = example("  include: [a.pfx]\n");
    project.file("app/a.pfx", "x").file("app/.gitignore", "*.pfx\n");
    up_without_calls(&project, "an_include_that_is_not_packed", |_| {});
}

#[test]
fn static_files_that_are_not_there() {
    let project = example("  static: {/static: staticfiles}\n");
    up_without_calls(&project, "static_files_that_are_missing", |_| {});
}

#[test]
#[ignore = "slow"]
fn requirements() {
    let project = example("");
    let app = project.folder().join("app");
    let up = |name: &str| up_without_calls(&project, name, |_| {});
    fs::write(app.join("requirements.txt"), b"flask\xff\n").unwrap();
    up("requirements_that_are_no_text");
    fs::write(app.join("requirements.txt"), "flask==3.0.0\nno-such-package-for-devopsctl==1.0\n").unwrap();
    up("a_requirement_that_does_not_resolve");
    project
        .file("lib/pyproject.toml", "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n");
    let lib = project.folder().join("lib");
    project.file("app/requirements.txt", &format!("lib @ file://{}\n", lib.display()));
    up("a_requirement_that_has_to_be_built");
    project.file("app/requirements.txt", "../lib\n");
    up("a_project_that_has_to_be_built");
    let named = "[project]\nversion = '1'\nname = ";
    project.file("lib/pyproject.toml", &format!("{named}'lib'\n"));
    project.file(
        "other/pyproject.toml",
        &format!(
            "{named}'other'\ndependencies = ['lib']\n[tool.uv.sources]\nlib = {{path = '../lib', editable = true}}\n"
        ),
    );
    let other = project.folder().join("other");
    project.file("app/requirements.txt", &format!("other @ file://{}\n", other.display()));
    up("an_editable_project");
    project.file("app/requirements.txt", "-r base.txt\n").file("app/base.txt", "--no-binary flask\nflask==3.0.0\n");
    up("an_option_that_builds");
    project.file("app/requirements.txt", "-r https://example.com/base.txt\n");
    up("requirements_that_cannot_be_followed");
    project.file("app/requirements.txt", "flask==3.0.0\ngunicorn==19.9.0\n");
    up("a_gunicorn_that_is_too_old");
    project.file("app/requirements.txt", "--extra-index-url https://me:my-password@example.com/simple\nflask==3.0.0\n");
    up("a_login_in_requirements");
}

#[test]
#[ignore = "slow"]
fn versions_of_python() {
    let project = example("");
    let app = project.folder().join("app");
    project.file("app/requirements.txt", "flask==3.0.0\n");
    let up = |name: &str| up_without_calls(&project, name, |_| {});
    let text = fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ninstance: {{image: debian-13}}\n"));
    project.file("app/.python-version", "3.12\n");
    up("a_python_that_the_image_lacks");
    project.file("app/.python-version", "").file("app/pyproject.toml", "[project]\nrequires-python = '~=3.10.4'\n");
    up("a_python_that_no_image_has");
    fs::remove_file(app.join("pyproject.toml")).unwrap();
    fs::remove_file(app.join("requirements.txt")).unwrap();
    up("no_requirements");
    let pipfile = "[[source]]\nurl = 'https://me:password@packages.example.com/simple'\n[packages]\nflask = '*'\n";
    project.file("app/Pipfile", pipfile);
    up("a_pipfile_with_another_index");
    project.file("app/Pipfile", "[packages]\nbottle = '>=0.13.2'\n");
    project.file("app/Pipfile.lock", "{\"default\": {\"bottle\": {\"version\": \"==0.13.1\"}}}\n");
    up("a_lock_that_does_not_fit");
}

/// With a fake uv.
#[test]
#[ignore = "slow"]
fn packages_that_cannot_be_shipped() {
    let project = example("  build_dependencies: true\n");
    // It only finds packages to compile.
    let fake = "#!/bin/sh\n[ \"$1\" = --version ] && echo uv 9.9.9\nwhile [ $# -gt 0 ]; do case $1 in --target) t=$2;; --output-file) o=$2;; esac; shift; done\n\
                [ -z \"$o\" ] || echo slow==1.0 >\"$o\"\n[ -z \"$t\" ] || mkdir -p \"$t/slow-1.0.dist-info\"\n\
                [ -z \"$t\" ] || echo 'Tag: cp313-cp313-linux_x86_64' >\"$t/slow-1.0.dist-info/WHEEL\"\n";
    let faked = |name: &str, uv: &str| {
        project.file("bin/uv", uv);
        fs::set_permissions(project.folder().join("bin/uv"), fs::Permissions::from_mode(0o755)).unwrap();
        up_without_calls(&project, name, |command| {
            command.env("XDG_CACHE_HOME", project.folder().join("cache"));
            command.env("PATH", format!("{}:/usr/bin:/bin", project.folder().join("bin").display()));
        });
    };
    project.file("app/requirements.txt", "slow==1.0\n");
    faked("a_requirement_without_a_wheel", fake);
    let whole = fake.replace("linux_x86_64", "manylinux_2_17_x86_64");
    // It installs a package as editable; then it finds an unknown local package.
    faked("a_package_that_leads_here", &format!("{whole}[ -z \"$t\" ] || echo /home/you/lib/src >\"$t/lib.pth\"\n"));
    project.file("app/requirements.txt", "slow==1.1\n");
    faked("a_local_package_that_was_not_seen", &fake.replace("echo slow==1.0", "echo 'lib @ file:///home/you/lib'"));
    project.file("app/requirements.txt", "slow==1.2\n");
    let denied = "hint: An index URL (https://example.com/simple) could not be queried due to a lack of valid authentication \
                  credentials (401 Unauthorized)";
    let refuses =
        format!("#!/bin/sh\n[ \"$1\" = --version ] && echo uv 9.9.9 && exit 0\necho '{denied}' >&2\nexit 1\n");
    faked("an_index_that_refuses", &refuses);
}
