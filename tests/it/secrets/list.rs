//! `secrets list` and `secrets get`.

use aws_sdk_ssm::types::ParameterType;
use serde_json::{Value, json};

use super::{is_nowhere, require};
use crate::console::{aws, calls, fault, only_reads};
use crate::project::Project;
use crate::snapshot;

const URL: &str = "postgres://shop:a-horse@db.example.com/shop";

/// The width of the columns differs between runs.
fn narrow(text: &str) -> String {
    regex::Regex::new(r"(\S) {2,}").unwrap().replace_all(text, "$1  ").into_owned()
}

#[test]
fn a_list_shows_what_is_set_and_what_is_missing_but_no_value() {
    let project = Project::unbooted();
    assert!(project.ok("secrets list --sandbox").starts_with("hello has no secrets; set one: devopsctl secrets set"));
    require(&project, "[DATABASE_URL, MAIL_PASSWORD, {SESSION_KEY: generate}]");
    project.run_with("secrets set --stdin DATABASE_URL --sandbox", "the-first-value").ok();
    project.run_with("secrets set --stdin DATABASE_URL --sandbox", URL).ok();
    // A colleague sets one in the console, which deploy.yaml does not name.
    aws(&project, async |aws| {
        let put = aws.ssm.put_parameter().name("/devopsctl/hello/secrets/SENTRY_DSN").value("a-dsn");
        put.r#type(ParameterType::SecureString).send().await.unwrap();
    });
    let before = calls(&project).len();
    let listed = project.run("secrets list --sandbox").ok();
    snapshot!(project, narrow(&listed.shown()));
    let json: Value = serde_json::from_str(&project.ok("secrets list --sandbox --json")).unwrap();
    assert!(json["secrets"][0]["at"].as_i64().is_some_and(|at| at > 1_700_000_000), "{json}");
    let unset = json!({"name": "MAIL_PASSWORD", "version": null, "reference": null, "source_version": null, "at": null, "by": null, "required": true, "generate": false, "missing": true});
    assert_eq!((&json["secrets"][1], &json["secrets"][0]["version"]), (&unset, &2.into()));
    let made = calls(&project).split_off(before);
    assert!(made.iter().all(only_reads), "{made:?}");
    for value in ["the-first-value", URL, "a-dsn"] {
        assert!(!listed.shown().contains(value) && !json.to_string().contains(value));
        is_nowhere(&project, value);
    }
}

#[test]
#[ignore = "slow"]
fn without_its_permission_a_list_shows_no_author() {
    let project = Project::unbooted();
    project.run_with("secrets set --stdin DATABASE_URL --sandbox", URL).ok();
    fault(&project, "refuse?action=DescribeParameters&code=AccessDeniedException&times=9");
    let listed = project.run("secrets list --sandbox").ok();
    assert!(listed.stderr.contains("ssm:DescribeParameters was denied"), "{}", listed.stderr);
    assert!(narrow(&listed.stdout).starts_with("DATABASE_URL  version 1  "), "{}", listed.stdout);
}

#[test]
fn a_secret_is_shown_as_it_was_set() {
    let project = Project::unbooted();
    let key = "-----BEGIN X-----\n{{a}} \u{200b}json:\u{1b}[31m grüezi\n-----END X-----\n";
    for value in [key, "json:x", " a "] {
        project.run_with("secrets set --stdin TLS_KEY --sandbox", &format!("{value}\n")).ok();
        assert_eq!(project.run("secrets get TLS_KEY --sandbox").ok().stdout, format!("{value}\n"));
        let json: Value = serde_json::from_str(&project.ok("secrets get TLS_KEY --sandbox --json")).unwrap();
        assert_eq!((&json["secret"], &json["value"]), (&"TLS_KEY".into(), &value.into()));
    }
    project.run("secrets get OTHER --sandbox").code(1).says("hello has no secret OTHER").says("secrets set OTHER");
    let ran = project.run("secrets get postgres://u:a-horse@db --sandbox").code(2);
    assert!(!ran.shown().replace(&ran.shown().lines().next().unwrap().to_owned(), "").contains("a-horse"));
}
