//! The data volume: it is created once, grows, moves with a replacement, and stays until the user deletes it by name.

use std::time::{Duration, Instant};

use aws_sdk_ec2::types::Filter;
use devopsctl::aws::Aws;

use super::drift::{id, mended};
use crate::console::aws;
use crate::http::get;
use crate::project::{Project, until};

/// The example with this size of its data and this instance type.
fn with_data(project: &Project, data: &str, kind: &str) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\n{data}\ninstance: {{type: {kind}}}\n"));
}

const TEN: &str = "data: {path: /data, gib: 10}";

/// The only data volume: its id, its size and its instance.
async fn volume(aws: &Aws) -> (String, i32, Option<String>) {
    let marked = Filter::builder().name("tag-key").values("devopsctl:data").build();
    let found = aws.ec2.describe_volumes().filters(marked).send().await.unwrap();
    let [volume] = found.volumes() else { panic!("{found:?}") };
    let instance = volume.attachments().first().and_then(|one| one.instance_id()).map(str::to_owned);
    (volume.volume_id().unwrap().to_owned(), volume.size().unwrap(), instance)
}

#[test]
#[ignore = "slow"]
fn a_volume_stays_until_it_is_deleted_by_name() {
    let project = Project::unbooted();
    with_data(&project, TEN, "t3.micro");
    project.run("plan --sandbox").code(3).says("+ volume").says("disk $1.44");
    project.ok("up --sandbox --no-wait");
    project.run("plan --sandbox").ok().says("already up to date");
    let (made, gib, holder) = aws(&project, async |aws| volume(&aws).await);
    let first = aws(&project, async |aws| id(&aws).await);
    assert_eq!((gib, holder.as_ref()), (10, Some(&first)));
    project.run("status --sandbox").code(4).says(&format!("{made} (10 GiB in us-east-1a) on {first}"));

    // It grows, and never shrinks.
    with_data(&project, "data: {path: /data, gib: 9}", "t3.micro");
    project.run("up --sandbox --no-wait").code(1).says("cannot shrink from 10 to 9 GiB").says("Nothing was changed");
    with_data(&project, "data: {path: /data, gib: 12}", "t3.micro");
    mended(&project, &["it grows from 10 to 12 GiB"]);

    // Detached by hand.
    aws(&project, async |aws| {
        aws.ec2.detach_volume().volume_id(&made).send().await.unwrap();
    });
    mended(&project, &["attachment"]);

    // A replacement moves it. Its agent never reports here, so the old instance is stopped.
    with_data(&project, "data: {path: /data, gib: 12}", "t3.small");
    project.run("plan --sandbox").code(3).says("the app answers 503 for some seconds while its data moves");
    project.run("up --sandbox --no-wait --yes").ok().says("does not give the volume back; stopping it");
    project.run("plan --sandbox").ok().says("already up to date");
    let second = aws(&project, async |aws| id(&aws).await);
    assert_ne!(first, second);
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, Some(second.clone())));

    // Without data it is kept, and taken up again.
    with_data(&project, "", "t3.small");
    project.run("up --sandbox --no-wait").ok().says(&format!("the data volume {made} stays")).says("$0.96 a month");
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, None));
    with_data(&project, "data: {path: /data, gib: 12}", "t3.small");
    project.ok("up --sandbox --no-wait");
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, Some(second)));

    // `down` keeps it, whatever was answered.
    project.run("down --sandbox --yes").ok().says(&format!("the data volume {made} stays"));
    project.run("down --sandbox --yes").ok().says("has no other resources").says("--delete-data hello");
    project.run("list --sandbox").ok().says("its data still costs money").says("down --name hello --delete-data hello");
    project.run("status --sandbox").code(4).says("not deployed").says(&made);
    project.run("down --sandbox --yes --delete-data shop").code(2).says("this deployment is hello");
    assert_eq!(aws(&project, async |aws| volume(&aws).await), (made.clone(), 12, None));
    project.ok("up --sandbox --no-wait");
    assert_eq!(aws(&project, async |aws| volume(&aws).await).0, made);
    project.run("down --sandbox --yes --delete-data hello").ok().says(&format!("volume {made}: deleted"));
    project.run("list --sandbox").ok().says("no deployments");
}

/// An app with a file in its data: each GET of `/add` is one more row, and `/` counts the rows.
const APP: &str = r#"import os
from flask import Flask, request

app = Flask(__name__)
ROWS = os.path.join(os.environ["DATA_DIR"], "rows")


@app.before_request
def guard():
    if request.headers.get("Authorization") != "Token " + os.environ["APP_SECRET_TOKEN"]:
        return "no", 403


@app.get("/")
def count():
    return str(os.path.getsize(ROWS) if os.path.exists(ROWS) else 0)


@app.get("/add")
def add():
    with open(ROWS, "ab") as file:
        file.write(b".")
        file.flush()
        os.fsync(file.fileno())
    return "added"
"#;

/// Adds rows until it is told to end. Returns the number of rows that the app confirmed, and the longest time without one.
fn writer(url: &str, token: &str) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<(u32, Duration)>) {
    let (end, ended) = std::sync::mpsc::channel();
    let (url, token) = (format!("{url}/add"), token.to_owned());
    let work = move || {
        let (mut rows, mut last, mut longest) = (0, Instant::now(), Duration::ZERO);
        while ended.try_recv().is_err() {
            let answer = get(&url, Some(&token));
            match answer.status {
                200 => {
                    (rows, longest) = (rows + 1, longest.max(last.elapsed()));
                    last = Instant::now();
                }
                503 => {}
                other => panic!("{other}: {}", answer.body),
            }
        }
        (rows, longest.max(last.elapsed()))
    };
    (end, std::thread::spawn(work))
}

#[track_caller]
fn rows(url: &str, token: &str) -> u32 {
    get(url, Some(token)).body.parse().unwrap()
}

#[test]
#[ignore = "slow"]
fn no_row_is_lost_when_the_data_moves() {
    let project = Project::example();
    project.file("app/app.py", APP);
    with_data(&project, TEN, "t3.micro");
    let url = project.up().trim_end().to_owned();
    let token = project.token();
    let first = aws(&project, async |aws| id(&aws).await);
    project.run("status --sandbox").ok().says("% used");

    // The new instance takes over without losing a row that was confirmed.
    let (end, writing) = writer(&url, &token);
    with_data(&project, TEN, "t3.small");
    project.run("up --sandbox --yes").ok().says("waits for the data").says("health: i-").says(": terminated");
    end.send(()).unwrap();
    let (confirmed, longest) = writing.join().unwrap();
    println!("503 for {longest:.1?} while the data moved; {confirmed} rows");
    let second = aws(&project, async |aws| id(&aws).await);
    assert_ne!(first, second);
    assert_eq!(rows(&url, &token), confirmed);

    // A new instance that does not become healthy gives the data back.
    with_data(&project, TEN, "t3.medium");
    project.file("app/app.py", &APP.replace("def count():\n", "def count():\n    raise SystemError('broken')\n"));
    project.run("up --sandbox --yes").code(4).says("has its data again and serves").says("SystemError");
    let back = until(60, "the old instance serves", || {
        Some(get(&url, Some(&token))).filter(|answer| answer.status == 200).map(|answer| answer.body)
    });
    assert_eq!(back, confirmed.to_string());

    // The data outlives the deployment.
    project.file("app/app.py", APP);
    project.run("down --sandbox --yes").ok().says("stays");
    let url = project.up().trim_end().to_owned();
    assert_eq!(rows(&url, &project.token()), confirmed);
    project.ok("down --sandbox --yes --delete-data hello");
}
