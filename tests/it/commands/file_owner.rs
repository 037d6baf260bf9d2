//! A `deploy.yaml` of another user in a folder that commands search.

use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};

use crate::project::Project;

/// A user id that no machine has.
const OTHER: u32 = 4_000_000;

/// A project below the folder of the file. `cost` reads the file and makes no calls.
fn project() -> Project {
    let project = Project::alone().with_example();
    project.file("work/notes.txt", "");
    project
}

#[track_caller]
fn refused(project: &Project, why: &str) {
    for folder in ["", "work"] {
        for line in
            ["cost --region us-east-1", "up --region us-east-1", "down --region us-east-1 --yes", "list", "doctor"]
        {
            let mut command = project.command(line);
            command.current_dir(project.folder().join(folder));
            // An endpoint that does not respond: no call must be made.
            command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "none");
            command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("COLUMNS", "400");
            let output = command.output().unwrap();
            let said =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(!output.status.success() && said.contains(why) && said.contains("--file"), "{line}: {said}");
        }
    }
    project.ok("cost --region us-east-1 --file deploy.yaml");
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let project = project();
    let file = fs::OpenOptions::new().append(true).open(project.folder().join("deploy.yaml")).unwrap();
    // A sparse file, so that it does not fill the disk.
    file.set_len(300 << 20).unwrap();
    for line in ["cost --region us-east-1", "plan --region us-east-1 --file deploy.yaml"] {
        project.run(line).code(2).says("deploy.yaml is too large");
    }
}

#[test]
fn a_file_of_another_user_needs_the_file_option() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a file to another user");
        return;
    }
    let project = project();
    let (folder, file) = (project.folder(), project.folder().join("deploy.yaml"));
    let why = format!("belongs to user {OTHER}");
    chown(&file, Some(OTHER), None).unwrap();
    refused(&project, &why);
    // Under sudo, the calling user counts.
    let line = "cost --region us-east-1";
    assert!(project.command(line).env("SUDO_UID", OTHER.to_string()).output().unwrap().status.success());
    assert!(!project.command(line).env("SUDO_UID", "1").output().unwrap().status.success());

    // A link of another user to the caller's own file: the app would be searched beside the link.
    fs::rename(&file, folder.join("own.yaml")).unwrap();
    chown(folder.join("own.yaml"), Some(0), None).unwrap();
    symlink("own.yaml", &file).unwrap();
    project.ok(line);
    lchown(&file, Some(OTHER), None).unwrap();
    refused(&project, &why);

    // The caller's own file in a folder of another user, who controls the files beside it.
    fs::remove_file(&file).unwrap();
    fs::rename(folder.join("own.yaml"), &file).unwrap();
    chown(&folder, Some(OTHER), None).unwrap();
    refused(&project, &why);
    chown(&folder, Some(0), None).unwrap();
    project.ok(line);
}
