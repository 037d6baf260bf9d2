//! The sandbox's AWS past the tool: what an administrator does in the console, and what a test asks to go wrong.

use std::fs;

use aws_sdk_ec2::types::Filter;
use devopsctl::aws::{Aws, Settings};
use devopsctl::sandbox::Handle;
use serde_json::Value;

use crate::http::runtime;
use crate::project::Project;

/// The running sandbox's address and keys.
pub fn file(project: &Project) -> String {
    fs::read_to_string(project.state().join("devopsctl/sandbox/sandbox.json")).unwrap()
}

/// The calls that the sandbox's AWS has answered so far. Those of instances, which have temporary keys, are left out.
pub fn calls(project: &Project) -> Vec<Value> {
    let log = fs::read_to_string(project.state().join("devopsctl/sandbox/front.log")).unwrap();
    let all = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|call| call["key"].as_str().is_none_or(|key| !key.starts_with("ASIA"))).collect()
}

/// Whether a call changes nothing.
pub fn only_reads(call: &Value) -> bool {
    ["Describe", "Get", "Head", "List"].iter().any(|verb| call["action"].as_str().unwrap().starts_with(verb))
}

/// Does something in the sandbox's AWS past the tool, as an administrator in the console would.
pub fn aws<T>(project: &Project, work: impl AsyncFnOnce(Aws) -> T) -> T {
    let handle: Handle = serde_json::from_str(&file(project)).unwrap();
    runtime().block_on(async { work(Aws::sandbox(&Settings::default(), handle.as_administrator())).await })
}

/// Gives a VPC of one's own a way to the internet.
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

/// Asks the sandbox for a fault, such as `refuse?action=RunInstances&code=…`.
pub fn fault(project: &Project, call: &str) {
    control(project, call);
}

/// Asks the emulator past AWS's own calls; its answer.
pub fn control(project: &Project, call: &str) -> String {
    front(project, &format!("emulator/{call}"))
}

/// Has each call of a command take so many milliseconds more.
pub fn far_away(project: &Project, milliseconds: u32) {
    front(project, &format!("latency/{milliseconds}"));
}

/// Has what a command uploads to S3 pass at so many bytes a second; 0 is as fast as it comes.
pub fn slow_line(project: &Project, speed: u32) {
    front(project, &format!("line/{speed}"));
}

fn front(project: &Project, call: &str) -> String {
    let handle: Value = serde_json::from_str(&file(project)).unwrap();
    let url = format!("{}/_devopsctl/{call}", handle["endpoint"].as_str().unwrap());
    runtime().block_on(async {
        let secret = handle["control"].as_str().unwrap();
        let answer = crate::http::client().get(url).header("x-devopsctl-sandbox", secret).send().await.unwrap();
        assert!(answer.status().is_success(), "{call}: {}", answer.status());
        answer.text().await.unwrap()
    })
}
