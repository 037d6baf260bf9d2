//! What a launch waits for: a slow first upload delays only the steps that need it, and no step reports it as a failure.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use devopsctl::aws::retry::HASTE;
use regex::Regex;
use serde_json::json;

use crate::console::{add_latency, aws, calls, control, limit_uploads};
use crate::project::{Project, until};

/// An `up` with blocked uploads: its instance is launched, and its release is missing.
struct Held<'a> {
    project: &'a Project,
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: String,
}

impl<'a> Held<'a> {
    fn up(project: &'a Project) -> Self {
        Self::up_in(project, 1)
    }

    /// With clocks that run faster by a factor.
    fn up_in(project: &'a Project, haste: u32) -> Self {
        limit_uploads(project, 1);
        let mut command = project.command("up --sandbox");
        command.env(HASTE, haste.to_string());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { project, child, lines, said: String::new() }
    }

    /// Reads until a line contains a text, and returns the line.
    #[track_caller]
    fn until(&mut self, words: &str) -> String {
        for line in self.lines.by_ref().map(Result::unwrap) {
            self.said.push_str(&format!("{line}\n"));
            if line.contains(words) {
                return line;
            }
        }
        panic!("it never says {words:?}:\n{}", self.said);
    }

    /// The rest of the output, and the exit code.
    fn end(mut self) -> (String, Option<i32>) {
        self.lines.by_ref().map(Result::unwrap).for_each(|line| self.said.push_str(&format!("{line}\n")));
        (std::mem::take(&mut self.said), self.child.wait().unwrap().code())
    }

    /// Writes a report in which the instance gave up with this reason.
    fn report_failure(&self, instance: &str, release: &str, error: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let wanted = json!({"release": release, "token": 1, "try": null});
        let report = json!({
            "v": 1, "wanted": wanted, "release": null, "token": null, "phase": "failed", "healthy": false,
            "error": error, "error_code": "no_release", "log_tail": "", "at": now,
        });
        aws(self.project, async |aws| {
            let put = aws.ssm.put_parameter().name(format!("/devopsctl/hello/report/{instance}"));
            put.value(report.to_string()).r#type("String".into()).overwrite(true).send().await.unwrap();
        });
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The only instance, and the release that it was launched with.
fn launched(project: &Project) -> (String, String) {
    // EC2 does not find it at once.
    let found = until(20, "the instance is known", || {
        let found = aws(project, async |aws| aws.ec2.describe_instances().send().await.unwrap());
        found.reservations().first().map(|reservation| reservation.instances()[0].clone())
    });
    let release = found.tags().iter().find(|tag| tag.key() == Some("devopsctl:release")).unwrap();
    (found.instance_id().unwrap().to_owned(), release.value().unwrap().to_owned())
}

#[test]
fn a_launch_needs_two_round_trips() {
    let project = Project::unbooted();
    add_latency(&project, 2000);
    project.run("plan --sandbox").code(3);
    let calls = calls(&project);
    // When a call was sent and answered, in milliseconds.
    let span = |action: &str| {
        let call = calls.iter().find(|call| call["action"] == action).unwrap();
        let end = call["at"].as_f64().unwrap() * 1000.0;
        (end - call["ms"].as_f64().unwrap(), end)
    };
    let looks =
        ["GetCallerIdentity", "DescribeSubnets", "DescribeRouteTables", "DescribeInstanceTypes", "DescribeInstances"];
    let answered = looks.map(|look| span(look).1).into_iter().fold(f64::INFINITY, f64::min);
    for look in looks {
        assert!(span(look).0 < answered, "{look} waits for another: {calls:#?}");
    }
}

#[test]
fn a_launch_does_not_wait_for_the_upload() {
    let project = Project::unbooted();
    let mut up = Held::up(&project);
    up.until("is launched, waiting until it runs");
    let uploaded = calls(&project).iter().any(|call| call["action"] == "PutObject");
    assert!(!uploaded, "the launch came before");
    // A report of the former boot program, which waited at most five minutes.
    let (instance, release) = launched(&project);
    let error = format!("s3:GetObject of hello/releases/{release}.tar.gz was refused: NoSuchKey: no");
    up.report_failure(&instance, &release, &error);
    limit_uploads(&project, 1_000_000);
    let line = up.until(" MiB uploaded");
    assert!(Regex::new(r"^  proxy: [0-9.]+ MiB of [0-9.]+ MiB uploaded$").unwrap().is_match(&line), "{line}");
    limit_uploads(&project, 0);
    up.until("✓ proxy");
    up.until("app: retrying");
    // From now on the reports are current.
    up.report_failure(&instance, &release, &format!("{error} again"));
    let (said, code) = up.end();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("again"), "{said}");
}

#[test]
fn a_stalled_upload_is_retried_once() {
    let project = Project::unbooted();
    let mut up = Held::up_in(&project, 90);
    up.until("nothing was sent for 3 minutes; restarting the upload");
    let (said, code) = up.end();
    assert_eq!(code, Some(1), "{said}");
    let plain = said.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(Regex::new("the upload of the (proxy|release) has stalled").unwrap().is_match(&plain), "{plain}");
    assert!(plain.contains("S3 did not respond for 3 minutes, twice"), "{plain}");
    assert!(plain.contains("the next run checks whether it exists") && plain.contains("check the network"), "{plain}");
    let listed = aws(&project, async |aws| {
        let bucket = "devopsctl-123456789012-us-east-1-an";
        aws.s3.list_objects_v2().bucket(bucket).send().await.unwrap().contents().len()
    });
    assert_eq!(listed, 0, "what it says of the bucket is so");
    // With a fast connection, the same command continues.
    limit_uploads(&project, 0);
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
}

#[test]
fn a_failed_upload_names_the_launched_instance() {
    let project = Project::unbooted();
    control(&project, "delays?pending=600");
    let mut up = Held::up(&project);
    up.until("is launched, waiting until it runs");
    control(&project, "refuse?action=PutObject&code=AccessDenied&message=Access+Denied&status=403&times=2");
    limit_uploads(&project, 0);
    let (said, code) = up.end();
    let (instance, _) = launched(&project);
    assert_eq!(code, Some(5), "{said}");
    let plain = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain.contains("Started: "), "{plain}");
    let begun = plain.split_once("Started: ").unwrap().1.split_once('.').unwrap().0;
    assert!(begun.split(", ").any(|one| one == format!("instance {instance}")), "{plain}");
    assert!(plain.contains("instance: stopped waiting for it") && !plain.contains("✗ instance"), "{plain}");
    control(&project, "delays?pending=0.3");
    project.ok("down --sandbox --yes");
}
