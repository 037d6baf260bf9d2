//! After a failure the same command continues, and resources of others stay unchanged. The texts are in `error_snapshots`.

use devopsctl::base::names;

use crate::console::{aws, fault};
use crate::project::{Project, Ran, install_emulator};

/// A project with its own running sandbox.
fn started() -> Project {
    let project = Project::example();
    install_emulator();
    project.ok("sandbox start");
    project
}

#[test]
fn access_denied() {
    let project = started();
    fault(
        &project,
        "refuse?action=RunInstances&code=UnauthorizedOperation&status=403&message=You+are+not+authorized+to+perform+this+operation.",
    );
    project.run("up --sandbox -q").code(5).says("ask an administrator to allow ec2:RunInstances");
    // The same command continues.
    project.up();
}

#[test]
fn no_default_vpc() {
    let project = started();
    aws(&project, async |aws| {
        let subnets = aws.ec2.describe_subnets().send().await.unwrap();
        for subnet in subnets.subnets() {
            aws.ec2.delete_subnet().subnet_id(subnet.subnet_id().unwrap()).send().await.unwrap();
        }
        let vpcs = aws.ec2.describe_vpcs().send().await.unwrap();
        for vpc in vpcs.vpcs() {
            aws.ec2.delete_vpc().vpc_id(vpc.vpc_id().unwrap()).send().await.unwrap();
        }
    });
    project.run("up --sandbox -q").code(1).says("this region has no default VPC");
    project.ok("down --sandbox --yes");
}

#[test]
fn a_resource_with_our_name_and_without_our_tag() {
    let project = started();
    let group = aws(&project, async |aws| {
        let name = names::common("hello");
        let made =
            aws.ec2.create_security_group().group_name(name).description("of another owner").send().await.unwrap();
        let id = made.group_id.unwrap();
        // Lists do not contain a new resource yet.
        while aws.ec2.describe_security_groups().group_ids(&id).send().await.is_err() {}
        id
    });
    project
        .run("up --sandbox -q")
        .code(1)
        .says("does not belong to this deployment")
        .says("choose another name in deploy.yaml");
    project.run("down --sandbox --yes").ok().says("does not belong to this deployment and is not deleted");
    aws(&project, async |aws| {
        let found = aws.ec2.describe_security_groups().group_ids(&group).send().await.unwrap();
        assert_eq!(found.security_groups().len(), 1);
    });
}

#[test]
fn tokens_that_are_refused() {
    let project = Project::alone().with_example();
    for (token, why) in [
        ("", "is empty"),
        ("two words here", "white space"),
        ("tab\tin the middle", "white space"),
        ("bell\u{7}bell-bell-bell", "not plain ASCII"),
        ("schlüssel-schlüssel", "not plain ASCII"),
        ("tiny-pass", "shorter than 12"),
    ] {
        let ran = project.run_with("set-token --sandbox --stdin", token).code(2).says(why);
        assert!(token.is_empty() || !ran.stderr.contains(token), "{}", ran.stderr);
    }
    project.run_with("set-token --sandbox --stdin", &"x".repeat(257)).code(2).says("longer than 256");
    // There was no call: not even a sandbox is running.
    assert!(project.processes().is_empty());
}

#[test]
fn questions_without_a_terminal_are_answered_no() {
    let project = Project::example();
    project.run("set-token --sandbox").code(2).says("there is no terminal to type the token on");
    project.up();
    project.run("down --sandbox -q").code(2).says("there is no terminal to ask on");
    project.ok("status --sandbox");
}

/// Starts the sandbox on a machine without a requirement.
fn start_without(project: &Project, settings: &[(&str, &std::path::Path)]) -> Ran {
    let mut command = project.command("sandbox start");
    command.envs(settings.iter().copied());
    Ran::new("sandbox start", &command.output().unwrap())
}

#[test]
fn no_network_on_the_first_start() {
    let project = Project::alone();
    let (cache, nowhere) = (project.folder().join("cache"), std::path::Path::new("http://127.0.0.1:1/simple"));
    let one = std::path::Path::new("1");
    // The errors of pip and uv.
    let settings =
        [("XDG_CACHE_HOME", &*cache), ("PIP_INDEX_URL", nowhere), ("PIP_RETRIES", std::path::Path::new("0"))];
    let ran = start_without(&project, &[&settings[..], &[("UV_INDEX_URL", nowhere), ("UV_OFFLINE", one)]].concat());
    let ran = ran.code(1);
    assert!(ran.stderr.contains("cannot install"), "{}", ran.stderr);
    assert!(ran.stderr.contains("install uv") || ran.stderr.contains("check the network"), "{}", ran.stderr);
}
