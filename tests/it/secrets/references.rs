//! Secrets that a company keeps already: `app.secrets` refers to SSM and Secrets Manager.

use aws_sdk_ssm::types::ParameterType;
use devopsctl::aws::Aws;
use serde_json::{Value, json};

use super::{is_nowhere, project, require, variable};
use crate::console::{aws, calls, fault, only_reads};
use crate::project::Project;

const ROLE: &str = "devopsctl-hello-us-east-1";
/// A customer's key.
const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const PASSWORD: &str = "correct-horse-battery";

async fn put_parameter(aws: &Aws, name: &str, value: &str) {
    let put = aws.ssm.put_parameter().name(name).value(value).r#type(ParameterType::SecureString).key_id(KEY);
    put.overwrite(true).send().await.unwrap();
}

async fn create_secret(aws: &Aws, name: &str, value: &str) -> String {
    let make = aws.secrets_manager.create_secret().name(name).secret_string(value).kms_key_id(KEY);
    make.send().await.unwrap().arn.unwrap()
}

async fn put_secret(aws: &Aws, name: &str, value: &str) {
    aws.secrets_manager.put_secret_value().secret_id(name).secret_string(value).send().await.unwrap();
}

/// The statements of the role's policy about references: the ARNs that it may read.
fn readable(project: &Project) -> Vec<String> {
    let policy = aws(project, async |aws| {
        let get = aws.iam.get_role_policy().role_name(ROLE).policy_name(ROLE).send().await.unwrap();
        percent_encoding::percent_decode_str(&get.policy_document).decode_utf8().unwrap().into_owned()
    });
    let policy: Value = serde_json::from_str(&policy).unwrap();
    let reads =
        |action: &Value| ["ssm:GetParameter", "secretsmanager:GetSecretValue"].iter().any(|read| action == read);
    let lists = policy["Statement"].as_array().unwrap().iter().filter(|one| reads(&one["Action"]));
    let all = lists.filter_map(|one| one["Resource"].as_array()).flatten();
    all.map(|arn| arn.as_str().unwrap().rsplit(':').next().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "slow"]
fn references_are_checked_listed_and_never_written() {
    let project = Project::unbooted();
    require(&project, "[OTHER, {DB: ssm:/shared/db}, {PASSWORD: 'secretsmanager:prod/db#password'}]");
    for line in ["secrets set --stdin DB", "secrets unset DB"] {
        let ran = project.run_with(&format!("{line} --sandbox"), "x").code(2);
        ran.says("DB is kept elsewhere: ssm:/shared/db").says("devopsctl secrets refresh --sandbox");
    }
    project.file(".env", "DB=not-shown\nOTHER=x\n");
    let ran = project.run("secrets import .env --sandbox").ok();
    ran.says("skipped DB: app.secrets in deploy.yaml refers to a secret that is kept elsewhere");
    let before = calls(&project).len();
    let ran = project.run("up --sandbox").code(1);
    ran.says("DB (ssm:/shared/db): it does not exist").says("PASSWORD (secretsmanager:prod/db): it does not exist");
    project
        .run("plan --sandbox")
        .code(3)
        .says("the app cannot get DB (ssm:/shared/db): it does not exist; up will refuse");
    project.run("secrets refresh --sandbox").code(1).says("it does not exist");
    let made = calls(&project).split_off(before);
    assert!(made.iter().all(only_reads), "{made:?}");
    project.run("doctor --sandbox").says("secrets elsewhere").says("it does not exist");

    let arn = aws(&project, async |aws| {
        put_parameter(&aws, "/shared/db", "the-first-url").await;
        create_secret(&aws, "prod/db", &json!({"password": PASSWORD, "port": 5432}).to_string()).await
    });
    project.run("plan --sandbox").code(3).says("+ role");
    let listed = project.run("secrets list --sandbox").ok();
    let rows: Vec<String> =
        listed.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(rows[0].starts_with("DB version 1 ") && rows[0].ends_with("- ssm:/shared/db"), "{rows:?}");
    assert!(rows[2].ends_with("secretsmanager:prod/db#password"), "{rows:?}");
    let json: Value = serde_json::from_str(&project.ok("secrets list --sandbox --json")).unwrap();
    assert_eq!((&json["secrets"][0]["source_version"], &json["secrets"][0]["version"]), (&"1".into(), &Value::Null));
    assert_eq!(json["secrets"][2]["source_version"].as_str().unwrap().len(), 8);
    assert!(json["secrets"].as_array().unwrap().iter().all(|secret| secret["missing"] == false), "{json}");
    assert!(!listed.shown().contains("the-first-url") && !listed.shown().contains(PASSWORD));

    // The caller's own permissions count for the value, and the policy of the command line has none.
    let ran = project.run("secrets get DB --sandbox").code(5);
    ran.says("cannot read DB (ssm:/shared/db)").says("ssm:GetParameter says AccessDeniedException");
    aws(&project, async |aws| {
        let all = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;
        aws.iam.put_user_policy().user_name("devopsctl").policy_name("all").policy_document(all).send().await.unwrap();
    });
    assert_eq!(project.run("secrets get DB --sandbox").ok().stdout, "the-first-url\n");
    assert_eq!(project.run("secrets get PASSWORD --sandbox").ok().stdout, format!("{PASSWORD}\n"));
    require(&project, "[{PORT: 'secretsmanager:prod/db#port'}, {NONE: 'secretsmanager:prod/db#none'}]");
    assert_eq!(project.run("secrets get PORT --sandbox").ok().stdout, "5432\n");
    project.run("secrets get NONE --sandbox").code(1).says("does not have that key");
    is_nowhere(&project, "the-first-url");

    // Another region's secret is refused without a call; a caller who may not look is told.
    require(
        &project,
        &format!("[{{A: {}}}]", arn.replace("arn:", "secretsmanager:arn:").replace("us-east-1", "eu-west-1")),
    );
    project.run("plan --sandbox").code(2).says("refers to a secret in another region").says("No call was made");
    require(&project, "[{A: secretsmanager:prod/db}]");
    fault(&project, "refuse?action=DescribeSecret&code=AccessDeniedException&times=9");
    project.run("plan --sandbox").code(3).says("cannot check A (secretsmanager:prod/db)").says("with its own role");
    project.run("doctor --sandbox").says("not checked: A");
    project.run("secrets refresh --sandbox").code(5).says("cannot tell the newest versions");
}

#[test]
#[ignore = "slow"]
fn an_app_gets_secrets_that_are_kept_elsewhere_and_their_changes() {
    let project = project();
    let arn = aws(&project, async |aws| {
        put_parameter(&aws, "/shared/db", "url-1").await;
        create_secret(&aws, "plain", "plain-1").await;
        create_secret(&aws, "prod/db", &json!({"password": PASSWORD, "port": 5432}).to_string()).await
    });
    project.run("secrets refresh --sandbox").code(2).says("refers to no secret that is kept elsewhere");
    require(
        &project,
        &format!(
            "[{{DB: ssm:/shared/db}}, {{PASSWORD: 'secretsmanager:prod/db#password'}}, {{PORT: 'secretsmanager:{arn}#port'}}]"
        ),
    );
    let url = project.up();
    let given = |name: &str| variable(&project, &url, name);
    assert_eq!((given("DB"), given("PASSWORD"), given("PORT")), ("url-1".into(), PASSWORD.into(), "5432".into()));
    is_nowhere(&project, PASSWORD);
    assert_eq!(readable(&project).len(), 3);
    project.run("up --sandbox").ok().says("already up to date");
    let generation = given("../generation");
    project.run("secrets refresh --sandbox").ok().says("nothing was changed");
    // A stored secret changes alone, with the versions that the app has.
    aws(&project, async |aws| put_parameter(&aws, "/shared/db", "url-2").await);
    project.run_with("secrets set --stdin GREETING --sandbox", "hello").ok();
    assert_eq!((given("DB"), given("GREETING")), ("url-1".into(), "hello".into()));
    let ran = project.run("secrets refresh --sandbox").ok();
    ran.says("the app has the newest version of each secret that is kept elsewhere");
    assert_eq!((given("DB"), given("GREETING")), ("url-2".into(), "hello".into()));
    assert_ne!(given("../generation"), generation);
    // `up` takes a change as well.
    aws(&project, async |aws| put_secret(&aws, "prod/db", r#"{"password": "second", "port": 1}"#).await);
    project.run("plan --sandbox").code(3).says("the versions of the secrets that are kept elsewhere differ");
    project.up();
    assert_eq!((given("PASSWORD"), given("PORT")), ("second".into(), "1".into()));
    // A value without the key is not used.
    aws(&project, async |aws| put_secret(&aws, "prod/db", r#"{"user": "not-shown"}"#).await);
    let ran = project.run("secrets refresh --sandbox").code(4);
    let ran = ran.says("PASSWORD (secretsmanager:prod/db#password) does not have that key").says("keeps serving");
    assert!(!ran.shown().contains("not-shown"));
    assert_eq!(given("PASSWORD"), "second");
    aws(&project, async |aws| put_secret(&aws, "prod/db", r#"{"password": "third", "port": 2}"#).await);
    project.run("secrets refresh --sandbox").ok();
    assert_eq!(given("PASSWORD"), "third");

    // Other references are another release, and the one before can run again.
    require(&project, "[{PLAIN: secretsmanager:plain}]");
    project.up();
    assert_eq!((given("PLAIN"), given("DB")), ("plain-1".into(), "is not set".into()));
    assert_eq!(readable(&project).len(), 4, "those of the earlier release stay readable");
    project.run("plan --sandbox").code(0);
    project.run("rollback --sandbox").ok().says("were read again: the app has their newest versions");
    assert_eq!((given("PLAIN"), given("PASSWORD")), ("is not set".into(), "third".into()));
    project.run("secrets refresh --sandbox").ok().says("its release refers to other secrets than deploy.yaml");
    project.up();
    project.file("app/more.py", "MORE = 1\n");
    project.up();
    assert_eq!(readable(&project), ["secret:plain-??????"].map(|arn| arn.rsplit(':').next().unwrap().to_owned()));
    let releases: Value = serde_json::from_str(&project.ok("releases --sandbox --json")).unwrap();
    let oldest = releases["releases"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let ran = project.run(&format!("rollback {oldest} --sandbox")).code(1);
    ran.says("needs secrets that the instance may no longer read").says("ssm:/shared/db").says("Nothing was changed");
    project.run("down --sandbox --yes").ok();
}
