//! `processes`: programs beside the web server, such as workers of a queue.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::http::get;
use crate::project::{Project, until};

const APP: &str = "def app(environ, start_response):
    start_response('200 OK', [])
    return [b'VERSION']
";
/// A worker that adds a line to a file, and holds a lock as long as it runs.
const WORKER: &str = "import fcntl, os, signal, sys, time

folder = os.environ['TMPDIR']


def note(what):
    with open(folder + '/ran', 'a') as ran:
        print(what, 'VERSION', file=ran)


def told(*_):
    note('ended')
    sys.exit(0)


signal.signal(signal.SIGTERM, told)
lock = open(folder + '/lock', 'w')
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
note('begun')
print('works with', os.environ['QUEUE_PASSWORD'], flush=True)
with open(folder + '/pid', 'w') as pid:
    print(os.getpid(), file=pid)
while WORKS:
    time.sleep(0.1)
sys.exit('the queue is gone')
";

fn write(project: &Project, version: &str, works: bool) {
    let works = if works { "True" } else { "False" };
    project.file("app/app.py", &APP.replace("VERSION", version));
    project.file("app/work.py", &WORKER.replace("VERSION", version).replace("WORKS", works));
}

#[test]
#[ignore = "slow"]
fn a_process_runs_beside_the_web_server_and_changes_with_the_release() {
    let project = Project::empty();
    project.file("app/requirements.txt", "").file(
        "deploy.yaml",
        "name: shop\napp: {path: app, workers: 1, secrets: [{QUEUE_PASSWORD: generate}]}\n\
         processes: {worker: python work.py}\ntoken: {check: proxy}\n",
    );
    write(&project, "one", true);
    project.run("plan --sandbox").code(3).says("process worker: python work.py");
    let (url, password) = (project.up(), project.ok("secrets get --sandbox QUEUE_PASSWORD"));
    let answer = || get(&url, Some(&project.token())).body;
    let ran = || fs::read_to_string(project.machine().join("tmp/ran")).unwrap();
    assert_eq!((answer(), ran()), ("one".into(), "begun one\n".into()));
    project.run("status --sandbox").ok().says("worker: started");
    assert_eq!(project.ok("logs --sandbox worker"), "works with ***");
    project.run("logs --sandbox").ok().says("works with ***");
    let line: Value = serde_json::from_str(&project.ok("logs --sandbox -n 1 --json")).unwrap();
    assert_eq!(line["process"], "worker");
    assert!(!project.ok("logs --sandbox web").contains("works"));
    project.run("logs --sandbox other").code(2).says("has no log other").says("it has web, worker");

    // The new worker ends at once: the earlier version stays, with its own worker.
    write(&project, "two", false);
    let ran_up =
        project.run("up --sandbox").code(4).says("the process worker did not live for 10 seconds: exit code 1");
    assert!(!ran_up.says("the queue is gone").shown().contains(&password));
    let runs = until(20, "the earlier worker is back", || Some(ran()).filter(|ran| ran.ends_with("begun one\n")));
    assert_eq!((runs.as_str(), answer().as_str()), ("begun one\nended one\nbegun two\nbegun one\n", "one"));

    // A worker that ends later is started again.
    let pid = fs::read_to_string(project.machine().join("tmp/pid")).unwrap();
    assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
    until(20, "it is started again", || {
        let status = project.run("status --sandbox");
        status.stdout.contains("restarted once; it ended: SIGKILL").then_some(())
    });
    write(&project, "three", true);
    project.run("up --sandbox").ok();
    assert_eq!((answer(), ran()), ("three".into(), runs + "begun one\nended one\nbegun three\n"));
    project.ok("down --sandbox --yes");
}
