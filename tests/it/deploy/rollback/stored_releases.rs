//! The releases in the bucket: which are kept, and which cannot run.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::MetadataDirective;

use super::{allow, changes, deny, greet, greets, marked, releases, short};
use crate::console::aws;
use crate::project::Project;

const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";

#[test]
#[ignore = "slow"]
fn ten_releases_are_kept_and_those_in_use() {
    let project = Project::example();
    let url = project.up();
    let first = marked(&project, "runs");
    let strangers = |from: u32, to: u32| {
        aws(&project, async |aws| {
            for number in from..to {
                let key = format!("hello/releases/{number:064}.tar.gz");
                aws.s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await.unwrap();
            }
            // Not a release, or of another deployment: must not be deleted.
            for key in ["hello/logs/x", "other/releases/x.tar.gz", "hello/releases/note.txt"] {
                aws.s3.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(b"x")).send().await.unwrap();
            }
        });
    };
    strangers(0, 12);
    // Too many releases alone are no reason for a change.
    assert_eq!(changes(&project, || drop(project.up())), [""; 0]);
    greet(&project, "Good day!");
    // Without the permission to delete, `up` works all the same.
    deny(&project, "s3:DeleteObject");
    project.run("up --sandbox").ok().says("warning: cannot delete old releases");
    greets(&project, &url, "Good day!");
    assert_eq!(releases(&project).len(), 14);
    allow(&project);

    let second = marked(&project, "runs");
    greet(&project, "Good evening!");
    let mut ran = None;
    let made = changes(&project, || ran = Some(project.run("up --sandbox").ok()));
    assert_eq!(made, ["CreateTags", "DeleteObjects", "PutObject"]);
    ran.unwrap().says("because only 10 are kept");
    let left: Vec<String> = releases(&project).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left.len(), 10, "{left:?}");
    let third = marked(&project, "runs");
    // The first is the oldest. It was in use when the third came, because the second would have rolled back to it.
    assert!(left.contains(&first) && left.contains(&second) && left.contains(&third), "{left:?}");
    assert!(!left.contains(&format!("{:064}", 4)) && left.contains(&format!("{:064}", 5)), "{left:?}");
    project.ok("rollback --sandbox");
    greets(&project, &url, "Good day!");
    let keys = aws(&project, async |aws| {
        let listed = aws.s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect::<Vec<_>>()
    });
    for key in ["hello/logs/x", "other/releases/x.tar.gz", "hello/releases/note.txt"] {
        assert!(keys.iter().any(|found| found == key), "{key} is gone: {keys:?}");
    }
}

#[test]
fn a_missing_or_incompatible_release_is_refused() {
    let project = Project::example();
    project.run("rollback --sandbox").code(1).says("there is no instance");
    project.run("releases --sandbox").ok().says("hello has no releases; create one: ");
    project.up();
    let first = marked(&project, "runs");
    // A release for another Python, and two ids with a common prefix.
    let put = |id: &str, target: &'static str, reached: &'static str| {
        let (from, to) = (format!("{BUCKET}/hello/releases/{first}.tar.gz"), format!("hello/releases/{id}.tar.gz"));
        aws(&project, async |aws| {
            let copy = aws.s3.copy_object().bucket(BUCKET).copy_source(from).key(to);
            let copy = copy
                .metadata_directive(MetadataDirective::Replace)
                .metadata("target", target)
                .metadata("reached", reached);
            copy.metadata("what", "%1b[31mred%0a").send().await.unwrap();
        });
    };
    let (one, two) = ("beef1".repeat(13)[..64].to_owned(), "beef2".repeat(13)[..64].to_owned());
    put(&one, "python3.2 vax", "port 80");
    put(&two, "", "https");
    let made = changes(&project, || {
        project
            .run("rollback --sandbox beef1")
            .code(1)
            .says("cannot run on this instance")
            .says("it was built for python3.2 vax")
            .says("Nothing was changed.");
        project
            .run("rollback --sandbox beef2")
            .code(1)
            .says("it is served by https, but the app is now served by port 80");
        project.run("rollback --sandbox beef").code(2).says("2 releases begin with beef").says("beef2beef2be");
        project.run("rollback --sandbox cafe0").code(2).says("there is no release cafe0").says(short(&first));
        project.run("rollback --sandbox bee").code(2).says("too short").says("at least 4 characters");
    });
    assert_eq!(made, [""; 0]);
    let listed = project.ok("releases --sandbox");
    assert!(listed.contains("[31mred") && !listed.contains('\u{1b}'), "{listed:?}");
    deny(&project, "s3:GetObject");
    project.run("rollback --sandbox").code(5).says("ask an administrator to allow s3:GetObject");
    project.run("releases --sandbox").ok().says("warning: the author and source").says(short(&first));
}
