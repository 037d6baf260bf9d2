//! `app.build`: commands that write files of the release, such as a frontend or collected static files.
//!
//! They run in a copy of the code, so that they never write into the user's source, with the app's packages for this machine and
//! `app.env`. They get neither the token nor a secret.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::secrets;
use super::source::{self, File};
use crate::base::child;
use crate::base::dirs::unwritable;
use crate::base::error::{Exit, Failure, Result};
use crate::base::event::{Event, Sink, Topic};
use crate::base::logins::masked;
use crate::config::{App, FILE};

/// The number of lines of a command's output that an error shows.
const LINES: usize = 20;
/// The topic of the events.
const TOPIC: Topic = Topic::Borrowed("build");

/// Runs the commands in a copy of these files below `work`. Returns all files of the copy afterwards, also those that git ignores.
/// `packages`: a virtual environment with the app's packages. `sink` gets each line that they print.
///
/// # Errors
/// A command fails, removes the app's module, or writes a file that cannot be part of a release.
pub async fn run(app: &App, files: &[File], packages: &Path, work: &Path, sink: &dyn Sink) -> Result<Vec<File>> {
    let copy = work.join("source");
    for file in files {
        place(file, &copy.join(&file.name))?;
    }
    // Without links, because files outside of the copy are refused.
    let copy = fs::canonicalize(&copy).map_err(|error| unwritable(&copy, &error))?;
    for command in &app.build {
        let shown = masked(command);
        sink.event(Event::Begin(TOPIC, shown.clone()));
        let output = shell(command, &app.env, packages, &copy, &|line| sink.event(Event::Go(TOPIC, line))).await?;
        if !output.status.success() {
            sink.event(Event::Fail(TOPIC, shown.clone()));
            return Err(failed(&shown, &output, &copy, &app.path));
        }
        sink.event(Event::Done(TOPIC, shown));
    }
    let built = collect(app, &copy).map_err(|failure| {
        // The copy no longer exists when the user reads this.
        failure.mapped(&|text: &str| text.replace(&*copy.to_string_lossy(), &app.path.to_string_lossy()))
    })?;
    keeps_module(app, files, &built)?;
    Ok(built)
}

/// Checks that the app's module is still there, if it is one of the app's own files.
fn keeps_module(app: &App, before: &[File], after: &[File]) -> Result<()> {
    let module = super::module(app);
    let place = module.replace('.', "/");
    let paths = [format!("{place}.py"), format!("{place}/__init__.py")];
    let find = |files: &[File]| files.iter().map(|file| &file.name).find(|name| paths.contains(name)).cloned();
    let Some(gone) = find(before).filter(|_| find(after).is_none()) else { return Ok(()) };
    Err(Failure::new(Exit::Usage, format!("app.build removes {gone}, the app's module"))
        .because(format!("app.web is {}, and no file of the build provides {module}", app.web))
        .standing("Nothing was changed in AWS.")
        .next(format!("correct app.build or app.web in {FILE}")))
}

fn collect(app: &App, copy: &Path) -> Result<Vec<File>> {
    let files = source::collect_built(copy)?;
    secrets::check(copy, &files, &app.include)?;
    Ok(files)
}

fn place(file: &File, path: &Path) -> Result<()> {
    let bytes = file.read()?;
    let mode = Permissions::from_mode(if file.executable { 0o755 } else { 0o644 });
    let folder = path.parent().unwrap_or(path);
    let placed = fs::create_dir_all(folder).and_then(|()| fs::write(path, bytes));
    placed.and_then(|()| fs::set_permissions(path, mode)).map_err(|error| unwritable(path, &error))
}

/// Runs a command. `show` gets each line that it prints, without logins.
async fn shell(
    command: &str,
    settings: &BTreeMap<String, String>,
    packages: &Path,
    copy: &Path,
    show: &dyn Fn(String),
) -> Result<Output> {
    let programs = std::iter::once(packages.join("bin")).chain(child::path());
    let path = env::join_paths(programs).map_err(|error| Failure::bug(format!("cannot set PATH: {error}")))?;
    let mut shell = child::command("sh");
    shell.arg("-c").arg(command).current_dir(copy).stdin(Stdio::null()).kill_on_drop(true);
    shell.envs(settings).env("PATH", path).env("VIRTUAL_ENV", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let cannot = |error: std::io::Error| {
        Failure::failed("cannot start sh").because(error.to_string()).next("install a POSIX shell as sh, in PATH")
    };
    let mut shell = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().map_err(cannot)?;
    let group = shell.id().and_then(|id| Pid::from_raw(id.cast_signed())).map(Group);
    let (stdout, stderr) = (shell.stdout.take(), shell.stderr.take());
    let ended = async {
        let status = shell.wait().await;
        drop(group); // A process in the background would keep the output open.
        status
    };
    let (status, stdout, stderr) = tokio::join!(ended, said(stdout, show), said(stderr, show));
    Ok(Output { status: status.map_err(cannot)?, stdout, stderr })
}

/// Reads all that a process prints, while it runs. What was read until an error counts.
async fn said(pipe: Option<impl AsyncRead + Unpin>, show: &dyn Fn(String)) -> Vec<u8> {
    let (mut bytes, mut shown) = (Vec::new(), 0);
    let Some(mut pipe) = pipe else { return bytes };
    while pipe.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        // A progress bar ends its lines with a carriage return.
        while let Some(length) = bytes[shown..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let line = masked(String::from_utf8_lossy(&bytes[shown..shown + length]).trim());
            if !line.is_empty() {
                show(line);
            }
            shown += length + 1;
        }
    }
    bytes
}

/// The processes of a command. They end with it, also if this program stops waiting for it.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // If it fails, they have ended.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// The last lines of what it printed, with the paths of the user's own folder.
fn failed(command: &str, output: &Output, copy: &Path, app: &Path) -> Failure {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    let said = masked(&said.replace(&*copy.to_string_lossy(), &app.to_string_lossy()));
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let shown = lines[lines.len().saturating_sub(LINES)..].join("\n");
    let how = output.status.code().map_or("it was killed".to_owned(), |code| format!("exit code {code}"));
    let said = if shown.is_empty() { how } else { format!("{how}:\n{shown}") };
    Failure::new(Exit::Usage, format!("app.build failed: {command}"))
        .because(said)
        .standing("Nothing was changed in AWS.")
        .next(
            "make the command work in a fresh copy of the code without ignored files; it gets app.env, but neither the token nor a \
             secret (a setting that only the build needs can be part of the command: SECRET_KEY=x python manage.py …)",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::source::tests::folder;

    /// Keeps the lines of a build.
    #[derive(Default)]
    struct Lines(std::sync::Mutex<Vec<String>>);

    impl Sink for Lines {
        fn event(&self, event: Event) {
            if let Event::Go(_, line) = event {
                self.0.lock().unwrap().push(line);
            }
        }
    }

    async fn built(files: &[(&str, &str)], commands: &[&str]) -> Result<Vec<(String, String)>> {
        built_with(files, commands, &Lines::default()).await
    }

    async fn built_with(files: &[(&str, &str)], commands: &[&str], sink: &dyn Sink) -> Result<Vec<(String, String)>> {
        let (_keep, root) = folder(files);
        let work = tempfile::tempdir().unwrap();
        let mut app = crate::config::named("app").unwrap().app;
        app.path = root.clone();
        app.env = BTreeMap::from([("GREETING".to_owned(), "Hello".to_owned())]);
        app.build = commands.iter().map(|&command| command.to_owned()).collect();
        let before = source::collect(&root).unwrap();
        let found = run(&app, &before, Path::new("/nonexistent"), work.path(), sink).await?;
        let after: Vec<String> = source::collect(&root).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(before.into_iter().map(|file| file.name).collect::<Vec<_>>(), after, "the source is unchanged");
        let text = |file: File| (file.name.clone(), String::from_utf8(file.read().unwrap()).unwrap());
        Ok(found.into_iter().map(text).collect())
    }

    #[tokio::test]
    async fn what_the_commands_write_is_deployed_even_if_git_ignores_it() {
        let ignore = [(".gitignore", "static/\n"), (".devopsctlignore", "*.map\n")];
        let files = [("app.py", "x"), ("old.py", "x"), ignore[0], ignore[1]];
        let commands = [
            "mkdir -p static node_modules && echo $GREETING > static/a.css",
            "touch static/a.map node_modules/x; cp app.py static; chmod +x static/app.py; rm old.py",
        ];
        let found = built(&files, &commands).await.unwrap();
        let expected = [
            (".devopsctlignore", "*.map\n"),
            (".gitignore", "static/\n"),
            ("app.py", "x"),
            ("static/a.css", "Hello\n"),
            ("static/app.py", "x"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[tokio::test]
    async fn a_failed_command_ends_the_build_and_shows_its_last_lines() {
        let commands = ["seq 100; echo broken >&2; ls app.py; exit 7", "touch never"];
        let failure = built(&[("app.py", "")], &commands).await.unwrap_err();
        let said = crate::ui::render(&failure, 200, false);
        assert!(said.contains("app.build failed: seq 100") && said.contains("exit code 7"), "{said}");
        assert!(said.contains("broken") && said.contains(" 100") && !said.contains(" 81\n"), "{said}");
    }

    #[tokio::test]
    async fn each_line_is_shown_while_the_command_runs_and_without_logins() {
        let lines = Lines::default();
        let commands = ["printf 'one\\n10%%\\r20%%\\r\\n'; echo https://me:hunter22@example.com/x >&2"];
        built_with(&[("app.py", "")], &commands, &lines).await.unwrap();
        let mut lines = lines.0.into_inner().unwrap();
        lines.sort();
        assert_eq!(lines, ["10%", "20%", "https://****@example.com/x", "one"]);
        let failure = built(&[("app.py", "")], &["echo https://me:hunter22@example.com/x; exit 1"]).await.unwrap_err();
        assert!(!crate::ui::render(&failure, 200, false).contains("hunter22"));
    }

    #[tokio::test]
    async fn the_apps_module_must_remain() {
        let failure = built(&[("app.py", "")], &["rm app.py"]).await.unwrap_err();
        assert_eq!(failure.what(), "app.build removes app.py, the app's module");
        built(&[("app.py", "")], &["mkdir app && mv app.py app/__init__.py"]).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_of_a_command_outlives_it() {
        let found = built(&[("app.py", "")], &["sleep 1000 & echo $! > pid"]).await.unwrap();
        let stat = format!("/proc/{}/stat", found.iter().find(|(name, _)| name == "pid").unwrap().1.trim());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(std::time::Instant::now() < end, "it still runs");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_link_out_of_the_copy_and_a_secret_are_refused_with_the_users_own_folder() {
        let failure = built(&[("app.py", "")], &["ln -s /etc/hostname out"]).await.unwrap_err();
        assert!(failure.what().contains("/out links out"), "{}", failure.what());
        assert!(!failure.what().contains("/source/"), "{}", failure.what());
        let failure = built(&[("app.py", "")], &["touch prod.env"]).await.unwrap_err();
        let next = failure.next_step().unwrap().to_string();
        assert!(next.contains("/.devopsctlignore") && !next.contains("/source/"), "{next}");
    }
}
