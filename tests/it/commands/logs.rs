//! `logs`: the app's output without its secrets.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use aws_sdk_ec2::types::InstanceMetadataEndpointState;
use devopsctl::aws::retry::HASTE;
use serde_json::Value;

use crate::console::aws;
use crate::http::get;
use crate::project::{Project, Ran, install_emulator, until};

const TALKS: &str = r#"
import os

from flask import Flask, request

app = Flask(__name__)


@app.route("/", defaults={"path": ""})
@app.route("/<path:path>")
def talk(path):
    if request.headers.get("Authorization") != "Token " + os.environ["APP_SECRET_TOKEN"]:
        return "", 401
    print("seen", path, "with", os.environ["APP_SECRET_TOKEN"])
    return "here"
"#;

/// A running command. It ends with the test.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(project: &Project, line: &str) -> Self {
        let mut child = project.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until a line contains a text.
    fn reads(&mut self, words: &str) -> String {
        self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(words)).expect(words)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "slow"]
fn logs_are_shown_without_the_token() {
    install_emulator();
    let project = Project::example();
    project.file("app/app.py", TALKS);
    project
        .run("logs --sandbox")
        .code(1)
        .says("no instance of hello is running, so there is no log")
        .says("devopsctl up");
    let (url, token) = (project.up(), project.token());
    let visit = |path: &str| assert_eq!(get(&format!("{url}/{path}"), Some(&token)).status, 200);
    visit("first");
    // A client controls what the app logs: here a terminal title, and right-to-left text.
    visit("%1B%5D0;pwned%07%E2%80%AE");
    let obeyed = ['\u{1b}', '\u{7}', '\u{202e}'];
    for line in ["logs --sandbox", "logs --sandbox --access", "logs --sandbox --json"] {
        let shown = until(20, "the visit is in the log", || Some(project.ok(line)).filter(|log| log.contains("pwned")));
        assert!(!shown.contains(obeyed), "{line}: {shown:?}");
    }
    visit("second");

    let log = project.ok("logs --sandbox");
    assert!(
        log.contains("seen first with ***\nseen \u{fffd}]0;pwned\u{fffd}\u{fffd} with ***\nseen second with ***"),
        "{log}"
    );
    assert!(!log.contains(&token));
    assert_eq!(project.ok("logs --sandbox -n 1"), "seen second with ***");
    let json = project.ok("logs --sandbox -n 1 --json");
    let line: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&line["v"], &line["text"]), (&1.into(), &"seen second with ***".into()));
    assert!(line["at"].as_str().unwrap().ends_with('Z'), "{json}");
    until(20, "the proxy has logged it", || {
        project.ok("logs --sandbox --access").contains("GET /second 200 4 B").then_some(())
    });
    project.run("logs --sandbox --agent").ok().says("generation 1 serves");
    project.run("logs --sandbox --agent --access").code(2);

    let mut following = Following::start(&project, "logs --sandbox --follow --lines 1");
    assert_eq!(following.reads("seen"), "seen second with ***");
    visit("third");
    assert_eq!(following.reads("seen"), "seen third with ***");
    // Several readers are possible at the same time, also across a new release.
    project.run("logs --sandbox -n 1").ok().says("seen third");
    project.ok("set-token --sandbox --generate");
    let token = project.token();
    assert_eq!(get(&format!("{url}/fourth"), Some(&token)).status, 200);
    assert_eq!(following.reads("seen fourth"), "seen fourth with ***");
    assert!(Command::new("kill").args(["-INT", &following.child.id().to_string()]).status().unwrap().success());
    assert_eq!(following.child.wait().unwrap().code(), Some(130));
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn an_instance_that_cannot_send_its_log_is_reported() {
    install_emulator();
    let project = Project::example();
    project.up();
    let status: Value = serde_json::from_str(&project.ok("status --sandbox --json")).unwrap();
    let id = status["instance"]["id"].as_str().unwrap();
    // The instance no longer sees its tags.
    aws(&project, async |aws| {
        let change = aws.ec2.modify_instance_metadata_options().instance_id(id);
        change.http_endpoint(InstanceMetadataEndpointState::Disabled).send().await.unwrap();
    });
    let ran = project.command("logs --sandbox").env(HASTE, "60").output().unwrap();
    Ran::new("logs --sandbox", &ran)
        .code(4)
        .says("does not upload its log")
        .says("devopsctl status --sandbox")
        .says("devopsctl up --sandbox");
}
