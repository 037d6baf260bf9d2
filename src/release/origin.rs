//! The commit that a release was made from, for the release history.
//!
//! git is not run, because a repository's configuration can name programs that git starts. Its files are read as plain text of
//! limited size. So it is unknown whether the folder was changed since the commit.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The maximum size of a file that is read; a list of packed refs is the largest one.
const LARGEST: u64 = 8 * 1024 * 1024;
/// The maximum length of a subject.
const SUBJECT: usize = 72;

/// The commit of an app's folder, with its subject if the reflog has it; empty without a repository or a commit.
pub fn describe(folder: &Path) -> String {
    let Some(repository) = folder.ancestors().find_map(repository) else { return String::new() };
    let Some(commit) = head(&repository) else { return String::new() };
    let subject = subject(&repository, &commit).unwrap_or_default();
    format!("{} {subject}", &commit[..7]).trim_end().to_owned()
}

/// The folder `.git`, or the one that a worktree's `.git` file names.
fn repository(folder: &Path) -> Option<PathBuf> {
    let git = folder.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = text(&git)?;
    Some(folder.join(text.strip_prefix("gitdir: ")?.trim_end()))
}

fn head(repository: &Path) -> Option<String> {
    let head = text(&repository.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else { return commit(&head) };
    let name = name.trim_end();
    if !is_ref(name) {
        return None;
    }
    // A worktree shares the refs of its repository.
    let shared = text(&repository.join("commondir")).map(|path| repository.join(path.trim_end()));
    let shared = shared.as_deref().unwrap_or(repository);
    let loose = text(&shared.join(name)).and_then(|text| commit(&text));
    loose.or_else(|| {
        let packed = text(&shared.join("packed-refs"))?;
        packed
            .lines()
            .find_map(|line| line.split_once(' ').filter(|(_, other)| *other == name).and_then(|(id, _)| commit(id)))
    })
}

/// Validates the name of a ref, because it becomes a path.
fn is_ref(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\\']);
    name.starts_with("refs/") && name.split('/').all(plain)
}

/// A complete id: 40 digits for SHA-1, 64 for SHA-256.
fn commit(text: &str) -> Option<String> {
    let id = text.trim_end();
    let whole = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    whole.then(|| id.to_owned())
}

/// The commit's subject in the reflog, if the commit was created here.
fn subject(repository: &Path, commit: &str) -> Option<String> {
    let log = text(&repository.join("logs/HEAD"))?;
    let (ids, message) = log.lines().last()?.split_once('\t')?;
    let said = message.strip_prefix("commit").filter(|_| ids.split(' ').nth(1) == Some(commit))?;
    let (_, subject) = said.split_once(": ")?;
    Some(subject.chars().filter(|letter| !letter.is_control()).take(SUBJECT).collect())
}

/// The text of a regular file. Other files, such as a pipe that would block, are not opened.
fn text(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return None;
    }
    let mut text = String::new();
    fs::File::open(path).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn run(folder: &Path, arguments: &[&str]) -> String {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let mut command = Command::new("git");
        command.arg("-C").arg(folder).args(who).args(arguments).env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE");
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    }

    #[test]
    fn a_commit_is_found_loose_packed_detached_and_in_a_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let (root, app) = (folder.path().join("r"), folder.path().join("r/app"));
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("app.py"), "1").unwrap();
        assert_eq!(describe(&app), "", "no repository");
        run(&root, &["init", "-q"]);
        assert_eq!(describe(&app), "", "no commit");
        run(&root, &["add", "."]);
        run(&root, &["commit", "-q", "-m", "Say \"grüezi\"\n\nmore"]);
        let id = run(&root, &["rev-parse", "HEAD"])[..7].to_owned();
        assert_eq!(describe(&app), format!("{id} Say \"grüezi\""));
        run(&root, &["pack-refs", "--all"]);
        assert_eq!(describe(&app), format!("{id} Say \"grüezi\""), "packed");
        run(&root, &["worktree", "add", "-q", "../w", "-b", "other"]);
        assert!(describe(&folder.path().join("w/app")).starts_with(&id), "a worktree");
        run(&root, &["checkout", "-q", "--detach"]);
        assert_eq!(describe(&app), id, "detached");
        assert_eq!(describe(Path::new("/nowhere")), "");
    }

    #[test]
    fn a_ref_cannot_leave_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".git/refs")).unwrap();
        fs::write(folder.path().join("secret"), "a".repeat(40)).unwrap();
        for head in ["ref: refs/../../secret", "ref: ../secret", "ref: /etc/hostname", "0123", "ref: refs//x"] {
            fs::write(folder.path().join(".git/HEAD"), head).unwrap();
            assert_eq!(describe(folder.path()), "", "{head}");
        }
    }

    /// The app's folder is a bare repository, which a clone can contain, with a filter and an fsmonitor.
    #[test]
    fn a_repository_cannot_run_programs() {
        let folder = tempfile::tempdir().unwrap();
        let (root, ran) = (folder.path().join("app"), folder.path().join("ran"));
        fs::create_dir(&root).unwrap();
        let script = folder.path().join("script");
        fs::write(&script, format!("#!/bin/sh\necho ran >>'{}'\ncat\n", ran.display())).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        run(&root, &["init", "-q"]);
        fs::write(root.join("app.py"), "1").unwrap();
        fs::write(root.join(".gitattributes"), "*.py filter=x\n").unwrap();
        run(&root, &["add", "."]);
        run(&root, &["commit", "-q", "-m", "Begin"]);
        for part in ["HEAD", "objects", "refs", "index", "config"] {
            fs::rename(root.join(".git").join(part), root.join(part)).unwrap();
        }
        fs::remove_dir_all(root.join(".git")).unwrap();
        let settings = format!(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = {}\n\tfsmonitor = {script}\n[filter \"x\"]\n\tclean = {script}\n",
            root.display(),
            script = script.display()
        );
        fs::write(root.join("config"), settings).unwrap();
        fs::write(root.join("app.py"), "2").unwrap();
        assert_eq!(describe(&root), "");
        assert!(!ran.exists(), "a program of the folder ran");
    }
}
