//! What a release was made from, for those who look at the history: git's word for it, where git has one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// It is a courtesy: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The commit that an app's folder is at, whether it was changed since, and the commit's subject; empty if there is no git,
/// no commit, or no answer in time.
pub async fn describe(folder: &Path) -> String {
    let (commit, changes) = tokio::join!(
        git(folder, &["-c", "log.showSignature=false", "log", "-1", "--format=%h %s"]),
        git(folder, &["status", "--porcelain", "--", "."])
    );
    let Some(commit) = commit else { return String::new() };
    let (id, subject) = commit.trim().split_once(' ').unwrap_or((commit.trim(), ""));
    let changes = if changes.is_some_and(|changes| !changes.trim().is_empty()) { "+changes" } else { "" };
    format!("{id}{changes} {subject}").trim_end().to_owned()
}

/// What git prints. It runs nothing that the folder's own settings name, and is not led elsewhere by the environment.
async fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    command.arg("-C").arg(folder).args(["-c", "core.fsmonitor=false"]).args(arguments);
    command.env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null()).kill_on_drop(true);
    let ran = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    ran.status.success().then(|| String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(folder: &Path, arguments: &[&str]) {
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let mut command = Command::new("git");
        command.arg("-C").arg(folder).args(who).args(arguments).env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE");
        let ran = command.output().await.unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }

    #[tokio::test]
    async fn a_commit_is_named_and_whether_it_was_changed_since() {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("app");
        std::fs::create_dir(&app).unwrap();
        std::fs::write(app.join("app.py"), "1").unwrap();
        assert_eq!(describe(&app).await, "", "no git");
        run(folder.path(), &["init", "-q"]).await;
        assert_eq!(describe(&app).await, "", "no commit");
        run(folder.path(), &["add", "."]).await;
        run(folder.path(), &["commit", "-q", "-m", "Say \"grüezi\"\n\nmore"]).await;
        let clean = describe(&app).await;
        assert!(clean.ends_with(" Say \"grüezi\"") && !clean.contains('+'), "{clean}");
        // What lies beside the app is not the app's.
        std::fs::write(folder.path().join("notes"), "1").unwrap();
        assert_eq!(describe(&app).await, clean);
        std::fs::write(app.join("new.py"), "1").unwrap();
        let (id, subject) = clean.split_once(' ').unwrap();
        assert_eq!(describe(&app).await, format!("{id}+changes {subject}"));
        assert_eq!(describe(Path::new("/nowhere")).await, "");
    }
}
