//! `schedule`: commands that run on the instance at certain times.

use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use crate::console::aws;
use crate::project::{Project, until};

const APP: &str = "def app(environ, start_response):
    start_response('200 OK', [])
    return [b'ok']
";
const CLEANS: &str = "import os
print('cleaned with', os.environ['DATABASE_PASSWORD'])
raise SystemExit(7)
";
const KEY: &str = "shop/schedule/yearly.json";
const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";
const YEAR: i64 = 366 * 86400;

fn project() -> Project {
    let project = Project::empty();
    project.file("app/app.py", APP).file("app/requirements.txt", "").file("app/clean.py", CLEANS).file(
        "deploy.yaml",
        "name: shop\napp: {path: app, workers: 1, secrets: [{DATABASE_PASSWORD: generate}]}\n\
         schedule: {yearly: {cron: '@yearly', run: python clean.py, catch_up: true}}\ntoken: {check: proxy}\n",
    );
    project
}

/// The status line about the schedule, once it contains this.
fn shows(project: &Project, words: &str) -> String {
    until(30, words, || {
        let said = project.run("status --sandbox").stdout;
        said.lines().find(|line| line.contains("yearly: ") && line.contains(words)).map(str::to_owned)
    })
}

/// Makes the record say that the schedule has not run for a year, as for a machine that was off for so long.
fn forget_a_year(project: &Project) {
    aws(project, async |aws| {
        let held = aws.s3.get_object().bucket(BUCKET).key(KEY).send().await.unwrap();
        let mut record: Value = serde_json::from_slice(&held.body.collect().await.unwrap().into_bytes()).unwrap();
        record["due"] = (record["due"].as_i64().unwrap() - YEAR).into();
        let body = ByteStream::from(record.to_string().into_bytes());
        aws.s3.put_object().bucket(BUCKET).key(KEY).body(body).send().await.unwrap();
    });
}

#[test]
#[ignore = "slow"]
fn a_missed_run_is_caught_up_and_its_end_and_output_are_shown() {
    let project = project();
    project.up();
    let password = project.ok("secrets get --sandbox DATABASE_PASSWORD");
    let line = shows(&project, "no run yet; next run ");
    assert!(line.ends_with("from now"), "{line}");
    project.run("logs --sandbox nightly").code(2).says("the running release of shop has no log nightly").says("yearly");

    forget_a_year(&project);
    aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let id = found.reservations()[0].instances()[0].instance_id().unwrap().to_owned();
        aws.ec2.reboot_instances().instance_ids(id).send().await.unwrap();
    });
    let line = shows(&project, "failed with exit code 7; next run ");
    assert!(line.contains("yearly: last run "), "{line}");
    let report = serde_json::from_str::<Value>(&project.run("status --sandbox --json").stdout).unwrap();
    let yearly = &report["report"]["schedule"]["yearly"];
    assert_eq!((&yearly["code"], &yearly["error"], &yearly["skipped"]), (&7.into(), &Value::Null, &0.into()));
    assert_eq!(report["healthy"], true, "a failure of a schedule is not one of the app");
    let said = project.run("logs --sandbox yearly").ok().says("$ python clean.py").says("cleaned with ***");
    assert!(!said.shown().contains(&password), "{}", said.shown());

    project.edit("deploy.yaml", "schedule: {", "schedule: {} #");
    let said = project.run("up --sandbox").ok();
    assert!(!said.stderr.contains("yearly"), "{}", said.shown());
    until(10, "the schedule is gone", || {
        let said = project.run("status --sandbox").stdout;
        (!said.contains("yearly")).then_some(())
    });
    project.ok("down --sandbox --yes");
    project.run("list --sandbox").ok().says("no deployments in account");
}
