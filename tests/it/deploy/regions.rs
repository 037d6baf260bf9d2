//! Deployments with shared resources are independent.

use crate::http::get;
use crate::project::Project;

#[test]
#[ignore = "slow"]
fn one_name_in_two_regions_is_two_deployments() {
    let project = Project::example();
    let here = project.ok("up --sandbox --region eu-central-1");
    let there = project.ok("up --sandbox --region us-west-2");
    assert_ne!(here, there);
    let tokens = ["eu-central-1", "us-west-2"].map(|region| project.ok(&format!("token --sandbox --region {region}")));
    assert_ne!(tokens[0], tokens[1]);
    assert_eq!(get(&here, Some(&tokens[0])).status, 200);
    assert_eq!(get(&here, Some(&tokens[1])).status, 401);

    // Roles are global: the remaining deployment must keep its own.
    project.ok("down --sandbox --region eu-central-1 --yes");
    project.ok("set-token --sandbox --region us-west-2 --generate");
    let token = project.ok("token --sandbox --region us-west-2");
    assert_eq!(get(&there, Some(&token)).status, 200);
    project.run("status --sandbox --region eu-central-1").code(4).says("not deployed");
}

#[test]
#[ignore = "slow"]
fn deployments_share_the_bucket_and_the_last_one_removes_it() {
    let project = Project::example();
    project.up();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("other.yaml", &text.replace("name: hello", "name: other"));
    let other = project.ok("up --sandbox --file other.yaml");
    project.run("down --sandbox --yes").ok();
    let token = project.ok("token --sandbox --file other.yaml");
    assert_eq!(get(&other, Some(&token)).status, 200);
    project.ok("up --sandbox --file other.yaml");
    project.ok("down --sandbox --yes --file other.yaml");
    let buckets = crate::console::aws(&project, async |aws| aws.s3.list_buckets().send().await.unwrap());
    assert!(buckets.buckets().is_empty(), "{buckets:?}");
}
