//! `secrets set` and `secrets unset`: the app gets other secrets while it serves.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::Value;

use super::{project, stored, variable, with_variables};
use crate::console::{aws, calls, only_reads};
use crate::http::get;
use crate::load_clients::LoadClients;
use crate::project::{Project, Ran, until};
use crate::pseudo_terminal::at_a_terminal;

#[test]
fn the_app_serves_the_new_secret_and_no_request_fails() {
    let project = project();
    let url = project.up();
    let clients = LoadClients::start(4, &url, &project.token(), &[200]);
    let multi_line = "-----BEGIN EXAMPLE-----\nnot a key\n-----END EXAMPLE-----";
    for (value, sent) in [
        ("the first value", "the first value\n"),
        ("the second value", "the second value"),
        (multi_line, multi_line),
        ("{{ssm:/other/token}} and json:{{", "{{ssm:/other/token}} and json:{{"),
        ("json:\"text\"", "json:\"text\""),
    ] {
        let set = project.run_with("secrets set --sandbox --stdin GREETING", sent).ok();
        assert!(!set.stderr.contains(value.lines().next().unwrap()), "{}", set.shown());
        assert_eq!(set.says("the app uses the secrets as they are stored").stdout, "");
        assert_eq!(variable(&project, &url, "GREETING"), value);
    }
    clients.end(20);
    assert_eq!(stored(&project), ["GREETING"]);
    project.run("up --sandbox").ok().says("already up to date");

    // The same value is no change, and needs no restart.
    let before = generation(&project, &url);
    project.run_with("secrets set --sandbox --stdin GREETING", "json:\"text\"").ok().says("nothing was changed");
    let unset = project.run("secrets unset --sandbox --json GREETING ABSENT").ok();
    let document: Value = serde_json::from_str(&unset.stdout).unwrap();
    assert_eq!((&document["secrets"][0], &document["used"]), (&"GREETING".into(), &true.into()), "{document}");
    assert_eq!(document["secrets"].as_array().unwrap().len(), 1, "{document}");
    assert_eq!(variable(&project, &url, "GREETING"), "is not set");
    assert_ne!(generation(&project, &url), before);
    assert_eq!(stored(&project), [""; 0]);
    project.run("secrets unset --sandbox GREETING").ok().says("GREETING is not set").says("nothing was changed");
    project.run("up --sandbox").ok().says("already up to date");
}

#[track_caller]
fn generation(project: &Project, url: &str) -> String {
    get(&format!("{url}/generation"), Some(&project.token())).body
}

/// Several secrets are one restart: the app never sees some of them without the others.
#[test]
#[ignore = "slow"]
fn several_secrets_are_one_generation() {
    let project = Project::example();
    // Each master process of gunicorn leaves its number.
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    let note = "open(os.environ['TMPDIR'] + '/master-' + str(os.getppid()), 'w').close()\nACCEPTED =";
    project.file("app/app.py", &app.replace("\nACCEPTED =", &format!("\n{note}")));
    with_variables(&project);
    let url = project.up();
    let masters = || {
        let files = std::fs::read_dir(project.machine().join("tmp")).unwrap();
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("master-")).count()
    };
    let before = masters();
    project.run("secrets set --sandbox --generate ONE TWO THREE").ok().says("the app uses");
    let values = ["ONE", "TWO", "THREE"].map(|name| variable(&project, &url, name));
    assert!(values.iter().all(|value| value.len() == 43) && values[0] != values[1], "{values:?}");
    assert_eq!(masters(), before + 1);
    project.run("secrets set --sandbox --generate=16 ONE").ok();
    assert_eq!(variable(&project, &url, "ONE").len(), 22);
}

#[test]
#[ignore = "slow"]
fn ten_at_once_lose_none() {
    let project = project();
    let url = project.up();
    let names: Vec<String> = (0..10).map(|number| format!("SECRET_{number}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = project.command(&format!("secrets set --sandbox --stdin {name}"));
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(format!("value of {name}").as_bytes()).unwrap();
            child
        })
        .collect();
    for child in children {
        Ran::new("secrets set", &child.wait_with_output().unwrap()).ok().says("the app uses");
    }
    for name in &names {
        assert_eq!(variable(&project, &url, name), format!("value of {name}"));
    }
    project.run("up --sandbox").ok().says("already up to date");
}

#[test]
#[ignore = "slow"]
fn a_killed_set_is_completed_by_the_same_command() {
    let project = project();
    let url = project.up();
    let line = "secrets set --sandbox --stdin GREETING";
    let mut command = project.command(line);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"from a killed command").unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|said| said.contains("stored as version 1")), "it does not say that it stored the secret");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it had ended before it was killed");

    project.run_with(line, "from a killed command").ok();
    until(60, "the app has it", || (variable(&project, &url, "GREETING") == "from a killed command").then_some(()));
    let version = aws(&project, async |aws| {
        let found = aws.ssm.get_parameter().name("/devopsctl/hello/secrets/GREETING").send().await.unwrap();
        found.parameter.unwrap().version
    });
    assert_eq!(version, 1, "it is not written again");
    project.run("up --sandbox").ok().says("already up to date");
}

/// The app keeps its secrets until it starts anew.
#[test]
#[ignore = "slow"]
fn without_a_restart_the_app_gets_a_secret_with_the_next_up() {
    let project = project();
    let url = project.up();
    let set = project.run_with("secrets set --sandbox --stdin --no-restart GREETING", "later").ok();
    set.says("the app gets it with its next start: devopsctl up --sandbox");
    assert_eq!(variable(&project, &url, "GREETING"), "is not set");
    project.run("status --sandbox").ok().says("changed since the app started");
    let status: Value = serde_json::from_str(&project.run("status --sandbox --json").ok().stdout).unwrap();
    let secrets = &status["secrets"];
    assert_eq!((&secrets["ordered"], &secrets["running"]), (&"none".into(), &"none".into()), "{secrets}");
    assert_ne!(secrets["stored"], "none");

    project.run("up --sandbox").ok().says("the secrets differ from the ones in the instance's orders");
    assert_eq!(variable(&project, &url, "GREETING"), "later");
    let status: Value = serde_json::from_str(&project.run("status --sandbox --json").ok().stdout).unwrap();
    assert_eq!(status["secrets"]["running"], secrets["stored"]);
    assert!(!project.run("status --sandbox").ok().stdout.contains("secrets"));
}

/// What is wrong with names and values is said before any call, and never with the value.
#[test]
fn mistakes_are_found_before_any_call() {
    let project = Project::unbooted();
    project.file("deploy.yaml", "name: hello\napp: {path: app, env: {DEBUG: '0'}, secrets: [NEEDED]}\n");
    let before = calls(&project).len();
    for (line, input, words) in [
        ("set --stdin EMPTY", "\n", "the value of EMPTY is empty"),
        ("set --stdin NUL", "a\0b", "contains a NUL"),
        ("set --stdin LONG", &"x".repeat(4097), "needs 4097"),
        ("set --stdin BRACES", &"{".repeat(1000), "needs 6007"),
        ("set --stdin ONE TWO", "x", "--stdin reads the value of one secret"),
        ("set --stdin APP_SECRET_TOKEN", "x", "set the token with `devopsctl set-token`"),
        ("set --stdin APP_SECRET_TOKEN_PREVIOUS", "x", "holds the token"),
        ("set --stdin DEBUG", "x", "is set by `app.env`"),
        ("set ASKED", "", "no terminal to type the value of ASKED on"),
        ("set NAME=not-for-the-screen", "", "argument 1 is not a valid name"),
        ("set NAME postgres://not-for-the-screen", "", "argument 2 is not a valid name"),
        ("unset not=for-the-screen", "", "argument 1 is not a valid name"),
        ("unset NEEDED", "", "the app needs the secret NEEDED"),
    ] {
        let ran = project.run_with(&format!("secrets {line} --sandbox"), input).code(2).says(words);
        assert!(!ran.stderr.contains("for-the-screen"), "{}", ran.stderr);
    }
    assert_eq!(calls(&project).len(), before);
    let ran =
        project.run("secrets unset --sandbox not/for-the-screen").code(2).says("argument 1 is not a secret of hello");
    assert!(!ran.stderr.contains("for-the-screen"), "{}", ran.stderr);
    project.run("secrets set --sandbox --generate=1 SHORT").code(2).says("16..=1024");
}

/// The instance reports that the app failed with the new secret: the old one keeps serving.
#[test]
#[ignore = "slow"]
fn a_secret_that_the_app_refuses_is_not_used() {
    let project = project();
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    let check = "\nassert os.environ.get('PORT_OF_DATABASE', '1').isdigit(), 'not a port'\nACCEPTED =";
    project.file("app/app.py", &app.replace("\nACCEPTED =", check));
    let url = project.up();
    project.run_with("secrets set --sandbox --stdin PORT_OF_DATABASE", "5432").ok();
    let refused = project.run_with("secrets set --sandbox --stdin PORT_OF_DATABASE", "a-wrong-port").code(4);
    let refused = refused.says("not a port").says("The secrets are").says("devopsctl secrets set NAME");
    assert!(!refused.stderr.contains("a-wrong-port"), "{}", refused.stderr);
    assert_eq!(variable(&project, &url, "PORT_OF_DATABASE"), "5432");
    project.run_with("secrets set --sandbox --stdin PORT_OF_DATABASE", "5433").ok().says("the app uses");
    assert_eq!(variable(&project, &url, "PORT_OF_DATABASE"), "5433");
}

/// The app does not start without a secret that `deploy.yaml` does not list.
#[test]
#[ignore = "slow"]
fn an_app_that_failed_without_a_secret_starts_when_it_is_set() {
    let project = project();
    let app = std::fs::read_to_string(project.folder().join("app/app.py")).unwrap();
    project.file("app/app.py", &app.replace("\nACCEPTED =", "\nDATABASE = os.environ['DATABASE_URL']\nACCEPTED ="));
    project.run("up --sandbox").code(4).says("DATABASE_URL");
    project.run_with("secrets set --sandbox --stdin DATABASE_URL", "somewhere").ok().says("the app uses the secrets");
    let url = project.up();
    assert_eq!(variable(&project, &url, "DATABASE_URL"), "somewhere");
}

/// Nothing waits for an agent that does not know secrets.
#[test]
#[ignore = "slow"]
fn an_agent_of_an_earlier_release_gets_the_secrets_with_the_next_up() {
    let project = Project::unbooted();
    project.ok("up --sandbox --no-wait");
    aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let instance = found.reservations()[0].instances()[0].instance_id().unwrap();
        let report = r#"{"v": 1, "wanted": {}, "token": 1, "phase": "healthy", "healthy": true}"#;
        let put = aws.ssm.put_parameter().name(format!("/devopsctl/hello/report/{instance}")).value(report);
        put.r#type(aws_sdk_ssm::types::ParameterType::String).send().await.unwrap();
    });
    let set = project.run("secrets set --sandbox --generate KEY").ok();
    set.says("from before devopsctl had secrets: devopsctl up --sandbox will use them");
    project.run("status --sandbox").code(4).says("from before devopsctl had secrets");
}

#[test]
fn without_an_instance_secrets_are_only_stored_and_down_deletes_them() {
    let project = Project::unbooted();
    project.run("secrets set --sandbox --generate ONE TWO").ok().says("the app gets it with its first start");
    assert_eq!(stored(&project), ["ONE", "TWO"]);
    let (code, shown) = at_a_terminal(
        &project,
        "Value of ONE|Value of TWO",
        "first-value|second-value",
        "secrets set --sandbox ONE TWO",
    );
    assert!(code == 0 && !shown.contains("first-value") && !shown.contains("second-value"), "{code}: {shown}");
    let values = aws(&project, async |aws| {
        let names = ["ONE", "TWO"].map(|name| format!("/devopsctl/hello/secrets/{name}"));
        let found = aws.ssm.get_parameters().set_names(Some(names.into())).with_decryption(true).send().await.unwrap();
        let values = found.parameters().iter().map(|one| one.value().unwrap().to_owned());
        values.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    });
    assert_eq!(values, ["first-value", "second-value"]);
    let tags = aws(&project, async |aws| {
        let tags = aws.ssm.list_tags_for_resource().resource_id("/devopsctl/hello/secrets/ONE");
        let tags = tags.resource_type(aws_sdk_ssm::types::ResourceTypeForTagging::Parameter).send().await.unwrap();
        tags.tag_list().iter().map(|tag| format!("{}={}", tag.key(), tag.value())).collect::<Vec<_>>()
    });
    assert_eq!(tags, ["devopsctl:name=hello"]);
    project.run("list --sandbox").ok().says("hello");
    // Parameters whose names no variable can have were created in the console.
    let long = "x".repeat(101);
    aws(&project, async |aws| {
        for name in ["by-hand", "folder/ONE", "folder/left", &long] {
            let put = aws.ssm.put_parameter().name(format!("/devopsctl/hello/secrets/{name}")).value("x");
            put.r#type(aws_sdk_ssm::types::ParameterType::SecureString).send().await.unwrap();
        }
    });
    project.run("secrets list --sandbox").ok().says("folder/ONE").says("not a variable's name: unset it");
    project.run(&format!("secrets unset --sandbox by-hand folder/ONE {long}")).ok().says("secret folder/ONE: deleted");
    project.run("secrets unset --sandbox folder//ONE").code(2).says("is not a valid name");
    let all = "secret ONE, secret TWO, secret folder/left";
    project.run("down --sandbox --yes").ok().says(all).says("deleted hello");
    assert_eq!(stored(&project), [""; 0]);
    let before = calls(&project).len();
    project.run("down --sandbox --yes").ok().says("hello has no resources");
    assert!(calls(&project)[before..].iter().all(only_reads));
}
