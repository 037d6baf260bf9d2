//! `secrets import`: the secrets of a `.env` file are one change, and only their names are shown.

use std::collections::BTreeMap;

use aws_sdk_ssm::types::Parameter;

use super::{is_nowhere, project, require, variable};
use crate::console::{aws, calls, only_reads};
use crate::http::get;
use crate::project::Project;
use crate::pseudo_terminal::at_a_terminal;
use crate::snapshot;

const FILE: &str = "# production
export DATABASE_URL='postgres://shop:a-horse@db/shop'  # the primary
MAIL_PASSWORD=\"a \\\"battery\\\"\"
TLS_KEY=\"-----BEGIN X-----
a-staple
-----END X-----\"
APP_SECRET_TOKEN=not-for-your-eyes
APP_SECRET_TOKEN_PREVIOUS=not-for-your-eyes
GREETING=Hello
AWS_ACCESS_KEY_ID=not-for-your-eyes
AWS_SECRET_ACCESS_KEY=not-for-your-eyes
SENTRY_DSN=
DEBUG=1
";

fn stored(project: &Project) -> BTreeMap<String, (String, i64)> {
    let entry = |found: &Parameter| {
        let name = found.name().unwrap().rsplit('/').next().unwrap().to_owned();
        (name, (found.value().unwrap().to_owned(), found.version()))
    };
    aws(project, async |aws| {
        let asked = aws.ssm.get_parameters_by_path().path("/devopsctl/hello/secrets").with_decryption(true);
        asked.send().await.unwrap().parameters().iter().map(entry).collect()
    })
}

#[test]
fn an_import_sets_what_the_app_needs_and_shows_no_value() {
    let project = Project::unbooted();
    project.file("deploy.yaml", "name: hello\napp:\n  path: app\n  env: {GREETING: Hello}\n").file(".env", FILE);
    let imported = project.run("secrets import .env --sandbox").ok();
    // The secrets are written concurrently.
    let told: Vec<&str> = imported.stderr.lines().filter(|line| !line.starts_with('✓')).collect();
    snapshot!(project, told.join("\n"));
    let found = stored(&project);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["DATABASE_URL", "DEBUG", "MAIL_PASSWORD", "TLS_KEY"]);
    assert_eq!(found["DATABASE_URL"], ("postgres://shop:a-horse@db/shop".to_owned(), 1));
    assert_eq!(found["MAIL_PASSWORD"].0, "a \"battery\"");
    assert_eq!(found["TLS_KEY"].0, "-----BEGIN X-----\na-staple\n-----END X-----");
    for value in ["a-horse", "battery", "a-staple", "not-for-your-eyes"] {
        assert!(!imported.shown().contains(value), "{}", imported.shown());
        is_nowhere(&project, value);
    }
    // The same file again changes nothing, and asks nothing.
    let before = calls(&project).len();
    project.run("secrets import .env --sandbox").ok().says("same: DATABASE_URL, MAIL_PASSWORD, TLS_KEY, DEBUG");
    assert!(calls(&project).split_off(before).iter().all(only_reads));
    assert_eq!(stored(&project), found);
}

#[test]
#[ignore = "slow"]
fn an_import_asks_before_it_overwrites() {
    let project = Project::unbooted();
    project.file(".env", "A_KEY=one\nB_KEY=two\n");
    project.run("secrets import .env --sandbox").ok();
    project.file(".env", "A_KEY=one\nB_KEY=another\nC_KEY=three\n");
    let ran = project.run("secrets import .env --sandbox").code(2);
    ran.says("new: C_KEY").says("changed: B_KEY").says("same: A_KEY").says("Overwrite B_KEY?").says("--yes");
    let (code, shown) = at_a_terminal(&project, "Overwrite B_KEY?", "n", "secrets import .env --sandbox");
    assert_eq!(code, 130, "{shown}");
    assert_eq!(stored(&project).len(), 2);
    let (code, shown) = at_a_terminal(&project, "Overwrite B_KEY?", "y", "secrets import .env --sandbox");
    assert_eq!(code, 0, "{shown}");
    let version = |name: &str| stored(&project)[name].1;
    assert_eq!([version("A_KEY"), version("B_KEY"), version("C_KEY")], [1, 2, 1]);
    project.file(".env", "B_KEY=two\n");
    project.run("secrets import --yes .env --sandbox").ok();
    assert_eq!(stored(&project)["B_KEY"].0, "two");
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let project = Project::unbooted();
    let long = format!("A_KEY=fine\nB_KEY={}\n", "x".repeat(4097));
    for (text, words) in [
        ("A_KEY=fine\nB_KEY='a-horse\n", "line 2 of .env opens a quote that nothing closes"),
        ("A_KEY=fine\n\na-horse\n", "line 3 of .env is not NAME=value"),
        ("A_KEY=\"x${a_horse}\"\n", "line 1 of .env refers to another variable"),
        ("A_KEY=a-horse\nA_KEY=another\n", "line 2 of .env sets a name that an earlier line sets"),
        (&long, "the value of B_KEY is too long"),
    ] {
        project.file(".env", text);
        let ran = project.run("secrets import .env --sandbox").code(2).says(words);
        assert!(!ran.shown().contains("horse") && !ran.shown().contains("xxxx"), "{}", ran.shown());
    }
    project.run("secrets import missing.env --sandbox").code(2).says("cannot read missing.env");
    assert!(stored(&project).is_empty());
}

#[test]
#[ignore = "slow"]
fn a_credential_for_aws_is_imported_if_the_app_needs_it() {
    let project = Project::unbooted();
    require(&project, "[AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY]");
    project.file(".env", FILE);
    project.run("secrets import .env --sandbox").ok();
    assert!(stored(&project).contains_key("AWS_SECRET_ACCESS_KEY"));
}

#[test]
#[ignore = "slow"]
fn a_running_app_gets_all_imported_secrets_at_once() {
    let project = project();
    let url = project.up();
    let generation = || get(&format!("{url}/generation"), Some(&project.token())).body;
    let before = generation();
    project.file(".env", "DATABASE_URL=postgres://shop:a-horse@db/shop\nTLS_KEY=\"a battery\nand {{a staple}}\"\n");
    project.run("secrets import .env --sandbox").ok().says("the app uses the secrets as they are stored");
    assert_eq!(variable(&project, &url, "DATABASE_URL"), "postgres://shop:a-horse@db/shop");
    assert_eq!(variable(&project, &url, "TLS_KEY"), "a battery\nand {{a staple}}");
    let after = generation();
    assert_ne!(before, after);
    project.run("secrets import .env --sandbox").ok();
    assert_eq!(generation(), after, "the same file again starts nothing");
    is_nowhere(&project, "a-horse");
    let processes = project.processes().join("\n");
    assert!(processes.contains("serve.py") && !processes.contains("a-horse"), "{processes}");
}
