//! Access to the sandbox's AWS without the tool: what an administrator does in the console, and the faults that a test requests.

use std::fs;

use aws_sdk_ec2::types::Filter;
use devopsctl::aws::{Aws, Settings};
use devopsctl::sandbox::Handle;
use serde_json::Value;

use super::http::runtime;
use super::project::Project;

/// The file with the running sandbox's endpoint and keys.
pub fn file(project: &Project) -> String {
    fs::read_to_string(project.state().join("devopsctl/sandbox/sandbox.json")).unwrap()
}

/// The calls that the sandbox's AWS has answered, without those of instances, which have temporary keys.
pub fn calls(project: &Project) -> Vec<Value> {
    let log = fs::read_to_string(project.state().join("devopsctl/sandbox/api.log")).unwrap();
    let all = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|call| call["key"].as_str().is_none_or(|key| !key.starts_with("ASIA"))).collect()
}

/// Whether a call changes nothing.
pub fn only_reads(call: &Value) -> bool {
    ["Describe", "Get", "Head", "List"].iter().any(|verb| call["action"].as_str().unwrap().starts_with(verb))
}

/// Calls the sandbox's AWS as an administrator.
pub fn aws<T>(project: &Project, work: impl AsyncFnOnce(Aws) -> T) -> T {
    let handle: Handle = serde_json::from_str(&file(project)).unwrap();
    runtime().block_on(async { work(Aws::sandbox(&Settings::default(), handle.as_administrator())).await })
}

/// Connects a VPC to the internet.
pub async fn connect(aws: &Aws, vpc: &str) {
    let gateway = aws.ec2.create_internet_gateway().send().await.unwrap().internet_gateway.unwrap();
    let gateway = gateway.internet_gateway_id.unwrap();
    aws.ec2.attach_internet_gateway().internet_gateway_id(&gateway).vpc_id(vpc).send().await.unwrap();
    let of = Filter::builder().name("vpc-id").values(vpc).build();
    let tables = aws.ec2.describe_route_tables().filters(of).send().await.unwrap();
    let table = tables.route_tables()[0].route_table_id().unwrap();
    let route = aws.ec2.create_route().route_table_id(table).destination_cidr_block("0.0.0.0/0");
    route.gateway_id(&gateway).send().await.unwrap();
}

/// Requests a fault, such as `refuse?action=RunInstances&code=…`.
pub fn fault(project: &Project, call: &str) {
    control(project, call);
}

/// Makes a control call of the emulator, and returns its response.
pub fn control(project: &Project, call: &str) -> String {
    get_control(project, &format!("emulator/{call}"))
}

/// Adds latency to each call of a command.
pub fn add_latency(project: &Project, milliseconds: u32) {
    get_control(project, &format!("latency/{milliseconds}"));
}

/// Limits uploads to S3 to so many bytes per second. 0: no limit.
pub fn limit_uploads(project: &Project, bytes: u32) {
    get_control(project, &format!("upload-rate/{bytes}"));
}

fn get_control(project: &Project, path: &str) -> String {
    let handle: Value = serde_json::from_str(&file(project)).unwrap();
    let url = format!("{}/_devopsctl/{path}", handle["endpoint"].as_str().unwrap());
    runtime().block_on(async {
        let secret = handle["control"].as_str().unwrap();
        let answer = super::http::client().get(url).header("x-devopsctl-sandbox", secret).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.text().await.unwrap()
    })
}
