//! `list`: finds every deployment from anywhere, and the commands that it shows remove them.

use std::process::Command;

use aws_sdk_ec2::types::{DomainType, ResourceType, Tag, TagSpecification};
use aws_sdk_ssm::types::ParameterType;
use devopsctl::base::names;
use serde_json::Value;

use crate::console::aws;
use crate::project::{Project, Ran, until};
use crate::snapshot;

/// A project with a sandbox where nothing boots.
fn account() -> Project {
    Project::unbooted()
}

/// Runs a command in a folder without a `deploy.yaml`.
fn elsewhere(project: &Project, line: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devopsctl"));
    project.settle(&mut command);
    let output = command.current_dir(project.state()).args(line.split_whitespace()).output().unwrap();
    Ran::new(line, &output)
}

fn list(project: &Project) -> Vec<Value> {
    let json: Value = serde_json::from_str(&elsewhere(project, "list --sandbox --json").ok().stdout).unwrap();
    assert_eq!(json["v"], 1);
    json["deployments"].as_array().unwrap().clone()
}

/// Waits until a change by an administrator is visible.
fn find(project: &Project, name: &str, state: &str) -> Value {
    until(30, &format!("{name} is {state}"), || {
        list(project).into_iter().find(|one| one["name"] == name && one["state"] == state)
    })
}

/// The width of the columns differs between runs.
fn narrow(text: &str) -> String {
    regex::Regex::new(r"(\S) {2,}").unwrap().replace_all(text, "$1  ").into_owned()
}

fn ours(kind: ResourceType, name: &str) -> TagSpecification {
    let tag = Tag::builder().key(names::TAG_NAME).value(name).build();
    TagSpecification::builder().resource_type(kind).tags(tag).build()
}

#[test]
fn a_deployment_is_found_and_removed_by_name() {
    let project = Project::example();
    let (url, token) = (project.up(), project.token());
    let shown = elsewhere(&project, "list --sandbox").ok();
    assert!(!shown.shown().contains(&token), "{}", shown.shown());
    snapshot!(project, narrow(&shown.shown()));
    let hello = &list(&project)[0];
    assert_eq!((&hello["name"], &hello["state"], &hello["url"]), (&"hello".into(), &"healthy".into(), &url.into()));
    assert_eq!((&hello["forgotten"], &hello["cost"]["month"]), (&false.into(), &11.88.into()));
    assert!(!hello.to_string().contains(&token), "{hello}");

    elsewhere(&project, "down --sandbox --yes").code(2).says("there is no deploy.yaml").says("--name");
    elsewhere(&project, "down --sandbox --yes --name Hello").code(2).says("is not a valid name");
    elsewhere(&project, "down --sandbox --yes --name other").ok().says("other has no resources");
    elsewhere(&project, "down --sandbox --yes --name hello").ok().says("deleted hello");
    snapshot!(project, elsewhere(&project, "list --sandbox").ok().shown());
}

#[test]
fn orphaned_resources_are_found_with_the_command_that_removes_them() {
    let project = account();
    // A stopped instance, a deployment with only an address, and one with only a token.
    project.ok("up --sandbox --no-wait");
    aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let id = found.reservations()[0].instances()[0].instance_id().unwrap().to_owned();
        aws.ec2.stop_instances().instance_ids(id).send().await.unwrap();
        let address = aws.ec2.allocate_address().domain(DomainType::Vpc);
        address.tag_specifications(ours(ResourceType::ElasticIp, "shop")).send().await.unwrap();
    });
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("other.yaml", &text.replace("name: hello", "name: other"));
    project.ok("set-token --sandbox --generate --file other.yaml");

    find(&project, "hello", "stopped");
    find(&project, "shop", "remains");
    assert_eq!(find(&project, "other", "remains")["stands"], serde_json::json!(["token"]));
    snapshot!(project, narrow(&elsewhere(&project, "list --sandbox").ok().shown()));
    for one in list(&project) {
        assert_eq!(one["forgotten"], true, "{one}");
        let down = one["down"].as_str().unwrap().strip_prefix("devopsctl ").unwrap();
        elsewhere(&project, &format!("{down} --yes")).ok().says("deleted ");
    }
    assert_eq!(list(&project), Vec::<Value>::new());
}

#[test]
fn every_kind_of_orphaned_resource_is_found() {
    let project = account();
    // More parameters than one page of SSM.
    let tokens: Vec<String> = (10..23).map(|number| format!("t{number}")).collect();
    aws(&project, async |aws| {
        let group = aws.ec2.create_security_group().group_name("devopsctl-group").description("left");
        group.tag_specifications(ours(ResourceType::SecurityGroup, "group")).send().await.unwrap();
        let pair = aws.ec2.create_key_pair().key_name("devopsctl-pair");
        pair.tag_specifications(ours(ResourceType::KeyPair, "pair")).send().await.unwrap();
        let (bucket, _) = names::bucket("123456789012", "us-east-1");
        aws.s3.create_bucket().bucket(&bucket).send().await.unwrap();
        for key in ["stored/releases/1.tar.gz", "stored/releases/2.tar.gz", "_tools/caddy.gz"] {
            aws.s3.put_object().bucket(&bucket).key(key).body(vec![1].into()).send().await.unwrap();
        }
        for name in &tokens {
            let token = aws.ssm.put_parameter().name(names::token_parameter(name)).value("not-to-be-shown");
            token.r#type(ParameterType::SecureString).send().await.unwrap();
        }
        let secret = aws.ssm.put_parameter().name(names::secret_parameter("secret", "KEY")).value("not-to-be-shown");
        secret.r#type(ParameterType::SecureString).send().await.unwrap();
    });
    let mut wanted = tokens;
    wanted.extend(["group", "pair", "secret", "stored"].map(str::to_owned));
    wanted.sort();
    let found = until(30, "all are found", || {
        let found: Vec<String> = list(&project).iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        (found.len() == wanted.len()).then_some(found)
    });
    assert_eq!(found, wanted);
    let said = elsewhere(&project, "list --sandbox").ok().says("left: objects in the bucket");
    assert!(!said.shown().contains("not-to-be-shown"), "{}", said.shown());
    // Other regions have their own deployments.
    elsewhere(&project, "list --sandbox --region eu-north-1").ok().says("no deployments in account").says("eu-north-1");
    // A deploy.yaml sets the region.
    project.file("deploy.yaml", "name: hello\nregion: eu-west-1\napp: {path: app}\n");
    project.run("list --sandbox").ok().says("no deployments in account 123456789012, eu-west-1");
}
