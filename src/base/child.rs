//! Child processes: their programs and their environment.
//!
//! Every program is looked up by [`program`], and every child gets only [`environment`]: no AWS credentials, no token, no setting
//! of the app.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The variables that children get.
const PASSED: [&str; 22] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TERM",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];
/// Parts of the names of variables that cause builds, which only `deploy.yaml` can allow.
const BUILDS: [&str; 2] = ["NO_BINARY", "NO_BUILD_ISOLATION"];
/// The prefixes of variables that children get.
const PASSED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];
/// The prefixes of variables that uv and pip get. An index may need a password; setuptools-scm needs the version, because the copy
/// of a local package has no git repository.
const INSTALLER_PREFIXES: [&str; 3] = ["UV_", "PIP_", "SETUPTOOLS_SCM_PRETEND_VERSION"];

fn passes(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        PASSED.contains(&name) || PASSED_PREFIXES.into_iter().any(|prefix| name.starts_with(prefix))
    })
}

/// Whether uv and pip get a variable of this name.
pub fn is_for_installers(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        let for_installers = INSTALLER_PREFIXES.into_iter().any(|prefix| name.starts_with(prefix));
        for_installers && !BUILDS.into_iter().any(|part| name.contains(part))
    })
}

/// The variables that uv and pip get in addition to [`environment`].
pub fn installer_settings() -> impl Iterator<Item = (OsString, OsString)> {
    env::vars_os().filter(|(name, _)| is_for_installers(name) || (name == BUS && env::var_os(KEYRING).is_some()))
}

/// With this variable, uv asks the program `keyring` for the passwords of indexes, and that asks the desktop's keyring over the bus.
const KEYRING: &str = "UV_KEYRING_PROVIDER";
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";

/// The variables that a program with a window needs in addition.
const SCREEN: [&str; 12] = [
    "BROWSER",
    "DBUS_SESSION_BUS_ADDRESS",
    "DESKTOP_SESSION",
    "DISPLAY",
    "GNOME_DESKTOP_SESSION_ID",
    "KDE_FULL_SESSION",
    "KDE_SESSION_VERSION",
    "WAYLAND_DISPLAY",
    "WSLENV",
    "WSL_DISTRO_NAME",
    "WSL_INTEROP",
    "XAUTHORITY",
];

/// A command for a program with a window.
pub fn on_screen(mut command: std::process::Command) -> Command {
    let screen = SCREEN.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
    command.env_clear().envs(environment()).envs(screen);
    command.into()
}

/// This program itself as a process of the sandbox, which also gets its own settings.
pub fn own(program: impl AsRef<Path>) -> Command {
    let own = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("DEVOPSCTL_")));
    let mut command = command(program);
    command.envs(own);
    command
}

/// The environment of every child. `PATH` has only the folders that [`program`] searches.
pub fn environment() -> Vec<(OsString, OsString)> {
    let passed = env::vars_os().filter(|(name, _)| passes(name) && name != "PATH");
    let path = env::join_paths(path()).ok().map(|path| (OsString::from("PATH"), path));
    passed.chain(path).collect()
}

/// A command with the environment of a child. A bare name is looked up by [`program`].
pub fn command(name: impl AsRef<Path>) -> Command {
    let name = name.as_ref();
    let bare = name.components().count() == 1;
    // A name that is not found becomes a path that does not exist, so that the system does not search `PATH` itself.
    let path = if bare { program(name).unwrap_or_else(|| Path::new("/nonexistent").join(name)) } else { name.into() };
    let mut command = Command::new(path);
    command.env_clear().envs(environment());
    command
}

/// The folders of `PATH` without relative ones, which would depend on the working directory.
pub fn path() -> Vec<PathBuf> {
    absolute(&env::var_os("PATH").unwrap_or_default())
}

fn absolute(path: &OsStr) -> Vec<PathBuf> {
    env::split_paths(path).filter(|folder| folder.is_absolute()).collect()
}

/// The first executable of that name on [`path`].
pub fn program(name: impl AsRef<Path>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    path().into_iter().map(|folder| folder.join(name.as_ref())).find(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_settings_are_not_passed() {
        for name in ["PATH", "HOME", "LC_ALL", "XDG_CACHE_HOME", "https_proxy", "SSL_CERT_FILE"] {
            assert!(passes(OsStr::new(name)), "{name}");
        }
        assert!(is_for_installers(OsStr::new("UV_INDEX_URL")) && is_for_installers(OsStr::new("PIP_INDEX_URL")));
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "APP_SECRET_TOKEN",
            "GITHUB_TOKEN",
            "LD_PRELOAD",
            "PYTHONSTARTUP",
            "GIT_SSH_COMMAND",
            "VIRTUAL_ENV",
            "UV_PUBLISH_TOKEN",
        ] {
            assert!(!passes(OsStr::new(name)), "{name}");
        }
        for name in
            ["MY_UV_X", "UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "PIP_NO_BINARY", "UV_NO_BUILD_ISOLATION", "AWS_PROFILE"]
        {
            assert!(!is_for_installers(OsStr::new(name)), "{name}");
        }
    }

    /// A program that is started in another way would get the caller's whole environment.
    #[test]
    fn every_program_is_started_by_this_module() {
        fn files(folder: &Path) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        // This module; the supervisor, whose own environment is this one; and clap's `Command`.
        let allowed =
            ["base/child.rs", "sandbox/supervisor.rs", "commands/completions.rs"].map(|name| source.join(name));
        for file in files(&source).into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            assert!(allowed.contains(&file) || !code.contains("Command::new("), "{}", file.display());
        }
    }

    #[test]
    fn relative_folders_are_not_searched() {
        let found = absolute(OsStr::new(":.:bin:../tools:/usr/bin:/bin"));
        assert_eq!(found, [PathBuf::from("/usr/bin"), PathBuf::from("/bin")]);
    }

    #[tokio::test]
    async fn a_child_gets_no_other_environment() {
        let output = command("env").output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.lines().any(|line| line.starts_with("PATH=")), "{text}");
        // cargo sets this variable for the test itself.
        assert!(env::var_os("CARGO_MANIFEST_DIR").is_some() && !text.contains("CARGO_MANIFEST_DIR"), "{text}");
    }
}
